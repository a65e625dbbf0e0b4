"""The names in a server and the values under them, some at a time: SCAN, never KEYS.

What is there from the first step to the last is never missed; see https://redis.io/docs/latest/commands/scan/.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any, Generic, TypeVar

from models.entry import Listed
from models.errors import CursorExpired, StoreChanged
from models.filter import Filter
from models.turn import Turn
from models.valkey import scripts
from models.valkey.backend import Backend, Server, Topology
from models.valkey.connection import read
from models.valkey.redis_errors import CHANGED
from models.valkey.scripts import Command


Item = TypeVar("Item")

# How many names the server looks at in one SCAN, and at most how many SCANs one page takes: a filter that matches
# little gives short pages, not slow ones.
SCAN_COUNT = 700
MAX_SCANS_PER_PAGE = 100
# How many sizes one command asks for: 10,000 at once kept the server of a busy machine for 36 ms.
SIZES_AT_A_TIME = 2_000

# About how many bytes of values are read and held at a time, and how many at most, unless one value is larger.
BATCH_BYTES = 1024 * 1024
MAX_BATCH_BYTES = 4 * BATCH_BYTES
# Of the largest values so many fit.
FIRST_BATCH_KEYS = 4
# How many values are read of the names that one SCAN found, at random, before more are read at a time.
SAMPLE_KEYS = 64

# A page's cursor is one number made of three: the fingerprint of the servers, the place of one among them, and SCAN's
# own cursor in it, whose 63 bits every server takes.
POSITION_BITS = 63
PLACE_BITS = 16

# What the names of the rate limit's counters start with: no list shows them, and no key can be one.
HITS_PREFIX = b"flaskvstore-hits:"

EXPIRED = (
    "The cursor is from before the store was started again or changed, and could miss keys. Start again without one."
)


class Scan:
    """What is under a prefix.

    :param backend: what :func:`models.valkey.connection.connect` returns
    :param prefix: what every name starts with
    """

    def __init__(self, backend: Backend, prefix: bytes) -> None:
        self._backend = backend
        self._prefix = prefix
        self.meets_counters = HITS_PREFIX.startswith(prefix) or prefix.startswith(HITS_PREFIX)

    def names(self, pattern: Filter, *, strings: bool = False) -> Iterator[list[bytes]]:
        """Return all names that a filter matches, some at a time.

        :param strings: whether to leave out those of other Redis types
        :raises StoreChanged: some could be missing, because other servers answer than at the start
        """
        topology = read(self._backend.topology)
        for server in topology.servers:
            cursor = None
            while cursor != 0:
                cursor, names = self._step(server, cursor or 0, pattern, count=SCAN_COUNT, strings=strings)
                if names:
                    yield names
        self._check(topology)

    def page(self, pattern: Filter, *, cursor: int, limit: int, strings: bool = False) -> tuple[int, list[bytes]]:
        """Return about so many names.

        :param cursor: 0, or what the page before gave
        :param limit: about how many
        :param strings: whether to leave out those of other Redis types
        :return: the next page's cursor, 0 after the last, and the names
        :raises CursorExpired: the cursor means nothing to the servers there are
        """
        topology = read(self._backend.topology)
        fingerprint, place, position = _unpacked(cursor) if cursor else (topology.fingerprint, 0, 0)
        if fingerprint != topology.fingerprint or place >= len(topology.servers):
            raise CursorExpired(EXPIRED)
        # Several equal steps, which together look at as many names as the page has.
        count = -(-limit // -(-limit // SCAN_COUNT))
        names: list[bytes] = []
        for _ in range(MAX_SCANS_PER_PAGE):
            position, found = self._step(topology.servers[place], position, pattern, count=count, strings=strings)
            names += found
            place += position == 0
            if place == len(topology.servers) or len(names) >= limit:
                break
        self._check(topology)
        return 0 if place == len(topology.servers) else _packed(fingerprint, place, position), names

    def keys(self, names: Sequence[bytes]) -> dict[bytes, str]:
        """Return the key for each name, without those that another program wrote and that cannot be keys here."""
        start = len(self._prefix)
        try:
            # Nearly always text: at once, in half the time.
            keys = {name: name[start:].decode() for name in names}
        except UnicodeDecodeError:
            keys = {name: name[start:].decode() for name in names if _is_text(name[start:])}
        keys.pop(self._prefix, None)
        return keys

    def entries(self, scanned: Iterable[list[bytes]], *, values: bool) -> Iterator[dict[str, bytes | None]]:
        """Return the entries for names, without those that are gone meanwhile.

        :param scanned: names, some at a time
        :param values: whether to read the values; without, each value is None
        """
        batches = Batches(self._values)
        for keys in map(self.keys, scanned):
            if not values:
                yield dict.fromkeys(keys.values())
                continue
            for found in batches.of(list(keys)):
                yield {keys[name]: value for name, value in found if value is not None}

    def records(self, scanned: Iterable[list[bytes]], *, values: bool) -> Iterator[list[Listed]]:
        """Return the records for names, without those that are gone meanwhile.

        :param scanned: names, some at a time
        :param values: whether to read the values; without, there is the number of bytes of each
        """
        return self._whole_records(scanned) if values else self._sizes(scanned)

    def _whole_records(self, scanned: Iterable[list[bytes]]) -> Iterator[list[Listed]]:
        expiries = False

        def read_some(batch: Sequence[bytes]) -> tuple[list[Listed], int]:
            nonlocal expiries
            records: list[Listed] = []
            skipped_bytes = 0
            for group, snapshot in read(self._backend.snapshot, batch, MAX_BATCH_BYTES, expiries=expiries):
                # Once some key expires, the expiry of each is asked for without a look before.
                expiries = expiries or len(snapshot) == 1 or bool(snapshot[1])
                if len(snapshot) == 1:
                    skipped_bytes += snapshot[0]
                else:
                    records += self._records(group, *snapshot)
            return records, skipped_bytes + sum(len(value) for _, value, _ in records)

        batches = Batches(read_some)
        for names in scanned:
            yield from batches.of(names)

    def _sizes(self, scanned: Iterable[list[bytes]]) -> Iterator[list[Listed]]:
        for names in scanned:
            for first in range(0, len(names), SIZES_AT_A_TIME):
                found = read(self._backend.by_slot, names[first : first + SIZES_AT_A_TIME], scripts.sizes)
                yield [record for group, answer in found for record in self._records(group, *answer)]

    def _values(self, batch: Sequence[bytes]) -> tuple[list[tuple[bytes, bytes | None]], int]:
        found: list[tuple[bytes, bytes | None]] = []
        found_bytes = 0
        for names, values in read(self._backend.by_slot, batch, _mget):
            found += zip(names, values, strict=True)
            found_bytes += sum(map(len, filter(None, values)))
        return found, found_bytes

    def _records(
        self,
        names: Sequence[bytes],
        values: Sequence[Any],
        expiries_in_ms: Sequence[int],
        clock: Sequence[bytes],
    ) -> list[Listed]:
        start = len(self._prefix)
        if not expiries_in_ms:
            return [
                (name[start:], value, None)
                for name, value in zip(names, values, strict=True)
                if value is not None and len(name) > start
            ]
        now_ms = int(clock[0]) * 1000 + int(clock[1]) // 1000
        return [
            (name[start:], value, None if ms < 0 else round((now_ms + ms) / 1000))
            for name, value, ms in zip(names, values, expiries_in_ms, strict=True)
            if value is not None and len(name) > start
        ]

    def _step(
        self, server: tuple[Server, str], position: int, pattern: Filter, *, count: int, strings: bool
    ) -> tuple[int, list[bytes]]:
        asked, run_id = server
        # Where values are read the type is not needed: MGET leaves others out by itself.
        options = ("TYPE", "STRING") if strings else ()
        command = ("SCAN", position, "MATCH", pattern.glob(self._prefix), "COUNT", count, *options)
        answered_by, (next_position, names) = read(asked.execute_with_run_id, *command)
        if answered_by != run_id:
            raise StoreChanged(CHANGED)
        if self.meets_counters:
            names = [name for name in names if not name.startswith(HITS_PREFIX)]
        if pattern.is_shortened:
            names = list(self._matching(names, pattern))
        return int(next_position), names

    def _matching(self, names: Sequence[bytes], pattern: Filter) -> Iterator[bytes]:
        start, turn = len(self._prefix), Turn()
        for name in names:
            if pattern.matches(name[start:]):
                yield name
            turn.give_way()

    def _check(self, topology: Topology) -> None:
        """Check that no key has moved meanwhile to a server that was done already."""
        if len(topology.servers) > 1 and read(self._backend.topology).fingerprint != topology.fingerprint:
            raise StoreChanged(CHANGED)


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def _mget(names: Sequence[bytes]) -> Command:
    return "MGET", *names


def _packed(fingerprint: int, place: int, position: int) -> int:
    return (fingerprint << PLACE_BITS | place) << POSITION_BITS | position


def _unpacked(cursor: int) -> tuple[int, int, int]:
    rest, position = divmod(cursor, 1 << POSITION_BITS)
    return *divmod(rest, 1 << PLACE_BITS), position


class Batches(Generic[Item]):
    """Reads values, so many at a time that they fit in memory.

    The last batch is a guess at the next, but whoever has seen the order of the names can arrange sizes against that.
    So some of the names that one SCAN found are read first, which nobody can foresee, and a batch that was too large is
    read again in parts: what is held, for as long as a client reads, is little.

    :param read_some: returns what is found under names, and how many bytes of values that are
    """

    def __init__(self, read_some: Callable[[Sequence[bytes]], tuple[list[Item], int]]) -> None:
        self._read = read_some
        self._random = Random()  # noqa: S311  # seeded anew for each list
        self._keys = FIRST_BATCH_KEYS

    def of(self, names: Sequence[bytes]) -> Iterator[list[Item]]:
        """Return what is found under the names of one SCAN."""
        names = self._with_sample_first(names)
        self._keys = min(self._keys, SAMPLE_KEYS)
        found: list[Item] = []
        taken = found_bytes = 0
        while taken < len(names):
            batch = names[taken : taken + self._keys]
            items, items_bytes = self._read(batch)
            # Only the whole sample tells enough of the rest.
            most = len(names) if taken == 0 and len(batch) == SAMPLE_KEYS else min(4 * self._keys, SAMPLE_KEYS)
            self._keys = max(1, min(most, len(batch) * BATCH_BYTES // max(1, items_bytes)))
            if items_bytes > MAX_BATCH_BYTES and len(batch) > 1:
                continue
            taken += len(batch)
            found += items
            found_bytes += items_bytes
            # Several small batches are sent at once.
            if found_bytes >= BATCH_BYTES or taken == len(names):
                yield found
                found, found_bytes = [], 0

    def _with_sample_first(self, names: Sequence[bytes]) -> Sequence[bytes]:
        if len(names) <= SAMPLE_KEYS:
            return names
        sample = set(self._random.sample(range(len(names)), SAMPLE_KEYS))
        rest = [name for number, name in enumerate(names) if number not in sample]
        return [*(names[number] for number in sample), *rest]
