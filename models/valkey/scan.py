"""The names in a server and the values under them, some at a time: SCAN, never KEYS.

What is there from the first step to the last is never missed; see https://redis.io/docs/latest/commands/scan/.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from models.entry import Record
from models.errors import CursorExpired, StoreChanged
from models.filter import Filter
from models.valkey import scripts
from models.valkey.client import Client, Survey
from models.valkey.connection import read
from models.valkey.redis_errors import CHANGED


Item = TypeVar("Item")

# How many names the server looks at in one SCAN, and at most how many SCANs one page takes: a filter that matches
# little gives short pages, not slow ones.
SCAN_COUNT = 700
MAX_SCANS_PER_PAGE = 100

# About how many bytes of values one step may bring into a worker's memory.
READ_AHEAD_BYTES = 1024 * 1024
FIRST_READ_KEYS = 16
MAX_READ_KEYS = 2_000

# A page's cursor is one number of three: which servers it is about, the place of one among them, and SCAN's own cursor
# in it, whose 63 bits every server takes.
POSITION_BITS = 63
PLACE_BITS = 16

EXPIRED = (
    "The cursor is from before the store was started again or changed, and could miss keys. Start again without one."
)


class Scan:
    """What is under a prefix.

    :param client: a client from :func:`models.valkey.connection.connect`
    :param prefix: what every name starts with
    """

    def __init__(self, client: Client, prefix: bytes) -> None:
        self._client = client
        self._prefix = prefix

    def names(self, pattern: Filter, *, strings: bool = False) -> Iterator[list[bytes]]:
        """Give all names that a filter matches.

        :param pattern: the filter
        :param strings: whether to leave out those of other Redis types
        :raises StoreChanged: some could be missing, because other servers answer than at the start
        """
        survey = read(self._client.survey)
        for server in survey.servers:
            cursor = None
            while cursor != 0:
                cursor, names = self._step(server, cursor or 0, pattern, count=SCAN_COUNT, strings=strings)
                if names:
                    yield names
        self._check(survey)

    def page(self, pattern: Filter, *, cursor: int, limit: int, strings: bool = False) -> tuple[int, list[bytes]]:
        """Give about so many names.

        :param pattern: the filter
        :param cursor: 0, or what the page before gave
        :param limit: about how many
        :param strings: whether to leave out those of other Redis types
        :return: the next page's cursor, 0 after the last, and the names
        :raises CursorExpired: the cursor means nothing to the servers there are
        """
        survey = read(self._client.survey)
        epoch, place, position = _unpacked(cursor) if cursor else (survey.epoch, 0, 0)
        if epoch != survey.epoch or place >= len(survey.servers):
            raise CursorExpired(EXPIRED)
        names: list[bytes] = []
        for _ in range(MAX_SCANS_PER_PAGE):
            position, found = self._step(survey.servers[place], position, pattern, count=limit, strings=strings)
            names += found
            place += position == 0
            if place == len(survey.servers) or len(names) >= limit:
                break
        self._check(survey)
        return 0 if place == len(survey.servers) else _packed(epoch, place, position), names

    def keys(self, names: Sequence[bytes]) -> dict[bytes, str]:
        """Give the key for each name, without those that another program wrote and that cannot be keys here.

        :param names: names
        """
        start = len(self._prefix)
        try:
            # Nearly always text: at once, in half the time.
            keys = {name: name[start:].decode() for name in names}
        except UnicodeDecodeError:
            keys = {name: name[start:].decode() for name in names if _is_text(name[start:])}
        keys.pop(self._prefix, None)
        return keys

    def entries(self, scanned: Iterable[list[bytes]], *, values: bool) -> Iterator[dict[str, bytes | None]]:
        """Give the entries for names, without those that are gone meanwhile.

        :param scanned: names, some at a time
        :param values: whether to read the values; without, each value is None
        """
        ahead = ReadAhead()
        for keys in map(self.keys, scanned):
            if not values:
                yield dict.fromkeys(keys.values())
                continue
            for batch in ahead.cut(list(keys)):
                entries = {
                    keys[name]: value
                    for names, found in read(self._client.apart, batch, _values)
                    for name, value in zip(names, found, strict=True)
                    if value is not None
                }
                ahead.learn(len(batch), entries.values())
                yield entries

    def records(self, scanned: Iterable[list[bytes]]) -> Iterator[list[Record]]:
        """Give the records for names, without those that are gone meanwhile.

        :param scanned: names, some at a time
        """
        ahead = ReadAhead()
        ask: Callable[..., Any] = self._client.snapshot
        for names in scanned:
            for batch in ahead.cut(names):
                records: list[Record] = []
                for group, (values, expiries_in_ms, clock) in read(ask, batch, scripts.EXPORT):
                    if expiries_in_ms:
                        # Some key expires: that of each is asked for at once from now on.
                        ask = self._client.apart
                    records += self._records(group, values, expiries_in_ms, clock)
                ahead.learn(len(batch), [value for _, value, _ in records])
                yield records

    def _records(
        self,
        names: Sequence[bytes],
        values: Sequence[bytes | None],
        expiries_in_ms: Sequence[int],
        clock: Sequence[bytes],
    ) -> list[Record]:
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
        self, server: tuple[Client, str], position: int, pattern: Filter, *, count: int, strings: bool
    ) -> tuple[int, list[bytes]]:
        client, run_id = server
        # Where values are read the type is not needed: MGET leaves others out by itself.
        options = ("TYPE", "STRING") if strings else ()
        command = ("SCAN", position, "MATCH", pattern.glob(self._prefix), "COUNT", count, *options)
        answered_by, (position, names) = read(client.ask, *command)
        if answered_by != run_id:
            raise StoreChanged(CHANGED)
        return position, names

    def _check(self, survey: Survey) -> None:
        """Make sure at the end that no key has moved from a server that was still to come to one that was done."""
        if len(survey.servers) > 1 and read(self._client.survey).epoch != survey.epoch:
            raise StoreChanged(CHANGED)


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def _values(client: Client, names: Sequence[bytes]) -> Any:
    return client.mget(names)


def _packed(epoch: int, place: int, position: int) -> int:
    """Make one number of the servers' epoch, the place of one of them, and a position in it."""
    return (epoch << PLACE_BITS | place) << POSITION_BITS | position


def _unpacked(cursor: int) -> tuple[int, int, int]:
    rest, position = divmod(cursor, 1 << POSITION_BITS)
    return *divmod(rest, 1 << PLACE_BITS), position


class ReadAhead:
    """How many values to read at a time so that they fit in memory.

    A server hashes its names, so sizes are spread evenly over a scan: the last batch tells of the next.
    """

    def __init__(self) -> None:
        self._keys = FIRST_READ_KEYS

    def cut(self, names: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Cut names into batches.

        :param names: what to read
        """
        taken = 0
        while taken < len(names):
            batch = names[taken : taken + self._keys]
            taken += len(batch)
            yield batch

    def learn(self, count: int, values: Iterable[bytes]) -> None:
        """Take the sizes of a batch for those of the next.

        :param count: how many names it had
        :param values: what was read
        """
        fitting = count * READ_AHEAD_BYTES // max(1, sum(map(len, values)))
        self._keys = min(self._keys * 4, MAX_READ_KEYS, max(1, fitting))
