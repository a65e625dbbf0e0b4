"""Percent-encoding, read strictly: malformed or not UTF-8 is an error.

The rules are those of RFC 3986 section 2.1 and, for names and values, of application/x-www-form-urlencoded
(https://url.spec.whatwg.org/#urlencoded-parsing).
"""

import re
from binascii import a2b_qp

from models.errors import SHOWN_CHARACTERS, TooManyKeys, quoted
from models.store import MAX_PAIRS
from resources.errors import InvalidEncoding


_MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def parse_pairs(encoded: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a query string or a form body, in their order.

    :param encoded: ``name=value`` joined by ``&``
    :raises TooManyKeys: there are more than any write may have, which is known before they are taken apart
    :raises InvalidEncoding: a pair has no ``=``, or its percent-encoding is malformed or not UTF-8
    """
    count = encoded.count(b"&") + 1
    if count > MAX_PAIRS:
        raise TooManyKeys(
            f"{count:,} pairs came in one request: at most {MAX_PAIRS:,} are allowed.", limit=MAX_PAIRS, actual=count
        )
    return [_pair(part) for part in encoded.split(b"&") if part]


def check_encoding(encoded: bytes) -> None:
    """Check that percent-encoding can be decoded.

    :param encoded: part of a URL or of a form body
    :raises InvalidEncoding: it has a ``%`` without two hexadecimal digits, or encodes bytes that are not UTF-8
    """
    if b"%" not in encoded:
        return
    malformed = _MALFORMED.search(encoded)
    if malformed:
        raise InvalidEncoding(
            f"{_shown(encoded)} has a % at byte {malformed.start()} without two hexadecimal digits after it: "
            "write %25 for a percent sign.",
            position=malformed.start(),
        )
    _decoded(encoded)


def _pair(part: bytes) -> tuple[str, str]:
    check_encoding(part)
    name, equals, value = part.partition(b"=")
    if not equals:
        raise InvalidEncoding(
            f"{_shown(part)} is not NAME=VALUE. Write NAME= for an empty value; "
            "a JSON body needs the header Content-Type: application/json."
        )
    return _decoded(name.replace(b"+", b" ")), _decoded(value.replace(b"+", b" "))


def _decoded(encoded: bytes) -> str:
    """Return what percent-encoding that is not malformed stands for."""
    try:
        # As quoted-printable, which is the same with another sign: urllib.parse needs eighty times the memory of the
        # text, and for 16 MiB seconds.
        return a2b_qp(encoded.replace(b"=", b"=3D").replace(b"%", b"=")).decode()
    except UnicodeDecodeError as error:
        raise InvalidEncoding(
            f"{_shown(encoded)} is not UTF-8 at byte {error.start} of what it encodes. For bytes that are not UTF-8 "
            'use a JSON body and {"base64": "..."}.',
            position=error.start,
        ) from None


def _shown(encoded: bytes) -> str:
    return quoted(encoded[: SHOWN_CHARACTERS + 1].decode("ascii", errors="backslashreplace"))
