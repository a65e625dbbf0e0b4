"""Everything that can go wrong with keys, values, tokens and the store, as a tree of exceptions.

A `RequestError` is the caller's: sending the request again changes nothing. `resources/errors.py` has those about HTTP.
A `StoreError` is the store's: the same request may succeed later. The text of an exception is for the client: what
came, what was expected, what to do; it never holds a value. `api/errors.py` has the HTTP status and code of each class.
"""

import json
from collections.abc import Sequence
from typing import Any


SHOWN_CHARACTERS = 64
SHOWN_KEYS = 1_000


class FlaskvstoreError(Exception):
    """The root of all errors of flaskvstore.

    :param detail: a sentence for the client
    :param members: further facts for programs, such as ``limit`` or ``position``
    """

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.members = members


class RequestError(FlaskvstoreError):
    """The request cannot be fulfilled as it is."""


class InvalidKey(RequestError):
    """A key is not 1 to 1,024 bytes of UTF-8."""


class InvalidValue(RequestError):
    """A value is neither a string nor ``{"base64": ...}``."""


class InvalidExpiry(RequestError):
    """An expiry is not a whole number of seconds within the bounds."""


class InvalidFilter(RequestError):
    """A filter is too long, has a wrong escape, or is empty where it must not be."""


class ValueTooLarge(RequestError):
    """A value is above the limit.

    :param limit: the limit in bytes
    :param actual: its size in bytes; None if it is not known, because it came in chunks
    """

    def __init__(self, key: str, limit: int, actual: int | None = None) -> None:
        size = "too many" if actual is None else f"{actual:,}"
        known = {} if actual is None else {"actual": actual}
        super().__init__(
            f"The value for the key {quoted(key)} has {size} bytes: at most {limit:,} are allowed.",
            limit=limit,
            **known,
        )


class ValuesTooLarge(RequestError):
    """A transaction reads more bytes, or compares more with tags, than one atomic step may.

    :param what: what it would do with them
    :param limit: the limit in bytes
    :param actual: how many they are
    """

    def __init__(self, what: str, limit: int, actual: int) -> None:
        super().__init__(
            f"The values that the transaction {what} have {actual:,} bytes together: at most {limit:,} are allowed. "
            "Name fewer keys. Nothing was changed.",
            limit=limit,
            actual=actual,
        )


class TooManyKeys(RequestError):
    """A request names more keys than one atomic step may have."""


class KeyNotFound(RequestError):
    """The key does not exist."""

    def __init__(self, key: str) -> None:
        super().__init__(f"There is no key {quoted(key)}.")


class NotAnInteger(RequestError):
    """A value to increment is no integer of 64 bits, or would not be one any more."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The value of the key {quoted(key)} is not a whole number of 64 bits, or would not be one any more."
        )


class PreconditionFailed(RequestError):
    """A condition does not hold.

    :param keys: those for which it does not
    """

    def __init__(self, keys: Sequence[str]) -> None:
        others = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
        super().__init__(
            f"The condition does not hold for the key {quoted(keys[0])}{others}. Nothing was changed. "
            "Read again before you repeat it.",
            keys=list(keys[:SHOWN_KEYS]),
        )


class CursorExpired(RequestError):
    """A cursor is from a server process that is no longer there."""


class KeysApart(RequestError):
    """Keys that must change in one step are in different hash slots of a cluster."""


class WrongType(RequestError):
    """The key holds a Redis list, hash or other type that another program wrote."""


class InvalidToken(RequestError):
    """A token is not known here, or has expired."""


class InsufficientScope(RequestError):
    """A token lacks a scope.

    :param name: the token's name
    :param missing: the scopes that it lacks
    """

    def __init__(self, name: str, missing: Sequence[str]) -> None:
        lacking = " and ".join(missing)
        super().__init__(
            f"The token {quoted(name)} may not do this: it lacks the scope {lacking}.", scopes=list(missing)
        )


class TokenError(FlaskvstoreError):
    """A token cannot be created or revoked; only the command line sees it."""


class TokensUnusable(FlaskvstoreError):
    """The file with the tokens cannot be read, so nobody is let in; the cause says why."""

    def __init__(self) -> None:
        super().__init__("The tokens of this service cannot be read, so that nobody is let in. Its log says why.")


class StoreError(FlaskvstoreError):
    """Redis or Valkey could not do what it was asked."""


class StoreUnavailable(StoreError):
    """No connection could be made, or a read lost its connection twice."""


class StoreTimeout(StoreError):
    """No answer came within the time limit."""


class StoreSaturated(StoreError):
    """No connection of the pool became free in time."""


class StoreLoading(StoreError):
    """The server is still loading its data."""


class StoreFull(StoreError):
    """The server is out of memory."""


class StoreReadOnly(StoreError):
    """The server takes no writes: it is a replica, or cannot write to its disk."""


class StoreDenied(StoreError):
    """The server refuses our credentials or a command that we need."""


class StoreChanged(StoreError):
    """A list cannot go on: another server process answers than at its start, so keys may be missing."""


class StoreFault(StoreError):
    """The server gave an unexpected answer."""


class OutcomeUnknown(StoreError):
    """A write was sent and its answer was lost: it may or may not be applied."""


class NotReady(StoreError):
    """A health check asked, and the store did not answer."""


def quoted(text: str) -> str:
    """Quote a client's text for a message: control characters escaped, long text cut.

    :param text: any text, such as a key
    """
    shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
    escaped = json.dumps(shown, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped)
