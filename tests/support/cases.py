"""Keys and values that are easy to get wrong, shared by all tests."""

from functools import partial

import pytest


KEYS = {
    "letters": "word",
    "slash": "a/b",
    "leading slash": "/a",
    "trailing slash": "a/",
    "two slashes": "a//b",
    "only slashes": "//",
    "blank": "a b",
    "blanks around": " a ",
    "plus": "a+b",
    "percent": "100%",
    "percent-encoded": "a%2Fb",
    "hash": "a#b",
    "question mark": "a?b=c",
    "ampersand": "a&b",
    "equals": "a=b",
    "glob": "a*b?c[d]^e-f\\",
    "dollar": "$HOME",
    "dot": ".",
    "two dots": "..",
    "path upwards": "../../etc/passwd",
    "line break": "a\nb",
    "trailing line break": "a\n",
    "carriage return": "a\r\nb",
    "tab": "\t",
    "zero byte": "a\0b",
    "delete": "\x7f",
    "quotes": "\"'`",
    "backslash": "a\\b",
    "braces": "{tag}key",
    "umlauts": "Übergröße",
    "combining": "e\u0301",
    "emoji": "👩\u200d🚀",
    "replacement character": "\ufffd",
    "highest character": "\U0010ffff",
    "right to left": "\u202eabc",
    "expire_in": "expire_in",
    "filter": "filter",
    "word for a number": "5",
    "longest": "k" * 1024,
    "longest in two-byte characters": "ü" * 512,
    "json": '{"a":1}',
    "html": "<script>alert(1)</script>",
    "swagger": "swagger.json",
}

VALUES = {
    "letters": b"value",
    "nothing": b"",
    "number": b"5",
    "true": b"true",
    "null": b"null",
    "json": b'{"a": 1}',
    "big number": b"12345678901234567890123",
    "base64 object": b'{"base64": "AAAA"}',
    "quotes": b"\"'\\",
    "line breaks": b"a\r\nb\n",
    "zero byte": b"a\0b",
    "umlauts": "Übergröße".encode(),
    "emoji": "👩\u200d🚀".encode(),
    "byte order mark": b"\xef\xbb\xbfa",
    "latin-1": b"\xfc",
    "half a character": "ü".encode()[:1],
    "surrogate": b"\xed\xa0\x80",
    "all bytes": bytes(range(256)),
    "longest": b"v" * (1024 * 1024),
}

# The rest of a life, some of which may be over when a busy machine asks.
about = partial(pytest.approx, abs=3)

every_key = pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
every_value = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())

NOT_EXPIRIES = [
    "",
    "0",
    "-1",
    "1.5",
    "1e3",
    "+5",
    " 5",
    "5 ",
    "007",
    "0x10",
    "ten",
    "٥",
    "2147483648",
    "9" * 30,
    "null",
]
NOT_LIMITS = ["", "0", "-1", "1.5", "+5", "10001", "05", "ten", "٥", "9" * 30]
NOT_CURSORS = ["", "-1", "xyz", "G", "0 ", "8" * 28, "0" * 29, "AB", "٥"]
