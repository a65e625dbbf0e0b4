"""The contract of one key: raw values, representations, conditions, changes. On Valkey and through Gunicorn."""

import contextlib
import hashlib
import math
from urllib.parse import quote

import pytest
from redis import Redis

from api.app import create_app
from api.serving.embedded import EmbeddedServer
from api.settings import Settings
from models.store import Store
from models.valkey.connection import connect
from tests.support.cases import NOT_EXPIRIES, about, every_key, every_value
from tests.support.clients import AS_BYTES, AS_TEXT, JSON, MERGE, Answer, Ask, in_process, put_json, target_of
from tests.support.contract import Contract
from tests.support.servers.proxy import proxy_to
from tests.support.servers.stores import MAX_VALUE_BYTES, PREFIX


OTHER = '"0123456789012345678901234567890123456789"'


def tag(value: bytes, suffix: str = "") -> str:
    return f'"{hashlib.sha1(value, usedforsecurity=False).hexdigest()}{suffix}"'


def patch(ask: Ask, key: str, body: str | bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask("PATCH", target_of(key), body if isinstance(body, bytes) else body.encode(), {**MERGE, **named})


class TestPutting:
    @every_value
    def test_the_bytes_of_the_body_are_the_value(self, ask: Ask, client: Redis, value: bytes) -> None:
        answer = ask("PUT", "/keys/a", value, {"Content-Type": "application/octet-stream"})

        assert (answer.status, answer.json) == (200, {"stored": 1})
        assert answer.headers["ETag"] == tag(value)
        assert client.get("kv:a") == value

    @pytest.mark.parametrize(
        "media_type",
        ["application/json", "application/x-www-form-urlencoded", "text/plain", "text/plain; charset=latin-1", "x", ""],
    )
    def test_its_media_type_does_not_matter(self, ask: Ask, client: Redis, media_type: str) -> None:
        assert ask("PUT", "/keys/a", b'{"b": 1}&c', {"Content-Type": media_type}).status == 200
        assert client.get("kv:a") == b'{"b": 1}&c'

    @every_key
    def test_any_key_can_be_written(self, ask: Ask, key: str) -> None:
        assert ask("PUT", target_of(key), b"value").status == 200
        assert ask("GET", "/keys").json == {key: "value"}

    def test_no_body_is_the_empty_value(self, ask: Ask) -> None:
        assert ask("PUT", "/keys/a").status == 200
        assert ask("GET", "/keys/a").json == {"a": ""}

    def test_the_expiry_is_set_replaced_and_removed(self, ask: Ask, client: Redis) -> None:
        ask("PUT", "/keys/a?expire_in=100", b"1")
        assert client.ttl("kv:a") == about(100)

        ask("PUT", "/keys/a?expire_in=50", b"1")
        assert client.ttl("kv:a") == about(50)

        ask("PUT", "/keys/a", b"1")
        assert client.ttl("kv:a") == -1

    @pytest.mark.parametrize("expire_in", NOT_EXPIRIES)
    def test_what_is_no_expiry_is_refused(self, ask: Ask, client: Redis, expire_in: str) -> None:
        assert ask("PUT", f"/keys/a?expire_in={quote(expire_in)}", b"1").code == "invalid_expiry"
        assert client.keys() == []

    def test_another_parameter_is_refused(self, ask: Ask, client: Redis) -> None:
        assert ask("PUT", "/keys/a?expire-in=5", b"1").code == "invalid_parameter"
        assert client.keys() == []

    def test_a_value_that_is_too_large_is_refused(self, ask: Ask, client: Redis) -> None:
        answer = ask("PUT", "/keys/a", b"v" * (1024 * 1024 + 1))

        assert (answer.status, answer.code, answer.json["limit"]) == (413, "value_too_large", 1024 * 1024)
        assert client.keys() == []


class TestRepresentations:
    @every_value
    def test_the_bytes_come_back_as_they_are(self, ask: Ask, value: bytes) -> None:
        ask("PUT", "/keys/a", value)

        for headers in (AS_BYTES, AS_TEXT):
            answer = ask("GET", "/keys/a", headers=headers)
            assert answer.body == value
            assert answer.headers["Content-Type"] == headers["Accept"]
            assert answer.headers["Content-Length"] == str(len(value))

    @pytest.mark.parametrize(
        ("accept", "media_type"),
        [
            (None, "application/json"),
            ("", "application/json"),
            ("*/*", "application/json"),
            ("application/json", "application/json"),
            ("application/json; charset=utf-8", "application/json"),
            ("APPLICATION/JSON", "application/json"),
            ("application/*", "application/json"),
            ("text/*", "text/plain"),
            ("application/problem+json", "application/json"),
            ("text/plain", "text/plain"),
            ("text/html, text/plain;q=0.1", "text/plain"),
            ("application/octet-stream, */*;q=0.1", "application/octet-stream"),
            ("text/plain;q=0.5, application/octet-stream;q=0.6", "application/octet-stream"),
            ("application/json;q=0.1, text/plain;q=0.2", "text/plain"),
            ("*/*, application/json;q=0", "application/octet-stream"),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"),
        ],
    )
    def test_the_client_chooses(self, ask: Ask, accept: str | None, media_type: str) -> None:
        ask("PUT", "/keys/a", b"1")

        answer = ask("GET", "/keys/a", headers={} if accept is None else {"Accept": accept})

        assert (answer.status, answer.headers["Content-Type"]) == (200, media_type)

    @pytest.mark.parametrize("accept", ["text/html", "image/*", "application/xml", "*/*;q=0", "application/json;q=0"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_what_cannot_be_had_is_406(self, ask: Ask, method: str, accept: str) -> None:
        ask("PUT", "/keys/a", b"1")

        assert ask(method, "/keys/a", headers={"Accept": accept}).status == 406

    def test_a_header_that_is_too_long_to_be_read_is_406(self, ask: Ask) -> None:
        ask("PUT", "/keys/a", b"1")

        assert ask("GET", "/keys/a", headers={"Accept": "text/html," * 800 + "*/*"}).json["limit"] == 8_000
        assert ask("GET", "/keys/a", headers={"Accept": "text/html," * 799 + "*/*"}).status == 200

    def test_an_error_is_a_problem_whatever_the_client_accepts(self, ask: Ask) -> None:
        assert ask("GET", "/keys/a", headers=AS_BYTES).code == "key_not_found"

    def test_caches_have_to_ask(self, ask: Ask) -> None:
        ask("PUT", "/keys/a", b"1")

        for method, target in (("GET", "/keys/a"), ("HEAD", "/keys/a"), ("GET", "/keys"), ("HEAD", "/keys")):
            headers = ask(method, target).headers
            assert (headers["Cache-Control"], headers["Vary"]) == ("no-cache", "Accept")

    @pytest.mark.parametrize("headers", [AS_BYTES, AS_TEXT])
    def test_a_browser_does_not_run_a_value(self, ask: Ask, headers: dict[str, str]) -> None:
        ask("PUT", "/keys/a", b"<script>alert(1)</script>")

        answer = ask("GET", "/keys/a", headers=headers)

        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "sandbox"

    def test_the_expiry_can_be_read_in_seconds_that_are_rounded_up(self, ask: Ask, client: Redis) -> None:
        client.set("kv:a", "1", px=100_999)
        client.set("kv:b", "1")

        for method in ("GET", "HEAD"):
            before_ms = client.pttl("kv:a")
            seconds = int(ask(method, "/keys/a").headers["Expire-In"])
            assert math.ceil(client.pttl("kv:a") / 1000) <= seconds <= math.ceil(before_ms / 1000)
            assert "Expire-In" not in ask(method, "/keys/b").headers

    @pytest.mark.parametrize("accept", ["application/json", "text/plain"])
    def test_head_gives_the_headers_of_get(self, ask: Ask, accept: str) -> None:
        ask("PUT", "/keys/a", "ü".encode())
        sent = {"Accept": accept, "X-Request-Id": "same"}

        get, head = (ask(method, "/keys/a", headers=sent) for method in ("GET", "HEAD"))

        assert {**get.headers, "Date": ""} == {**head.headers, "Date": ""}


class TestTags:
    def test_each_representation_has_its_own(self, ask: Ask) -> None:
        ask("PUT", "/keys/a", b"1")

        assert ask("GET", "/keys/a").headers["ETag"] == tag(b"1", "-json")
        assert ask("GET", "/keys/a", headers=AS_BYTES).headers["ETag"] == tag(b"1")

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize(
        ("accept", "suffix"), [("*/*", "-json"), ("application/octet-stream", ""), ("text/plain", "")]
    )
    @pytest.mark.parametrize("form", ["{}", "W/{}", f"{OTHER}, {{}}", f"W/{OTHER} ,\t{{}} , ", '"a,b", "", {}', "*"])
    def test_a_representation_that_is_known_is_304(
        self, ask: Ask, form: str, accept: str, suffix: str, method: str
    ) -> None:
        ask("PUT", "/keys/a?expire_in=100", b"1")

        for proxy_suffix in ("", "-gzip", ";gzip", "--gzip", "-br", "-zstd"):
            known = form.format(tag(b"1", suffix + proxy_suffix))
            answer = ask(method, "/keys/a", headers={"Accept": accept, "If-None-Match": known})
            assert (answer.status, answer.body) == (304, b"")
            assert answer.headers["ETag"] == tag(b"1", suffix)
            assert all(name in answer.headers for name in ("Cache-Control", "Vary", "Expire-In"))
            assert "Content-Type" not in answer.headers

    def test_another_representation_of_a_value_that_is_known_is_sent(self, ask: Ask) -> None:
        ask("PUT", "/keys/a", b"1")

        assert ask("GET", "/keys/a", headers={"If-None-Match": tag(b"1")}).json == {"a": "1"}
        assert ask("GET", "/keys/a", headers={**AS_BYTES, "If-None-Match": tag(b"1", "-json")}).body == b"1"
        assert ask("GET", "/keys/a", headers={"If-Match": tag(b"1")}).code == "precondition_failed"

    def test_another_value_is_sent(self, ask: Ask) -> None:
        ask("PUT", "/keys/a", b"1")

        assert ask("GET", "/keys/a", headers={"If-None-Match": OTHER}).json == {"a": "1"}
        assert ask("GET", "/keys/a", headers={"If-Match": tag(b"1", "-json")}).json == {"a": "1"}
        assert ask("GET", "/keys/a", headers={"If-Match": OTHER}).code == "precondition_failed"

    def test_a_key_that_is_not_there_is_404_under_any_condition(self, ask: Ask) -> None:
        assert ask("GET", "/keys/a", headers={"If-None-Match": "*"}).status == 404

    @pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
    @pytest.mark.parametrize(
        "text", ["", "abc", '"abc', 'abc"', '"a" "b"', "*, *", '*, "a"', "W/abc", 'w/"a"', "'a'", ","]
    )
    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
    def test_a_malformed_condition_is_refused_and_changes_nothing(
        self, ask: Ask, client: Redis, method: str, header: str, text: str
    ) -> None:
        client.set("kv:a", "1")
        body = {"PUT": b"2", "PATCH": b'{"increment": 1}'}.get(method, b"")

        answer = ask(method, "/keys/a", body, {**MERGE, header: text})

        assert (answer.status, answer.code) == (400, "invalid_condition")
        assert client.get("kv:a") == b"1"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("text", [f"W/{tag(b'1')}", f"{tag(b'1')}, W/{tag(b'1')}", 'W/"W/"'])
def test_a_weak_tag_in_if_match_is_refused_with_the_reason(ask: Ask, client: Redis, method: str, text: str) -> None:
    client.set("kv:a", "1")
    body = {"PUT": b"2", "PATCH": b'{"increment": 1}'}.get(method, b"")

    answer = ask(method, "/keys/a", body, {**MERGE, "If-Match": text})

    assert answer.status == 400
    assert method == "HEAD" or "without W/" in answer.json["detail"]
    assert client.get("kv:a") == b"1"


# What one sends, and whether it holds for the value "1" and for a key that is not there.
ONE = tag(b"1")
CONDITIONS = [
    ({"If-Match": ONE}, True, False),
    ({"If-Match": tag(b"1", "-json")}, True, False),
    ({"If-Match": f"{OTHER}, {ONE}"}, True, False),
    ({"If-Match": OTHER}, False, False),
    ({"If-Match": tag(b"1", "-json-gzip")}, True, False),
    ({"If-Match": tag(b"1", ";gzip")}, True, False),
    ({"If-Match": '"something"'}, False, False),
    ({"If-Match": '""'}, False, False),
    ({"If-Match": "*"}, True, False),
    ({"If-None-Match": "*"}, False, True),
    ({"If-None-Match": ONE}, False, True),
    ({"If-None-Match": f"W/{ONE}"}, False, True),
    ({"If-None-Match": OTHER}, True, True),
    ({"If-Match": "*", "If-None-Match": OTHER}, True, False),
    ({"If-Match": "*", "If-None-Match": "*"}, False, False),
]


class TestConditions:
    @pytest.mark.parametrize(("headers", "for_one", "for_none"), CONDITIONS)
    def test_put_happens_only_if_its_condition_holds(
        self, ask: Ask, client: Redis, headers: dict[str, str], for_one: bool, for_none: bool
    ) -> None:
        client.set("kv:one", "1", ex=100)

        for key, holds, before in (("one", for_one, b"1"), ("none", for_none, None)):
            answer = ask("PUT", f"/keys/{key}?expire_in=50", b"2", headers)
            assert answer.status == (200 if holds else 412)
            assert client.get(f"kv:{key}") == (b"2" if holds else before)
            if not holds:
                assert (answer.code, answer.json["keys"]) == ("precondition_failed", [key])
        assert client.ttl("kv:one") == about(50 if for_one else 100)

    @pytest.mark.parametrize(("headers", "for_one", "for_none"), CONDITIONS)
    def test_delete_happens_only_if_its_condition_holds(
        self, ask: Ask, client: Redis, headers: dict[str, str], for_one: bool, for_none: bool
    ) -> None:
        client.set("kv:one", "1")

        assert ask("DELETE", "/keys/one", headers=headers).status == (200 if for_one else 412)
        assert client.exists("kv:one") == (0 if for_one else 1)
        assert ask("DELETE", "/keys/none", headers=headers).status == (404 if for_none else 412)

    @pytest.mark.parametrize(("headers", "for_one", "for_none"), CONDITIONS)
    def test_patch_happens_only_if_its_condition_holds(
        self, ask: Ask, client: Redis, headers: dict[str, str], for_one: bool, for_none: bool
    ) -> None:
        client.set("kv:one", "1")

        for key, holds, before in (("one", for_one, b"1"), ("none", for_none, None)):
            after = b"%d" % (int(before or 0) + 1)
            assert ask("PATCH", f"/keys/{key}", b'{"increment": 1}', {**MERGE, **headers}).status == (
                200 if holds else 412
            )
            assert client.get(f"kv:{key}") == (after if holds else before)

    def test_compare_and_set_goes_on_from_the_answer_before(self, ask: Ask) -> None:
        first = ask("PUT", "/keys/a", b"1", {"If-None-Match": "*"})
        second = ask("PUT", "/keys/a", b"2", {"If-Match": first.headers["ETag"]})

        assert second.status == 200
        assert ask("PUT", "/keys/a", b"3", {"If-Match": first.headers["ETag"]}).status == 412
        assert ask("GET", "/keys/a").json == {"a": "2"}

    @pytest.mark.one_slot
    def test_put_on_all_of_them_only_if_all_exist(self, ask: Ask, client: Redis, prefix: str) -> None:
        client.set(f"{prefix}a", "1")
        body, headers = b'{"a": "2", "b": "2", "c": "2"}', {**JSON, "If-Match": "*"}

        answer = ask("PUT", "/keys", body, headers)

        assert (answer.status, answer.json["keys"]) == (412, ["b", "c"])
        assert client.get(f"{prefix}a") == b"1"
        client.mset({f"{prefix}b": "1", f"{prefix}c": "1"})
        assert ask("PUT", "/keys?expire_in=50", body, headers).json == {"stored": 3}
        assert [client.ttl(f"{prefix}{key}") for key in "abc"] == about([50, 50, 50])

    @pytest.mark.one_slot
    def test_put_on_all_of_them_only_if_none_exists(self, ask: Ask, client: Redis, prefix: str) -> None:
        client.set(f"{prefix}b", "1")

        answer = ask("PUT", "/keys?a=2&b=2", headers={"If-None-Match": "*"})

        assert (answer.status, answer.json["keys"]) == (412, ["b"])
        assert client.exists(f"{prefix}a") == 0
        assert ask("PUT", "/keys?a=2&c=2", headers={"If-None-Match": "*"}).json == {"stored": 2}

    @pytest.mark.parametrize(
        "headers", [{"If-Match": ONE}, {"If-None-Match": ONE}, {"If-Match": "*", "If-None-Match": "*"}]
    )
    def test_other_conditions_cannot_hold_for_many_keys(self, ask: Ask, client: Redis, headers: dict[str, str]) -> None:
        assert ask("PUT", "/keys?a=2", headers=headers).code == "invalid_condition"
        assert client.keys() == []

    @pytest.mark.parametrize("headers", [{"If-Match": ONE}, {"If-Match": "*"}, {"If-None-Match": "*"}])
    @pytest.mark.parametrize("method", ["DELETE", "POST"])
    def test_a_condition_is_not_ignored_where_there_is_none(
        self, ask: Ask, client: Redis, method: str, headers: dict[str, str]
    ) -> None:
        client.set("kv:a", "1")

        body = b'{"delete": ["a"]}' if method == "POST" else b""
        assert ask(method, "/keys", body, {**JSON, **headers}).code == "invalid_condition"
        assert client.get("kv:a") == b"1"

    def test_a_condition_on_what_is_no_string_is_409(self, ask: Ask, client: Redis) -> None:
        client.rpush("kv:list", "1")

        for method in ("PUT", "DELETE"):
            assert ask(method, "/keys/list", b"", {"If-Match": ONE}).code == "wrong_type"


class TestChanges:
    @pytest.mark.parametrize(
        ("before", "number", "after"),
        [
            (None, 5, "5"),
            ("1", 5, "6"),
            ("1", -5, "-4"),
            ("0", 0, "0"),
            (None, 0, "0"),
            ("-1", 1, "0"),
            ("9223372036854775806", 1, "9223372036854775807"),
            ("0", -(2**63), "-9223372036854775808"),
        ],
    )
    def test_an_increment_adds(self, ask: Ask, client: Redis, before: str | None, number: int, after: str) -> None:
        if before is not None:
            client.set("kv:a", before)

        answer = patch(ask, "a", f'{{"increment": {number}}}')

        assert (answer.status, answer.json) == (200, {"a": after})
        assert answer.headers["ETag"] == tag(after.encode(), "-json")

    @pytest.mark.parametrize("before", ["text", "", "1.5", " 1", "1 ", "+1", "01", "9223372036854775808"])
    def test_what_is_no_integer_cannot_be_incremented(self, ask: Ask, client: Redis, before: str) -> None:
        client.set("kv:a", before)

        answer = patch(ask, "a", '{"increment": 1, "expire_in": 5}')

        assert (answer.status, answer.code) == (409, "not_an_integer")
        assert (client.get("kv:a"), client.ttl("kv:a")) == (before.encode(), -1)

    @pytest.mark.parametrize(("before", "number"), [("9223372036854775807", 1), ("-9223372036854775808", -1)])
    def test_an_overflow_is_409_and_changes_nothing(self, ask: Ask, client: Redis, before: str, number: int) -> None:
        client.set("kv:a", before)

        assert patch(ask, "a", f'{{"increment": {number}}}').code == "not_an_integer"
        assert client.get("kv:a") == before.encode()

    @pytest.mark.parametrize(
        ("before", "text", "after"),
        [
            (None, '"b"', b"b"),
            (b"a", '"b"', b"ab"),
            (b"", '""', b""),
            (None, '""', b""),
            ("ü".encode(), '"ö"', "üö".encode()),
            (b"\xff", '{"base64": "AP8="}', b"\xff\x00\xff"),
        ],
    )
    def test_an_append_adds_at_the_end(
        self, ask: Ask, client: Redis, before: bytes | None, text: str, after: bytes
    ) -> None:
        if before is not None:
            client.set("kv:a", before)

        answer = patch(ask, "a", f'{{"append": {text}}}', Accept="application/octet-stream")

        assert (answer.status, answer.body) == (200, after)
        assert (client.get("kv:a") or b"") == after

    def test_an_append_does_not_go_beyond_the_largest_value(self, ask: Ask, client: Redis) -> None:
        client.set("kv:a", b"v" * (1024 * 1024 - 1))
        assert patch(ask, "a", '{"append": "w"}').status == 200

        answer = patch(ask, "a", '{"append": "xy"}')

        assert (answer.status, answer.code) == (413, "value_too_large")
        assert (answer.json["limit"], answer.json["actual"]) == (1024 * 1024, 1024 * 1024 + 2)
        assert client.strlen("kv:a") == 1024 * 1024

    def test_an_expiry_is_set_and_removed(self, ask: Ask, client: Redis) -> None:
        client.set("kv:a", "1")

        answer = patch(ask, "a", '{"expire_in": 60}')
        assert answer.json == {"a": "1"}
        assert int(answer.headers["Expire-In"]) == about(60)
        assert client.ttl("kv:a") == about(60)

        answer = patch(ask, "a", '{"expire_in": null}')
        assert answer.json == {"a": "1"}
        assert "Expire-In" not in answer.headers
        assert client.ttl("kv:a") == -1

    @pytest.mark.parametrize("expiry", ["60", "null"])
    def test_the_expiry_of_a_missing_key_is_404(self, ask: Ask, client: Redis, expiry: str) -> None:
        assert patch(ask, "a", f'{{"expire_in": {expiry}}}').code == "key_not_found"
        assert client.keys() == []

    @pytest.mark.parametrize("change", ['"increment": 1', '"append": "1"'])
    def test_a_change_keeps_sets_or_removes_the_expiry_as_it_is_told(
        self, ask: Ask, client: Redis, change: str
    ) -> None:
        def ttl_after(members: str) -> int:
            assert patch(ask, "a", f"{{{change}{members}}}").status == 200
            return int(client.ttl("kv:a"))

        assert ttl_after("") == -1
        assert ttl_after(', "expire_in": 60, "keep_expiry": true') == about(60)
        assert ttl_after(', "expire_in": 900, "keep_expiry": true') == about(60)
        assert ttl_after("") == about(60)
        assert ttl_after(', "expire_in": 900, "keep_expiry": false') == about(900)
        assert ttl_after(', "expire_in": 800') == about(800)
        assert ttl_after(', "expire_in": null') == -1

    @pytest.mark.parametrize(
        "media_type", ["application/merge-patch+json", "application/json", "application/json; charset=utf-8"]
    )
    def test_a_change_is_json_by_either_name(self, ask: Ask, media_type: str) -> None:
        assert ask("PATCH", "/keys/a", b'{"increment": 1}', {"Content-Type": media_type}).status == 200

    @pytest.mark.parametrize(
        "media_type", ["", "text/plain", "application/json-patch+json", "application/x-www-form-urlencoded"]
    )
    def test_another_media_type_is_refused(self, ask: Ask, client: Redis, media_type: str) -> None:
        answer = ask("PATCH", "/keys/a", b'{"increment": 1}', {"Content-Type": media_type})

        assert answer.code == "unsupported_media_type"
        assert client.keys() == []

    @pytest.mark.parametrize(
        "body",
        [
            "", "{", "[]", "1", "null", "{}",
            '{"increment": 1.0}', '{"increment": "1"}', '{"increment": true}', '{"increment": null}',
            '{"increment": 9223372036854775808}', '{"increment": -9223372036854775809}', '{"increment": 1e3}',
            '{"append": 1}', '{"append": null}', '{"append": {"base64": "?"}}',
            '{"increment": 1, "append": "a"}', '{"increment": 1, "increment": 1}', '{"append": "", "x": 1}',
            '{"expire_in": 0}', '{"expire_in": -1}', '{"expire_in": 1.5}', '{"expire_in": "60"}', '{"expire_in": true}',
            '{"expire_in": 2147483648}', '{"increment": 1, "expire_in": 0}',
            '{"keep_expiry": true}', '{"increment": 1, "keep_expiry": true}', '{"expire_in": 5, "keep_expiry": true}',
            '{"increment": 1, "expire_in": 5, "keep_expiry": 1}',
            '{"increment": 1, "expire_in": null, "keep_expiry": true}',
        ],
    )  # fmt: skip
    def test_what_is_no_change_is_refused_and_changes_nothing(self, ask: Ask, client: Redis, body: str) -> None:
        client.set("kv:a", "1")

        assert patch(ask, "a", body).status == 400
        assert (client.get("kv:a"), client.ttl("kv:a")) == (b"1", -1)

    @pytest.mark.parametrize("change", ['{"increment": 1}', '{"append": "1"}', '{"expire_in": 5}'])
    def test_what_is_no_string_is_409(self, ask: Ask, client: Redis, change: str) -> None:
        client.rpush("kv:a", "1")

        assert patch(ask, "a", change).code == "wrong_type"

    @every_key
    def test_any_key_can_be_changed(self, ask: Ask, key: str) -> None:
        assert patch(ask, key, '{"increment": 2}').json == {key: "2"}

    def test_what_the_client_cannot_take_is_refused_before_the_change(self, ask: Ask, client: Redis) -> None:
        assert patch(ask, "a", '{"increment": 1}', Accept="image/png").status == 406
        assert client.keys() == []


def test_a_get_is_one_round_trip(valkey_server: EmbeddedServer, valkey_client: Redis, contract: Contract) -> None:
    sent: list[bytes] = []
    with (
        proxy_to(str(valkey_server.data_dir / "valkey.sock")) as proxy,
        contextlib.closing(connect(f"redis://127.0.0.1:{proxy.port}", timeout_seconds=5, max_connections=1)) as client,
    ):
        store = Store(client, key_prefix=PREFIX, max_value_bytes=MAX_VALUE_BYTES)
        ask = in_process(create_app(Settings(), store=store), contract)
        put_json(ask, {"a": "1"}, "?expire_in=60")
        ask("GET", "/keys/a")

        with proxy.choosing(sent.append):
            for _ in range(10):
                assert ask("GET", "/keys/a").headers["Expire-In"]

    assert len(sent) == 10


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "application/json"),
        ("text/plain;q=.5, application/json;q=.4", "text/plain"),
        ("*", "application/json"),
        ("application/*;q=.1, text/plain;Q=.2", "text/plain"),
        ("text/plain;q=.0, *", "application/json"),
    ],
)
def test_accept_is_read_as_clients_write_it(ask: Ask, client: Redis, accept: str, media_type: str) -> None:
    client.set("kv:a", "1")

    answer = ask("GET", "/keys/a", headers={"Accept": accept})

    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, media_type)
