"""The store: every operation on keys and values, whatever server is behind it."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Self

from models.change import ABSENT, UNCONDITIONAL, Change, Condition, Outcome, Transaction
from models.entry import (
    MAX_KEY_BYTES,
    Listed,
    Part,
    Record,
    Value,
    check_key_size,
    check_value_size,
    first_position,
    key_bytes,
)
from models.errors import (
    InvalidKey,
    KeyNotFound,
    KeysApart,
    NotAnInteger,
    NotReady,
    OutcomeUnknown,
    PreconditionFailed,
    StoreError,
    TooManyKeys,
    ValuesTooLarge,
)
from models.filter import Filter
from models.valkey import scripts
from models.valkey.backend import Backend
from models.valkey.connection import read, write
from models.valkey.prefetch import prefetch
from models.valkey.scan import HITS_PREFIX, Scan
from models.valkey.scripts import Command
from models.watching.hub import Hub
from models.watching.watcher import Watcher


# So many keep a server busy for up to 50 ms: by MSET, and by a script, which writes them one by one.
MAX_PAIRS = 131_072
MAX_PAIRS_BY_SCRIPT = 10_000
# What one transaction may read, read and write together, and compare with tags, so that it keeps the server busy for
# less than 50 ms: to copy a mebibyte through Lua takes up to 1.5 ms, to digest one 1.8 to 2.7 ms. It may read one value
# of any size, and compare one.
MAX_READ_BYTES = 8 * 1024 * 1024
# So much it reads without a count before. Nearly always that is all.
UNCOUNTED_READ_BYTES = 2 * 1024 * 1024
MAX_READ_AND_WRITTEN_BYTES = 16 * 1024 * 1024
MAX_COMPARED_BYTES = 4 * 1024 * 1024

APART = (
    "The keys are in different hash slots of the cluster, which cannot change together. Use one hash tag: a part in "
    "braces that is the same in all of them, as in {user1}name and {user1}mail."
)


class Store:
    """Keys and values in Redis or Valkey, under one prefix.

    Every method may raise a :class:`~models.errors.StoreError`.

    :param backend: what :func:`models.valkey.connection.connect` returns
    :param key_prefix: the start of the name of every key in the server
    :param max_value_bytes: the largest value that is taken
    """

    def __init__(self, backend: Backend, *, key_prefix: str, max_value_bytes: int) -> None:
        self.max_value_bytes = max_value_bytes
        self._backend = backend
        self._prefix = key_prefix.encode()
        self._scan = Scan(backend, self._prefix)
        self._hub = Hub(backend, self._prefix)

    def within(self, namespace: str) -> Self:
        """Return the part of this store that is one namespace, whose name has no colon."""
        prefix = self._prefix + namespace.encode() + b":"
        part = copy.copy(self)
        vars(part).update(_prefix=prefix, _scan=Scan(self._backend, prefix))
        return part

    def get(self, key: str) -> Value:
        """Read one key.

        :raises InvalidKey: it cannot be a key
        :raises KeyNotFound: it does not exist
        :raises WrongType: it holds something else than a string
        """
        content, expires_in_ms = read(self._backend.execute, *scripts.get(self._name(key)))
        if content is None:
            raise KeyNotFound(key)
        return Value(content, _seconds(expires_in_ms))

    def get_part(self, key: str, start: int, end: int) -> Part:
        """Read some bytes of one key's value, without the others.

        :param start: the position of the first one; below 0 from the end
        :param end: the position of the last one; -1 for the end
        :raises InvalidKey: it cannot be a key
        :raises KeyNotFound: it does not exist
        :raises WrongType: it holds something else than a string
        """
        found = read(self._backend.execute, *scripts.get_part(self._name(key), start, end))
        if found is None:
            raise KeyNotFound(key)
        content, size, expires_in_ms = found
        return Part(content, first_position(start, size), size, _seconds(expires_in_ms))

    def put_one(
        self, key: str, value: bytes, *, expire_in: int | None = None, condition: Condition = UNCONDITIONAL
    ) -> None:
        """Write one key; an earlier expiry is replaced or removed.

        :param value: its new value
        :param expire_in: seconds until it expires; None for never
        :raises InvalidKey: it cannot be a key
        :raises ValueTooLarge: the value is too large
        :raises PreconditionFailed: the condition does not hold
        """
        name = self._name(key)
        check_value_size(key, len(value), self.max_value_bytes)
        if condition == UNCONDITIONAL:
            expiry = () if expire_in is None else ("EX", expire_in)
            write(self._backend.execute, "SET", name, value, *expiry)
        elif write(self._backend.execute, *scripts.put_one(name, value, expire_in, condition)) == b"failed":
            raise PreconditionFailed([key])

    def put(
        self, values: Mapping[str, bytes], *, expire_in: int | None = None, condition: Condition = UNCONDITIONAL
    ) -> int:
        """Write pairs, all of them in one step or none; an earlier expiry is replaced or removed.

        On a cluster that holds for those of each hash slot, and a condition needs all keys in one.

        :param values: the value for each key
        :param expire_in: seconds until they expire; None for never
        :param condition: none, or that all keys exist, or that none does
        :return: how many were written
        :raises InvalidKey: one of the keys cannot be a key
        :raises ValueTooLarge: one of the values is too large
        :raises TooManyKeys: there are more pairs than one step may write
        :raises PreconditionFailed: the condition does not hold for one of the keys
        :raises KeysApart: there is a condition, and the keys are in different hash slots of a cluster
        :raises OutcomeUnknown: only some hash slots were written
        """
        takes_script = expire_in is not None or condition != UNCONDITIONAL
        limit = MAX_PAIRS_BY_SCRIPT if takes_script else MAX_PAIRS
        if len(values) > limit:
            which = " with an expiry or a condition" if takes_script else ""
            raise TooManyKeys(
                f"{len(values):,} pairs{which} came in one request: at most {limit:,} are allowed.",
                limit=limit,
                actual=len(values),
            )
        names = self._names([*values])
        self._check_values(values)
        if condition == UNCONDITIONAL:
            pairs = dict(zip(names, values.values(), strict=True))
            write(self._backend.by_slot, names, partial(_put, pairs, expire_in))
            return len(names)
        self._require_same_slot(names)
        command = scripts.put_if(names, [*values.values()], expire_in, exist=condition != ABSENT)
        _refuse_failed(write(self._backend.execute, *command), [*values])
        return len(names)

    def patch(self, key: str, change: Change, *, condition: Condition = UNCONDITIONAL) -> Value:
        """Change the value or the expiry of one key.

        :param change: what to change; an increment and an append make the key if it is missing
        :return: the new value
        :raises InvalidKey: it cannot be a key
        :raises KeyNotFound: only the expiry is to be changed, and the key does not exist
        :raises NotAnInteger: the value to increment is no integer of 64 bits, or would not be one any more
        :raises ValueTooLarge: the value would become too large
        :raises PreconditionFailed: the condition does not hold
        :raises WrongType: the key holds something else than a string
        """
        command = scripts.patch(self._name(key), change, condition, self.max_value_bytes)
        outcome, *result = write(self._backend.execute, *command)
        match outcome:
            case b"failed":
                raise PreconditionFailed([key])
            case b"missing":
                raise KeyNotFound(key)
            case b"not_an_integer":
                raise NotAnInteger(key)
            case b"too_large":
                check_value_size(key, result[0], self.max_value_bytes)
        content, expires_in_ms = result
        return Value(content, _seconds(expires_in_ms))

    def delete(self, key: str, *, condition: Condition = UNCONDITIONAL) -> None:
        """Delete one key.

        :raises InvalidKey: it cannot be a key
        :raises KeyNotFound: it did not exist
        :raises PreconditionFailed: the condition does not hold
        """
        name = self._name(key)
        if condition == UNCONDITIONAL:
            outcome = b"done" if write(self._backend.execute, "DEL", name) else b"missing"
        else:
            outcome = write(self._backend.execute, *scripts.delete_one(name, condition))
        if outcome == b"failed":
            raise PreconditionFailed([key])
        if outcome == b"missing":
            raise KeyNotFound(key)

    def transact(self, transaction: Transaction, *, hold: Callable[[int], None] = lambda _: None) -> Outcome:
        """Check, read, write and delete several keys in one step, or none of it.

        :param hold: called with the bytes of the values before many are read; may refuse them by an exception
        :raises InvalidKey: one of the keys cannot be a key
        :raises ValueTooLarge: one of the values is too large
        :raises PreconditionFailed: one of the conditions does not hold; the error names the keys
        :raises WrongType: a key with a condition holds something else than a string
        :raises KeysApart: the keys are in different hash slots of a cluster
        :raises ValuesTooLarge: it reads too much, or compares too much with tags
        """
        conditions, get, put, delete, expire_in = transaction
        self._check_values(put)
        names = self._names([*conditions, *get, *put, *delete])
        self._require_same_slot(names)
        beside_writes_bytes = MAX_READ_AND_WRITTEN_BYTES - sum(map(len, put.values()))
        max_read_bytes = max(min(MAX_READ_BYTES, beside_writes_bytes), self.max_value_bytes)
        # One command is one step by itself, and half the work of a script for the server. Many keys take the script,
        # which adds up the sizes of their values before it reads any, in the same step.
        if not (conditions or put or delete) and len(get) * self.max_value_bytes <= UNCOUNTED_READ_BYTES:
            values = read(self._backend.execute, "MGET", *names)
            return Outcome(dict(zip(get, values, strict=True)), 0, 0)
        if not (conditions or get or delete) and expire_in is None:
            write(self._backend.execute, *_mset(names, put.values()))
            return Outcome({}, len(put), 0)
        # Without writes it is a read, which may be sent again.
        send = write if put or delete else read
        max_compared_bytes = max(MAX_COMPARED_BYTES, self.max_value_bytes)
        read_bytes = min(max_read_bytes, UNCOUNTED_READ_BYTES)
        while True:
            command = scripts.transact(
                names, transaction, max_compared_bytes=max_compared_bytes, max_read_bytes=read_bytes
            )
            outcome, *result = send(self._backend.execute, *command)
            if outcome != b"reads" or result[0] > max_read_bytes:
                break
            # Nothing is done yet.
            read_bytes = result[0]
            hold(read_bytes)
        match outcome:
            case b"failed":
                _refuse_failed(result[0], [*conditions])
            case b"compares":
                raise ValuesTooLarge("compares with tags", max_compared_bytes, *result)
            case b"reads":
                raise ValuesTooLarge("reads", max_read_bytes, *result)
        values, deleted = result
        return Outcome(dict(zip(get, values, strict=True)), len(put), deleted)

    def delete_matching(self, pattern: Filter) -> int:
        """Delete every key that a filter matches, whatever it holds; a key written meanwhile may stay.

        :return: how many were deleted
        :raises OutcomeUnknown: the store failed after some were deleted
        """
        deleted = 0
        try:
            for names in self._scan.names(pattern):
                deleted += sum(count for _, count in write(self._backend.by_slot, names, _unlink))
        except StoreError as error:
            if deleted == 0:
                raise
            raise OutcomeUnknown(
                f"The store failed after {deleted:,} keys were deleted, others may still be there. Repeat the request."
            ) from error
        return deleted

    def count(self, pattern: Filter, *, as_records: bool = False) -> int:
        """Return how many keys :meth:`entries` would list.

        :param as_records: whether to count what :meth:`export_records` would list
        """
        found = self._scan.names(pattern, strings=True)
        if as_records:
            return sum(name != self._prefix for names in found for name in names)
        return sum(len(self._scan.keys(names)) for names in found)

    def entries(self, pattern: Filter, *, values: bool = True) -> Iterator[dict[str, bytes | None]]:
        """List everything that a filter matches, some at a time.

        A key that is there from the first step to the last is never missed. One that comes or goes meanwhile may be
        in the list or not, and a key can come twice if the server resizes its table meanwhile (see
        https://redis.io/docs/latest/commands/scan/).

        :param values: whether to read the values; without, each value is None
        """
        return prefetch(self._scan.entries(self._scan.names(pattern, strings=not values), values=values))

    def page(
        self, pattern: Filter, *, cursor: int, limit: int, values: bool = True
    ) -> tuple[int, Iterator[dict[str, bytes | None]]]:
        """List a page of what a filter matches, with the promise of :meth:`entries` for all pages together.

        :param cursor: 0, or the one that the page before returned
        :param limit: about how many entries; a page may be shorter, even empty, and a little longer
        :param values: whether to read the values; without, each value is None
        :return: the next page's cursor, 0 after the last, and the page's entries, some at a time
        """
        cursor, names = self._scan.page(pattern, cursor=cursor, limit=limit, strings=not values)
        return cursor, self._scan.entries([names], values=values)

    def export_records(self, pattern: Filter, *, values: bool = True) -> Iterator[list[Listed]]:
        """Return everything that a filter matches, keys of any bytes included, with the promise of :meth:`entries`.

        :param values: whether to read the values; without, there is the number of bytes of each
        """
        return prefetch(self._scan.records(self._scan.names(pattern, strings=not values), values=values))

    def page_of_records(
        self, pattern: Filter, *, cursor: int, limit: int, values: bool = True
    ) -> tuple[int, Iterator[list[Listed]]]:
        """Return a page of what :meth:`export_records` returns; see :meth:`page`."""
        cursor, names = self._scan.page(pattern, cursor=cursor, limit=limit, strings=not values)
        return cursor, self._scan.records([names], values=values)

    def watch(self, pattern: Filter, *, since: str | None = None, initial: bool = True) -> Watcher:
        """Watch what a filter matches, whoever changes it.

        :param since: the id to go on from
        :param initial: whether all states are told where nothing is known: without an id, or if too much has changed
        :raises InvalidKey: it can only be a counter of the rate limit
        """
        if pattern.key is not None:
            self._refuse_counters([self._prefix + pattern.key])
        return Watcher(self._hub, self._prefix, pattern, since=since, initial=initial)

    def import_records(self, records: Iterable[Record]) -> int:
        """Write records that :meth:`check` has let pass; those with one key in their order.

        :param records: the records, few enough for one step
        :return: how many had expired and were left out
        """
        by_name: dict[bytes, list[Record]] = {}
        for record in records:
            by_name.setdefault(self._prefix + record[0], []).append(record)
        command = partial(scripts.import_records, by_name)
        return sum(skipped for _, skipped in write(self._backend.by_slot, list(by_name), command))

    def check(self, record: Record) -> None:
        """Refuse a record that cannot be stored.

        :raises InvalidKey: its key has no byte, or too many
        :raises ValueTooLarge: its value is too large
        """
        key, value, _ = record
        check_key_size(key)
        self._refuse_counters([self._prefix + key])
        check_value_size(key.decode(errors="backslashreplace"), len(value), self.max_value_bytes)

    def hit(self, counter: str, *, window_seconds: int) -> tuple[int, float]:
        """Count in a counter beside the keys, which starts anew after a while.

        :param counter: its name
        :param window_seconds: after how long
        :return: the count, and the seconds until it starts anew
        """
        # A hit that is counted twice because its answer was lost does no harm, so it may be sent again as a read is.
        name = HITS_PREFIX + self._prefix + counter.encode()
        count, left_ms = read(self._backend.execute, *scripts.hit(name, window_seconds))
        return count, left_ms / 1000

    def ping(self) -> None:
        """Check that the server answers.

        :raises NotReady: it does not; the text says why
        """
        try:
            read(self._backend.ping)
        except StoreError as error:
            raise NotReady(str(error)) from error

    def _name(self, key: str) -> bytes:
        name = self._prefix + key_bytes(key)
        self._refuse_counters([name])
        return name

    def _names(self, keys: Sequence[str]) -> list[bytes]:
        """Return the names of many keys, made at once; one call for each would take five times as long."""
        prefix = self._prefix.decode()
        try:
            names = (prefix + f"\0{prefix}".join(keys)).encode().split(b"\0")
        except UnicodeEncodeError:
            names = []
        sizes = [*map(len, names)] or [0]
        is_split = len(names) == len(keys)
        if not (is_split and len(self._prefix) < min(sizes) <= max(sizes) <= len(self._prefix) + MAX_KEY_BYTES):
            # One of them cannot be a key, which this finds; or one has a zero byte.
            return [self._name(key) for key in keys]
        self._refuse_counters(names)
        return names

    def _refuse_counters(self, names: Iterable[bytes]) -> None:
        """Refuse keys that would be counters of the rate limit.

        :raises InvalidKey: one would be
        """
        if self._scan.meets_counters and any(name.startswith(HITS_PREFIX) for name in names):
            raise InvalidKey(f"Names that start with {HITS_PREFIX.decode()} are those of the rate limit's counters.")

    def _check_values(self, values: Mapping[str, bytes]) -> None:
        if max(map(len, values.values()), default=0) > self.max_value_bytes:
            for key, value in values.items():
                check_value_size(key, len(value), self.max_value_bytes)

    def _require_same_slot(self, names: Sequence[bytes]) -> None:
        """Refuse keys that no single server can change in one step.

        :raises KeysApart: they are in different hash slots of a cluster
        """
        if not self._backend.same_slot(names):
            raise KeysApart(APART)


def _mset(names: Sequence[bytes], values: Iterable[bytes]) -> Command:
    return "MSET", *chain.from_iterable(zip(names, values, strict=True))


def _put(pairs: Mapping[bytes, bytes], expire_in: int | None, names: Sequence[bytes]) -> Command:
    values = [pairs[name] for name in names]
    return _mset(names, values) if expire_in is None else scripts.put_expiring(names, values, expire_in)


def _unlink(names: Sequence[bytes]) -> Command:
    return "UNLINK", *names


def _refuse_failed(failed: Sequence[int], keys: Sequence[str]) -> None:
    """Refuse a write whose condition does not hold for some keys, which a script names by their numbers from 1."""
    if failed:
        raise PreconditionFailed([keys[number - 1] for number in failed])


def _seconds(milliseconds: int) -> int | None:
    """Return what PTTL says in whole seconds, rounded up; None for a key that does not expire."""
    return None if milliseconds < 0 else -(-milliseconds // 1000)
