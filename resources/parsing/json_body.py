"""JSON bodies (RFC 8259), read strictly: in UTF-8, and no name twice in one object."""

import codecs
import json
import math
import re
from collections.abc import Callable
from itertools import islice
from typing import Any

import orjson
from flask import request

from models.entry import unique
from models.errors import TooManyKeys, quoted
from models.store import MAX_PAIRS
from resources.errors import InvalidBody, UnsupportedBody
from resources.parsing.body import read_bytes


# As many as the largest body has that is taken, whose pairs have values like {"base64": "..."}. Parsed, the text `[],`
# takes thirty times the memory.
MAX_VALUES = 2 * MAX_PAIRS
# As many arrays and objects the quick parser is tried with: each is looked at, and a text that needs more is rare.
QUICK_PARTS = 10_000
# Up to what begins or separates two values, strings aside; or to the end. None of its parts ever goes back.
_TO_NEXT_VALUE = re.compile(rb'(?:[^"\[{,]++|"(?:[^"\\]++|\\.)*+"?+)*+(?:[\[{,]|\Z)', re.DOTALL)


class Repeated(list[tuple[str, Any]]):
    """The members of a JSON object that names one of them twice."""


def is_a(*media_types: str) -> bool:
    """Return whether the body of the current request has one of these media types, in UTF-8 by any of its names."""
    return request.mimetype in media_types and _is_utf8(request.mimetype_params.get("charset", "utf-8"))


def read_object(*media_types: str) -> dict[str, Any]:
    """Return the body of the current request, which must be a JSON object.

    :param media_types: those that are allowed
    :raises UnsupportedBody: it has another one
    :raises InvalidBody: it is not an object, or names a member twice
    """
    if not is_a(*media_types):
        raise unsupported(*media_types)
    return unique(parse_object(read_bytes()), InvalidBody)


def refuse_multipart() -> None:
    """Refuse a value in the envelope of a file upload, which nobody wants stored.

    :raises UnsupportedBody: the body of the current request is multipart
    """
    if request.mimetype.startswith("multipart/"):
        raise UnsupportedBody(
            f"The body is {quoted(request.mimetype)}, the envelope of an upload, which is not stored. Send the "
            "bytes of the value alone, as `curl --data-binary @FILE` or `curl -T FILE` do."
        )


def unsupported(*media_types: str) -> UnsupportedBody:
    """Return the error for a body that has none of these media types."""
    given = quoted(request.headers.get("Content-Type", ""))
    return UnsupportedBody(f"The body's Content-Type is {given}: it must be {' or '.join(media_types)}, in UTF-8.")


def parse_object(text: bytes, max_values: int = MAX_VALUES) -> list[tuple[str, Any]]:
    """Return the members of a JSON object in their order, a name that comes twice included.

    :param text: JSON in UTF-8
    :param max_values: how many values it may have, those within others included
    :raises TooManyKeys: it has more values than that
    :raises InvalidBody: it is not an object, or an object within it names a member twice
    """
    _check_count(text, max_values)
    quick = _quickly_parsed(text)
    if quick is not None:
        return list(quick.items())
    repeated: list[Repeated] = []

    def named(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Repeated:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        repeated.append(Repeated(pairs))
        return repeated[-1]

    parsed = _parsed(text, named)
    if not isinstance(parsed, dict | Repeated):
        raise InvalidBody('The body must be a JSON object, such as {"key": "value"}.')
    for within in repeated:
        if within is not parsed:
            unique(within, InvalidBody)
    return parsed if isinstance(parsed, Repeated) else list(parsed.items())


def _check_count(text: bytes, max_values: int) -> None:
    """Refuse a text with too many values before it is parsed."""
    # Counted in the quick way first, which also counts what stands in strings.
    if len(text) <= max_values or sum(map(text.count, (b"[", b"{", b","))) <= max_values:
        return
    if any(True for _ in islice(_TO_NEXT_VALUE.finditer(text), max_values + 1, None)):
        raise TooManyKeys(f"There are too many JSON values: at most {max_values:,} are allowed.", limit=max_values)


def _is_utf8(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name in {"utf-8", "ascii"}
    except LookupError:
        return False


def _quickly_parsed(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a text is, by a parser that drops a member whose name comes twice.

    :return: None if it may have dropped one, if it may read a number in its own way, or if it finds an error
    """
    # Without a backslash each string has two quotation marks, and no others are there.
    if b"\\" in text or text.count(b"[") + text.count(b"{") > QUICK_PARTS:
        return None
    try:
        parsed = orjson.loads(text)
        is_whole = isinstance(parsed, dict) and text.count(b'"') == 2 * _count_strings(parsed)
    except (orjson.JSONDecodeError, RecursionError):
        return None
    return parsed if is_whole else None


def _count_strings(value: object) -> float:
    """Return how many strings a JSON value has, names included; nan if it has a number that is no short integer."""
    if not isinstance(value, dict | list):
        return math.nan if isinstance(value, float) else isinstance(value, str)
    names, values = (len(value), list(value.values())) if isinstance(value, dict) else (0, value)
    # Nearly always text, which takes no call for each.
    return names + (len(values) if set(map(type, values)) <= {str} else sum(map(_count_strings, values)))


def _parsed(text: bytes, named: Callable[[list[tuple[str, Any]]], object]) -> object:
    try:
        # Editors may put a byte order mark first, which RFC 8259 section 8.1 lets a reader ignore.
        return json.loads(text.removeprefix(codecs.BOM_UTF8).decode(), object_pairs_hook=named)
    except UnicodeDecodeError as error:
        raise InvalidBody(f"The body is not UTF-8 at byte {error.start}.", position=error.start) from None
    except json.JSONDecodeError as error:
        raise InvalidBody(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.", position=error.pos
        ) from None
    except (RecursionError, ValueError):
        raise InvalidBody("The body cannot be read: it is nested too deeply or a number is too long.") from None
