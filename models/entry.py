"""The rules for one entry: its key, its value and its expiry, and the value's JSON shape.

A key is a string. A value is bytes: a JSON string stands for its UTF-8 bytes, and ``{"base64": "..."}`` for bytes
that are not UTF-8, in both directions, so that what is read can be written back unchanged.
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from models.errors import InvalidExpiry, InvalidKey, InvalidValue, RequestError, ValueTooLarge, quoted


Item = TypeVar("Item")

MAX_KEY_BYTES = 1024
MAX_EXPIRE_IN_SECONDS = 2**31 - 1

# [1-9] first: "007" and "0" are refused, as are signs, blanks and the digits of other scripts.
WHOLE_NUMBER = re.compile(r"[1-9][0-9]{0,9}")

_TYPE_NAMES = {dict: "an object", list: "an array", int: "a number", float: "a number", bool: "a boolean"}


def key_bytes(key: str) -> bytes:
    """Encode a key, or refuse it.

    :param key: the key as the client named it
    :raises InvalidKey: it is empty, longer than 1,024 bytes, or holds a lone surrogate
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise InvalidKey(
            f"The key {quoted(key)} holds half a surrogate pair at character {error.start}, which UTF-8 cannot encode.",
            position=error.start,
        ) from None
    if not encoded:
        raise InvalidKey(f"The empty string is no key: a key has 1 to {MAX_KEY_BYTES:,} bytes.", limit=MAX_KEY_BYTES)
    if len(encoded) > MAX_KEY_BYTES:
        raise InvalidKey(
            f"The key {quoted(key)} has {len(encoded):,} bytes in UTF-8: at most {MAX_KEY_BYTES:,} are allowed.",
            limit=MAX_KEY_BYTES,
            actual=len(encoded),
        )
    return encoded


def check_value_size(key: str, value: bytes, max_value_bytes: int) -> None:
    """Refuse a value that is too large.

    :param key: the key it is meant for, named in the error
    :param value: the value's bytes
    :param max_value_bytes: the limit
    :raises ValueTooLarge: it is above the limit
    """
    if len(value) > max_value_bytes:
        raise ValueTooLarge(
            f"The value for the key {quoted(key)} has {len(value):,} bytes: at most {max_value_bytes:,} are allowed.",
            limit=max_value_bytes,
            actual=len(value),
        )


def parse_expire_in(text: str) -> int:
    """Read an expiry.

    :param text: whole seconds from 1 to 2,147,483,647, in decimal digits
    :raises InvalidExpiry: it is anything else
    """
    if WHOLE_NUMBER.fullmatch(text) and int(text) <= MAX_EXPIRE_IN_SECONDS:
        return int(text)
    raise InvalidExpiry(
        f"expire_in is {quoted(text)}: it must be a whole number of seconds from 1 to {MAX_EXPIRE_IN_SECONDS:,}."
    )


def value_from_json(key: str, value: object) -> bytes:
    """Turn a value's JSON shape into its bytes.

    :param key: the key it is meant for, named in the error
    :param value: a string, or a dict whose one member ``base64`` is a string
    :raises InvalidValue: it is anything else
    """
    if isinstance(value, str):
        return _encoded(key, value)
    if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise InvalidValue(f"The value for the key {quoted(key)} is not valid base64 (RFC 4648).") from None
    raise InvalidValue(
        f"The value for the key {quoted(key)} is {_TYPE_NAMES.get(type(value), 'null')}: "
        'it must be a string, or {"base64": "..."} for bytes that are not UTF-8.'
    )


def value_to_json(value: bytes) -> str | dict[str, str]:
    """Turn a value's bytes into its JSON shape.

    :param value: any bytes
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def unique(pairs: Sequence[tuple[str, Item]], error: type[RequestError]) -> dict[str, Item]:
    """Make a dict of pairs, or say which name comes twice.

    :param pairs: names and what belongs to them
    :param error: what to raise
    """
    named = dict(pairs)
    if len(named) < len(pairs):
        (twice, times), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise error(f"{quoted(twice)} is given {times} times: give it once.")
    return named


def _encoded(key: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"The value for the key {quoted(key)} holds half a surrogate pair at character {error.start}, "
            "which UTF-8 cannot encode.",
            position=error.start,
        ) from None
