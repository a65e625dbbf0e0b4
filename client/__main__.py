"""The program `flaskvstore`."""

from . import _server_path


def main() -> None:
    """Run the command line."""
    _server_path.prepend()
    from api import cli  # noqa: PLC0415  # found only now

    cli.main()


if __name__ == "__main__":
    main()
