"""`Range` and `If-Range`: a part of the bytes of a value (RFC 9110 section 14).

A server may answer any range with the whole value, so what is not read here does no harm: several ranges, another unit
than bytes, or something malformed.
"""

import re
from typing import NamedTuple

from flask.globals import request_ctx

from resources.parsing.conditions import entity_tag


_BYTES = re.compile(r"bytes=(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{1,18})?|-(?P<count>[0-9]{1,18}))", re.IGNORECASE)


class ByteRange(NamedTuple):
    """A range of bytes, as the store counts them.

    :param start: the position of the first one; below 0 from the end
    :param end: the position of the last one; -1 for the end
    """

    start: int
    end: int


def read_range() -> ByteRange | None:
    """Return the range that the current request asks for; None if it asks for none, or for none that is read here."""
    request = request_ctx.request
    header = request.environ.get("HTTP_RANGE")
    # A range is for a GET only.
    if header is None or request.method != "GET":
        return None
    found = _BYTES.fullmatch(header.strip())
    if found is None:
        return None
    if found["count"] is not None:
        count = int(found["count"])
        return ByteRange(-count, -1) if count else None
    first, last = int(found["first"]), int(found["last"] or -1)
    return ByteRange(first, last) if last == -1 or first <= last else None


def has_if_range() -> bool:
    """Return whether the current request wants a range of one value only."""
    return "HTTP_IF_RANGE" in request_ctx.request.environ


def is_range_for(tag: str) -> bool:
    """Return whether a range of the current request may be taken of the bytes of a value with this tag.

    Compared strongly: a weak tag, one of another representation and a date never match.
    """
    if_range = request_ctx.request.environ.get("HTTP_IF_RANGE")
    return if_range is None or if_range.strip() == entity_tag(tag, json=False)
