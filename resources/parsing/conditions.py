"""Conditional requests: `If-Match` and `If-None-Match` (RFC 9110 section 13.1).

An entity tag of ours is the value's tag; that of the JSON representation has a suffix. A write takes either, because
both stand for the same value. A GET or HEAD takes only that of the representation that it would send: to answer 304 for
another one would make a cache show JSON in the place of bytes.
"""

import re

from flask import request

from models.change import ANY, UNCONDITIONAL, Condition, Tags
from models.errors import quoted
from resources.errors import InvalidCondition
from resources.media_types import JSON


MATCH = "If-Match"
NONE_MATCH = "If-None-Match"
JSON_SUFFIX = "-json"
_STRONG_TAG = r'"[\x21\x23-\x7e\x80-\xff]*"'
_ENTITY_TAG = rf"(?:W/)?{_STRONG_TAG}"
PATTERNS = {
    MATCH: rf"^(\*|{_STRONG_TAG}(,[ \t]*{_STRONG_TAG})*)$",
    NONE_MATCH: rf"^(\*|{_ENTITY_TAG}(,[ \t]*{_ENTITY_TAG})*)$",
}
_LIST = re.compile(rf"\s*(?:{_ENTITY_TAG}\s*)?(?:,\s*(?:{_ENTITY_TAG}\s*)?)*")
# A proxy that compresses may add a suffix of its own, and does not take it off a request.
_OURS = re.compile(
    rf'(?P<weak>W/)?"(?P<tag>[0-9a-f]{{40}})(?P<json>{JSON_SUFFIX})?(?:(?:--?|;)(?:gzip|br|deflate|zstd))?"'
)


def read_condition(representation: str | None = None) -> Condition:
    """Return the condition of the current request.

    :param representation: the media type that a GET or HEAD would send; None for a write
    :raises InvalidCondition: a header is neither ``*`` nor a list of entity tags, or If-Match has a weak one
    """
    headers = request.headers
    match, none_match = headers.get(MATCH), headers.get(NONE_MATCH)
    if match is None and none_match is None:
        return UNCONDITIONAL
    return Condition(_tags(MATCH, match, representation), _tags(NONE_MATCH, none_match, representation))


def read_collection_condition() -> Condition:
    """Return the condition of the current request where it holds for many keys: only the ``*`` forms can.

    :raises InvalidCondition: a header is something else than ``*``
    """
    condition = read_condition()
    if None not in condition:
        raise InvalidCondition(f"No key can both exist and not: give {MATCH} or {NONE_MATCH}.")
    for name, tags in zip((MATCH, NONE_MATCH), condition, strict=True):
        if tags is not None and tags is not ANY:
            raise InvalidCondition(f"{name} must be * here: one entity tag cannot hold for many keys. Use POST /keys.")
    return condition


def refuse_condition() -> None:
    """Reject conditions: ignoring one would be unsafe.

    :raises InvalidCondition: the current request has one
    """
    if read_condition() != UNCONDITIONAL:
        raise InvalidCondition(
            f"{MATCH} and {NONE_MATCH} are not for this call. Use PUT or POST /keys, or /keys/{{key}}."
        )


def refuse_selection() -> None:
    """Refuse what selects a value or a part of one: an event stream tells all states.

    :raises InvalidCondition: the current request has such a header
    """
    for name in (MATCH, NONE_MATCH, "Range"):
        if name in request.headers:
            raise InvalidCondition(f"{name} is not for an event stream, which tells every state. Leave it out.")


def entity_tag(tag: str, *, json: bool) -> str:
    """Return an entity tag.

    :param tag: the value's tag
    :param json: whether it is for the JSON representation
    """
    return f'"{tag}{JSON_SUFFIX if json else ""}"'


def tag_in(text: str) -> str | None:
    """Return the value's tag that an entity tag of ours stands for; None if it is not one, or weak."""
    ours = _OURS.fullmatch(text)
    return ours["tag"] if ours and not ours["weak"] else None


def _tags(name: str, header: str | None, representation: str | None) -> Tags:
    if header is None:
        return None
    if header.strip() == "*":
        return ANY
    if not _LIST.fullmatch(header) or '"' not in header:
        raise InvalidCondition(f'{name} is {quoted(header)}: it must be * or a list of entity tags, such as "abc".')
    # If-Match compares strongly, so that a weak tag never matches (RFC 9110 section 8.8.3.2).
    if name == MATCH and "W/" in re.sub(r'"[^"]*"', '""', header):
        raise InvalidCondition(
            f"{name} has a weak entity tag, W/..., which never matches: a proxy that compresses makes tags weak. "
            "Send the tag without W/."
        )
    return frozenset(
        ours["tag"]
        for ours in _OURS.finditer(header)
        if representation is None or (ours["json"] is not None) == (representation == JSON)
    )
