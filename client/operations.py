"""Every call of both kinds of stores, defined once."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import urlencode

import httpx

from . import files
from .drivers import listing, operation
from .errors import Conflict, CutOff, FlaskvstoreError, NotFound, PreconditionFailed
from .files import Imported, Progress
from .steps import Again, Close, Pages, Pause, Read, Request, Steps, exchange, random
from .values import Entry, Record, Ttl, Value, content_of, escape, from_json, path_of, seconds_of, to_json
from .watching import Change, Watch


JSON = {"Content-Type": "application/json"}
NDJSON = "application/x-ndjson"
# How many keys are asked for at a time, of names and of values, which are larger.
KEYS_OF_A_PAGE = 1_000
VALUES_OF_A_PAGE = 100
# How long a count, a deletion or an import of many keys may say nothing.
LONG_SECONDS = 300.0


class Operations:
    """What can be done with keys.

    :param timeout_seconds: how long one call may take, with its repetitions
    :param prefix: the start of the names of all keys, which callers do not see
    """

    def __init__(self, timeout_seconds: float, prefix: str = "") -> None:
        self._timeout_seconds = timeout_seconds
        self._prefix = prefix

    # One key.

    @operation
    def entry(self, key: str) -> Steps[Entry]:
        """Return the value of a key with its ETag and expiry.

        :raises NotFound: there is no such key
        """
        return (yield from self._entry(key))

    @operation
    def read(self, key: str) -> Steps[Value]:
        """Return the value of a key.

        :raises NotFound: there is no such key
        """
        return (yield from self._entry(key)).value

    @operation
    def get(self, key: str, default: Value | None = None) -> Steps[Value | None]:
        """Return the value of a key, or a default."""
        found = yield from self._entry_or_none(key)
        return default if found is None else found.value

    @operation
    def exists(self, key: str) -> Steps[bool]:
        """Tell whether a key exists."""
        try:
            yield from self._ask(Request("HEAD", self._target(key), again=Again.ALWAYS))
        except NotFound:
            return False
        return True

    @operation
    def put(
        self,
        key: str,
        value: Value,
        *,
        ttl: Ttl = None,
        if_match: Entry | str | None = None,
        only_if_absent: bool = False,
        only_if_present: bool = False,
    ) -> Steps[str]:
        """Store a value, and return its ETag.

        :param ttl: when it expires; without it, it does not, and an earlier expiry is removed
        :param if_match: the entry, or its ETag, that must still be there
        :raises PreconditionFailed: the condition does not hold
        """
        condition = _condition(if_match, only_if_absent=only_if_absent, only_if_present=only_if_present)
        return (yield from self._put(key, value, ttl, condition))

    @operation
    def delete(self, key: str, *, if_match: Entry | str | None = None) -> Steps[None]:
        """Delete a key.

        :param if_match: the entry, or its ETag, that must still be there
        :raises NotFound: there is no such key
        :raises PreconditionFailed: the condition does not hold
        """
        yield from self._delete(key, _condition(if_match))

    @operation
    def increment(self, key: str, by: int = 1, *, ttl: Ttl = None, keep_ttl: bool = False) -> Steps[int]:
        """Add to a number, which is 0 if the key does not exist, and return it.

        :param ttl: when it expires; without it, the expiry stays as it is
        :param keep_ttl: set the expiry only if the key has none
        :raises Conflict: the value is no number
        """
        return int((yield from self._patch(key, {"increment": by}, ttl, keep_ttl=keep_ttl)).content)

    @operation
    def append(self, key: str, value: Value, *, ttl: Ttl = None, keep_ttl: bool = False) -> Steps[Value]:
        """Add to the end of a value, which is empty if the key does not exist, and return it; `ttl` as above."""
        return (yield from self._patch(key, {"append": to_json(value)}, ttl, keep_ttl=keep_ttl)).value

    @operation
    def expire(self, key: str, ttl: Ttl, *, if_match: Entry | str | None = None) -> Steps[None]:
        """Set when a key expires; None for never.

        :raises NotFound: there is no such key
        """
        yield from self._expire(key, ttl, _condition(if_match))

    @operation
    def persist(self, key: str) -> Steps[None]:
        """Let a key not expire.

        :raises NotFound: there is no such key
        """
        yield from self._expire(key, None, {})

    @operation
    def modify(
        self, key: str, change: Callable[[Value], Value], *, default: Value | None = None, attempts: int = 20
    ) -> Steps[Value]:
        """Read a value, change it, and write it if it is still the same, else start again; return what was written.

        The expiry stays as it is.

        :param change: makes the new value from the old one; is called once for each attempt
        :param default: the old value if there is no such key
        :raises NotFound: there is no such key, and no default
        :raises Conflict: others were faster each time
        """
        for attempt in range(attempts):
            found = yield from self._entry_or_none(key)
            before = default if found is None else found.value
            if before is None:
                raise NotFound(f'There is no key "{key}".', keys=[key])
            after = change(before)
            condition = _condition(found, only_if_absent=found is None)
            try:
                yield from self._put(key, after, None if found is None else found.ttl, condition)
            except PreconditionFailed:
                yield Pause(random.uniform(0, min(0.01 * 2**attempt, 0.5)))
            else:
                return after
        raise Conflict(f'Others changed "{key}" during each of {attempts} attempts.', keys=[key])

    # Many keys.

    @operation
    def update(
        self,
        pairs: Mapping[str, Value],
        *,
        ttl: Ttl = None,
        only_if_absent: bool = False,
        only_if_present: bool = False,
    ) -> Steps[None]:
        """Store many values in one step.

        :raises PreconditionFailed: the condition does not hold for all of them, and nothing was stored
        """
        if not pairs:
            return
        condition = _condition(None, only_if_absent=only_if_absent, only_if_present=only_if_present)
        body = {self._prefix + key: to_json(value) for key, value in pairs.items()}
        yield from self._ask(
            Request(
                "PUT",
                "/keys" + _query(expire_in=seconds_of(ttl)),
                {**JSON, **condition},
                json.dumps(body).encode(),
                Again.ALWAYS if only_if_absent else Again.IF_NOT_DONE,
            )
        )

    @operation
    def count(self, pattern: str | None = None) -> Steps[int]:
        """Return how many keys there are, or match a filter."""
        target = "/keys" + _query(filter=self._filter(pattern))
        answer = yield from self._ask(Request("HEAD", target, again=Again.ALWAYS), at_least=LONG_SECONDS)
        return int(answer.headers["Total-Count"])

    @listing
    def keys(self, pattern: str | None = None, *, page: int = KEYS_OF_A_PAGE) -> Pages[str]:
        """Return the names of all keys, or of those that match a filter, in no particular order.

        :param page: how many are asked for at a time
        """

        def names(place: str | None) -> Steps[tuple[list[str], str | None]]:
            answer = yield from self._page(place, pattern, page, values="false")
            return [self._bare(key) for key in answer.json()], _next_page(answer)

        return Pages(names)

    @listing
    def items(self, pattern: str | None = None, *, page: int = VALUES_OF_A_PAGE) -> Pages[tuple[str, Value]]:
        """Return keys with their values; as above."""

        def pairs(place: str | None) -> Steps[tuple[list[tuple[str, Value]], str | None]]:
            answer = yield from self._page(place, pattern, page)
            found = [(self._bare(key), from_json(shown)) for key, shown in answer.json().items()]
            return found, _next_page(answer)

        return Pages(pairs)

    @listing
    def scan(
        self,
        pattern: str | None = None,
        *,
        values: bool = True,
        page: int = VALUES_OF_A_PAGE,
    ) -> Pages[Record]:
        """Return keys with their values, sizes and expiries; as above.

        :param values: False for sizes only
        """

        def records(place: str | None) -> Steps[tuple[list[Record], str | None]]:
            shown = "true" if values else "false"
            answer = yield from self._page(place, pattern, page, values=shown, media_type=NDJSON)
            return [self._record(json.loads(line)) for line in answer.content.splitlines()], _next_page(answer)

        return Pages(records)

    @listing
    def watch(
        self, pattern: str | None = None, *, since: str | None = None, initial: bool = True, values: bool = True
    ) -> Pages[Change]:
        """Return the keys that there are, or that match a filter, and then each change, without an end.

        It goes on by itself where the connection or the service ends it.

        :param since: the `id` of the change to go on from
        :param initial: False to begin with the changes
        :param values: False for sizes only
        """
        watch = Watch(
            self._filter(pattern),
            self._prefix,
            since=since,
            initial=initial,
            values=values,
            timeout_seconds=self._timeout_seconds,
        )
        return Pages(watch.read, watch.close)

    @operation
    def delete_matching(self, pattern: str) -> Steps[int]:
        """Delete the keys that match a filter, and return how many those were."""
        return (yield from self._delete_matching(self._filter(pattern)))

    @operation
    def clear(self) -> Steps[int]:
        """Delete all keys, of a namespace those in it, and return how many those were."""
        return (yield from self._delete_matching(escape(self._prefix) + "$"))

    # Files.

    @operation
    def export_to(
        self,
        file: str | BinaryIO,
        pattern: str | None = None,
        *,
        progress: Progress | None = None,
    ) -> Steps[int]:
        """Write all keys, or those that match a filter, to a file, and return how many those were.

        A file that is named by its path is replaced when the export is complete. It has one record a line, with the
        full name of its key, and ends with their number.

        :param progress: is called again and again with how many records there are more
        :raises CutOff: the export ended too early
        """
        request = Request(
            "GET",
            "/keys" + _query(filter=self._filter(pattern)),
            {"Accept": NDJSON},
            again=Again.ALWAYS,
            is_stream=True,
        )
        answer = yield from self._ask(request)
        try:
            with files.writing(file, progress) as written:
                while chunk := (yield Read(answer)):
                    written.write(chunk)
                return written.count()
        except httpx.TransportError as error:
            raise CutOff(f"The export ended too early ({error}).") from error
        finally:
            yield Close(answer)

    @operation
    def import_from(
        self, file: str | BinaryIO, *, complete: bool = True, progress: Progress | None = None
    ) -> Steps[Imported]:
        """Store the records of a file, one after another, under the full names that they have in it.

        It may be repeated: that stores the same once more.

        :param complete: refuse a file that does not end with the number of its records, as an export does
        :param progress: is called again and again with how many records are sent more
        :raises CutOff: the file does not end as it should; if it cannot be read twice, its records are stored already
        """
        with files.reading(file, complete=complete) as found:
            return (yield from self._import(files.chunks(found, progress, complete=complete)))

    # The service.

    @operation
    def token(self) -> Steps[dict[str, Any]]:
        """Return what the token at hand may do."""
        said: dict[str, Any] = (yield from self._get("/token")).json()
        return said

    # The steps that they share.

    def _ask(self, request: Request, *, at_least: float = 0.0) -> Steps[httpx.Response]:
        """Send a request.

        :param at_least: how many seconds it may take, whatever others may
        """
        try:
            return (yield from exchange(request, max(self._timeout_seconds, at_least)))
        except FlaskvstoreError as error:
            error.keys = [self._bare(key) for key in error.keys]
            raise

    def _get(self, target: str) -> Steps[httpx.Response]:
        return self._ask(Request("GET", target, again=Again.ALWAYS))

    def _transact(self, transaction: object) -> Steps[dict[str, Any]]:
        answer = yield from self._ask(Request("POST", "/keys", JSON, json.dumps(transaction).encode()))
        done: dict[str, Any] = answer.json()
        return done

    def _import(self, lines: Iterator[bytes]) -> Steps[Imported]:
        request = Request("PUT", "/keys", {"Content-Type": NDJSON}, lines, Again.NEVER)
        return Imported(**(yield from self._ask(request, at_least=LONG_SECONDS)).json())

    def _target(self, key: str, **parameters: str | int | None) -> str:
        return "/values/" + path_of(self._prefix + key) + _query(**parameters)

    def _entry(self, key: str) -> Steps[Entry]:
        return _entry_of((yield from self._get(self._target(key))))

    def _entry_or_none(self, key: str) -> Steps[Entry | None]:
        try:
            return (yield from self._entry(key))
        except NotFound:
            return None

    def _put(self, key: str, value: Value, ttl: Ttl, condition: Mapping[str, str]) -> Steps[str]:
        target = self._target(key, expire_in=seconds_of(ttl))
        answer = yield from self._ask(Request("PUT", target, condition, content_of(value), _again(condition)))
        return str(answer.headers["ETag"])

    def _delete(self, key: str, condition: Mapping[str, str]) -> Steps[None]:
        yield from self._ask(Request("DELETE", self._target(key), condition, again=_again(condition)))

    def _expire(self, key: str, ttl: Ttl, condition: Mapping[str, str]) -> Steps[None]:
        yield from self._patch(key, {"expire_in": seconds_of(ttl)}, None, condition)

    def _patch(
        self,
        key: str,
        change: dict[str, Any],
        ttl: Ttl,
        condition: Mapping[str, str] | None = None,
        *,
        keep_ttl: bool = False,
    ) -> Steps[Entry]:
        if ttl is not None:
            change |= {"expire_in": seconds_of(ttl)}
        if keep_ttl:
            change |= {"keep_expiry": True}
        condition = condition or {}
        body = json.dumps(change).encode()
        request = Request("PATCH", self._target(key), {**JSON, **condition}, body, _again(condition))
        return _entry_of((yield from self._ask(request)))

    def _delete_matching(self, pattern: str | None) -> Steps[int]:
        request = Request("DELETE", "/keys" + _query(filter=pattern), again=Again.NEVER)
        answer = yield from self._ask(request, at_least=LONG_SECONDS)
        return int(answer.json()["deleted"])

    def _page(
        self,
        place: str | None,
        pattern: str | None,
        limit: int,
        *,
        values: str | None = None,
        media_type: str = "application/json",
    ) -> Steps[httpx.Response]:
        """Ask for a page.

        :param place: the query of the next page, as the last one named it; None for the first
        """
        query = place or _query(filter=self._filter(pattern), limit=limit, values=values)
        return self._ask(Request("GET", "/keys" + query, {"Accept": media_type}, again=Again.ALWAYS))

    def _filter(self, pattern: str | None) -> str | None:
        if pattern is None:
            return escape(self._prefix) + "$" if self._prefix else None
        return escape(self._prefix) + pattern

    def _bare(self, key: str) -> str:
        return key[len(self._prefix) :]

    def _record(self, shown: dict[str, Any]) -> Record:
        value = from_json(shown["value"]) if "value" in shown else None
        size = shown["value_bytes"] if value is None else len(content_of(value))
        return Record(self._bare(shown["key"]), value, size, shown.get("expires_at"))


def _entry_of(answer: httpx.Response) -> Entry:
    ttl = answer.headers.get("Expire-In")
    # A proxy that compresses calls it weak.
    etag = answer.headers["ETag"].removeprefix("W/")
    return Entry(answer.content, etag, None if ttl is None else int(ttl))


def _condition(
    if_match: Entry | str | None, *, only_if_absent: bool = False, only_if_present: bool = False
) -> dict[str, str]:
    """Return the header for a condition.

    :raises ValueError: there are several
    """
    if (if_match is not None) + only_if_absent + only_if_present > 1:
        raise ValueError("A call takes one of if_match, only_if_absent and only_if_present.")
    if if_match is not None:
        return {"If-Match": etag_of(if_match)}
    if only_if_absent:
        return {"If-None-Match": "*"}
    return {"If-Match": "*"} if only_if_present else {}


def etag_of(entry: Entry | str) -> str:
    """Return the ETag of an entry, or the one that is given."""
    return entry.etag if isinstance(entry, Entry) else entry


def _again(condition: Mapping[str, str]) -> Again:
    """Tell when a write may be sent again: what it does makes its own condition false, unless that is `If-Match: *`."""
    return Again.ALWAYS if condition and condition.get("If-Match") != "*" else Again.IF_NOT_DONE


def _query(**parameters: str | int | None) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return "?" + urlencode(given) if given else ""


def _next_page(answer: httpx.Response) -> str | None:
    link = answer.headers.get("Link")
    return None if link is None else link[1 : link.index(">")]
