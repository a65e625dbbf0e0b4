"""Everything that can go wrong, as a tree.

    FlaskvstoreError
    |-- RequestError            what the caller sent cannot be done; sending it again changes nothing
    |   |-- InvalidKey          not 1 to 1,024 bytes of UTF-8
    |   |-- InvalidValue        not a string or {"base64": ...}
    |   |-- InvalidExpiry       not a whole number of seconds from 1 to 2,147,483,647
    |   |-- InvalidFilter       a backslash before something else than $ or a backslash
    |   |-- InvalidParameter    an unknown, repeated or malformed query parameter
    |   |-- InvalidBody         a body that cannot be read
    |   |-- InvalidPairs        no pair to store, or two with the same key
    |   |-- InvalidEncoding     percent-encoding, of a URL or a form, that is malformed or is not UTF-8
    |   |-- UnsupportedBody     a media type that holds no pairs
    |   |-- BodyTooLarge        a body above the limit
    |   |-- ValueTooLarge       a value above the limit
    |   |-- TooManyKeys         more keys than one atomic step may name
    |   |-- KeyNotFound         no such key
    |   |-- NotAnInteger        a value to increment is no integer of 64 bits, or would not be one any more
    |   |-- WrongType           the key holds a Redis list, hash, ... that another program wrote
    |   |-- InvalidCondition    If-Match or If-None-Match is malformed, or cannot hold for many keys
    |   |-- CursorExpired       a page's cursor comes from a server process that is no longer there
    |   |-- KeysApart           keys that must be together are in different hash slots of a cluster
    |   |-- PreconditionFailed  the value is not the one that the client has in mind
    |   |-- NotAcceptable       the client takes no media type that is offered
    |   |-- MissingToken        the service wants a token, and there is none
    |   |-- InvalidToken        a token that is not known, or has expired
    |   |-- InsufficientScope   the token may not do this
    |   |-- RateLimited         more requests than this client may send
    |   `-- TooManyLists        more lists at a time than this worker sends
    |-- StartError              the program cannot start as it was told to; only the command line sees it
    |-- TokenError              a token cannot be made or revoked; only the command line sees it
    |-- TokensUnusable          the file with the tokens cannot be read: nobody is let in
    `-- StoreError              Redis or Valkey could not do it; the same request may succeed later
        |-- StoreUnavailable    no connection
        |-- StoreTimeout        no answer in time
        |-- StoreSaturated      all connections of this worker are busy
        |-- StoreLoading        it is reading its data from disk
        |-- StoreFull           out of memory
        |-- StoreReadOnly       it refuses writes: a replica, or a disk that cannot be written
        |-- StoreDenied         it refuses our user, password or command
        |-- StoreChanged        another server process answers than at the start of a list: keys may be missing in it
        |-- StoreFault          any other answer that we did not expect
        |-- OutcomeUnknown      the connection broke after a write was sent: it may or may not be applied
        `-- NotReady            a health check asked, and the store did not answer

The text of an exception is meant for the client: what came in, what was expected, what to do. It never holds a
value. `api/errors.py` gives each class its HTTP status and code.
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
    """A filter is empty where it must not be, too long, or has a wrong escape."""


class ValueTooLarge(RequestError):
    """A value is larger than the store takes."""


class TooManyKeys(RequestError):
    """One step names more keys than it may."""


class KeyNotFound(RequestError):
    """The key does not exist."""

    def __init__(self, key: str) -> None:
        super().__init__(f"There is no key {quoted(key)}.")


class NotAnInteger(RequestError):
    """A value cannot be incremented."""

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
    """A cursor means nothing any more to the servers there are."""


class KeysApart(RequestError):
    """One step names keys that no single server of a cluster has."""


class WrongType(RequestError):
    """The key holds another Redis type than a string."""


class InvalidToken(RequestError):
    """A token is not known here, or has expired."""


class InsufficientScope(RequestError):
    """A token may not do what is asked.

    :param name: the token's name
    :param missing: the scopes that it lacks
    """

    def __init__(self, name: str, missing: Sequence[str]) -> None:
        lacking = " and ".join(missing)
        super().__init__(
            f"The token {quoted(name)} may not do this: it lacks the scope {lacking}.", scopes=list(missing)
        )


class StartError(FlaskvstoreError):
    """The program cannot start with these settings on this machine."""


class TokenError(FlaskvstoreError):
    """A token cannot be made or revoked as it was asked."""


class TokensUnusable(FlaskvstoreError):
    """The file with the tokens cannot be read; the cause says why."""

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
    """The server takes no writes at present."""


class StoreDenied(StoreError):
    """The server refuses our credentials or a command that we need."""


class StoreChanged(StoreError):
    """A list cannot go on: who answers now does not know what it has given so far."""


class StoreFault(StoreError):
    """The server answered in a way that nothing here expects."""


class OutcomeUnknown(StoreError):
    """A write was sent and its answer was lost."""


class NotReady(StoreError):
    """The store does not answer a health check."""


def quoted(text: str) -> str:
    """Quote a client's text for a message: control characters escaped, long text cut.

    :param text: any text, such as a key
    """
    shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
    escaped = json.dumps(shown, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped)
