"""Export and import: one JSON object a line (https://github.com/ndjson/ndjson-spec), in bounded memory."""

from collections.abc import Generator, Iterable, Iterator
from typing import Any

import orjson

from models.entry import MAX_KEY_BYTES, Record, bytes_from_json, unique, value_to_json
from models.errors import OutcomeUnknown, RequestError, StoreError
from models.store import Store
from resources.errors import InvalidBody
from resources.parsing.body import read_chunks
from resources.parsing.json_body import parse_object


MAX_REPORTED = 100
# The end of the year 9999: far above it Redis could not count in milliseconds.
MAX_EXPIRES_AT = 253_402_300_799
RECORDS_A_STEP = 500
STEP_BYTES = 1024 * 1024


def export_lines(batches: Iterable[list[Record]]) -> Generator[bytes]:
    """Return records as lines."""
    for batch in batches:
        if batch:
            # Encoded at once and cut afterwards, in a tenth of the time: in a JSON string a quotation mark has a
            # backslash before it, so what is cut at stands nowhere else.
            lines = orjson.dumps(_shown(batch))[1:-1]
            yield lines.replace(b'},{"key":', b'}\n{"key":') + b"\n"


class Import:
    """An import: how many records were stored, how many left out, and which lines were wrong."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stored = 0
        self._skipped = 0
        self._errors: list[dict[str, Any]] = []
        self._batch: list[Record] = []
        self._batch_bytes = 0

    def run(self) -> dict[str, Any]:
        """Store the lines of the current request's body, some at a time.

        :return: how many were stored, how many had expired, and the first lines that were wrong
        :raises OutcomeUnknown: the store failed; the lines before may be stored
        """
        longest = 6 * (self._store.max_value_bytes + MAX_KEY_BYTES) + 1_000  # every byte as \u00xx, and the rest
        number = 0
        for number, line in enumerate(_lines(longest), start=1):
            self._take(number, line)
            if len(self._batch) >= RECORDS_A_STEP or self._batch_bytes >= STEP_BYTES:
                self._flush(number)
        self._flush(number)
        return {"stored": self._stored, "skipped": self._skipped, "errors": self._errors}

    def _take(self, number: int, line: bytes | None) -> None:
        try:
            record = _record(line)
            if record is None:
                return
            self._store.check(record)
        except RequestError as error:
            if len(self._errors) < MAX_REPORTED:
                self._errors.append({"line": number, "detail": str(error)})
        else:
            self._batch.append(record)
            self._batch_bytes += len(record[1])

    def _flush(self, number: int) -> None:
        if not self._batch:
            return
        try:
            skipped = self._store.import_records(self._batch)
        except StoreError as error:
            raise OutcomeUnknown(
                f"The store failed at line {number:,}. {self._stored:,} records are stored, and perhaps some of the "
                f"{len(self._batch):,} after them. Repeat the request: it writes the same again."
            ) from error
        self._skipped += skipped
        self._stored += len(self._batch) - skipped
        self._batch.clear()
        self._batch_bytes = 0


def _shown(batch: list[Record]) -> list[dict[str, Any]]:
    try:
        # Nearly always text, which takes no call of ours (an export: a tenth of its CPU time).
        return [
            {"key": key.decode(), "value": value.decode()}
            if expires_at is None
            else {"key": key.decode(), "value": value.decode(), "expires_at": expires_at}
            for key, value, expires_at in batch
        ]
    except UnicodeDecodeError:
        return [
            {"key": value_to_json(key), "value": value_to_json(value)}
            | ({} if expires_at is None else {"expires_at": expires_at})
            for key, value, expires_at in batch
        ]


def _lines(max_bytes: int) -> Iterator[bytes | None]:
    """Return the lines of the current request's body; None for one that is too long to be a record."""
    rest, too_long = b"", False
    # A stream is not held in memory, so the limit of bodies is not for it.
    for chunk in read_chunks():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield None if too_long else line
            too_long = False
        if len(rest) > max_bytes:
            rest, too_long = b"", True
    if rest or too_long:
        yield None if too_long else rest


def _record(line: bytes | None) -> Record | None:
    if line is None:
        raise InvalidBody("The line is too long to be a record.")
    if not line.strip():
        return None
    members = unique(parse_object(line), InvalidBody)
    if not {"key", "value"} <= members.keys() <= {"key", "value", "expires_at"}:
        raise InvalidBody("A record has a key, a value and, if it expires, expires_at, and nothing else.")
    expires_at = members.get("expires_at")
    if "expires_at" in members and (type(expires_at) is not int or not 0 <= expires_at <= MAX_EXPIRES_AT):
        raise InvalidBody(f"expires_at must be the time in whole seconds since 1970, at most {MAX_EXPIRES_AT:,}.")
    return (
        bytes_from_json(lambda: "The key", members["key"]),
        bytes_from_json(lambda: "The value", members["value"]),
        expires_at,
    )
