"""`/keys`, the collection of all keys, and `/keys/{key}`, one of them."""

from urllib.parse import urlencode

from flask import Response, request
from flask_restx import Namespace

from models.entry import MAX_KEY_BYTES, value_to_json
from models.schema import DELETED, ENTRIES, PAIRS, STORED
from resources.base import StoreResource
from resources.body import read_put
from resources.declarations import answers
from resources.parameters import (
    CURSOR,
    DEFAULT_LIMIT,
    EXPIRE_IN,
    FILTER,
    FILTER_TO_DELETE,
    LIMIT,
    VALUES,
    cursor_text,
    documented,
    parse_query,
)
from resources.responses import JSON, entries_response, json_response


ns = Namespace("keys", path="/", description="Keys and their values.")

LINK = {"Link": {"description": '`<...>; rel="next"`: the next page, where there is one (RFC 8288).', "type": "string"}}
TOTAL_COUNT = {"Total-Count": {"description": "How many keys there are.", "type": "integer"}}
KEY = {
    "description": f"Any UTF-8 of 1 to {MAX_KEY_BYTES:,} bytes; percent-encode what a URL cannot hold. "
    "%2F and / are the same, and // is kept.",
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_KEY_BYTES,
    "x-example": "word",
}


@ns.route("/keys")
class KeyCollection(StoreResource):
    """All keys."""

    @ns.doc(params=documented(FILTER, VALUES, LIMIT, CURSOR))
    @answers(ns, ENTRIES, "The entries, in no particular order.", 400, 500, headers=LINK)
    def get(self) -> Response:
        """List keys and values.

        Without `limit` everything is streamed, however much it is. A key that is there throughout is never missed.
        """
        pattern, values, limit, cursor = parse_query(FILTER, VALUES, LIMIT, CURSOR)
        if limit is None and cursor is None:
            return entries_response(self.store.entries(pattern, values=values))
        limit = limit or DEFAULT_LIMIT
        following, entries = self.store.page(pattern, cursor=cursor or 0, limit=limit, values=values)
        response = entries_response(entries)
        if following:
            response.headers["Link"] = _link(pattern.text, values=values, limit=limit, cursor=following)
        return response

    @ns.doc(params=documented(FILTER))
    @answers(ns, None, "The count is in a header; there is no body.", 400, 500, headers=TOTAL_COUNT)
    def head(self) -> Response:
        """Count keys."""
        (pattern,) = parse_query(FILTER)
        response = Response(headers={"Total-Count": str(self.store.count(pattern))}, mimetype=JSON)
        # It would say 0, which is not the length of what GET sends.
        response.automatically_set_content_length = False
        return response

    @ns.doc(params=documented(EXPIRE_IN))
    @ns.expect(PAIRS)
    @answers(ns, STORED, "All pairs are written.", 400, 413, 415, 500)
    def put(self) -> Response:
        """Store pairs, all of them in one atomic step or none.

        The pairs come from a JSON object, from a form body, or from the query string, where each name but `expire_in`
        is a key: `PUT /keys?my_name=my_value&expire_in=60`.
        """
        values, expire_in = read_put()
        return json_response({"stored": self.store.put(values, expire_in=expire_in)})

    @ns.doc(params=documented(FILTER_TO_DELETE))
    @answers(ns, DELETED, "They are deleted.", 400, 500)
    def delete(self) -> Response:
        """Delete all keys, or those that a filter matches."""
        (pattern,) = parse_query(FILTER_TO_DELETE)
        return json_response({"deleted": self.store.delete_matching(pattern)})


@ns.route("/keys/<key:key>")
@ns.doc(params={"key": KEY})
class KeyItem(StoreResource):
    """One key."""

    @answers(ns, ENTRIES, "The entry.", 400, 404, 409, 500)
    def get(self, key: str) -> Response:
        """Read one key."""
        parse_query()
        return json_response({key: value_to_json(self.store.get(key))})

    @answers(ns, None, "The key exists; there is no body.", 400, 404, 409, 500)
    def head(self, key: str) -> Response:
        """Check whether a key exists."""
        return self.get(key)

    @answers(ns, DELETED, "It is deleted.", 400, 404, 500)
    def delete(self, key: str) -> Response:
        """Delete one key."""
        parse_query()
        self.store.delete(key)
        return json_response({"deleted": 1})


def _link(text: str, *, values: bool, limit: int, cursor: int) -> str:
    query = {"limit": limit, "cursor": cursor_text(cursor)}
    if FILTER.name in request.args:
        query["filter"] = text
    if not values:
        query["values"] = "false"
    return f'<{request.root_path}{request.path}?{urlencode(query)}>; rel="next"'
