"""`/keys`, the collection of all keys, `/keys/{key}`, one of them, and `/values/{key}`, the same as plain bytes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlencode

from flask import request
from flask_restx import Namespace

from models.change import UNCONDITIONAL, Condition, tag_of
from models.entry import MAX_KEY_BYTES, values_to_json
from models.filter import EVERY_KEY, Filter
from models.schema import (
    BYTES_OF_A_VALUE,
    CHANGE,
    DELETED,
    ENTRIES,
    EVENT_TEXT,
    LISTED_RECORDS,
    OUTCOME,
    PAIRS,
    RECORDS,
    STORED,
    TEXT_OF_A_VALUE,
    TEXT_PAIRS,
    TRANSACTION,
)
from models.tokens import DELETE, READ, WRITE
from resources.base import KeyResource
from resources.declarations import (
    CONDITIONS,
    CONDITIONS_FOR_ALL,
    LAST_EVENT_ID,
    PREFER,
    PREFERENCE_APPLIED,
    Headers,
    body,
    key_answers,
)
from resources.errors import FilterRequired
from resources.events import event_stream
from resources.held import hold
from resources.media_types import (
    ANY,
    BYTES,
    EVENTS,
    FORM,
    ITEM_TYPES,
    JSON,
    NDJSON_TYPES,
    PATCH_TYPES,
    TEXT,
    VALUE_TYPES,
)
from resources.ndjson import Import, export_lines
from resources.parsing.body import read_value
from resources.parsing.conditions import (
    entity_tag,
    read_collection_condition,
    read_condition,
    refuse_condition,
)
from resources.parsing.json_body import is_a, refuse_multipart
from resources.parsing.pairs import read_put
from resources.parsing.parameters import (
    CURSOR,
    DEFAULT_LIMIT,
    EXPIRE_IN,
    FILTER,
    FILTER_TO_DELETE,
    INITIAL,
    LIMIT,
    SINCE,
    VALUES,
    cursor_text,
    documented,
    parse_query,
)
from resources.parsing.patch import read_patch
from resources.parsing.preferences import read_wait
from resources.parsing.ranges import has_if_range, read_range
from resources.parsing.transaction import read_transaction, scopes_of
from resources.representations import negotiate, represent, represent_part
from resources.responses import BytesResponse, cached, json_response, list_response, object_chunks
from resources.watching import long_poll


ns = Namespace("keys", path="/", description="Keys and their values.")

LINK: Headers = {
    "Link": {
        "description": '`<?...>; rel="next"`: the next page, if there is one (RFC 8288), relative to the request.',
        "type": "string",
    }
}
TOTAL_COUNT: Headers = {
    "Total-Count": {"description": "How many keys there are.", "type": "integer", "format": "int64", "minimum": 0}
}
ETAG: Headers = {"ETag": {"description": "Stands for the value (RFC 9110).", "type": "string"}}
OF_AN_ITEM: Headers = {
    **ETAG,
    "Expire-In": {"description": "Seconds until the key expires, if it does.", "type": "integer", "minimum": 0},
    "Accept-Ranges": {"description": "`bytes`, where bytes are sent.", "type": "string"},
}
KEY = {
    "description": f"Any UTF-8 of 1 to {MAX_KEY_BYTES:,} bytes. In a URL, percent-encode what it cannot hold (this "
    "page does it for you); %2F and / are the same there, and // is kept.",
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_KEY_BYTES,
    "x-example": "word",
}
PAIRS_BODY = body(PAIRS, "The pairs; not needed if the query string has some.", required=False)
# Swagger 2.0 has no place for it, and leaves it out.
PAIRS_IN_QUERY = {
    "in": "query",
    "description": '`{"greeting": "hello"}` is sent as `?greeting=hello`: each member is a parameter of its own.',
    # Not the example of the body: no key may be given twice.
    "schema": {**TEXT_PAIRS.__schema__, "examples": [{"greeting": "hello"}]},
    # Pages fill this in and send it.
    "x-example": {},
}
LINES = dict.fromkeys(NDJSON_TYPES, RECORDS)
LISTED_LINES = dict.fromkeys(NDJSON_TYPES, LISTED_RECORDS)
HAPPENING = {EVENTS: EVENT_TEXT}
# How one key is shown.
SHOWN_AS_BYTES = {BYTES: BYTES_OF_A_VALUE, TEXT: TEXT_OF_A_VALUE}
SHOWN = {JSON: ENTRIES, **SHOWN_AS_BYTES}
VALUE_BODY = {
    "in": "body",
    "required": False,
    "description": "The value: any bytes, whatever their media type.",
    "schema": {"type": "string", "format": "binary", "example": "any bytes"},
}


@ns.route("/keys")
class KeyCollection(KeyResource):
    """All keys."""

    metric_name = "keys"
    # A transaction says in its body what it does.
    scopes: ClassVar = {"GET": (READ,), "HEAD": (READ,), "PUT": (WRITE,), "POST": (), "DELETE": (DELETE,)}
    bodies: ClassVar = {"PUT": {JSON: PAIRS, FORM: TEXT_PAIRS, **LINES}, "POST": {JSON: TRANSACTION}}

    @ns.doc(
        "list_keys",
        params={**documented(FILTER, VALUES, LIMIT, CURSOR, INITIAL, SINCE), **LAST_EVENT_ID, **PREFER},
    )
    @key_answers(
        ns,
        {JSON: ENTRIES, **LISTED_LINES, **HAPPENING},
        "The entries, in no particular order.",
        406,
        headers={**LINK, **PREFERENCE_APPLIED},
    )
    def get(self) -> BytesResponse:
        """List keys and values.

        Without `limit` everything is streamed, however much it is. A key that is there throughout is never missed.
        With `Accept: application/x-ndjson` it is an export: one `{"key": ..., "value": ..., "expires_at": ...}` a line,
        and without `limit` `{"count": ...}` at the end. With `values=false` a line has `value_bytes`, the size of the
        value, in the place of `value`.

        With `Accept: text/event-stream` it is a stream without an end: first the state, then each change.
        """
        media_type = negotiate(JSON, *NDJSON_TYPES, EVENTS)
        if media_type == EVENTS:
            pattern, values, initial, since = parse_query(FILTER, VALUES, INITIAL, SINCE)
            return event_stream(self.watch, pattern, values=values, initial=initial, since=since)
        pattern, values, limit, cursor = parse_query(FILTER, VALUES, LIMIT, CURSOR)
        as_json, is_page, next_cursor = media_type == JSON, (limit, cursor) != (None, None), 0
        if is_page:
            limit = limit or DEFAULT_LIMIT
            list_page: Callable[..., Any] = self.store.page if as_json else self.store.page_of_records
            next_cursor, found = list_page(pattern, cursor=cursor or 0, limit=limit, values=values)
        else:
            list_all: Callable[..., Any] = self.store.entries if as_json else self.store.export_records
            found = list_all(pattern, values=values)
        found = self.while_valid(found)
        chunks = object_chunks(found) if as_json else export_lines(found, values=values, is_page=is_page)
        response = list_response(chunks, media_type, self.list_limiter)
        if next_cursor:
            response.headers.add("Link", _link(pattern.text, values=values, limit=limit, cursor=next_cursor))
        return response

    @ns.doc("count_keys", params=documented(FILTER, VALUES, LIMIT, CURSOR))
    @key_answers(ns, {}, "The count is in a header; there is no body.", 406, headers=TOTAL_COUNT)
    def head(self) -> BytesResponse:
        """Count keys: all that the filter matches, whatever a page of them would list."""
        media_type = negotiate(JSON, *NDJSON_TYPES)
        pattern, *_ = parse_query(FILTER, VALUES, LIMIT, CURSOR)
        with self.list_limiter.counting():
            count = self.store.count(pattern, as_records=media_type != JSON)
        # Without a body, and so without the length of one.
        response = cached(BytesResponse(content_type=media_type))
        response.headers.add("Total-Count", str(count))
        return response

    @ns.doc(
        "store_keys",
        params={"pairs": PAIRS_BODY, "query_pairs": PAIRS_IN_QUERY, **documented(EXPIRE_IN), **CONDITIONS_FOR_ALL},
    )
    @key_answers(ns, {JSON: STORED}, "All pairs are written.", 408, 412, 413, 415, 501)
    def put(self) -> BytesResponse:
        """Store pairs, all of them in one atomic step or none; on a cluster, those of each hash slot.

        The pairs come from a JSON object, from a form body, or from the query string, where each name but `expire_in`
        is a key: `PUT /keys?my_name=my_value&expire_in=60`. Up to 131,072 are taken, or 10,000 with an expiry or a
        condition.
        A body of the type `application/x-ndjson`, one record a line as GET exports them, is imported line by line in
        bounded memory instead; the answer then also has `skipped`, for records that have expired meanwhile, `failed`,
        for lines that are wrong, and `errors`, with the first hundred of those.
        """
        if is_a(*NDJSON_TYPES):
            parse_query()
            refuse_condition()
            return json_response(Import(self.store, self.check_token).run())
        condition = read_collection_condition()
        values, expire_in = read_put()
        return json_response({"stored": self.store.put(values, expire_in=expire_in, condition=condition)})

    @ns.doc("transact", params={"transaction": body(TRANSACTION, "What to do.")})
    @key_answers(ns, {JSON: OUTCOME}, "All of it is done.", 408, 409, 412, 413, 415, 501)
    def post(self) -> BytesResponse:
        """Check, read, write and delete keys in one atomic step: a transaction.

        `if` says for each key that it must have the value with this ETag, must exist (`"*"`), or must not (null); `get`
        reads before anything is written; `expire_in` is the expiry of what `put` writes. If a condition does not hold
        nothing is done, and the answer names its key. All lists together have up to 1,000 keys; the values to read have
        up to 8 MiB together, and those to compare with ETags 4 MiB. On a cluster the keys need one hash tag, as in
        `{user1}name` and `{user1}mail`.
        """
        parse_query()
        refuse_condition()
        transaction = read_transaction()
        self.require(*scopes_of(transaction))
        values, stored, deleted = self.store.transact(transaction, hold=hold)
        return json_response({"values": values_to_json(values), "stored": stored, "deleted": deleted})

    @ns.doc("delete_keys", params=documented(FILTER_TO_DELETE))
    @key_answers(ns, {JSON: DELETED}, "They are deleted.")
    def delete(self) -> BytesResponse:
        """Delete all keys, or those that a filter matches.

        A service with `FLASKVSTORE_DELETE_ALL=false` wants a filter; `$` matches every key.
        """
        (pattern,) = parse_query(FILTER_TO_DELETE)
        refuse_condition()
        if pattern is None and not self.may_delete_all:
            raise FilterRequired
        with self.list_limiter.counting():
            return json_response({"deleted": self.store.delete_matching(pattern or EVERY_KEY)})


@ns.route("/keys/<key:key>")
@ns.doc(params={"key": KEY})
class KeyItem(KeyResource):
    """One key."""

    metric_name = "key"
    # PATCH shows the value that it makes.
    scopes: ClassVar = {
        "GET": (READ,),
        "HEAD": (READ,),
        "PUT": (WRITE,),
        "PATCH": (READ, WRITE),
        "DELETE": (DELETE,),
    }
    # The bytes of a PUT may have any media type, but for one that wraps them.
    bodies: ClassVar = {
        "PUT": {**SHOWN_AS_BYTES, ANY: {}},
        "PATCH": dict.fromkeys(PATCH_TYPES, CHANGE),
    }
    #: How it is shown; the first one where the client does not care.
    media_types: ClassVar[Sequence[str]] = ITEM_TYPES
    #: And how a GET shows what happens to it.
    stream_types: ClassVar[Sequence[str]] = (EVENTS,)

    @ns.doc("get_key", params={**documented(VALUES, INITIAL, SINCE), **CONDITIONS, **LAST_EVENT_ID, **PREFER})
    @key_answers(
        ns,
        {**SHOWN, **HAPPENING},
        "The entry, or the value alone.",
        *(206, 304, 404, 406, 409, 412, 416),
        headers={**OF_AN_ITEM, **PREFERENCE_APPLIED},
    )
    def get(self, key: str) -> BytesResponse:
        """Read one key.

        With `Accept: application/octet-stream` or `text/plain` the answer is the value's bytes, or with `Range` some of
        them. With `Accept: text/event-stream` it is a stream without an end: the state and then each change, also of a
        key that does not exist.
        """
        media_type = negotiate(*self.media_types, *self.stream_types)
        if media_type == EVENTS:
            values, initial, since = parse_query(VALUES, INITIAL, SINCE)
            return event_stream(self.watch, Filter.of_key(key), values=values, initial=initial, since=since)
        parse_query()
        wait = read_wait()
        if wait is None:
            return self._show(key, media_type)
        watch = partial(self.watch, Filter.of_key(key), initial=False)
        return long_poll(partial(self._show, key, media_type), watch, wait)

    @ns.doc("has_key", params=CONDITIONS)
    @key_answers(ns, {}, "The key exists; there is no body.", 304, 404, 406, 409, 412, headers=OF_AN_ITEM)
    def head(self, key: str) -> BytesResponse:
        """Check whether a key exists."""
        parse_query()
        return self._show(key, negotiate(*self.media_types))

    @ns.doc("put_key", params={"value": VALUE_BODY, **documented(EXPIRE_IN), **CONDITIONS})
    @key_answers(ns, {JSON: STORED}, "It is written.", 408, 409, 412, 413, 415, 501, headers=ETAG)
    def put(self, key: str) -> BytesResponse:
        """Store one key: the bytes of the body are its value.

        `If-Match` makes it a compare-and-set, `If-Match: *` an update of what exists, `If-None-Match: *` a creation.
        """
        (expire_in,) = parse_query(EXPIRE_IN)
        condition = self._write_condition()
        refuse_multipart()
        value = read_value(key, self.store.max_value_bytes)
        self.store.put_one(key, value, expire_in=expire_in, condition=condition)
        response = json_response({"stored": 1})
        response.headers.add("ETag", entity_tag(tag_of(value), json=False))
        return response

    @ns.doc("change_key", params={"change": body(CHANGE, "The change."), **CONDITIONS})
    @key_answers(ns, SHOWN, "The entry as it is now.", 404, 406, 408, 409, 412, 413, 415, 501, headers=OF_AN_ITEM)
    def patch(self, key: str) -> BytesResponse:
        """Change one key: increment it, append to it, or set or remove its expiry.

        An increment and an append make the key if it is missing, and leave its expiry as it is unless they say
        otherwise; with `keep_expiry` they set one only if the key has none.
        """
        parse_query()
        media_type, condition = negotiate(*self.media_types), read_condition()
        return represent(key, self.store.patch(key, read_patch(key), condition=condition), media_type, UNCONDITIONAL)

    @ns.doc("delete_key", params=CONDITIONS)
    @key_answers(ns, {JSON: DELETED}, "It is deleted.", 404, 409, 412)
    def delete(self, key: str) -> BytesResponse:
        """Delete one key."""
        parse_query()
        self.store.delete(key, condition=self._write_condition())
        return json_response({"deleted": 1})

    def _show(self, key: str, media_type: str) -> BytesResponse:
        """Return what a GET or HEAD answers."""
        condition = read_condition(media_type)
        wanted = None if media_type == JSON else read_range()
        if wanted is None or condition != UNCONDITIONAL or has_if_range():
            return represent(key, self.store.get(key), media_type, condition, wanted)
        # What names no entity tag does not need the digest of the whole value.
        return represent_part(self.store.get_part(key, *wanted), media_type)

    def _write_condition(self) -> Condition:
        """Return the condition of the current write.

        :raises InsufficientScope: it compares tags, which tells whoever can guess a value that it is this one
        """
        condition = read_condition()
        if condition.compares:
            self.require(READ)
        return condition


@ns.route("/values/<key:key>")
@ns.doc(params={"key": KEY})
class ValueItem(KeyItem):
    """One key, as :class:`KeyItem`, for clients that speak plain HTTP: its value is bytes where they do not care."""

    # Generated clients would ask for JSON if it was declared here too.
    media_types: ClassVar = (*VALUE_TYPES, JSON)
    stream_types: ClassVar = ()

    @ns.doc("get_value", params={**CONDITIONS, **PREFER})
    @key_answers(
        ns,
        SHOWN_AS_BYTES,
        "The value.",
        *(206, 304, 404, 406, 409, 412, 416),
        headers={**OF_AN_ITEM, **PREFERENCE_APPLIED},
    )
    def get(self, key: str) -> BytesResponse:
        """Read the bytes of one key, or with `Range` some of them.

        With `Accept: application/json` the answer is that of `/keys/{key}`.
        """
        response: BytesResponse = super().get(key)
        return response

    @ns.doc("has_value", params=CONDITIONS)
    @key_answers(ns, {}, "The key exists; there is no body.", 304, 404, 406, 409, 412, headers=OF_AN_ITEM)
    def head(self, key: str) -> BytesResponse:
        """Check whether a key exists; Content-Length is the size of its value."""
        response: BytesResponse = super().head(key)
        return response

    @ns.doc("put_value", params={"value": VALUE_BODY, **documented(EXPIRE_IN), **CONDITIONS})
    @key_answers(ns, {JSON: STORED}, "It is written.", 408, 409, 412, 413, 415, 501, headers=ETAG)
    def put(self, key: str) -> BytesResponse:
        """Store one key: the bytes of the body are its value."""
        response: BytesResponse = super().put(key)
        return response

    @ns.doc("change_value", params={"change": body(CHANGE, "The change."), **CONDITIONS})
    @key_answers(
        ns, SHOWN_AS_BYTES, "The value as it is now.", 404, 406, 408, 409, 412, 413, 415, 501, headers=OF_AN_ITEM
    )
    def patch(self, key: str) -> BytesResponse:
        """Change one key: increment it, append to it, or set or remove its expiry."""
        response: BytesResponse = super().patch(key)
        return response

    @ns.doc("delete_value", params=CONDITIONS)
    @key_answers(ns, {JSON: DELETED}, "It is deleted.", 404, 409, 412)
    def delete(self, key: str) -> BytesResponse:
        """Delete one key."""
        response: BytesResponse = super().delete(key)
        return response


def _link(text: str, *, values: bool, limit: int, cursor: int) -> str:
    query = {"limit": limit, "cursor": cursor_text(cursor)}
    if FILTER.name in request.args:
        query["filter"] = text
    if not values:
        query["values"] = "false"
    # Relative to the URL of the request: a proxy may have it under another path.
    return f'<?{urlencode(query)}>; rel="next"'
