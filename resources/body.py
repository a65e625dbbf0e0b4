"""The pairs that `PUT /keys` stores: from the query string, a form body or a JSON object."""

import json
from typing import Any

from flask import request

from models.entry import unique, value_from_json
from models.errors import InvalidBody, InvalidPairs, UnsupportedBody, quoted
from resources.parameters import EXPIRE_IN
from resources.urlencoded import parse_pairs


FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class _Members(list[tuple[str, Any]]):
    """The members of a JSON object in their order, a name that comes twice included."""


def read_put() -> tuple[dict[str, bytes], int | None]:
    """Read what the current request wants stored.

    :return: the value for each key, and the seconds after which they expire
    :raises InvalidExpiry: ``expire_in`` in the query string is not an expiry
    :raises InvalidPairs: no pair is there, or one is there twice
    :raises InvalidBody: the body cannot be read
    :raises UnsupportedBody: the body is neither a form nor JSON
    """
    query = unique(parse_pairs(request.query_string), InvalidPairs)
    expire_in = query.pop(EXPIRE_IN.name, None)
    seconds = EXPIRE_IN.default if expire_in is None else EXPIRE_IN.parse(expire_in)
    pairs = [(key, value.encode()) for key, value in query.items()] + _body_pairs()
    if not pairs:
        raise InvalidPairs(
            "There is nothing to store. Give NAME=VALUE in the query string or in a form body, or a JSON object "
            f"with the header Content-Type: {JSON}."
        )
    return unique(pairs, InvalidPairs), seconds


def _body_pairs() -> list[tuple[str, bytes]]:
    body = request.get_data(cache=False)
    media_type = request.mimetype
    if media_type == JSON and request.mimetype_params.get("charset", "utf-8").lower() == "utf-8":
        return _json_pairs(body)
    if media_type == FORM:
        return [(key, value.encode()) for key, value in parse_pairs(body)]
    if body or media_type:
        raise UnsupportedBody(
            f"The body's Content-Type is {quoted(request.headers.get('Content-Type', ''))}: "
            f"it must be {JSON} in UTF-8, or {FORM}."
        )
    return []


def _json_pairs(body: bytes) -> list[tuple[str, bytes]]:
    return [(key, value_from_json(key, _plain(value))) for key, value in _parse_object(body)]


def _parse_object(body: bytes) -> _Members:
    try:
        # Not orjson, which keeps the last of two members with one name without a word.
        parsed = json.loads(body.decode(), object_pairs_hook=_Members)
    except UnicodeDecodeError as error:
        raise InvalidBody(f"The body is not UTF-8 at byte {error.start}.", position=error.start) from None
    except json.JSONDecodeError as error:
        raise InvalidBody(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.", position=error.pos
        ) from None
    except (RecursionError, ValueError):
        raise InvalidBody(
            "The body is not JSON of this kind: it is nested too deeply or a number is too long."
        ) from None
    if not isinstance(parsed, _Members):
        raise InvalidBody('The body must be a JSON object, such as {"key": "value"}.')
    return parsed


def _plain(value: Any) -> Any:
    return unique(value, InvalidBody) if isinstance(value, _Members) else value
