"""What keys, values and times look like in a command."""

import json
import re
import sys
from datetime import datetime, timezone
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from ..errors import FlaskvstoreError
from ..values import escape
from .connection import connect


SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
NEVER = "never"
# How many keys a shell is offered, and how long it waits for them.
OFFERED = 50
PATIENCE_SECONDS = 1.0


def keys_like(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the keys that begin like this, for shells."""
    options = {name: context.params.get(name) for name in ("url", "token_file", "profile")}
    try:
        with connect(**options, timeout_seconds=PATIENCE_SECONDS) as kv:
            keys = kv.keys(escape(incomplete) + "$", page=OFFERED)
            return [CompletionItem(key) for key, _ in zip(keys, range(OFFERED), strict=False)]
    except (FlaskvstoreError, click.ClickException, OSError):
        return []


def seconds_in(text: str) -> int:
    """Return the seconds in a time such as 90s, 5m, 12h or 30d: without a unit nobody knows which is meant."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a time such as 90s, 5m, 12h or 30d.")
    return int(found[1]) * SECONDS[found[2]]


def content_in(text: str) -> bytes:
    """Return the bytes of a value: itself, `-` for standard input, or `@FILE` for what is in a file."""
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        # The bytes that the shell gave, whatever they are.
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(str(error)) from None


def shown(key: str) -> str:
    """Return a key as it is shown: one with line breaks or the like as a JSON string."""
    return key if key.isprintable() else json.dumps(key, ensure_ascii=False)


def time_of(expires_at: int | None) -> str:
    """Return when a key expires, as it is shown."""
    if expires_at is None:
        return NEVER
    return f"{datetime.fromtimestamp(expires_at, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
