"""What may be done to one key, and what must hold of its value before (RFC 9110 section 13).

A condition is two words, as the scripts read them: each is empty for no condition, `*` for any value, or tags joined by
commas.
"""

import hashlib
from typing import NamedTuple


ANY = "*"


class Condition(NamedTuple):
    """A precondition for one key.

    :param match: the value must be one of these
    :param none_match: the value must be none of these
    """

    match: str = ""
    none_match: str = ""

    def holds(self, value: bytes | None) -> bool:
        """Tell whether a value fulfils it.

        :param value: the value; None if there is none
        """
        return (not self.match or _named(value, self.match)) and not (
            self.none_match and _named(value, self.none_match)
        )


NONE = Condition()
NEVER = "never"


class Change(NamedTuple):
    """A change of a key's value, its expiry or both.

    :param operation: ``increment``, ``append``, or empty for the expiry alone
    :param operand: what to add or append
    :param expiry: seconds; :data:`NEVER`; or empty to leave it as it is
    :param keep_expiry: whether an expiry that the key has already stays
    """

    operation: str
    operand: bytes
    expiry: int | str = ""
    keep_expiry: bool = False


class Transaction(NamedTuple):
    """What is checked, read, written and deleted together, or not at all.

    :param conditions: for each key ``*`` if it must exist, the empty string if it must not, or the tag of its value
    :param get: keys to read, before anything is written
    :param put: the value for each key
    :param delete: keys to delete
    :param expire_in: seconds until what is written expires; None for never
    """

    conditions: dict[str, str]
    get: list[str]
    put: dict[str, bytes]
    delete: list[str]
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
    """Make a value's tag: the SHA-1 of its bytes, because that is what every server's Lua can make too.

    :param value: the value
    """
    digest = _SHA1.copy()
    digest.update(value)
    return digest.hexdigest()


def _named(value: bytes | None, words: str) -> bool:
    return value is not None and (words == ANY or tag_of(value) in words)
