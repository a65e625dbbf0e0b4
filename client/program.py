"""The program `flaskvstore`: one group of commands, of which some come with the extra `server`."""

import sys
from importlib.metadata import version
from importlib.util import find_spec

import click

from ._server_path import prepend
from .commands import files, keys, operators, work


# The commands of the service, and the oldest Python that it runs on.
OF_THE_SERVICE = ("serve", "repair", "token")
PYTHON_OF_THE_SERVICE = (3, 11)


class Program(click.Group):
    """Commands, of which those of the service are loaded only when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # of click
        """Return the names of all commands."""
        return [*self.commands, *OF_THE_SERVICE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command."""
        return command_of_the_service(cmd_name) if cmd_name in OF_THE_SERVICE else super().get_command(ctx, cmd_name)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("flaskvstore"), prog_name="flaskvstore")
def main() -> None:
    """Serve and use a documented, typed, safe HTTP key-value API over Redis and Valkey."""


for command in (*keys.COMMANDS, *files.COMMANDS, *work.COMMANDS, *operators.COMMANDS):
    main.add_command(command)


def command_of_the_service(name: str) -> click.Command:
    """Return a command of the service, or one that says how to install it."""
    if sys.version_info < PYTHON_OF_THE_SERVICE:
        return _missing(name, "Python 3.11 or newer")
    if find_spec("gunicorn") is None:
        return _missing(name, "the extra `server`: pip install 'flaskvstore[server]'")
    prepend()
    from api.cli import COMMANDS  # noqa: PLC0415  # found only now

    return COMMANDS[name]


def _missing(name: str, what: str) -> click.Command:
    def refuse() -> None:
        raise click.ClickException(f"`flaskvstore {name}` needs {what}.")

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, anything, refuse, short_help=f"Needs {what}.", add_help_option=False)
