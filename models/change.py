"""What may be done to keys, and what must hold of their values before (RFC 9110 section 13)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple


class Wildcard(Enum):
    """What stands for every tag."""

    ANY = "*"


ANY = Wildcard.ANY

# The tags that a condition names: some, none of ours, or all; None if there is no condition.
Tags = frozenset[str] | Literal[Wildcard.ANY] | None


class Condition(NamedTuple):
    """A precondition for one key.

    :param match: the value's tag must be one of these
    :param none_match: the value's tag must be none of these
    """

    match: Tags = None
    none_match: Tags = None

    def holds(self, tag: str | None) -> bool:
        """Return whether a value fulfils it.

        :param tag: the value's tag; None if there is no value
        """
        return (self.match is None or _names(self.match, tag)) and not _names(self.none_match, tag)

    @property
    def compares(self) -> bool:
        """Whether it compares tags, so that its outcome tells more of the value than that there is one."""
        return isinstance(self.match, frozenset) or isinstance(self.none_match, frozenset)


UNCONDITIONAL = Condition()
EXISTS = Condition(match=ANY)
ABSENT = Condition(none_match=ANY)


class Expiry(Enum):
    """An expiry that is not a number of seconds."""

    UNCHANGED = "unchanged"
    NEVER = "never"


@dataclass(frozen=True)
class Change:
    """A change of a key's value, its expiry or both.

    :param increment: what to add to the value, a number of 64 bits
    :param append: what to add at the value's end; not beside an increment
    :param expiry: in seconds
    :param keep_expiry: whether an expiry that the key has already stays
    """

    increment: int | None = None
    append: bytes | None = None
    expiry: int | Expiry = Expiry.UNCHANGED
    keep_expiry: bool = False


class Transaction(NamedTuple):
    """What is checked, read, written and deleted in one atomic step, or not at all.

    :param conditions: what must hold of each key
    :param get: keys to read, before anything is written
    :param put: the value for each key
    :param delete: keys to delete
    :param expire_in: seconds until what is written expires; None for never
    """

    conditions: Mapping[str, Condition]
    get: Sequence[str]
    put: Mapping[str, bytes]
    delete: Sequence[str]
    expire_in: int | None


class Outcome(NamedTuple):
    """What a transaction did.

    :param values: the value of each key that was read; None if there was none
    :param stored: how many keys were written
    :param deleted: how many keys were deleted
    """

    values: dict[str, bytes | None]
    stored: int
    deleted: int


# Copied each time: to make one takes OpenSSL longer than to digest a small value.
_SHA1 = hashlib.sha1(usedforsecurity=False)


def tag_of(value: bytes) -> str:
    """Return a value's tag: the SHA-1 of its bytes, because every server's Lua can make that too."""
    digest = _SHA1.copy()
    digest.update(value)
    return digest.hexdigest()


def _names(tags: Tags, tag: str | None) -> bool:
    return tags is not None and tag is not None and (tags is ANY or tag in tags)
