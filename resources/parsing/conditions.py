"""Conditional requests: `If-Match` and `If-None-Match` (RFC 9110 section 13.1).

An entity tag of ours is the value's tag; that of the JSON representation has a suffix. Either is taken for a condition,
because both stand for the same value.
"""

import re

from flask import request

from models.change import ANY, NONE, Condition
from models.errors import quoted
from resources.errors import InvalidCondition


MATCH = "If-Match"
NONE_MATCH = "If-None-Match"
JSON_SUFFIX = "-json"
# No tag of ours, so that it never matches.
_NEVER = "-"
_ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
CONDITION_PATTERN = rf"^(\*|{_ENTITY_TAG}(,[ \t]*{_ENTITY_TAG})*)$"
_LIST = re.compile(rf"\s*(?:{_ENTITY_TAG}\s*)?(?:,\s*(?:{_ENTITY_TAG}\s*)?)*")
_OURS = re.compile(rf'(?P<weak>W/)?"(?P<tag>[0-9a-f]{{40}})(?:{JSON_SUFFIX})?"')


def read_condition() -> Condition:
    """Read the condition of the current request.

    :raises InvalidCondition: a header is neither ``*`` nor a list of entity tags
    """
    # If-Match compares strongly: a weak tag never matches. If-None-Match compares weakly (RFC 9110 section 8.8.3.2).
    headers = request.headers
    match, none_match = headers.get(MATCH), headers.get(NONE_MATCH)
    if match is None and none_match is None:
        return NONE
    return Condition(_words(MATCH, match, weak=False), _words(NONE_MATCH, none_match, weak=True))


def read_collection_condition() -> Condition:
    """Read the condition of the current request where it holds for many keys: only the ``*`` forms can.

    :raises InvalidCondition: a header is something else than ``*``
    """
    condition = read_condition()
    if all(condition):
        raise InvalidCondition(f"No key can both exist and not: give {MATCH} or {NONE_MATCH}.")
    for name, words in zip((MATCH, NONE_MATCH), condition, strict=True):
        if words not in {"", ANY}:
            raise InvalidCondition(f"{name} must be * here: one entity tag cannot hold for many keys. Use POST /keys.")
    return condition


def refuse_condition() -> None:
    """Make sure that the current request has no condition: one that were ignored would be worse than none.

    :raises InvalidCondition: it has one
    """
    if read_condition() != NONE:
        raise InvalidCondition(
            f"{MATCH} and {NONE_MATCH} are not for this call. Use PUT or POST /keys, or /keys/{{key}}."
        )


def entity_tag(tag: str, *, json: bool) -> str:
    """Write an entity tag.

    :param tag: the value's tag
    :param json: whether it is for the JSON representation
    """
    return f'"{tag}{JSON_SUFFIX if json else ""}"'


def tag_in(text: str) -> str | None:
    """Give the value's tag that an entity tag of ours stands for; None if it is not one, or weak.

    :param text: an entity tag
    """
    ours = _OURS.fullmatch(text)
    return ours["tag"] if ours and not ours["weak"] else None


def _words(name: str, header: str | None, *, weak: bool) -> str:
    if header is None:
        return ""
    if header.strip() == ANY:
        return ANY
    if not _LIST.fullmatch(header) or '"' not in header:
        raise InvalidCondition(f'{name} is {quoted(header)}: it must be * or a list of entity tags, such as "abc".')
    tags = [ours["tag"] for ours in _OURS.finditer(header) if weak or not ours["weak"]]
    return ",".join(tags) or _NEVER
