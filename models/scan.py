"""The names in a server and the values under them, some at a time: SCAN, never KEYS.

What is there from the first step to the last is never missed; see https://redis.io/docs/latest/commands/scan/.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from models import scripts
from models.connection import Client, read
from models.entry import Record
from models.filter import Filter


Item = TypeVar("Item")

# How many names the server looks at in one SCAN, and at most how many SCANs one page takes: a filter that matches
# little gives short pages, not slow ones.
SCAN_COUNT = 1_000
MAX_SCANS_PER_PAGE = 100

# About how many bytes of values one step may bring into a worker's memory.
READ_AHEAD_BYTES = 1024 * 1024
FIRST_READ_KEYS = 16
MAX_READ_KEYS = 2_000


class Scan:
    """What is under a prefix.

    :param client: a client from :func:`models.connection.connect`
    :param prefix: what every name starts with
    """

    def __init__(self, client: Client, prefix: bytes) -> None:
        self._client = client
        self._prefix = prefix
        self._export = client.register_script(scripts.EXPORT)

    def names(self, pattern: Filter, *, strings: bool = False) -> Iterator[list[bytes]]:
        """Give all names that a filter matches.

        :param pattern: the filter
        :param strings: whether to leave out those of other Redis types
        """
        cursor = None
        while cursor != 0:
            cursor, names = self._step(cursor or 0, pattern, count=SCAN_COUNT, strings=strings)
            if names:
                yield names

    def page(self, pattern: Filter, *, cursor: int, limit: int, strings: bool = False) -> tuple[int, list[bytes]]:
        """Give about so many names.

        :param pattern: the filter
        :param cursor: 0, or what the page before gave
        :param limit: about how many
        :param strings: whether to leave out those of other Redis types
        :return: the next page's cursor, 0 after the last, and the names
        """
        names: list[bytes] = []
        for _ in range(MAX_SCANS_PER_PAGE):
            cursor, found = self._step(cursor, pattern, count=limit, strings=strings)
            names += found
            if cursor == 0 or len(names) >= limit:
                break
        return cursor, names

    def keys(self, names: Iterable[bytes]) -> dict[str, bytes]:
        """Give the name of each key, without those that another program wrote and that cannot be keys here.

        :param names: names
        """
        keys = {}
        for name in names:
            try:
                keys[name[len(self._prefix) :].decode()] = name
            except UnicodeDecodeError:
                continue
        keys.pop("", None)
        return keys

    def entries(self, scanned: Iterable[list[bytes]], *, values: bool) -> Iterator[dict[str, bytes | None]]:
        """Give the entries for names, without those that are gone meanwhile.

        :param scanned: names, some at a time
        :param values: whether to read the values; without, each value is None
        """
        ahead = ReadAhead()
        for keys in map(self.keys, scanned):
            if not values:
                yield dict.fromkeys(keys)
                continue
            for batch in ahead.cut(list(keys)):
                found = read(self._client.mget, [keys[key] for key in batch])
                ahead.learn(found)
                yield {key: value for key, value in zip(batch, found, strict=True) if value is not None}

    def records(self, scanned: Iterable[list[bytes]]) -> Iterator[list[Record]]:
        """Give the records for names, without those that are gone meanwhile.

        :param scanned: names, some at a time
        """
        ahead = ReadAhead()
        for names in scanned:
            for batch in ahead.cut(names):
                values, expiries_in_ms, (seconds, microseconds) = read(self._export, keys=batch)
                ahead.learn(values)
                now_ms = int(seconds) * 1000 + int(microseconds) // 1000
                yield [
                    Record(name[len(self._prefix) :], value, None if ms < 0 else round((now_ms + ms) / 1000))
                    for name, value, ms in zip(batch, values, expiries_in_ms, strict=True)
                    if value is not None and len(name) > len(self._prefix)
                ]

    def _step(self, cursor: int, pattern: Filter, *, count: int, strings: bool) -> tuple[int, list[bytes]]:
        following, names = read(
            self._client.scan,
            cursor=cursor,
            match=pattern.glob(self._prefix),
            count=count,
            # Where values are read this is not needed: MGET leaves other types out by itself.
            _type="STRING" if strings else None,
        )
        return following, names


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

    def learn(self, values: Sequence[bytes | None]) -> None:
        """Take the sizes of a batch for those of the next.

        :param values: what was read
        """
        read_bytes = sum(len(value) for value in values if value is not None)
        fitting = len(values) * READ_AHEAD_BYTES // max(1, read_bytes)
        self._keys = min(self._keys * 4, MAX_READ_KEYS, max(1, fitting))
