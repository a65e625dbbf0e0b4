"""How a command finds its service, and how it ends."""

import os
import stat
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from ..errors import (
    CutOff,
    FlaskvstoreError,
    InvalidRequest,
    LockLost,
    LockTaken,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    Refused,
    TooLarge,
)


if TYPE_CHECKING:
    from ..stores import Store

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]  # there is none where it is not needed

Command = TypeVar("Command", bound=Callable[..., Any])

URL = "http://127.0.0.1:5000"
PROFILES = Path(".config", "flaskvstore.toml")
DEFAULT_PROFILE = "default"
FAILED = 1
USAGE = 2
CONDITION = 4
# What a program ends with; the first class that fits counts. Any other error is FAILED.
EXIT_CODES: dict[type[FlaskvstoreError], int] = {
    NotFound: 3,
    PreconditionFailed: CONDITION,
    LockTaken: CONDITION,
    LockLost: CONDITION,
    Refused: 5,
    OutcomeUnknown: 6,
    TooLarge: FAILED,
    InvalidRequest: USAGE,
    CutOff: FAILED,
}


def end_with(error: FlaskvstoreError) -> NoReturn:
    """Say what went wrong, and end the program."""
    request = f" The request is {error.request_id}." if isinstance(error, OutcomeUnknown) else ""
    click.echo(f"Error: {error.detail}{request}", err=True)
    raise click.exceptions.Exit(exit_code_of(error))


def exit_code_of(error: FlaskvstoreError) -> int:
    """Return what a program ends with that fails with an error."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), FAILED)


def with_store(command: Command) -> Command:
    """Add the options that name a service to a command, which gets its store."""

    @click.option("--url", metavar="URL", help=f"The address of the service. Default: FLASKVSTORE_URL, or {URL}.")
    @click.option(
        "--token-file", metavar="FILE", help="The file with the token. Default: the one in FLASKVSTORE_TOKEN."
    )
    @click.option(
        "--profile",
        metavar="NAME",
        help=f"The table of ~/{PROFILES} that names both. Default: {DEFAULT_PROFILE}, if there is one.",
    )
    @wraps(command)
    def run(url: str | None, token_file: str | None, profile: str | None, **arguments: Any) -> None:
        try:
            with connect(url, token_file, profile) as kv:
                command(kv, **arguments)
        except FlaskvstoreError as error:
            end_with(error)
        except UnicodeEncodeError:
            raise click.UsageError("Keys and filters are UTF-8.") from None
        except BrokenPipeError:
            # Whoever reads has enough; click ends quietly.
            raise
        except OSError as error:
            raise click.ClickException(str(error)) from None

    return run  # type: ignore[return-value]  # with the parameters of the command


def connect(
    url: str | None = None, token_file: str | None = None, profile: str | None = None, **options: Any
) -> "Store":
    """Return a store for options; variables count next, and then a profile."""
    # Late, because it takes longer than the help of a command.
    from ..stores import Store  # noqa: PLC0415  # httpx takes longer to load than help needs

    found = {**_read_profile(profile), **options}
    # A profile that is named counts more than variables.
    environ = {} if profile else os.environ
    if address := url or environ.get("FLASKVSTORE_URL"):
        found["url"] = address
    if token_file is not None:
        found = {**found, "token": None, "token_file": token_file}
    elif token := environ.get("FLASKVSTORE_TOKEN"):
        found = {**found, "token": token, "token_file": None}
    return Store(**found)


def _read_profile(name: str | None) -> dict[str, str]:
    """Return the address and the token in a profile; nothing if none is named and there is no default.

    :raises UsageError: there is no such profile, or others may read its token
    """
    path = Path.home() / PROFILES
    try:
        text = path.read_text(encoding="utf-8")
        profiles = tomllib.loads(text)
    except FileNotFoundError:
        profiles = {}
    except (ValueError, OSError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from None
    found = profiles.get(name or DEFAULT_PROFILE, None if name else {})
    if found is None:
        raise click.UsageError(f"{path} has no profile {name!r}; it has: {', '.join(profiles) or 'none'}.")
    if not isinstance(found, dict) or found.keys() - {"url", "token", "token_file"}:
        raise click.UsageError(f"A profile in {path} has url and token or token_file, and nothing else.")
    if "token" in found and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise click.UsageError(f"{path} has a token, and others may read it: `chmod 600 {path}`.")
    return found
