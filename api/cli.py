"""The commands of the service; `client/program.py` is the program that has them."""

import logging.config
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from api.parsers import OneOf
from api.serving.embedded import repair
from api.serving.supervisor import serve
from api.settings import Settings, StartError, variable_name
from api.telemetry.logs import logging_config
from api.token_commands import token


Command = TypeVar("Command", bound=Callable[..., Any])


def with_settings(command: Command) -> Command:
    """Add the settings that are options to a command, which gets their texts, or None for what is not given."""
    for each in reversed(fields(Settings)):
        if (placeholder := each.metadata["option"]) is None:
            continue
        parse = each.metadata["parse"]
        default = f" Default: {each.default}." if each.default else ""
        command = click.option(
            option_name(each.name),
            metavar=placeholder or None,
            type=click.Choice(parse.choices) if isinstance(parse, OneOf) else None,
            is_flag=isinstance(each.default, bool),
            default=None,
            help=each.metadata["meaning"].replace("`", "") + default,
        )(command)
    return command


def option_name(setting: str) -> str:
    """Return the option of a setting."""
    return "--" + setting.replace("_", "-")


@click.command("serve")
@with_settings
def serve_command(**options: str | bool | None) -> None:
    """Serve the API.

    Every option is also an environment variable, such as FLASKVSTORE_BIND. The README lists them all, with the settings
    that have no option.
    """
    given = {name: "true" if value is True else str(value) for name, value in options.items() if value is not None}
    environ = {**os.environ, **{variable_name(name): text for name, text in given.items()}}
    try:
        settings = Settings.from_env(environ)
        logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
        raise SystemExit(serve(settings, environ))
    except StartError as error:
        if error.setting in given:
            raise click.UsageError(f"{option_name(error.setting)} {error.problem}") from None
        raise click.ClickException(str(error)) from None


@click.command("repair")
@click.option(
    "--data-dir",
    metavar="FOLDER",
    default=Settings.data_dir,
    envvar=variable_name("data_dir"),
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"The folder with the data. Default: {Settings.data_dir}.",
)
def repair_command(data_dir: Path) -> None:
    """Cut off what is damaged at the end of the embedded Valkey's data, and keep it in a file beside.

    For data with which `serve` does not start. No service may use it meanwhile.
    """
    try:
        click.echo(repair(data_dir))
    except StartError as error:
        raise click.ClickException(str(error)) from None


COMMANDS: dict[str, click.Command] = {"serve": serve_command, "repair": repair_command, "token": token}
