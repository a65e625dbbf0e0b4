"""Requests that were right and are changed at random from a seed, as the bytes on the wire."""

import json
import random
from collections.abc import Callable, Iterator


Chance = random.Random
KEYS = ("a", "b", "c/d", "%C3%BC", "e.f", "n")
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
NDJSON = "application/x-ndjson"
# What is read somewhere: in a head, in a path, in a query, in a body, in a filter.
WORDS = tuple(
    word.encode()
    for word in (
        *(
            "GET",
            "HEAD",
            "PUT",
            "PATCH",
            "POST",
            "DELETE",
            "OPTIONS",
            "TRACE",
            "CONNECT",
            "PRI",
            "HTTP/1.0",
            "HTTP/1.1",
        ),
        *("HTTP/1.3", "HTTP/2.0", "HTTP/0.9", "http/1.1", "\r\n", "\n", "\r", "\r\n\r\n", "\x00", "\t", " ", "  ", ":"),
        *("Host: localhost\r\n", "Host: evil.example\r\n", "Content-Length: 0\r\n", "Content-Length: 5\r\n"),
        *("Content-Length: 99999999999999999999\r\n", "Content-Length: -1\r\n", "Transfer-Encoding: chunked\r\n"),
        *("Transfer-Encoding: gzip\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Expect: 100-continue\r\n"),
        *("Expect: x\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n", "Connection: Upgrade\r\n"),
        *("Upgrade: websocket\r\n", "Upgrade: h2c\r\n", "Accept: */*\r\n", "Accept: text/plain\r\n", "Accept: x\r\n"),
        *(
            "Accept: application/octet-stream;q=0.1\r\n",
            f"Accept: {NDJSON}\r\n",
            "If-Match: *\r\n",
            'If-Match: "a"\r\n',
        ),
        *("If-None-Match: *\r\n", 'If-None-Match: W/"a"\r\n', "Range: bytes=0-1\r\n", "Content-Range: bytes 0-1/2\r\n"),
        *("Content-Encoding: gzip\r\n", "Content-Type: multipart/form-data\r\n", f"Content-Type: {NDJSON}\r\n"),
        *("Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n", "X-Forwarded-For: 1.2.3.4\r\n", "SCRIPT_NAME: /x\r\n"),
        *("X-Forwarded-Prefix: //x\r\n", "Authorization: Bearer x\r\n", "X-Request-Id: x\r\n", "Cookie: a=b\r\n"),
        *(
            "/",
            "//",
            "/keys",
            "/keys/",
            "/health/ready",
            "/swagger.json",
            "..",
            "/../",
            "%2F",
            "%00",
            "%FF",
            "%",
            "%zz",
        ),
        *(
            "?",
            "&",
            "=",
            "#",
            "+",
            "$",
            "\\$",
            "\\",
            "*",
            "[",
            "]",
            "{",
            "}",
            '"',
            "null",
            "true",
            "1e999",
            "NaN",
            "-0",
        ),
        *("filter=$", "limit=1", "limit=0", "cursor=1.1", "values=false", "expire_in=1", "expire_in=0"),
        *(
            '"base64"',
            '{"base64": "AAA"}',
            "\\ud800",
            "\\u0000",
            "[[[[[[[[",
            "9223372036854775808",
            "99999999999999999999",
        ),
        *(
            "\xef\xbb\xbf",
            "\x1b[31m",
            "\x7f",
            "\xe9",
            "0\r\n\r\n",
            "5\r\nhello\r\n",
            "ffffffffffffffff\r\n",
            "a" * 8_200,
        ),
    )
)


def requests(seed: int, count: int) -> Iterator[bytes]:
    """Make requests: of each operation about as many, each with one to four changes.

    :param seed: makes them the same every time
    :param count: how many
    """
    chance = Chance(seed)
    for number in range(count):
        data = VALID[number % len(VALID)](chance)
        # More of them lead less deep: most requests end at the first thing that is wrong.
        for _ in range(chance.choice([1, 1, 1, 2, 4])):
            data = chance.choice(CHANGES)(chance, data)
        yield data


def request(method: str, target: str, body: bytes = b"", *headers: str) -> bytes:
    """Put a request together that is right."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers, *length, "", ""]
    return "\r\n".join(lines).encode() + body


def of_type(media_type: str) -> str:
    """Return the header for a body."""
    return f"Content-Type: {media_type}"


def key(chance: Chance) -> str:
    """Return the path of a key."""
    return f"/keys/{chance.choice(KEYS)}"


def as_json(method: str, target: str, *bodies: object) -> Callable[[Chance], bytes]:
    """Make requests with one of some JSON bodies."""
    return lambda chance: request(method, target, json.dumps(chance.choice(bodies)).encode(), of_type(JSON))


def chunked(chance: Chance) -> bytes:
    """Make a request whose body comes in chunks."""
    head = request("PUT", key(chance), b"", "Transfer-Encoding: chunked")
    return head + b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n"


RECORDS = (
    b'{"key": "a", "value": "1"}\n{"key": "b", "value": {"base64": "AP8="}, "expires_at": 4000000000}\n{"count": 2}\n'
)
# All operations, with what each takes.
VALID: tuple[Callable[[Chance], bytes], ...] = (
    lambda _: request("GET", "/keys"),
    lambda _: request("GET", "/keys?filter=a$&limit=2&values=false"),
    lambda _: request("GET", "/keys", b"", f"Accept: {NDJSON}"),
    lambda _: request("HEAD", "/keys?filter=$b"),
    lambda _: request("PUT", "/keys?a=1&b=%C3%BC&expire_in=100"),
    lambda _: request("PUT", "/keys", b"a=1&b=two+words&n=5", of_type(FORM)),
    as_json("PUT", "/keys?expire_in=60", {"a": "1", "c/d": "x" * 200}, {"n": {"base64": "AP8="}}),
    lambda _: request("PUT", "/keys", RECORDS, of_type(NDJSON)),
    as_json(
        "POST",
        "/keys",
        {"if": {"a": "*", "x": None}, "get": ["a", "b"], "put": {"b": "2"}, "delete": ["e.f"]},
        {"get": ["a"]},
    ),
    lambda _: request("DELETE", "/keys?filter=e$"),
    lambda chance: request("GET", key(chance), b"", 'If-None-Match: "5a6df720540c20d95d530d3fd6885511223d5d20-json"'),
    lambda chance: request("GET", key(chance), b"", "Accept: text/plain, application/octet-stream;q=0.5"),
    lambda chance: request("HEAD", key(chance)),
    lambda chance: request("PUT", f"{key(chance)}?expire_in=9", chance.randbytes(chance.randint(1, 300))),
    lambda chance: request("PUT", key(chance), b"1", "If-None-Match: *"),
    as_json("PATCH", "/keys/n", {"increment": 1}, {"append": "x"}, {"expire_in": 5, "keep_expiry": True}),
    lambda chance: request("DELETE", key(chance), b"", "If-Match: *"),
    lambda _: request("OPTIONS", "/keys"),
    lambda _: request("GET", "/"),
    lambda _: request("GET", "/swagger.json", b"", "Origin: https://app.example"),
    lambda _: request("GET", "/health/live"),
    lambda _: request("HEAD", "/health/ready"),
    chunked,
)


def bits(chance: Chance, data: bytes) -> bytes:
    """Turn a few bits over."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def byte(chance: Chance, data: bytes) -> bytes:
    """Put other bytes in the place of one."""
    at = chance.randint(0, len(data))
    return data[:at] + chance.randbytes(chance.randint(1, 4)) + data[at + 1 :]


def cut(chance: Chance, data: bytes) -> bytes:
    """Leave out a part, often the end."""
    at = chance.randint(0, len(data))
    return data[:at] + data[at + chance.choice([1, 2, 8, len(data)]) :]


def repeat(chance: Chance, data: bytes) -> bytes:
    """Say a part several times."""
    at = chance.randint(0, len(data))
    end = at + chance.randint(1, 40)
    return data[:end] + data[at:end] * chance.choice([1, 2, 20]) + data[end:]


def splice(chance: Chance, data: bytes) -> bytes:
    """Go on with the rest of another request."""
    other = chance.choice(VALID)(chance)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


def word(chance: Chance, data: bytes) -> bytes:
    """Put a word in somewhere, or in the place of as much."""
    at, added = chance.randint(0, len(data)), chance.choice(WORDS)
    return data[:at] + added + data[at + chance.choice([0, 0, len(added)]) :]


def line(chance: Chance, data: bytes) -> bytes:
    """Put a word in where a line starts, which is where headers are read."""
    head, end, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lines.insert(chance.randint(1, len(lines)), chance.choice(WORDS).removesuffix(b"\r\n"))
    return b"\r\n".join(lines) + end + body


def pipeline(chance: Chance, data: bytes) -> bytes:
    """Send another request behind it."""
    return data + chance.choice(VALID)(chance)


CHANGES = (bits, byte, cut, repeat, splice, word, line, pipeline)
