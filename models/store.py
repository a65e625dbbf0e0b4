"""The store: what one can do with keys and values, whatever server is behind it."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Self

from models.change import NONE, Change, Condition, Outcome, Transaction
from models.entry import MAX_KEY_BYTES, Record, Value, check_key_size, check_value_size, key_bytes
from models.errors import (
    KeyNotFound,
    KeysApart,
    NotAnInteger,
    NotReady,
    OutcomeUnknown,
    PreconditionFailed,
    StoreError,
    TooManyKeys,
)
from models.filter import Filter
from models.valkey import scripts
from models.valkey.client import Client
from models.valkey.connection import read, write
from models.valkey.prefetch import ahead
from models.valkey.scan import Scan


# Sends something for all of its names at once, given what goes with them.
Command = Callable[[Client, Sequence[bytes], Sequence[Any]], Any]

# So many SETs with an expiry keep a server busy for about a third of a second, well within the time limit.
MAX_PAIRS = 131_072

# Before the prefix of the keys in the names of counters, so that no list shows them.
HITS_PREFIX = b"flaskvstore-hits:"
APART = (
    "The keys are in different hash slots of the cluster, which cannot change together. Use one hash tag: a part in "
    "braces that is the same in all of them, as in {user1}name and {user1}mail."
)


class Store:
    """Keys and values in Redis or Valkey, under one prefix.

    Every method may raise a :class:`~models.errors.StoreError`.

    :param client: a client from :func:`models.valkey.connection.connect`
    :param key_prefix: what the name of every key starts with in the server
    :param max_value_bytes: the largest value that is taken
    """

    def __init__(self, client: Client, *, key_prefix: str, max_value_bytes: int) -> None:
        self.max_value_bytes = max_value_bytes
        self._client = client
        self._prefix = key_prefix.encode()
        self._scan = Scan(client, self._prefix)

    def within(self, namespace: str) -> Self:
        """Give the part of this store that is one namespace: its keys have plain names there.

        :param namespace: its name, without a colon
        """
        prefix = self._prefix + namespace.encode() + b":"
        part = copy.copy(self)
        vars(part).update(_prefix=prefix, _scan=Scan(self._client, prefix))
        return part

    def get(self, key: str) -> Value:
        """Read one key.

        :param key: the key
        :raises InvalidKey: it cannot be a key
        :raises KeyNotFound: it does not exist
        :raises WrongType: it holds something else than a string
        """
        content, expires_in_ms = read(scripts.GET, self._client, [self._name(key)])
        if content is None:
            raise KeyNotFound(key)
        return Value(content, _seconds(expires_in_ms))

    def put_one(self, key: str, value: bytes, *, expire_in: int | None = None, condition: Condition = NONE) -> None:
        """Write one key; an earlier expiry is replaced or removed.

        :param key: the key
        :param value: its new value
        :param expire_in: seconds until it expires; None for never
        :param condition: what must hold of its present value
        :raises InvalidKey: it cannot be a key
        :raises ValueTooLarge: the value is too large
        :raises PreconditionFailed: the condition does not hold
        """
        name = self._name(key)
        check_value_size(key, len(value), self.max_value_bytes)
        if condition == NONE:
            # Not by redis-py's method of this name (a PUT of one key: 3 % more CPU time).
            expiry = () if expire_in is None else ("EX", expire_in)
            write(self._client.execute_command, "SET", name, value, *expiry)
        elif write(scripts.PUT_ONE, self._client, [name], [*condition, value, _or_empty(expire_in)]) == scripts.FAILED:
            raise PreconditionFailed([key])

    def put(self, values: Mapping[str, bytes], *, expire_in: int | None = None, condition: Condition = NONE) -> int:
        """Write pairs, all of them in one step or none; an earlier expiry is replaced or removed.

        On a cluster that holds for those of each hash slot, and a condition needs all keys in one.

        :param values: the value for each key
        :param expire_in: seconds until they expire; None for never
        :param condition: what must hold of each key; of its words only ``*`` is allowed
        :return: how many were written
        :raises InvalidKey: one of the keys cannot be a key
        :raises ValueTooLarge: one of the values is too large
        :raises TooManyKeys: there are more pairs than one step may write
        :raises PreconditionFailed: the condition does not hold for one of the keys
        :raises KeysApart: there is a condition, and the keys are in different hash slots of a cluster
        :raises OutcomeUnknown: only some hash slots were written
        """
        if len(values) > MAX_PAIRS:
            raise TooManyKeys(
                f"{len(values):,} pairs came in one request: at most {MAX_PAIRS:,} are allowed.",
                limit=MAX_PAIRS,
                actual=len(values),
            )
        pairs = dict(zip(self._names([*values]), values.values(), strict=True))
        self._check_values(values)
        if condition == NONE:
            write(self._client.apart, list(pairs), partial(_put, pairs, expire_in))
            return len(pairs)
        script = scripts.PUT_IF_NONE_EXISTS if condition.none_match else scripts.PUT_IF_ALL_EXIST
        failed = write(self._together, script, list(pairs), [_or_empty(expire_in), *pairs.values()])
        if failed:
            keys = list(values)
            raise PreconditionFailed([keys[number - 1] for number in failed])
        return len(pairs)

    def patch(self, key: str, change: Change, *, condition: Condition = NONE) -> Value:
        """Change the value or the expiry of one key.

        :param key: the key
        :param change: what to change; an increment and an append make the key if it is missing
        :param condition: what must hold of its present value
        :return: what it holds then
        :raises InvalidKey: it cannot be a key
        :raises KeyNotFound: only the expiry is to be changed, and the key does not exist
        :raises NotAnInteger: the value to increment is no integer of 64 bits, or would not be one any more
        :raises ValueTooLarge: the value would become too large
        :raises PreconditionFailed: the condition does not hold
        :raises WrongType: the key holds something else than a string
        """
        keep = "keep" if change.keep_expiry else ""
        arguments = [*condition, change.operation, change.operand, change.expiry, keep, self.max_value_bytes]
        outcome, *result = write(scripts.PATCH, self._client, [self._name(key)], arguments)
        match outcome:
            case scripts.FAILED:
                raise PreconditionFailed([key])
            case scripts.MISSING:
                raise KeyNotFound(key)
            case scripts.NO_NUMBER:
                raise NotAnInteger(key)
            case scripts.TOO_LARGE:
                check_value_size(key, result[0], self.max_value_bytes)
        content, expires_in_ms = result
        return Value(content, _seconds(expires_in_ms))

    def delete(self, key: str, *, condition: Condition = NONE) -> None:
        """Delete one key.

        :param key: the key
        :param condition: what must hold of its value
        :raises InvalidKey: it cannot be a key
        :raises KeyNotFound: it did not exist
        :raises PreconditionFailed: the condition does not hold
        """
        name = self._name(key)
        if condition == NONE:
            outcome = scripts.DONE if write(self._client.delete, name) else scripts.MISSING
        else:
            outcome = write(scripts.DELETE_ONE, self._client, [name], condition)
        if outcome == scripts.FAILED:
            raise PreconditionFailed([key])
        if outcome == scripts.MISSING:
            raise KeyNotFound(key)

    def transact(self, transaction: Transaction) -> Outcome:
        """Check, read, write and delete several keys in one step, or none of it.

        :param transaction: what to do
        :raises InvalidKey: one of the keys cannot be a key
        :raises ValueTooLarge: one of the values is too large
        :raises PreconditionFailed: one of the conditions does not hold; the error names the keys
        :raises WrongType: a key with a condition holds something else than a string
        :raises KeysApart: the keys are in different hash slots of a cluster
        """
        conditions, get, put, delete, expire_in = transaction
        self._check_values(put)
        names = self._names([*conditions, *get, *put, *delete])
        # One command is one step by itself, and half the work of a script for the server.
        if not (conditions or put or delete):
            values = read(self._together, _get, names)
            return Outcome(dict(zip(get, values, strict=True)), 0, 0)
        if not (conditions or get or delete) and expire_in is None:
            write(self._together, _set, names, [*put.values()])
            return Outcome({}, len(put), 0)
        # Without writes it is a read, which may be sent again.
        failed, *result = (write if put or delete else read)(
            self._together,
            scripts.TRANSACTION,
            names,
            [
                *(len(conditions), len(get), len(put), len(delete), _or_empty(expire_in)),
                *conditions.values(),
                *put.values(),
            ],
        )
        if failed:
            keys = list(conditions)
            raise PreconditionFailed([keys[number - 1] for number in failed])
        values, deleted = result
        return Outcome(dict(zip(get, values, strict=True)), len(put), deleted)

    def delete_matching(self, pattern: Filter) -> int:
        """Delete every key that a filter matches, whatever it holds; a key written meanwhile may stay.

        :param pattern: the filter
        :return: how many were deleted
        :raises OutcomeUnknown: the store failed after some were deleted
        """
        deleted = 0
        try:
            for names in self._scan.names(pattern):
                deleted += sum(count for _, count in write(self._client.apart, names, _unlink))
        except StoreError as error:
            if deleted == 0:
                raise
            raise OutcomeUnknown(
                f"The store failed after {deleted:,} keys were deleted, others may still be there. Repeat the request."
            ) from error
        return deleted

    def count(self, pattern: Filter) -> int:
        """Count the keys that :meth:`entries` would give.

        :param pattern: the filter
        """
        return sum(len(self._scan.keys(names)) for names in self._scan.names(pattern, strings=True))

    def entries(self, pattern: Filter, *, values: bool = True) -> Iterator[dict[str, bytes | None]]:
        """List everything that a filter matches, some at a time.

        A key that is there from the first step to the last is never missed. One that comes or goes meanwhile may be
        in the list or not, and a key can come twice if the server resizes its table meanwhile (see
        https://redis.io/docs/latest/commands/scan/).

        :param pattern: the filter
        :param values: whether to read the values; without, each value is None
        """
        return ahead(self._scan.entries(self._scan.names(pattern, strings=not values), values=values))

    def page(
        self, pattern: Filter, *, cursor: int, limit: int, values: bool = True
    ) -> tuple[int, Iterator[dict[str, bytes | None]]]:
        """List a page of what a filter matches, with the promise of :meth:`entries` for all pages together.

        :param pattern: the filter
        :param cursor: 0, or what the page before gave
        :param limit: about how many entries to give; a page may be shorter, even empty, and a little longer
        :param values: whether to read the values; without, each value is None
        :return: the next page's cursor, 0 after the last, and the page's entries, some at a time
        """
        cursor, names = self._scan.page(pattern, cursor=cursor, limit=limit, strings=not values)
        return cursor, self._scan.entries([names], values=values)

    def export_records(self, pattern: Filter) -> Iterator[list[Record]]:
        """Give everything that a filter matches, keys of any bytes included, with the promise of :meth:`entries`.

        :param pattern: the filter
        """
        return ahead(self._scan.records(self._scan.names(pattern)))

    def import_records(self, records: Iterable[Record]) -> int:
        """Write records that :meth:`check` has let pass; those with one key in their order.

        :param records: the records, few enough for one step
        :return: how many had expired and were left out
        """
        by_name: dict[bytes, list[Record]] = {}
        for record in records:
            by_name.setdefault(self._prefix + record[0], []).append(record)
        return sum(skipped for _, skipped in write(self._client.apart, list(by_name), partial(_import, by_name)))

    def check(self, record: Record) -> None:
        """Refuse a record that cannot be stored.

        :param record: the record
        :raises InvalidKey: its key has no byte, or too many
        :raises ValueTooLarge: its value is too large
        """
        key, value, _ = record
        check_key_size(key)
        check_value_size(key.decode(errors="backslashreplace"), len(value), self.max_value_bytes)

    def hit(self, counter: str, *, window_seconds: int) -> tuple[int, float]:
        """Count in a counter beside the keys, which starts anew after a while.

        :param counter: its name
        :param window_seconds: after how long
        :return: the count, and the seconds until it starts anew
        """
        # A hit that is counted twice because its answer was lost does no harm, so it may be sent again as a read is.
        name = HITS_PREFIX + self._prefix + counter.encode()
        count, left_ms = read(scripts.HIT, self._client, [name], [window_seconds])
        return count, left_ms / 1000

    def ping(self) -> None:
        """Make sure that the server answers.

        :raises NotReady: it does not; the text says why
        """
        try:
            read(self._client.ping)
        except StoreError as error:
            raise NotReady(str(error)) from error

    def _name(self, key: str) -> bytes:
        return self._prefix + key_bytes(key)

    def _names(self, keys: Sequence[str]) -> list[bytes]:
        """Make the names of many keys; one call for each of them would take three times as long."""
        prefix = self._prefix
        try:
            names = [prefix + key for key in map(str.encode, keys)]
        except UnicodeEncodeError:
            names = []
        sizes = [*map(len, names)] or [0]
        if not len(self._prefix) < min(sizes) <= max(sizes) <= len(self._prefix) + MAX_KEY_BYTES:
            # One of them cannot be a key: this says which.
            return [self._name(key) for key in keys]
        return names

    def _check_values(self, values: Mapping[str, bytes]) -> None:
        if max(map(len, values.values()), default=0) > self.max_value_bytes:
            for key, value in values.items():
                check_value_size(key, len(value), self.max_value_bytes)

    def _together(self, command: Command, names: Sequence[bytes], args: Sequence[Any] = ()) -> Any:
        """Send a command or run a script that decides for all of its keys at once.

        :raises KeysApart: no server has all of them
        """
        if not self._client.together(names):
            raise KeysApart(APART)
        return command(self._client, names, args)


def _get(client: Client, names: Sequence[bytes], _: Sequence[Any]) -> Any:
    return client.execute_command("MGET", *names)


def _set(client: Client, names: Sequence[bytes], values: Sequence[bytes]) -> Any:
    return client.execute_command("MSET", *chain.from_iterable(zip(names, values, strict=True)))


def _put(pairs: Mapping[bytes, bytes], expire_in: int | None, client: Client, names: Sequence[bytes]) -> None:
    if expire_in is None:
        _set(client, names, [pairs[name] for name in names])
    else:
        scripts.PUT_EXPIRING(client, names, [expire_in, *(pairs[name] for name in names)])


def _unlink(client: Client, names: Sequence[bytes]) -> Any:
    return client.unlink(*names)


def _import(by_name: Mapping[bytes, list[Record]], client: Client, names: Sequence[bytes]) -> Any:
    records = [(name, record) for name in names for record in by_name[name]]
    args = [part for _, (_, value, expires_at) in records for part in (_or_empty(expires_at), value)]
    return scripts.IMPORT(client, [name for name, _ in records], args)


def _or_empty(seconds: int | None) -> int | str:
    """Write an optional number as a script reads it."""
    return "" if seconds is None else seconds


def _seconds(milliseconds: int) -> int | None:
    """Read what PTTL says: whole seconds, rounded up; None for a key that does not expire."""
    return None if milliseconds < 0 else -(-milliseconds // 1000)
