"""The query parameters: how each is read, and how it is documented."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import request

from models.entry import MAX_EXPIRE_IN_SECONDS, WHOLE_NUMBER, parse_expire_in, unique
from models.errors import InvalidFilter, quoted
from models.filter import EVERY_KEY, FILTER_PATTERN, MAX_FILTER_CHARACTERS, Filter
from models.watching.session import ID_PATTERN
from resources.errors import InvalidParameter
from resources.parsing.urlencoded import parse_pairs


MAX_LIMIT = 10_000
DEFAULT_LIMIT = 1_000
# 111 bits in hexadecimal, as models/valkey/scan.py packs them.
CURSOR_PATTERN = "^[0-7]?[0-9a-f]{1,27}$"


@dataclass(frozen=True)
class Parameter:
    """A query parameter.

    :param name: its name
    :param parse: from text to value; raises a :class:`~models.errors.RequestError`
    :param default: its value when it is not there
    :param document: its description in Swagger 2.0
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    document: Mapping[str, Any]


def parse_query(*parameters: Parameter) -> list[Any]:
    """Return the query parameters of the current request.

    :param parameters: those that are allowed
    :return: the value of each, in the same order
    :raises InvalidParameter: another one is there, or one is there twice
    """
    query = request.query_string
    if not query:
        return [parameter.default for parameter in parameters]
    given = unique(parse_pairs(query), InvalidParameter)
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            allowed = ", ".join(known) or "none"
            hint = " It is for Accept: text/event-stream." if name in {INITIAL.name, SINCE.name} else ""
            raise InvalidParameter(f"There is no query parameter {quoted(name)} here; allowed: {allowed}.{hint}")
    return [p.parse(given[p.name]) if p.name in given else p.default for p in parameters]


def documented(*parameters: Parameter) -> dict[str, dict[str, Any]]:
    """Return the Swagger descriptions of an operation's parameters."""
    return {parameter.name: {"in": "query", "required": False, **parameter.document} for parameter in parameters}


def _non_empty_filter(text: str) -> Filter:
    if not text:
        raise InvalidFilter("The filter is empty: write $ to delete every key, or say which keys to delete.")
    return Filter.parse(text)


def _boolean(name: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise InvalidParameter(f"{name} is {quoted(text)}: it must be true or false.")
    return text == "true"


def _since(text: str) -> str:
    if not re.fullmatch(ID_PATTERN, text):
        raise InvalidParameter(f"since is {quoted(text)}: take it from an event stream, where it stands behind id:.")
    return text


def _limit(text: str) -> int:
    if not WHOLE_NUMBER.fullmatch(text) or int(text) > MAX_LIMIT:
        raise InvalidParameter(f"limit is {quoted(text)}: it must be a whole number from 1 to {MAX_LIMIT:,}.")
    return int(text)


def _cursor(text: str) -> int:
    if not re.fullmatch(CURSOR_PATTERN, text):
        raise InvalidParameter(f"cursor is {quoted(text)}: take it from the Link header of the page before.")
    return int(text, 16)


def cursor_text(cursor: int) -> str:
    """Return a cursor of the store as :data:`CURSOR` reads it."""
    return f"{cursor:x}"


# Pages fill an x-example in and send it, which is right for a deletion only; they leave x-examples alone.
_FILTER = {
    "description": "Which keys are meant: `$` is any run of characters, none included; every other character stands "
    r"for itself; `\$` and `\\` are a dollar sign and a backslash. The whole key must match.",
    "type": "string",
    "pattern": FILTER_PATTERN,
    "maxLength": MAX_FILTER_CHARACTERS,
    "x-examples": {"starts with wo, ends with d": {"value": "wo$d"}},
}
FILTER = Parameter(name="filter", parse=Filter.parse, default=EVERY_KEY, document=_FILTER)
FILTER_TO_DELETE = Parameter(
    name="filter", parse=_non_empty_filter, default=None, document={**_FILTER, "minLength": 1, "x-example": "wo$d"}
)
VALUES = Parameter(
    name="values",
    parse=partial(_boolean, "values"),
    default=True,
    document={
        "description": "`false` gives the keys alone: every value is null, and in an export or in events there is its "
        "number of bytes. Without it values are sent.",
        "type": "boolean",
        "x-examples": {"keys only": {"value": False}},
    },
)
LIMIT = Parameter(
    name="limit",
    parse=_limit,
    default=None,
    document={
        "description": "Give about this many entries, and a Link to the next page. Without it everything is sent.",
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_LIMIT,
        "x-examples": {"a hundred": {"value": 100}},
    },
)
CURSOR = Parameter(
    name="cursor",
    parse=_cursor,
    default=None,
    document={
        "description": "Where the page starts: from the Link header of the page before. "
        f"Without a limit it implies one of {DEFAULT_LIMIT:,}.",
        "type": "string",
        "pattern": CURSOR_PATTERN,
        "x-examples": {"the start": {"value": "0"}},
    },
)
INITIAL = Parameter(
    name="initial",
    parse=partial(_boolean, "initial"),
    default=True,
    document={
        "description": "Only for an event stream: `false` leaves out the state, and changes alone are told. Without it "
        "the state comes first, unless the stream goes on from an id.",
        "type": "boolean",
        "x-examples": {"changes only": {"value": False}},
    },
)
SINCE = Parameter(
    name="since",
    parse=_since,
    default=None,
    document={
        "description": "Only for an event stream: the id from which it goes on. The header Last-Event-ID counts more.",
        "type": "string",
        "pattern": ID_PATTERN,
        "x-examples": {"nowhere": {"value": "0-0"}},
    },
)
EXPIRE_IN = Parameter(
    name="expire_in",
    parse=parse_expire_in,
    default=None,
    document={
        "description": "Seconds after which the keys of this request expire. Without it they do not, and an earlier "
        "expiry is removed.",
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_EXPIRE_IN_SECONDS,
        "x-examples": {"an hour": {"value": 3600}},
    },
)
