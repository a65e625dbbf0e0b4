"""The commands for operators and shells."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class

from ..errors import FlaskvstoreError
from .connection import exit_code_of, with_store


if TYPE_CHECKING:
    from ..stores import Store

# A clock that is wrong by more moves expiries in exports.
CLOCK_SECONDS = 5
PROGRAM = "flaskvstore"


@click.command("check", epilog="Example: flaskvstore check --url https://kv.example.com --token-file shop.token")
@with_store
def check_command(kv: "Store") -> None:
    """Say whether a service can be used: its address, readiness, version, clock, and what the token may do."""
    failed: FlaskvstoreError | None = None
    for what, said in _findings(kv):
        if isinstance(said, FlaskvstoreError):
            failed = failed or said
        click.echo(f"{what:<10}{said}")
    if failed is not None:
        raise click.exceptions.Exit(exit_code_of(failed))


@click.command("completion", epilog="Example: source <(flaskvstore completion bash)")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print what lets a shell complete commands, options and keys."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(context.find_root().command, {}, PROGRAM, "_FLASKVSTORE_COMPLETE").source())
    if shell == "bash":
        # It would take a key with a colon for several words.
        click.echo("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}")


def _findings(kv: "Store") -> Iterator[tuple[str, object]]:
    yield "address", kv.url
    try:
        answer = kv._run(kv._get("/health/ready"))
    except FlaskvstoreError as error:
        yield "ready", error
        return
    yield "ready", "yes"
    yield "clock", _clock(answer.headers.get("Date"))
    for what, read in (("version", _version), ("token", _token)):
        try:
            yield what, read(kv)
        except FlaskvstoreError as error:
            yield what, error


def _version(kv: "Store") -> str:
    document = kv._run(kv._get("/openapi.json")).json()
    return f"{document['info']['version']}, and {version(PROGRAM)} here"


def _token(kv: "Store") -> str:
    said: dict[str, Any] = kv.token()
    if not said["required"]:
        return "none is needed: everybody may do everything"
    until = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(said["expires_at"])) if "expires_at" in said else "revoked"
    return f"{said['name']} may {', '.join(said['scopes'])} in the namespace {said['namespace']} until {until}"


def _clock(date: str | None) -> str:
    if date is None:
        return "unknown"
    seconds = time.time() - parsedate_to_datetime(date).timestamp()
    if abs(seconds) < CLOCK_SECONDS:
        return "the same as here"
    return f"{abs(seconds):,.0f} seconds {'behind' if seconds > 0 else 'before'} the one here"


COMMANDS = (check_command, completion_command)
