"""The rules for one entry: its key, its value and its expiry, and the value's JSON form.

A key is a string. A value is bytes: a JSON string stands for its UTF-8 bytes, and ``{"base64": "..."}`` for bytes
that are not UTF-8, in both directions, so that what is read can be written back unchanged.
"""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from models.errors import InvalidExpiry, InvalidKey, InvalidValue, RequestError, ValueTooLarge, quoted


Item = TypeVar("Item")

MAX_KEY_BYTES = 1024
MAX_EXPIRE_IN_SECONDS = 2**31 - 1

# [1-9] first: "007" and "0" are refused, as are signs, blanks and the digits of other scripts.
WHOLE_NUMBER = re.compile(r"[1-9][0-9]{0,9}")

# They refuse what is not text, or not bytes, with TypeError.
_ENCODE: Callable[[Any], bytes] = str.encode
_DECODE: Callable[[Any], str] = bytes.decode

_TYPE_NAMES = {dict: "an object", list: "an array", int: "a number", float: "a number", bool: "a boolean"}


# An entry on its way between stores: the bytes of its key, those of its value, and when it expires, in whole seconds
# since 1970; None for never. A plain tuple: one with names costs an export a tenth of its CPU time.
Record = tuple[bytes, bytes, int | None]
# The same on its way out, where the number of bytes of its value may be in the place of them.
Listed = tuple[bytes, Any, int | None]


class Value(NamedTuple):
    """What a key holds.

    :param content: its bytes
    :param expire_in: seconds until it expires; None for never
    """

    content: bytes
    expire_in: int | None

    def part(self, start: int, end: int) -> "Part":
        """Return some of its bytes.

        :param start: the position of the first one; below 0 from the end
        :param end: the position of the last one; -1 for the end
        """
        first = first_position(start, len(self.content))
        content = self.content[first : None if end == -1 else end + 1]
        return Part(content, first, len(self.content), self.expire_in)


class Part(NamedTuple):
    """A part of what a key holds.

    :param content: its bytes; none if it begins beyond the end
    :param first: the position of the first one
    :param size: the number of bytes of the whole value
    :param expire_in: seconds until the key expires; None for never
    """

    content: bytes
    first: int
    size: int
    expire_in: int | None


def first_position(start: int, size: int) -> int:
    """Return a position that may be counted from the end, which is below 0, from the start.

    :param size: the number of bytes
    """
    return start if start >= 0 else max(0, size + start)


def key_bytes(key: str) -> bytes:
    """Return the bytes of a key.

    :raises InvalidKey: it is empty, longer than 1,024 bytes, or holds a lone surrogate
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise InvalidKey(f"The key {quoted(key)} {_surrogate(error)}", position=error.start) from None
    if not 0 < len(encoded) <= MAX_KEY_BYTES:
        check_key_size(encoded)
    return encoded


def check_key_size(key: bytes) -> None:
    """Refuse a key that has no byte, or too many.

    :raises InvalidKey: it is empty or longer than 1,024 bytes
    """
    if not key:
        raise InvalidKey(f"The empty string is no key: a key has 1 to {MAX_KEY_BYTES:,} bytes.", limit=MAX_KEY_BYTES)
    if len(key) > MAX_KEY_BYTES:
        shown = quoted(key.decode(errors="backslashreplace"))
        raise InvalidKey(
            f"The key {shown} has {len(key):,} bytes in UTF-8: at most {MAX_KEY_BYTES:,} are allowed.",
            limit=MAX_KEY_BYTES,
            actual=len(key),
        )


def check_value_size(key: str, value_bytes: int, max_value_bytes: int) -> None:
    """Refuse a value that is too large.

    :param key: named in the error
    :raises ValueTooLarge: it is above the limit
    """
    if value_bytes > max_value_bytes:
        raise ValueTooLarge(key, max_value_bytes, value_bytes)


def parse_expire_in(text: str) -> int:
    """Return an expiry that is given as text.

    :param text: whole seconds from 1 to 2,147,483,647, in decimal digits
    :raises InvalidExpiry: it is anything else
    """
    return check_expire_in(int(text) if WHOLE_NUMBER.fullmatch(text) else text)


def check_expire_in(seconds: object) -> int:
    """Return an expiry that is given as JSON.

    :param seconds: an int from 1 to 2,147,483,647
    :raises InvalidExpiry: it is anything else
    """
    if type(seconds) is int and 1 <= seconds <= MAX_EXPIRE_IN_SECONDS:
        return seconds
    shown = quoted(seconds if isinstance(seconds, str) else json.dumps(seconds))
    raise InvalidExpiry(
        f"expire_in is {shown}: it must be a whole number of seconds from 1 to {MAX_EXPIRE_IN_SECONDS:,}."
    )


def value_from_json(key: str, value: object) -> bytes:
    """Return the bytes of a value from its JSON form.

    :param key: named in the error
    :param value: a string, or a dict whose one member ``base64`` is a string
    :raises InvalidValue: it is anything else
    """
    return bytes_from_json(lambda: f"The value for the key {quoted(key)}", value)


def bytes_from_json(what: Callable[[], str], value: object) -> bytes:
    """Return bytes from their JSON form.

    :param what: names it in the error; called only then, because to quote a key takes ten times as long as the rest
    :param value: a string, or a dict whose one member ``base64`` is a string
    :raises InvalidValue: it is anything else
    """
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise InvalidValue(f"{what()} {_surrogate(error)}", position=error.start) from None
    if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise InvalidValue(f"{what()} is not valid base64 (RFC 4648).") from None
    raise InvalidValue(
        f"{what()} is {_TYPE_NAMES.get(type(value), 'null')}: "
        'it must be a string, or {"base64": "..."} for bytes that are not UTF-8.'
    )


def value_to_json(value: bytes) -> str | dict[str, str]:
    """Return the JSON form of a value."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def values_from_json(keys: Iterable[str], values: Iterable[object]) -> list[bytes]:
    """Return the bytes of many values from their JSON forms.

    :param keys: the key of each
    :param values: as :func:`value_from_json` takes them
    :raises InvalidValue: one of them is no value
    """
    try:
        # Nearly always text, which takes no call of ours (writing 1,000 keys: a tenth of the CPU time).
        return [*map(_ENCODE, values)]
    except (TypeError, UnicodeEncodeError):
        return [value_from_json(key, value) for key, value in zip(keys, values, strict=True)]


def values_to_json(values: Mapping[str, bytes | None]) -> dict[str, Any]:
    """Return the JSON forms of many values; None stays None."""
    try:
        # Nearly always text, as above.
        return dict(zip(values, map(_DECODE, values.values()), strict=True))
    except (TypeError, UnicodeDecodeError):
        return {key: value if value is None else value_to_json(value) for key, value in values.items()}


def unique(pairs: Sequence[tuple[str, Item]], error: type[RequestError]) -> dict[str, Item]:
    """Return pairs as a dict, or raise an error that says which name comes twice."""
    named = dict(pairs)
    if len(named) < len(pairs):
        (twice, times), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise error(f"{quoted(twice)} is given {times} times: give it once.")
    return named


def _surrogate(error: UnicodeEncodeError) -> str:
    return f"holds half a surrogate pair at character {error.start}, which UTF-8 cannot encode."
