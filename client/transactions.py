"""Transactions: what a block collects is done in one step at its end, or not at all."""

from typing import Any

from .operations import Operations, etag_of
from .steps import Steps
from .values import Entry, Ttl, Value, from_json, seconds_of, to_json


class Seen:
    """What a transaction will have read."""

    def __init__(self) -> None:
        self._is_filled = False
        self._value: Value | None = None

    @property
    def value(self) -> Value | None:
        """The value that the key had before the transaction wrote anything; None if there was none.

        :raises RuntimeError: the transaction is not done yet
        """
        if not self._is_filled:
            raise RuntimeError("The transaction is done when its block ends, and has read nothing before.")
        return self._value

    def fill(self, value: Value | None) -> None:
        """Set what was read."""
        self._is_filled, self._value = True, value


class Transaction:
    """What is to be done.

    :param store: the one that does it
    :param ttl: when the keys that it stores expire
    """

    def __init__(self, store: Operations, ttl: Ttl = None) -> None:
        self._store = store
        self._prefix = store._prefix
        self._conditions: dict[str, str | None] = {}
        self._seen: dict[str, Seen] = {}
        self._put: dict[str, Any] = {}
        self._delete: list[str] = []
        self._ttl = seconds_of(ttl)
        #: How many keys were stored and deleted.
        self.stored = 0
        self.deleted = 0

    def require(self, key: str, entry: Entry | str) -> None:
        """Do it only if a key has still the value of an entry or an ETag."""
        self._conditions[self._prefix + key] = etag_of(entry)

    def exists(self, key: str) -> None:
        """Do it only if a key exists."""
        self._conditions[self._prefix + key] = "*"

    def absent(self, key: str) -> None:
        """Do it only if a key does not exist."""
        self._conditions[self._prefix + key] = None

    def get(self, key: str) -> Seen:
        """Read a key, before anything is written."""
        return self._seen.setdefault(self._prefix + key, Seen())

    def put(self, key: str, value: Value) -> None:
        """Store a value."""
        self._put[self._prefix + key] = to_json(value)

    def delete(self, key: str) -> None:
        """Delete a key, if it exists."""
        self._delete.append(self._prefix + key)

    def steps(self) -> Steps[None]:
        """Return how it is done."""
        asked: dict[str, Any] = {
            "if": self._conditions,
            "get": list(self._seen),
            "put": self._put,
            "delete": self._delete,
            "expire_in": self._ttl,
        }
        asked = {name: part for name, part in asked.items() if part}
        if not asked.keys() - {"expire_in"}:
            return
        answer = yield from self._store._transact(asked)
        for key, seen in self._seen.items():
            shown = answer["values"][key]
            seen.fill(None if shown is None else from_json(shown))
        self.stored, self.deleted = answer["stored"], answer["deleted"]
