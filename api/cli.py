"""The command line."""

import logging.config
import os
from importlib.metadata import version

import click

from api.serving.supervisor import serve
from api.settings import Settings, StartError, variable_name
from api.telemetry.logs import logging_config
from api.token_commands import token


@click.group()
@click.version_option(version("flaskvstore"), prog_name="flaskvstore")
def main() -> None:
    """Serve a documented, typed, safe HTTP key-value API over Redis and Valkey."""


@main.command("serve")
@click.option("--bind", metavar="HOST:PORT", help="Where to listen; 127.0.0.1:5000 unless told otherwise.")
@click.option("--server", metavar="gunicorn|granian", help="What serves requests; gunicorn unless told otherwise.")
@click.option("--workers", metavar="N", help="How many worker processes; 2 unless told otherwise.")
@click.option("--redis-url", metavar="URL", help="A running Redis or Valkey; without it one is embedded.")
@click.option("--data-dir", metavar="DIRECTORY", help="Where the embedded Valkey keeps its data; ./data by default.")
@click.option(
    "--durability",
    metavar="everysec|always",
    help="When the embedded Valkey writes to disk: every second, or before each answer.",
)
@click.option("--tokens-file", metavar="FILE", help="The digests of access tokens; without it there are none.")
@click.option("--open", is_flag=True, help="Listen to other machines although there are no tokens.")
def serve_command(**options: str | bool | None) -> None:
    """Serve the API.

    Every option is also an environment variable, FLASKVSTORE_BIND and so on; the README lists them all.
    """
    given = {
        variable_name(name): str(value).lower() if value is True else value for name, value in options.items() if value
    }
    environ = {**os.environ, **given}
    try:
        settings = Settings.from_env(environ)
        logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
        raise SystemExit(serve(settings, environ))
    except StartError as error:
        raise click.ClickException(str(error)) from None


main.add_command(token)
