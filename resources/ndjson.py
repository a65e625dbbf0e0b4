"""Export and import: one JSON object a line (https://github.com/ndjson/ndjson-spec), in bounded memory."""

import codecs
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import orjson

from models.entry import MAX_KEY_BYTES, Listed, Record, bytes_from_json, unique, value_to_json
from models.errors import InvalidToken, OutcomeUnknown, RequestError, StoreError, TokensUnusable, TooManyKeys
from models.store import Store
from models.turn import Turn
from resources.errors import InvalidBody
from resources.parsing.body import Chunks, read_chunks
from resources.parsing.json_body import parse_object


MAX_REPORTED = 100
MAX_WRONG_LINES = 10_000
# A record has seven JSON values at most; what is wrong should be told for what it is, unless it takes long to read.
MAX_LINE_VALUES = 1_000
# The end of the year 9999: far above it Redis could not count in milliseconds.
MAX_EXPIRES_AT = 253_402_300_799
LINES_A_STEP = 500
STEP_BYTES = 1024 * 1024
# What may stand before a JSON text: blanks and a byte order mark.
_BLANKS = b" \t\r" + codecs.BOM_UTF8


def export_lines(batches: Iterable[list[Listed]], *, values: bool, is_page: bool) -> Generator[bytes]:
    """Return records as lines, and their number in a last line: an export that was cut short lacks it.

    :param values: whether the records have their values; without, they have the number of bytes of each
    :param is_page: whether there is no last line, because they are a part of what there is
    """
    show = _shown if values else _shown_sizes
    count = 0
    for batch in batches:
        if batch:
            count += len(batch)
            # Encoded at once and then split: in a JSON string a quotation mark has a backslash before it, so what it
            # is split at stands nowhere else.
            lines = orjson.dumps(show(batch))[1:-1]
            yield lines.replace(b'},{"key":', b'}\n{"key":') + b"\n"
    if not is_page:
        yield b'{"count":%d}\n' % count


class Import:
    """An import: how many records were stored, how many left out, and which lines were wrong.

    :param store: where they are stored
    :param check_token: asked before each step; None if everybody may go on
    """

    def __init__(self, store: Store, check_token: Callable[[], None] | None) -> None:
        self._store = store
        self._check_token = check_token
        self._stored = 0
        self._skipped = 0
        self._failed = 0
        self._errors: list[dict[str, Any]] = []
        self._batch: list[Record] = []
        self._step_bytes = 0
        self._blank = 0
        # Lines since the start or the last one with a count, blank ones aside.
        self._counted = 0

    def run(self) -> dict[str, Any]:
        """Store the lines of the current request's body, some at a time.

        :return: how many were stored, had expired, were wrong, and the first of those that were wrong
        :raises InvalidBody: the first line shows that the body is no NDJSON, and nothing is stored; or too many lines
            are wrong, and what was right before is stored
        :raises InvalidToken: the token is no longer valid; the text says how many are stored
        :raises OutcomeUnknown: the store failed; the lines before may be stored
        """
        longest = 6 * (self._store.max_value_bytes + MAX_KEY_BYTES) + 1_000  # every byte as \u00xx, and the rest
        number, is_first, turn = 0, True, Turn()
        for number, line in enumerate(_lines(longest), start=1):
            if line is None or line.strip():
                if is_first:
                    _refuse_other_formats(line)
                is_first = False
                self._take(number, line)
            else:
                self._blank += 1
            self._step_bytes += longest if line is None else len(line)
            if number % LINES_A_STEP == 0 or self._step_bytes >= STEP_BYTES:
                self._step(number)
            turn.give_way()
        self._step(number)
        return {
            "stored": self._stored,
            "skipped": self._skipped,
            "failed": self._failed,
            "errors": self._errors,
        }

    def _take(self, number: int, line: bytes | None) -> None:
        self._counted += 1
        try:
            members = _members(line)
            if members.keys() == {"count"}:
                self._check_count(members["count"])
                return
            record = _record(members)
            self._store.check(record)
        except RequestError as error:
            self._failed += 1
            if len(self._errors) < MAX_REPORTED:
                self._errors.append({"line": number, "detail": str(error)})
        else:
            self._batch.append(record)

    def _check_count(self, count: object) -> None:
        counted, self._counted = self._counted - 1, 0
        if count != counted:
            raise InvalidBody(f"The file is not whole: its last line counts {count} records, and {counted:,} came.")

    def _step(self, number: int) -> None:
        """Store what has been read since the last step, if the import may go on."""
        if self._check_token is not None:
            try:
                self._check_token()
            except (InvalidToken, TokensUnusable) as error:
                error.args = (f"{error} {self._stored:,} records are stored.",)
                raise
        if self._batch:
            self._store_batch(number)
        # Blank lines may stand between records, but not for ever.
        useless = self._failed + max(0, self._blank - self._stored - self._skipped)
        if useless > MAX_WRONG_LINES:
            raise InvalidBody(
                f"More than {MAX_WRONG_LINES:,} lines are wrong or blank: the import ended at line {number:,}. "
                f"{self._stored:,} records are stored."
            )
        self._step_bytes = 0

    def _store_batch(self, number: int) -> None:
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


def _shown(batch: list[Listed]) -> list[dict[str, Any]]:
    try:
        # Nearly always text, which needs no call for each record.
        return [
            {"key": key.decode(), "value": value.decode()}
            if expires_at is None
            else {"key": key.decode(), "value": value.decode(), "expires_at": expires_at}
            for key, value, expires_at in batch
        ]
    except UnicodeDecodeError:
        return [
            {"key": value_to_json(key), "value": value_to_json(value)} | _expiry(expires_at)
            for key, value, expires_at in batch
        ]


def _shown_sizes(batch: list[Listed]) -> list[dict[str, Any]]:
    return [{"key": value_to_json(key), "value_bytes": size} | _expiry(expires_at) for key, size, expires_at in batch]


def _expiry(expires_at: int | None) -> dict[str, int]:
    return {} if expires_at is None else {"expires_at": expires_at}


def _lines(max_bytes: int) -> Iterator[bytes | None]:
    """Return the lines of the current request's body; None for one that is too long to be a record."""
    held, length = Chunks(), 0
    # A stream is not held in memory, so the limit of bodies is not for it.
    for chunk in read_chunks():
        first, *others = chunk.split(b"\n")
        length += len(first)
        if length > max_bytes:
            held.take()
        else:
            held.add(first)
        if others:
            line = held.take()
            yield None if length > max_bytes else line
            *lines, rest = others
            yield from lines
            length = len(rest)
            held.add(rest)
    if length:
        yield None if length > max_bytes else held.take()


def _refuse_other_formats(line: bytes | None) -> None:
    """Refuse a body whose first line is no record: what is in another format must not look like a success.

    :raises InvalidBody: it is not
    """
    if line is not None and line.lstrip(_BLANKS).startswith(b"["):
        raise InvalidBody("The body is a JSON array: send one record a line instead, as `jq -c '.[]'` writes them.")
    try:
        members = _members(line)
    except (InvalidBody, TooManyKeys) as error:
        raise InvalidBody(f"The body is no NDJSON, one JSON object a line. Its first line: {error}") from None
    if not members.keys() & {"key", "count"}:
        raise InvalidBody(
            'The body is no NDJSON of records: its first line has no "key". Send pairs as application/json.'
        )


def _members(line: bytes | None) -> dict[str, Any]:
    if line is None:
        raise InvalidBody("The line is too long to be a record.")
    return unique(parse_object(line, MAX_LINE_VALUES), InvalidBody)


def _record(members: dict[str, Any]) -> Record:
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
