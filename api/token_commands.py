"""`flaskvstore token`: makes, lists and revokes access tokens; the service sees each change by itself."""

import time
from collections.abc import Callable, Iterator
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
        callback=lambda _context, _option, path: Tokens(Path(path)),
        help=f"The file with the tokens; by default the variable {variable_name('tokens_file')}.",
    )(command)


@token.command("create")
@click.option("--name", metavar="NAME", required=True, help="The name in lists and logs: letters, digits and _ . -")
@click.option(
    "--namespace", metavar="NAMESPACE", required=True, help="The namespace whose keys it sees; same characters."
)
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="What it may do.")
@click.option(
    "--expires-in",
    metavar="DAYS",
    type=click.IntRange(1, MAX_DAYS),
    help="The number of days after which it expires; never by default.",
)
@with_tokens
def create_command(tokens: Tokens, name: str, namespace: str, scopes: tuple[str, ...], expires_in: int | None) -> None:
    """Create a token and print it: it is not stored, and cannot be shown again."""
    with explained():
        click.echo(tokens.create(name, namespace=namespace, scopes=scopes, expires_in_days=expires_in))


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
    expires = "never" if each.expires_at is None else _day(each.expires_at)
    if each.expires_at is not None and each.expires_at <= time.time():
        expires += " (expired)"
    return each.name, each.namespace, ",".join(each.scopes), _day(each.created_at), expires


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
