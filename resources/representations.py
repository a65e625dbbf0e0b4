"""How one key is shown: content negotiation, entity tags and headers for caches."""

import re
from functools import lru_cache
from http import HTTPStatus

from flask import request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from models.change import Condition, tag_of
from models.entry import Part, Value, value_to_json
from models.errors import PreconditionFailed, quoted
from resources.errors import NotAcceptable, RangeNotSatisfiable
from resources.media_types import EVENTS, JSON, PROBLEM
from resources.parsing.conditions import entity_tag
from resources.parsing.ranges import ByteRange, is_range_for
from resources.responses import BytesResponse, cached, json_response


REMEMBERED_CHARACTERS = 500
# To read so long a header takes some milliseconds; no client needs a tenth of it.
MAX_ACCEPT_CHARACTERS = 8_000
_BARE_QUALITY = re.compile(r"\bq=\.", re.IGNORECASE)
_BARE_WILDCARD = re.compile(r"(?<![^\s,])\*(?=\s*(?:[,;]|$))")


def negotiate(*offered: str) -> str:
    """Return the media type that the client prefers (RFC 9110 section 12.5.1).

    :param offered: media types, the one to send if the client does not care first
    :raises NotAcceptable: it takes none of them
    """
    accept = request.headers.get("Accept")
    if not accept:
        return offered[0]
    if len(accept) > MAX_ACCEPT_CHARACTERS:
        raise NotAcceptable(
            f"The header Accept has {len(accept):,} characters: at most {MAX_ACCEPT_CHARACTERS:,} are read.",
            limit=MAX_ACCEPT_CHARACTERS,
            actual=len(accept),
        )
    # Clients send the same header each time; a long one is not worth the memory.
    best = (_best if len(accept) <= REMEMBERED_CHARACTERS else _best.__wrapped__)(accept, offered)
    if best is None:
        raise NotAcceptable(f"The header Accept is {quoted(accept)}: offered are {', '.join(offered)}.")
    return best


def represent(
    key: str, value: Value, media_type: str, condition: Condition, wanted: ByteRange | None = None
) -> BytesResponse:
    """Return the response that shows a key, or 304.

    :param condition: that of a GET or HEAD
    :param wanted: the range to show if the current request wants it of this value; None for all of it
    :raises PreconditionFailed: the value does not match the condition
    :raises RangeNotSatisfiable: the range begins beyond its end
    """
    tag = tag_of(value.content)
    if not condition._replace(none_match=None).holds(tag):
        raise PreconditionFailed([key])
    if not condition.holds(tag):
        response = BytesResponse(status=HTTPStatus.NOT_MODIFIED)
    elif wanted is not None and is_range_for(tag):
        response = _part(value.part(*wanted), media_type)
    else:
        response = _whole(key, value.content, media_type)
    response.headers.add("ETag", entity_tag(tag, json=media_type == JSON))
    return _finished(response, value.expire_in)


def represent_part(part: Part, media_type: str) -> BytesResponse:
    """Return the response that shows a part of a value; with an entity tag only if it is all of it.

    :raises RangeNotSatisfiable: it begins beyond the end
    """
    response = _part(part, media_type)
    if len(part.content) == part.size:
        response.headers.add("ETag", entity_tag(tag_of(part.content), json=False))
    return _finished(response, part.expire_in)


@lru_cache
def _best(accept: str, offered: tuple[str, ...]) -> str | None:
    """Return the best media type for a header; None if it takes none."""
    # Java's own client sends `*; q=.2`, and means `*/*;q=0.2`.
    accept = _BARE_WILDCARD.sub("*/*", _BARE_QUALITY.sub("q=0.", accept))
    # Without parameters: whoever asks for application/json;charset=utf-8 gets what is meant.
    named = parse_accept_header(accept, MIMEAccept)
    accepted = MIMEAccept([(media_type.partition(";")[0].strip().lower(), quality) for media_type, quality in named])
    if list(accepted.values()) == [PROBLEM]:
        # Generated clients name the type of errors alone; of a success it says nothing.
        return offered[0]
    # Whoever does not know event streams would wait for their end.
    known = [each for each in offered if each != EVENTS or each in accepted.values()]
    best = max(known, key=accepted.quality)
    return best if accepted.quality(best) else None


def _whole(key: str, content: bytes, media_type: str) -> BytesResponse:
    if media_type == JSON:
        return json_response({key: value_to_json(content)})
    return _bytes(content, media_type)


def _part(part: Part, media_type: str) -> BytesResponse:
    if not part.size:
        # Without a byte there is no range: clients that always ask for one get all there is.
        return _bytes(b"", media_type)
    if not part.content:
        raise RangeNotSatisfiable(part.size)
    response = _bytes(part.content, media_type, HTTPStatus.PARTIAL_CONTENT)
    last = part.first + len(part.content) - 1
    response.headers.add("Content-Range", f"bytes {part.first}-{last}/{part.size}")
    return response


def _bytes(content: bytes, media_type: str, status: int = HTTPStatus.OK) -> BytesResponse:
    response = BytesResponse(content, status, media_type)
    response.headers.add("Accept-Ranges", "bytes")
    # The bytes are anybody's: a browser must not run them.
    response.headers.add("Content-Security-Policy", "sandbox")
    return response


def _finished(response: BytesResponse, expire_in: int | None) -> BytesResponse:
    if expire_in is not None:
        response.headers.add("Expire-In", str(expire_in))
    return cached(response)
