"""`flaskvstore token`: makes, lists and revokes access tokens; the service sees each change by itself."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from api.settings import variable_name
from models.errors import TokenError, TokensUnusable
from models.tokens import SCOPES, Token, Tokens


Command = TypeVar("Command", bound=Callable[..., Any])

MAX_DAYS = 36_500
SECONDS = {"d": 86_400, "h": 3_600}
COLUMNS = ("NAME", "NAMESPACE", "SCOPES", "CREATED", "EXPIRES")


@click.group("token")
def token() -> None:
    """Create, list and revoke access tokens."""


def with_tokens(command: Command) -> Command:
    """Add the option for the file of tokens to a command, which gets the tokens."""
    return click.option(
        "--tokens-file",
        "tokens",
        metavar="FILE",
        required=True,
        envvar=variable_name("tokens_file"),
        callback=tokens_in,
        help=f"The file with the tokens; by default the variable {variable_name('tokens_file')}.",
    )(command)


def tokens_in(_context: click.Context, _option: click.Parameter, path: str) -> Tokens:
    """Return the tokens in the file that an option names."""
    if not path:
        raise click.BadParameter("it must be a path.")
    return Tokens(Path(path))


def scopes_in(context: click.Context, option: click.Parameter, texts: Sequence[str]) -> list[str]:
    """Return the scopes that options name."""
    scope = click.Choice(SCOPES)
    return [scope.convert(word, option, context) for text in texts for word in text.split(",")]


def seconds_in(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Return the seconds in a number of days or hours: without a unit nobody knows which is meant."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,8})([dh])", text)
    seconds = int(found[1]) * SECONDS[found[2]] if found else 0
    if not 0 < seconds <= MAX_DAYS * SECONDS["d"]:
        raise click.BadParameter(f"{text!r} is not a time such as 90d or 12h, of at most {MAX_DAYS}d.")
    return seconds


@token.command("create")
@click.option("--name", metavar="NAME", required=True, help="The name in lists and logs: letters, digits and _ . -")
@click.option(
    "--namespace", metavar="NAMESPACE", required=True, help="The namespace whose keys it sees; same characters."
)
@click.option(
    "--scope",
    "scopes",
    metavar=f"[{'|'.join(SCOPES)}]",
    multiple=True,
    required=True,
    callback=scopes_in,
    help="What it may do: separated by commas, or an option for each.",
)
@click.option(
    "--expires-in",
    metavar="TIME",
    callback=seconds_in,
    help="The days or hours after which it expires, such as 90d or 12h; never by default.",
)
@with_tokens
def create_command(tokens: Tokens, name: str, namespace: str, scopes: list[str], expires_in: int | None) -> None:
    """Create a token and print it: it is not stored, and cannot be shown again."""
    with explained():
        click.echo(tokens.create(name, namespace=namespace, scopes=scopes, expires_in_seconds=expires_in))


@token.command("list")
@with_tokens
def list_command(tokens: Tokens) -> None:
    """List the tokens by name; the tokens themselves are not stored."""
    with explained():
        rows = [COLUMNS, *(_row(each) for each in tokens.by_name().values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@token.command("revoke")
@click.option("--name", metavar="NAME", required=True, help="The name of the token.")
@with_tokens
def revoke_command(tokens: Tokens, name: str) -> None:
    """Revoke a token at once and for good."""
    with explained():
        tokens.revoke(name)


@contextmanager
def explained() -> Iterator[None]:
    """End the command with a sentence where something is wrong."""
    try:
        yield
    except TokenError as error:
        raise click.ClickException(str(error)) from None
    except TokensUnusable as error:
        raise click.ClickException(f"The file of tokens cannot be used ({error.__cause__}).") from None


def _row(each: Token) -> tuple[str, ...]:
    expires = "never" if each.expires_at is None else f"{datetime.fromtimestamp(each.expires_at, UTC):%Y-%m-%dT%H:%MZ}"
    if each.expires_at is not None and each.expires_at <= time.time():
        expires += " (expired)"
    return each.name, each.namespace, ",".join(each.scopes), _day(each.created_at), expires


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
