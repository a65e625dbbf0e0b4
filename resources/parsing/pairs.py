"""The pairs that `PUT /keys` stores: from the query string, a form body or a JSON object."""

from flask import request

from models.entry import unique, values_from_json
from models.turn import Turn
from resources.errors import InvalidBody, InvalidPairs
from resources.media_types import FORM, JSON, NDJSON
from resources.parsing.body import read_bytes
from resources.parsing.json_body import is_a, parse_object, unsupported
from resources.parsing.parameters import EXPIRE_IN
from resources.parsing.urlencoded import parse_pairs


def read_put() -> tuple[dict[str, bytes], int | None]:
    """Return the pairs of the current request.

    :return: the value for each key, and the seconds after which they expire
    :raises InvalidExpiry: ``expire_in`` in the query string is not an expiry
    :raises InvalidPairs: no pair is there, or one is there twice
    :raises InvalidBody: the body cannot be read
    :raises UnsupportedBody: the body is neither a form nor JSON
    """
    query = unique(parse_pairs(request.query_string), InvalidPairs)
    expire_in = query.pop(EXPIRE_IN.name, None)
    seconds = EXPIRE_IN.default if expire_in is None else EXPIRE_IN.parse(expire_in)
    turn = Turn()
    pairs = [(key, value.encode()) for key, value in query.items()] + _body_pairs()
    if not pairs:
        raise InvalidPairs(
            "There is nothing to store. Give NAME=VALUE in the query string or in a form body, or a JSON object "
            f"with the header Content-Type: {JSON}."
        )
    turn.give_way()
    return unique(pairs, InvalidPairs), seconds


def _body_pairs() -> list[tuple[str, bytes]]:
    body = read_bytes()
    if not body:
        # Some clients name a media type whether there is a body or not.
        return []
    turn = Turn()
    if is_a(JSON):
        members = parse_object(body)
        turn.give_way()
        keys, values = [key for key, _ in members], [value for _, value in members]
        return [*zip(keys, values_from_json(keys, values), strict=True)]
    if not is_a(FORM):
        raise unsupported(JSON, FORM, NDJSON)
    if b"\n" in body or b"\r" in body:
        raise InvalidBody(
            "The form has a raw line break, so it is no form: in one a line break is %0A. To store the lines of a file "
            "as one value use PUT /keys/{key}; curl takes --data-urlencode for a form."
        )
    return [(key, value.encode()) for key, value in parse_pairs(body)]
