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
@click.option("--bind", metavar="HOST:PORT", help="The address to listen on; 127.0.0.1:5000 by default.")
@click.option("--server", metavar="gunicorn|granian", help="The WSGI server; gunicorn by default.")
@click.option("--workers", metavar="N", help="The number of worker processes; 2 by default.")
@click.option("--redis-url", metavar="URL", help="A running Redis or Valkey; without it an embedded Valkey is started.")
@click.option(
    "--data-dir", metavar="DIRECTORY", help="The folder with the data of the embedded Valkey; ./data by default."
)
@click.option(
    "--durability",
    metavar="everysec|always",
    help="When the embedded Valkey writes to disk: every second, or before each answer.",
)
@click.option("--tokens-file", metavar="FILE", help="The file of `flaskvstore token`; without it no token is needed.")
@click.option("--open", is_flag=True, default=None, help="Allow other machines to do everything without a token.")
def serve_command(**options: str | bool | None) -> None:
    """Serve the API.

    Every option is also an environment variable, such as FLASKVSTORE_BIND. The README lists them all, with the settings
    that have no option.
    """
    given = {
        variable_name(name): str(value).lower() if isinstance(value, bool) else value
        for name, value in options.items()
        if value is not None
    }
    environ = {**os.environ, **given}
    try:
        settings = Settings.from_env(environ)
        logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
        raise SystemExit(serve(settings, environ))
    except StartError as error:
        raise click.ClickException(str(error)) from None


main.add_command(token)
