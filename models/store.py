"""The store: what one can do with keys and values, whatever server is behind it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from models.connection import Client, read, write
from models.entry import check_value_size, key_bytes
from models.errors import KeyNotFound, NotReady, OutcomeUnknown, StoreError, TooManyPairs
from models.filter import Filter


# So many SETs with an expiry keep a server busy for about a third of a second, well within the time limit.
MAX_PAIRS = 131_072

# How many names the server looks at in one SCAN, and at most how many SCANs one page takes: a filter that matches
# little gives short pages, not slow ones.
SCAN_COUNT = 1_000
MAX_SCANS_PER_PAGE = 100

# About how many bytes of values one MGET may bring into a worker's memory.
READ_AHEAD_BYTES = 1024 * 1024
FIRST_READ_KEYS = 16
MAX_READ_KEYS = 2_000

# A script and not MULTI, because redis-py's errors for a transaction quote the values.
# KEYS: the names. ARGV[1]: seconds. ARGV[i + 1]: the value for KEYS[i].
PUT_EXPIRING = """
for i, name in ipairs(KEYS) do
    redis.call('SET', name, ARGV[i + 1], 'EX', ARGV[1])
end
"""


class Store:
    """Keys and values in Redis or Valkey, under one prefix.

    Every method may raise a :class:`~models.errors.StoreError`.

    :param client: a client from :func:`models.connection.connect`
    :param key_prefix: what the name of every key starts with in the server
    :param max_value_bytes: the largest value that is taken
    """

    def __init__(self, client: Client, *, key_prefix: str, max_value_bytes: int) -> None:
        self._client = client
        self._prefix = key_prefix.encode()
        self._max_value_bytes = max_value_bytes
        self._put_expiring = client.register_script(PUT_EXPIRING)

    def get(self, key: str) -> bytes:
        """Read one value.

        :param key: the key
        :raises InvalidKey: it cannot be a key
        :raises KeyNotFound: it does not exist
        :raises WrongType: it holds something else than a string
        """
        value = read(self._client.get, self._name(key))
        if value is None:
            raise KeyNotFound(key)
        return bytes(value)

    def put(self, values: Mapping[str, bytes], *, expire_in: int | None = None) -> int:
        """Write pairs, all of them in one step or none; an earlier expiry is replaced or removed.

        :param values: the value for each key
        :param expire_in: seconds until they expire; None for never
        :return: how many were written
        :raises InvalidKey: one of the keys cannot be a key
        :raises ValueTooLarge: one of the values is too large
        :raises TooManyPairs: there are more pairs than one step may write
        """
        if len(values) > MAX_PAIRS:
            raise TooManyPairs(
                f"{len(values):,} pairs came in one request: at most {MAX_PAIRS:,} are allowed.",
                limit=MAX_PAIRS,
                actual=len(values),
            )
        pairs = {self._name(key): value for key, value in values.items()}
        for key, value in values.items():
            check_value_size(key, value, self._max_value_bytes)
        if expire_in is None:
            write(self._client.mset, pairs)
        else:
            write(self._put_expiring, keys=list(pairs), args=[expire_in, *pairs.values()])
        return len(pairs)

    def delete(self, key: str) -> None:
        """Delete one key.

        :param key: the key
        :raises InvalidKey: it cannot be a key
        :raises KeyNotFound: it did not exist
        """
        if not write(self._client.delete, self._name(key)):
            raise KeyNotFound(key)

    def delete_matching(self, pattern: Filter) -> int:
        """Delete every key that a filter matches, whatever it holds; a key written meanwhile may stay.

        :param pattern: the filter
        :return: how many were deleted
        :raises OutcomeUnknown: the store failed after some were deleted
        """
        deleted = 0
        try:
            for names in self._scan(pattern):
                deleted += write(self._client.unlink, *names)
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
        return sum(len(self._keys(names)) for names in self._scan(pattern, _type="STRING"))

    def entries(self, pattern: Filter, *, values: bool = True) -> Iterator[dict[str, bytes | None]]:
        """List everything that a filter matches, some at a time.

        A key that is there from the first step to the last is never missed. One that comes or goes meanwhile may be
        in the list or not, and a key can come twice if the server resizes its table meanwhile (see
        https://redis.io/docs/latest/commands/scan/).

        :param pattern: the filter
        :param values: whether to read the values; without, each value is None
        """
        return self._read(self._scan(pattern, **_only_strings(values)), values=values)

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
        names: list[bytes] = []
        for _ in range(MAX_SCANS_PER_PAGE):
            cursor, found = self._scan_once(cursor, pattern, count=limit, **_only_strings(values))
            names += found
            if cursor == 0 or len(names) >= limit:
                break
        return cursor, self._read([names], values=values)

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

    def _scan(self, pattern: Filter, **options: Any) -> Iterator[list[bytes]]:
        cursor, names = self._scan_once(0, pattern, count=SCAN_COUNT, **options)
        while True:
            if names:
                yield names
            if cursor == 0:
                return
            cursor, names = self._scan_once(cursor, pattern, count=SCAN_COUNT, **options)

    def _scan_once(self, cursor: int, pattern: Filter, *, count: int, **options: Any) -> tuple[int, list[bytes]]:
        glob = pattern.glob(self._prefix)
        cursor, names = read(self._client.scan, cursor=cursor, match=glob, count=count, **options)
        return cursor, names

    def _keys(self, names: Iterable[bytes]) -> dict[str, bytes]:
        """Give the key for each name, without those that another program wrote and that cannot be keys here."""
        keys = {}
        for name in names:
            try:
                keys[name[len(self._prefix) :].decode()] = name
            except UnicodeDecodeError:
                continue
        keys.pop("", None)
        return keys

    def _read(self, batches: Iterable[list[bytes]], *, values: bool) -> Iterator[dict[str, bytes | None]]:
        size = FIRST_READ_KEYS
        for keys in map(self._keys, batches):
            if not values:
                yield dict.fromkeys(keys)
                continue
            todo = list(keys)
            while todo:
                batch, todo = todo[:size], todo[size:]
                found = read(self._client.mget, [keys[key] for key in batch])
                yield {key: value for key, value in zip(batch, found, strict=True) if value is not None}
                # A server hashes its names, so sizes are spread evenly: the last batch tells of the next.
                read_bytes = sum(len(value) for value in found if value is not None)
                fitting = len(batch) * READ_AHEAD_BYTES // max(1, read_bytes)
                size = min(size * 4, MAX_READ_KEYS, max(1, fitting))


def _only_strings(values: bool) -> dict[str, str]:
    """Ask for strings alone where no value is read: MGET leaves other types out by itself."""
    return {} if values else {"_type": "STRING"}
