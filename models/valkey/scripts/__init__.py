"""The Lua scripts that decide inside the server, each of them one atomic step, and what each wants as arguments.

A function here writes one call of its script as the words of a command; the script's file says what it answers. They
run on Redis 6.2 and newer and on Valkey, and name every key they touch in ``KEYS``. See
https://redis.io/docs/latest/develop/programmability/eval-intro/.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from models.change import ANY, Change, Condition, Expiry, Tags, Transaction
from models.entry import Record


# The words of a command: bytes, text and numbers.
Command = tuple[Any, ...]

_EXPIRY_WORDS = {Expiry.UNCHANGED: "", Expiry.NEVER: "never"}
_FOLDER = Path(__file__).parent
_TEXTS: dict[str, str] = {}


def _loaded(*files: str) -> str:
    """Return the SHA-1 by which servers know the script that these files are together."""
    text = "".join((_FOLDER / f"{file}.lua").read_text(encoding="ascii") for file in files)
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    _TEXTS[sha] = text
    return sha


_GET = _loaded("get")
_GET_PART = _loaded("get_part")
_PUT_ONE = _loaded("holds", "put_one")
_DELETE_ONE = _loaded("holds", "delete_one")
_PATCH = _loaded("holds", "patch")
_PUT_EXPIRING = _loaded("put_expiring")
_PUT_IF = _loaded("put_if")
_TRANSACTION = _loaded("bytes_of", "holds", "transaction")
_EXPORT = _loaded("export")
_SIZES = _loaded("sizes")
_IMPORT = _loaded("import")
_HIT = _loaded("hit")


def with_text(command: Command) -> Command:
    """Return a call of a script with its text, for a server that does not know it yet.

    :param command: the call, which names the script by its SHA-1
    """
    _, sha, *rest = command
    return "EVAL", _TEXTS[str(sha)], *rest


def get(name: bytes) -> Command:
    """Read the value and the expiry of one key."""
    return "EVALSHA", _GET, 1, name


def get_part(name: bytes, start: int, end: int) -> Command:
    """Read some bytes of one value, its size and its expiry."""
    return "EVALSHA", _GET_PART, 1, name, start, end


def put_one(name: bytes, value: bytes, expire_in: int | None, condition: Condition) -> Command:
    """Write one key if a condition holds for it."""
    return "EVALSHA", _PUT_ONE, 1, name, *_words(condition), value, _optional(expire_in)


def delete_one(name: bytes, condition: Condition) -> Command:
    """Delete one key if a condition holds for it."""
    return "EVALSHA", _DELETE_ONE, 1, name, *_words(condition)


def patch(name: bytes, change: Change, condition: Condition, max_value_bytes: int) -> Command:
    """Change one key if a condition holds for it."""
    operation, operand = "", b""
    if change.increment is not None:
        operation, operand = "increment", b"%d" % change.increment
    elif change.append is not None:
        operation, operand = "append", change.append
    expiry: int | str = change.expiry if isinstance(change.expiry, int) else _EXPIRY_WORDS[change.expiry]
    keep = "keep" if change.keep_expiry else ""
    return "EVALSHA", _PATCH, 1, name, *_words(condition), operation, operand, expiry, keep, max_value_bytes


def put_expiring(names: Sequence[bytes], values: Sequence[bytes], expire_in: int) -> Command:
    """Write keys that expire."""
    return "EVALSHA", _PUT_EXPIRING, len(names), *names, expire_in, *values


def put_if(names: Sequence[bytes], values: Sequence[bytes], expire_in: int | None, *, exist: bool) -> Command:
    """Write keys if all of them exist, or if none does."""
    return "EVALSHA", _PUT_IF, len(names), *names, int(exist), _optional(expire_in), *values


def transact(
    names: Sequence[bytes], transaction: Transaction, *, max_compared_bytes: int, max_read_bytes: int
) -> Command:
    """Check, read, write and delete keys.

    :param names: those of the transaction's conditions, reads, writes and deletions, in this order
    :param max_compared_bytes: how many bytes of values may be compared with tags
    :param max_read_bytes: how many may be read
    """
    conditions, get, put, delete, expire_in = transaction
    return (
        *("EVALSHA", _TRANSACTION, len(names), *names),
        *(len(conditions), len(get), len(put), len(delete), _optional(expire_in)),
        *(max_compared_bytes, max_read_bytes),
        *chain.from_iterable(map(_words, conditions.values())),
        *put.values(),
    )


def export(names: Sequence[bytes], max_bytes: int) -> Command:
    """Read the values and the expiries of keys.

    :param max_bytes: how many bytes several values may have together
    """
    return "EVALSHA", _EXPORT, len(names), *names, max_bytes


def sizes(names: Sequence[bytes]) -> Command:
    """Read the sizes and the expiries of values."""
    return "EVALSHA", _SIZES, len(names), *names


def import_records(records: Mapping[bytes, Sequence[Record]], names: Sequence[bytes]) -> Command:
    """Write records, those of one key in their order.

    :param records: the records of each name
    :param names: those to write now
    """
    each = [(name, record) for name in names for record in records[name]]
    arguments = [part for _, (_, value, expires_at) in each for part in (_optional(expires_at), value)]
    return "EVALSHA", _IMPORT, len(each), *(name for name, _ in each), *arguments


def hit(name: bytes, window_seconds: int) -> Command:
    """Count in a counter that starts anew after a while."""
    return "EVALSHA", _HIT, 1, name, window_seconds


def _words(condition: Condition) -> tuple[str, str]:
    return _word(condition.match), _word(condition.none_match)


def _word(tags: Tags) -> str:
    if tags is None:
        return ""
    # No tag at all must match nothing: a hyphen is part of none.
    return "*" if tags is ANY else ",".join(tags) or "-"


def _optional(seconds: int | None) -> int | str:
    return "" if seconds is None else seconds
