"""Several keys in one atomic step."""

from typing import NamedTuple


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
