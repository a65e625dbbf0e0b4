"""Requests that are wrong for certain, as the bytes on the wire, made at random from a seed."""

import gzip
import json
import random
from collections.abc import Callable, Iterator


Chance = random.Random
# What may be changed in a request: everything but its end has a default that is right.
FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"
NOT_UTF_8 = ("%FF", "%C3", "%ED%A0%80", "%F8%88%80%80%80", "%C0%80", "%fe")
NOT_ENCODED = ("%", "%2", "%zz", "%u0041", "%-1", "%%")
CONTROL = bytes([*range(9), 11, 12, *range(14, 32)])


def requests(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Make wrong requests, of each kind about as many.

    :param seed: makes them the same every time
    :param count: how many
    :return: for each the name of its kind, and its bytes
    """
    chance = Chance(seed)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        yield kind.__name__, kind(chance)


def request(line: bytes | str, *headers: bytes | str, body: bytes = b"", host: bytes = b"Host: localhost") -> bytes:
    """Put a request together."""
    fields = [part.encode() if isinstance(part, str) else part for part in (line, *headers)]
    return b"\r\n".join([fields[0], host, *fields[1:], b"", b""]) + body


def with_length(line: str, content_type: str, body: bytes) -> bytes:
    """Put a request together whose body is framed well."""
    return request(line, content_type, f"Content-Length: {len(body)}", body=body)


def chunked(body: bytes) -> bytes:
    """Put a request together whose body is to come in chunks."""
    return request("PUT /keys HTTP/1.1", JSON, "Transfer-Encoding: chunked", body=body)


def word(chance: Chance, longest: int = 12) -> str:
    """Make a word of letters."""
    return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(1, longest)))


def inserted(chance: Chance, text: bytes, wrong: bytes) -> bytes:
    """Put something wrong into a text, neither at its start nor at its end."""
    at = chance.randint(1, len(text) - 1)
    return text[:at] + wrong + text[at:]


# Heads.


def noise(chance: Chance) -> bytes:
    return b"\x80" + chance.randbytes(chance.randint(1, 2_000)) + b"\r\n\r\n"


def other_protocol(chance: Chance) -> bytes:
    tls = b"\x16\x03\x01\x02\x00\x01\x00" + chance.randbytes(200)
    return chance.choice([tls, b"SSH-2.0-x\r\n\r\n", b"*1\r\n$4\r\nPING\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])


def head_cut_off(chance: Chance) -> bytes:
    whole = request(f"GET /keys/{word(chance)} HTTP/1.1", f"X-{word(chance)}: {word(chance)}")
    return whole[: chance.randint(1, len(whole) - 1)]


def bad_method(chance: Chance) -> bytes:
    bad = chance.choice([b"get", b"G\x00T", b"G(T", b"", b"\xc3\x9cT", b"G:T", b"P{T", b"G,T"])
    return request(bad + b" /keys HTTP/1.1")


def unknown_method(chance: Chance) -> bytes:
    return request(f"{word(chance).upper()}X /keys/{word(chance)} HTTP/1.1")


def bad_version(chance: Chance) -> bytes:
    version = chance.choice(
        ["HTTP/9.1", "HTTP/1", "HTTP/1.1.1", "HTTP/11", "http/1.1", "HTTX/1.1", "HTTP/1.1 x", "1.1"]
    )
    return request(f"GET /keys/{word(chance)} {version}")


def bad_target(chance: Chance) -> bytes:
    raw = chance.choice([b"\xff", b"\xc3\xbc", b" ", b"\x00", b"\x7f", b"\x01", b"\t"])
    return request(b"GET " + inserted(chance, f"/keys/{word(chance)}".encode(), raw) + b" HTTP/1.1")


def bad_header_name(chance: Chance) -> bytes:
    bad = chance.choice([b" ", b"\x00", b"(", b"\xff", b"\t", b"@", b"[", b"/", b'"'])
    return request("GET /keys HTTP/1.1", inserted(chance, b"X" + word(chance).encode(), bad) + b": value")


def bad_header(chance: Chance) -> bytes:
    bad = chance.choice(["no colon", ": no name", "Host: other", " folded: x", "X : blank", ":", "X\rY: x", "X"])
    return request("GET /keys HTTP/1.1", bad)


def control_in_header_value(chance: Chance) -> bytes:
    bad = chance.choice([b"\x00", b"\r", b"\x00\r"])
    return request("GET /keys HTTP/1.1", b"X-A: " + inserted(chance, b"v" + word(chance).encode(), bad))


def too_long(chance: Chance) -> bytes:
    match chance.randint(1, 3):
        case 1:
            return request(f"GET /keys?filter={'a' * chance.randint(8_200, 20_000)} HTTP/1.1")
        case 2:
            return request("GET /keys HTTP/1.1", f"X-A: {'a' * chance.randint(8_200, 20_000)}")
    return request("GET /keys HTTP/1.1", *(f"X-{number}: x" for number in range(chance.randint(101, 300))))


# Framing.


def bad_length(chance: Chance) -> bytes:
    length = chance.choice(["x", "-1", "1, 1", "1.0", "0x1", "+1", "1e1", "", "1 1", "\u0661", "9" * 5_000])
    return request("PUT /keys?a=1 HTTP/1.1", f"Content-Length: {length}", body=b"x")


def ambiguous_framing(chance: Chance) -> bytes:
    headers = ["Content-Length: 3", "Content-Length: 4", "Transfer-Encoding: chunked"]
    first, second = chance.sample(headers, 2)
    return request("PUT /keys?a=1 HTTP/1.1", first, second, body=b"0\r\n\r\n")


def bad_chunks(chance: Chance) -> bytes:
    size = chance.choice([b"zz", b"-1", b"", b"1 1", b"0x1", b"+1", b"\xff", b"1\x00", b"g", b"_1"])
    return chunked(size + b'\r\n{"a": "1"}\r\n0\r\n\r\n')


def chunks_of_another_size(chance: Chance) -> bytes:
    data = word(chance, 40).encode()
    return chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data) + chance.choice([-1, 1, 2, 7, 10_000]) or 1, data + b"y"))


def chunks_cut_off(chance: Chance) -> bytes:
    data = json.dumps({word(chance): word(chance)}).encode()
    whole = b"%x\r\n%b\r\n" % (len(data), data)
    return chunked(whole[: chance.randint(0, len(whole))])


def body_cut_off(chance: Chance) -> bytes:
    body = json.dumps({word(chance): word(chance)}).encode()
    length = f"Content-Length: {len(body) + chance.randint(1, 1_000)}"
    return request("PUT /keys HTTP/1.1", JSON, length, body=body)


# Encodings and parameters.


def bad_encoding_in_path(chance: Chance) -> bytes:
    bad = chance.choice(NOT_UTF_8 + NOT_ENCODED)
    method = chance.choice(["GET", "HEAD", "PUT", "DELETE", "PATCH"])
    return request(f"{method} /keys/{word(chance)}{bad}/{word(chance)} HTTP/1.1")


def bad_encoding_in_query(chance: Chance) -> bytes:
    pair = f"{word(chance)}={word(chance)}{chance.choice(NOT_UTF_8 + NOT_ENCODED)}!"
    return request(f"PUT /keys?{pair} HTTP/1.1")


def bad_encoding_in_form(chance: Chance) -> bytes:
    body = f"{word(chance)}={word(chance)}{chance.choice(NOT_UTF_8 + NOT_ENCODED)}!"
    return with_length("PUT /keys HTTP/1.1", FORM, body.encode())


def bad_parameter(chance: Chance) -> bytes:
    query = chance.choice(
        [
            *(
                "limit=0",
                "limit=-1",
                "limit=10001",
                "limit=x",
                "limit=",
                "limit=1&limit=1",
                "limit=99999999999999999999",
            ),
            *("cursor=x", "cursor=", "cursor=-1", "values=1", "values=", "filter=%5Ca", "filter=a&filter=a"),
            *("filter=" + "a" * 5_000, f"unknown_{word(chance)}=1", "filter"),
        ]
    )
    return request(f"GET /keys?{query} HTTP/1.1")


def bad_expiry(chance: Chance) -> bytes:
    expiry = chance.choice(["0", "-1", "1.5", "x", "", "2147483648", "9" * 30, "1&expire_in=1", "%00", "null"])
    return request(f"PUT /keys/{word(chance)}?expire_in={expiry} HTTP/1.1", "Content-Length: 1", body=b"x")


def bad_condition(chance: Chance) -> bytes:
    condition = chance.choice(['W/"a"', "a", '"', '"a', "*, *", '*, "a"', '"a" "b"', ",,a", '"a";"b"'])
    return request(f"PUT /keys/{word(chance)} HTTP/1.1", f"If-Match: {condition}", "Content-Length: 1", body=b"x")


def bad_accept(chance: Chance) -> bytes:
    return request("GET /keys HTTP/1.1", f"Accept: {word(chance)}/{word(chance)}")


# Bodies.


def noise_for_json(chance: Chance) -> bytes:
    return with_length("PUT /keys HTTP/1.1", JSON, b"\xff" + chance.randbytes(chance.randint(0, 500)))


def json_cut_off(chance: Chance) -> bytes:
    whole = json.dumps({word(chance): word(chance), word(chance) + "x": {"base64": "AAAA"}}).encode()
    return with_length("PUT /keys HTTP/1.1", JSON, whole[: chance.randint(0, len(whole) - 1)])


def json_with_noise(chance: Chance) -> bytes:
    whole = json.dumps({word(chance): word(chance)}).encode()
    return with_length("PUT /keys HTTP/1.1", JSON, inserted(chance, whole, bytes([chance.choice(CONTROL)])))


def json_of_another_shape(chance: Chance) -> bytes:
    key = word(chance)
    value = chance.choice(
        [
            *("1", "null", "true", "[]", "{}", "1e999", "NaN", "-Infinity", '"\\ud800"', '{"base64": "A"}'),
            *(
                '{"base64": 1}',
                '{"base64": "AA==", "x": 1}',
                "[" * 2_000 + "]" * 2_000,
                "9" * 5_000,
                f'"1", "{key}": "2"',
            ),
        ]
    )
    return with_length("PUT /keys HTTP/1.1", JSON, f'{{"{key}": {value}}}'.encode())


def not_an_object(chance: Chance) -> bytes:
    body = chance.choice(
        [b"", b"[]", b"1", b'"a"', b"null", b"{}", b"[" * 100_000, b"\xef\xbb\xbf{}", b"{}{}", b"{'a': 1}"]
    )
    return with_length("PUT /keys HTTP/1.1", JSON, body)


def compressed(chance: Chance) -> bytes:
    body = gzip.compress(json.dumps({word(chance): word(chance)}).encode())
    return with_length("PUT /keys HTTP/1.1", JSON + "\r\nContent-Encoding: gzip", body)


def bad_key(chance: Chance) -> bytes:
    key = chance.choice(["", "k" * 1_025, "ü" * 600])
    return with_length("PUT /keys HTTP/1.1", JSON, json.dumps({key: word(chance)}).encode())


def other_media_type(chance: Chance) -> bytes:
    method, target = chance.choice([("PUT", "/keys"), ("PATCH", "/keys/a"), ("POST", "/keys")])
    content_type = chance.choice(
        ["text/plain", "multipart/form-data; boundary=x", "x", "", "application/xml", ";", "*/*"]
    )
    return with_length(f"{method} {target} HTTP/1.1", f"Content-Type: {content_type}", b'{"increment": 1}')


def bad_patch(chance: Chance) -> bytes:
    body = chance.choice(
        [
            *(b"{}", b"[]", b"", b'{"increment": 1.5}', b'{"increment": true}', b'{"increment": 9223372036854775808}'),
            *(b'{"append": 1}', b'{"increment": 1, "append": "a"}', b'{"expire_in": 0}', b'{"expire_in": "1"}'),
            *(b'{"keep_expiry": true}', b'{"other": 1}', b'{"increment": 1, "increment": 1}', b'{"append": null}'),
        ]
    )
    return with_length(f"PATCH /keys/{word(chance)} HTTP/1.1", JSON, body)


def bad_transaction(chance: Chance) -> bytes:
    body = chance.choice(
        [
            *(
                b"{}",
                b"[]",
                b'{"get": "a"}',
                b'{"get": [1]}',
                b'{"put": ["a"]}',
                b'{"put": {"a": 1}}',
                b'{"if": {"a": 1}}',
            ),
            *(b'{"delete": {}}', b'{"get": ["a", "a"]}', b'{"put": {"a": "1"}, "delete": ["a"]}', b'{"expire_in": 1}'),
            *(b'{"get": [""]}', b'{"if": {"a": "x"}}', b'{"other": []}', b'{"put": {"a": "1"}, "expire_in": 0}'),
            json.dumps({"get": [str(number) for number in range(1_001)]}).encode(),
        ]
    )
    return with_length("POST /keys HTTP/1.1", JSON, body)


def nowhere(chance: Chance) -> bytes:
    target = chance.choice(["//keys", "/key", f"/{word(chance)}x", "/keys/", "/health", "/health/x", "//", "*"])
    return request(f"{chance.choice(['GET', 'PUT', 'DELETE'])} {target} HTTP/1.1")


KINDS: tuple[Callable[[Chance], bytes], ...] = (
    *(noise, other_protocol, head_cut_off, bad_method, unknown_method, bad_version, bad_target, bad_header_name),
    *(bad_header, control_in_header_value, too_long, bad_length, ambiguous_framing, bad_chunks, chunks_of_another_size),
    *(chunks_cut_off, body_cut_off, bad_encoding_in_path, bad_encoding_in_query, bad_encoding_in_form, bad_parameter),
    *(bad_expiry, bad_condition, bad_accept, noise_for_json, json_cut_off, json_with_noise, json_of_another_shape),
    *(not_an_object, compressed, bad_key, other_media_type, bad_patch, bad_transaction, nowhere),
)
