"""Keys and values as callers know them, and as they are sent."""

import json
import math
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias
from urllib.parse import quote

from .errors import InvalidRequest


# Text, or bytes that are no UTF-8.
Value: TypeAlias = str | bytes
# Seconds; None for no expiry.
Ttl: TypeAlias = int | timedelta | None


@dataclass(frozen=True)
class Entry:
    """The value of a key at one moment.

    :param content: its bytes
    :param etag: stands for the value in conditions
    :param ttl: the seconds until the key expires; None if it does not
    """

    content: bytes
    etag: str
    ttl: int | None

    @property
    def value(self) -> Value:
        """The text, or the bytes if they are no UTF-8."""
        return value_of(self.content)

    @property
    def text(self) -> str:
        """The text; a UnicodeDecodeError if there is none."""
        return self.content.decode()

    def json(self) -> Any:
        """Return what the value says as JSON."""
        return json.loads(self.content)


@dataclass(frozen=True)
class Record:
    """One key of a list.

    :param value: None where only its size was asked for
    :param value_bytes: the size of the value
    :param expires_at: seconds since 1970; None if the key does not expire
    """

    key: str
    value: Value | None
    value_bytes: int
    expires_at: int | None


def value_of(content: bytes) -> Value:
    """Return the text of some bytes, or the bytes if they are no UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def content_of(value: Value) -> bytes:
    """Return the bytes of a value.

    :raises TypeError: it is neither str nor bytes
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"A value is str or bytes, not {type(value).__name__}; json.dumps makes text of other things.")


def to_json(value: Value) -> str | dict[str, str]:
    """Return the JSON form of a value, as the service takes it."""
    shown = value_of(content_of(value))
    return shown if isinstance(shown, str) else {"base64": b64encode(shown).decode()}


def from_json(shown: Any) -> Value:
    """Return the value whose JSON form the service sent."""
    return shown if isinstance(shown, str) else b64decode(shown["base64"])


def seconds_of(ttl: Ttl) -> int | None:
    """Return the seconds of an expiry; parts of a second count as one."""
    return math.ceil(ttl.total_seconds()) if isinstance(ttl, timedelta) else ttl


def path_of(key: str) -> str:
    """Return the key as the last part of a URL.

    :raises InvalidRequest: what passes requests on would take it for another key, or for all of them
    """
    if key in {"", ".", ".."}:
        raise InvalidRequest(f"The key {key!r} cannot be in a URL: use update() and transaction() for it.")
    return quote(key, safe="")


def escape(text: str) -> str:
    """Return the filter, or part of one, that only matches this text."""
    return re.sub(r"([$\\])", r"\\\1", text)
