"""The names in a server and the values under them, some at a time: SCAN, never KEYS.

What is there from the first step to the last is never missed; see https://redis.io/docs/latest/commands/scan/.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from models.entry import Record
from models.errors import CursorExpired, StoreChanged
from models.filter import Filter
from models.valkey.backend import Backend, Server, Snapshot, Topology
from models.valkey.connection import read
from models.valkey.redis_errors import CHANGED
from models.valkey.scripts import Command


Item = TypeVar("Item")

# How many names the server looks at in one SCAN, and at most how many SCANs one page takes: a filter that matches
# little gives short pages, not slow ones.
SCAN_COUNT = 700
MAX_SCANS_PER_PAGE = 100

# About how many bytes of values one batch may bring into a worker's memory.
BATCH_BYTES = 1024 * 1024
FIRST_BATCH_KEYS = 16
MAX_BATCH_KEYS = 2_000

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
        sizes = BatchSizes()
        for keys in map(self.keys, scanned):
            if not values:
                yield dict.fromkeys(keys.values())
                continue
            for batch in sizes.cut(list(keys)):
                entries = {
                    keys[name]: value
                    for names, found in read(self._backend.by_slot, batch, _mget)
                    for name, value in zip(names, found, strict=True)
                    if value is not None
                }
                sizes.learn(len(batch), entries.values())
                yield entries

    def records(self, scanned: Iterable[list[bytes]]) -> Iterator[list[Record]]:
        """Return the records for names, without those that are gone meanwhile.

        :param scanned: names, some at a time
        """
        sizes, expiries = BatchSizes(), False
        for names in scanned:
            for batch in sizes.cut(names):
                records: list[Record] = []
                for group, snapshot in read(self._backend.snapshot, batch, expiries=expiries):
                    records += self._records(group, snapshot)
                    # Once some key expires, the expiry of each is asked for without a look before.
                    expiries = expiries or bool(snapshot[1])
                sizes.learn(len(batch), [value for _, value, _ in records])
                yield records

    def _records(self, names: Sequence[bytes], snapshot: Snapshot) -> list[Record]:
        start = len(self._prefix)
        values, expiries_in_ms, clock = snapshot
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
            start = len(self._prefix)
            names = [name for name in names if pattern.matches(name[start:])]
        return int(next_position), names

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


class BatchSizes:
    """How many values to read at a time so that they fit in memory.

    A server hashes its names, so sizes are spread evenly over a scan: the last batch is a guess at the next.
    """

    def __init__(self) -> None:
        self._keys = FIRST_BATCH_KEYS

    def cut(self, names: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Return names in batches."""
        taken = 0
        while taken < len(names):
            batch = names[taken : taken + self._keys]
            taken += len(batch)
            yield batch

    def learn(self, count: int, values: Iterable[bytes]) -> None:
        """Expect the sizes of a batch in the next one.

        :param count: how many names it had
        """
        fitting = count * BATCH_BYTES // max(1, sum(map(len, values)))
        self._keys = min(self._keys * 4, MAX_BATCH_KEYS, max(1, fitting))
