"""Values as plain bytes at `/values/{key}`, and parts of them. On Valkey and through Gunicorn."""

import hashlib

import pytest
from redis import Redis

from tests.support.cases import about, every_key, every_value
from tests.support.clients import AS_BYTES, AS_TEXT, MERGE, Answer, Ask, target_of


VALUE = b"0123456789"
AS_JSON = {"Accept": "application/json"}


def tag(value: bytes, suffix: str = "") -> str:
    return f'"{hashlib.sha1(value, usedforsecurity=False).hexdigest()}{suffix}"'


def values_target(key: str) -> str:
    return target_of(key).replace("/keys/", "/values/", 1)


class TestTheSameKeys:
    @every_key
    def test_any_key_can_be_stored_read_and_deleted(self, ask: Ask, key: str) -> None:
        assert ask("PUT", values_target(key), b"\xff").json == {"stored": 1}
        assert ask("GET", values_target(key)).body == b"\xff"
        assert ask("GET", target_of(key)).json == {key: {"base64": "/w=="}}
        assert ask("DELETE", values_target(key)).json == {"deleted": 1}
        assert ask("GET", target_of(key)).code == "key_not_found"

    @every_value
    def test_a_value_comes_back_as_it_was_sent(self, ask: Ask, value: bytes) -> None:
        ask("PUT", "/values/a", value)

        answer = ask("GET", "/values/a")

        assert (answer.status, answer.body) == (200, value)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Length"] == str(len(value))
        assert answer.headers["ETag"] == tag(value)
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Content-Security-Policy"] == "sandbox"

    @pytest.mark.parametrize(
        ("accept", "media_type"),
        [
            ("*/*", "application/octet-stream"),
            ("*; q=.2", "application/octet-stream"),
            ("application/vnd.gradle.build-cache-artifact.v1, */*", "application/octet-stream"),
            ("application/problem+json", "application/octet-stream"),
            ("application/json", "application/json"),
            ("text/plain", "text/plain"),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/octet-stream"),
        ],
    )
    def test_bytes_are_sent_where_the_client_does_not_care(self, ask: Ask, accept: str, media_type: str) -> None:
        ask("PUT", "/values/a", b"1")

        assert ask("GET", "/values/a", headers={"Accept": accept}).headers["Content-Type"] == media_type
        assert ask("HEAD", "/values/a", headers={"Accept": accept}).headers["Content-Type"] == media_type

    def test_json_is_that_of_the_key(self, ask: Ask) -> None:
        ask("PUT", "/values/a", b"1")

        answer = ask("GET", "/values/a", headers=AS_JSON)

        assert answer.json == {"a": "1"}
        assert answer.headers["ETag"] == tag(b"1", "-json")
        assert "Accept-Ranges" not in answer.headers

    def test_head_has_the_headers_of_get(self, ask: Ask) -> None:
        ask("PUT", "/values/a?expire_in=100", b"12345")
        sent = {"X-Request-Id": "same"}

        get, head = (ask(method, "/values/a", headers=sent) for method in ("GET", "HEAD"))

        assert {**get.headers, "Date": ""} == {**head.headers, "Date": ""}
        assert head.headers["Content-Length"] == "5"
        assert ask("HEAD", "/values/b").status == 404

    def test_a_change_shows_the_bytes_of_the_new_value(self, ask: Ask) -> None:
        ask("PUT", "/values/a", b"\xff")

        answer = ask("PATCH", "/values/a", b'{"append": {"base64": "/g=="}}', MERGE)

        assert (answer.status, answer.body) == (200, b"\xff\xfe")

    def test_an_expiry_is_set_and_shown(self, ask: Ask, client: Redis) -> None:
        ask("PUT", "/values/a?expire_in=100", b"1")

        assert client.ttl("kv:a") == about(100)
        assert int(ask("GET", "/values/a").headers["Expire-In"]) in {99, 100}

    def test_conditions_hold_as_for_the_key(self, ask: Ask) -> None:
        first = ask("PUT", "/values/a", b"1", {"If-None-Match": "*"})

        assert ask("PUT", "/values/a", b"2", {"If-None-Match": "*"}).code == "precondition_failed"
        assert ask("GET", "/values/a", headers={"If-None-Match": first.headers["ETag"]}).status == 304
        assert ask("PUT", "/values/a", b"2", {"If-Match": tag(b"1", "-json")}).status == 200
        assert ask("DELETE", "/values/a", headers={"If-Match": first.headers["ETag"]}).status == 412
        assert ask("DELETE", "/values/a", headers={"If-Match": tag(b"2")}).status == 200

    def test_a_list_is_refused(self, ask: Ask, client: Redis) -> None:
        client.rpush("kv:list", "1")

        for headers in ({}, {"Range": "bytes=0-0"}):
            assert ask("GET", "/values/list", headers=headers).code == "wrong_type"

    @pytest.mark.parametrize("target", ["/values", "/values/"])
    def test_there_is_no_list_of_values(self, ask: Ask, target: str) -> None:
        assert ask("GET", target).code == "not_found"


# What is asked of ten bytes, and which of them come back; None for all of them, as if no range was asked for.
RANGES: dict[str, tuple[int, int] | None] = {
    "bytes=0-0": (0, 0),
    "bytes=0-4": (0, 4),
    "bytes=3-": (3, 9),
    "bytes=9-9": (9, 9),
    "bytes=9-": (9, 9),
    "bytes=5-100": (5, 9),
    "bytes=0-9": (0, 9),
    "bytes=0-999999999999999999": (0, 9),
    "bytes=-1": (9, 9),
    "bytes=-4": (6, 9),
    "bytes=-10": (0, 9),
    "bytes=-100": (0, 9),
    "bytes=007-08": (7, 8),
    "BYTES=1-2": (1, 2),
    " bytes=1-2 ": (1, 2),
    "bytes=0-1,3-4": None,
    "bytes=0-1,": None,
    "bytes=4-3": None,
    "bytes=-0": None,
    "bytes=-": None,
    "bytes=": None,
    "bytes": None,
    "bytes=a-b": None,
    "bytes=1": None,
    "bytes=+1-2": None,
    "bytes=1-2-3": None,
    "bytes=0-9999999999999999999999": None,
    "bytes=\u0661-\u0662".encode().decode("latin-1"): None,
    "items=0-1": None,
    "": None,
}
every_range = pytest.mark.parametrize(("wanted", "expected"), RANGES.items())
BEYOND = ["bytes=10-", "bytes=10-11", "bytes=100-200", "bytes=999999999999999999-"]
# Without a tag the store is asked for the part; with one for the value, whose digest it is.
every_way = pytest.mark.parametrize("headers", [{}, {"If-Match": tag(VALUE)}, {"If-Range": tag(VALUE)}], ids=str)


def check_part(answer: Answer, expected: tuple[int, int] | None) -> None:
    """Fail if an answer is not this part of the ten bytes."""
    if expected is None:
        assert (answer.status, answer.body) == (200, VALUE)
        assert "Content-Range" not in answer.headers
        return
    first, last = expected
    assert (answer.status, answer.body) == (206, VALUE[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/10"
    assert answer.headers["Content-Length"] == str(last - first + 1)


class TestRanges:
    @every_range
    @every_way
    def test_a_part_is_sent(
        self, ask: Ask, headers: dict[str, str], wanted: str, expected: tuple[int, int] | None
    ) -> None:
        ask("PUT", "/values/a?expire_in=100", VALUE)

        answer = ask("GET", "/values/a", headers={**headers, "Range": wanted})

        check_part(answer, expected)
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Content-Security-Policy"] == "sandbox"
        assert (answer.headers["Cache-Control"], answer.headers["Vary"]) == ("no-cache", "Accept")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert int(answer.headers["Expire-In"]) in {99, 100}
        is_known = headers or expected in {None, (0, 9)}
        assert answer.headers.get("ETag") == (tag(VALUE) if is_known else None)

    @pytest.mark.parametrize("wanted", BEYOND)
    @every_way
    def test_a_range_beyond_the_end_is_416(self, ask: Ask, headers: dict[str, str], wanted: str) -> None:
        ask("PUT", "/values/a", VALUE)

        answer = ask("GET", "/values/a", headers={**headers, "Range": wanted})

        assert (answer.status, answer.code, answer.json["limit"]) == (416, "range_not_satisfiable", 10)
        assert answer.headers["Content-Range"] == "bytes */10"

    @pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-"])
    @pytest.mark.parametrize("headers", [{}, {"If-Range": tag(b"")}], ids=str)
    def test_an_empty_value_has_no_parts(self, ask: Ask, headers: dict[str, str], wanted: str) -> None:
        ask("PUT", "/values/a")

        answer = ask("GET", "/values/a", headers={**headers, "Range": wanted})

        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")

    def test_a_part_of_nothing_is_404(self, ask: Ask) -> None:
        assert ask("GET", "/values/a", headers={"Range": "bytes=0-0"}).code == "key_not_found"

    @every_way
    def test_parts_are_of_bytes_wherever_they_are_sent(self, ask: Ask, headers: dict[str, str]) -> None:
        ask("PUT", "/keys/a", VALUE)
        part = {**headers, "Range": "bytes=2-3"}

        for target, accept in (("/keys/a", AS_BYTES), ("/keys/a", AS_TEXT), ("/values/a", AS_TEXT)):
            answer = ask("GET", target, headers={**part, **accept})
            check_part(answer, (2, 3))
            assert answer.headers["Content-Type"] == accept["Accept"]

    def test_json_has_no_parts(self, ask: Ask) -> None:
        ask("PUT", "/keys/a", b"1")

        for target, accept in (("/keys/a", {}), ("/values/a", AS_JSON)):
            assert ask("GET", target, headers={**accept, "Range": "bytes=0-0"}).json == {"a": "1"}

    def test_only_get_has_parts(self, ask: Ask) -> None:
        ask("PUT", "/values/a", VALUE, {"Range": "bytes=0-0"})

        head = ask("HEAD", "/values/a", headers={"Range": "bytes=0-0"})
        patched = ask("PATCH", "/values/a", b'{"append": ""}', {**MERGE, "Range": "bytes=0-0"})

        assert (head.status, head.headers["Content-Length"]) == (200, "10")
        assert (patched.status, patched.body) == (200, VALUE)

    @pytest.mark.parametrize(
        "if_range",
        [
            tag(b"another"),
            f"W/{tag(VALUE)}",
            tag(VALUE, "-json"),
            # That of a body that a proxy has compressed.
            tag(VALUE, "-gzip"),
            "Sat, 29 Oct 1994 19:43:31 GMT",
            "*",
            "",
        ],
    )
    def test_a_range_of_another_value_is_answered_with_the_whole_one(self, ask: Ask, if_range: str) -> None:
        ask("PUT", "/values/a", VALUE)

        for wanted in ("bytes=0-0", "bytes=100-"):
            check_part(ask("GET", "/values/a", headers={"Range": wanted, "If-Range": if_range}), None)

    def test_a_condition_comes_before_a_range(self, ask: Ask) -> None:
        ask("PUT", "/values/a", VALUE)
        part = {"Range": "bytes=0-0"}

        assert ask("GET", "/values/a", headers={**part, "If-None-Match": tag(VALUE)}).status == 304
        assert ask("GET", "/values/a", headers={**part, "If-Match": tag(b"another")}).status == 412
        assert ask("GET", "/values/a", headers={**part, "If-None-Match": tag(b"another")}).status == 206

    def test_all_parts_together_are_the_value(self, ask: Ask) -> None:
        value = bytes(range(256)) * 40
        ask("PUT", "/values/a", value)

        parts = [
            ask("GET", "/values/a", headers={"Range": f"bytes={first}-{first + 999}"}).body
            for first in range(0, len(value), 1_000)
        ]

        assert b"".join(parts) == value
