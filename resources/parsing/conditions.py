"""Conditional requests: `If-Match` and `If-None-Match` (RFC 9110 section 13.1).

An entity tag of ours is the value's tag; that of the JSON representation has a suffix. Either is taken for a condition,
because both stand for the same value.
"""

import re

from flask import request

from models.change import ANY, UNCONDITIONAL, Condition, Tags
from models.errors import quoted
from resources.errors import InvalidCondition


MATCH = "If-Match"
NONE_MATCH = "If-None-Match"
JSON_SUFFIX = "-json"
_ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
CONDITION_PATTERN = rf"^(\*|{_ENTITY_TAG}(,[ \t]*{_ENTITY_TAG})*)$"
_LIST = re.compile(rf"\s*(?:{_ENTITY_TAG}\s*)?(?:,\s*(?:{_ENTITY_TAG}\s*)?)*")
_OURS = re.compile(rf'(?P<weak>W/)?"(?P<tag>[0-9a-f]{{40}})(?:{JSON_SUFFIX})?"')


def read_condition() -> Condition:
    """Return the condition of the current request.

    :raises InvalidCondition: a header is neither ``*`` nor a list of entity tags
    """
    # If-Match compares strongly: a weak tag never matches. If-None-Match compares weakly (RFC 9110 section 8.8.3.2).
    headers = request.headers
    match, none_match = headers.get(MATCH), headers.get(NONE_MATCH)
    if match is None and none_match is None:
        return UNCONDITIONAL
    return Condition(_tags(MATCH, match, weak=False), _tags(NONE_MATCH, none_match, weak=True))


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


def _tags(name: str, header: str | None, *, weak: bool) -> Tags:
    if header is None:
        return None
    if header.strip() == "*":
        return ANY
    if not _LIST.fullmatch(header) or '"' not in header:
        raise InvalidCondition(f'{name} is {quoted(header)}: it must be * or a list of entity tags, such as "abc".')
    return frozenset(ours["tag"] for ours in _OURS.finditer(header) if weak or not ours["weak"])
