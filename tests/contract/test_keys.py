"""The contract of `/keys` and `/keys/{key}`: one suite, on a real Valkey and through Gunicorn."""

import base64
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from flask import Flask
from redis import Redis
from werkzeug.test import create_environ, run_wsgi_app

from models.entry import value_to_json
from models.valkey.scan import POSITION_BITS
from tests.support.cases import KEYS, NOT_CURSORS, NOT_EXPIRIES, NOT_LIMITS, VALUES, about, every_key, every_value
from tests.support.clients import FORM, JSON, Ask, ask_json, pages, put_json, target_of
from tests.support.ways import Delete, Listing, Put, every_delete, every_listing, every_put


class TestStoring:
    def test_pairs_in_the_query_string_are_stored(self, ask: Ask) -> None:
        answer = ask("PUT", "/keys?my_name=_value_&other=2&expire_in=100")

        assert (answer.status, answer.json) == (200, {"stored": 2})
        assert ask("GET", "/keys").json == {"my_name": "_value_", "other": "2"}

    def test_pairs_in_a_form_body_are_stored(self, ask: Ask) -> None:
        answer = ask("PUT", "/keys", b"a=1&b=two+words&%C3%BC=%26", FORM)

        assert (answer.status, answer.json) == (200, {"stored": 3})
        assert ask("GET", "/keys").json == {"a": "1", "b": "two words", "ü": "&"}

    def test_pairs_in_a_json_object_are_stored(self, ask: Ask) -> None:
        answer = put_json(ask, {"a": "1", "b": {"base64": "/w=="}})

        assert (answer.status, answer.json) == (200, {"stored": 2})
        assert ask("GET", "/keys").json == {"a": "1", "b": {"base64": "/w=="}}

    def test_pairs_of_the_query_string_and_of_the_body_are_stored_together(self, ask: Ask) -> None:
        assert put_json(ask, {"a": "1"}, "?b=2").json == {"stored": 2}

    def test_a_pair_replaces_the_value_of_an_existing_key(self, ask: Ask) -> None:
        put_json(ask, {"a": "old"})

        assert put_json(ask, {"a": "new"}).json == {"stored": 1}
        assert ask("GET", "/keys/a").json == {"a": "new"}

    def test_an_empty_value_is_a_value(self, ask: Ask) -> None:
        assert ask("PUT", "/keys?a=").json == {"stored": 1}
        assert ask("GET", "/keys/a").json == {"a": ""}

    @every_key
    def test_any_key_can_be_stored_by_json_read_checked_listed_and_deleted(self, ask: Ask, key: str) -> None:
        assert put_json(ask, {key: "value"}).status == 200

        assert ask("GET", target_of(key)).json == {key: "value"}
        assert ask("HEAD", target_of(key)).status == 200
        assert ask("GET", "/keys").json == {key: "value"}
        assert ask("GET", "/keys?filter=" + quote(key.replace("\\", r"\\").replace("$", r"\$"))).json == {key: "value"}
        assert ask("DELETE", target_of(key)).json == {"deleted": 1}
        assert ask("GET", target_of(key)).status == 404

    @every_key
    def test_any_key_but_the_expiry_can_be_stored_by_the_query_string(self, ask: Ask, key: str) -> None:
        if key == "expire_in":
            assert ask("PUT", "/keys?expire_in=value").code == "invalid_expiry"
            return
        assert ask("PUT", f"/keys?{quote_plus(key)}=value").status == 200
        assert ask("GET", "/keys").json == {key: "value"}

    @every_key
    def test_any_key_can_be_stored_by_a_form(self, ask: Ask, key: str) -> None:
        assert ask("PUT", "/keys", f"{quote_plus(key)}=value".encode(), FORM).status == 200
        assert ask("GET", "/keys").json == {key: "value"}

    @every_value
    def test_any_value_comes_back_as_it_was_sent(self, ask: Ask, value: bytes) -> None:
        sent = {"key": value_to_json(value), "in base64": {"base64": base64.b64encode(value).decode()}}

        assert put_json(ask, sent).status == 200

        assert ask("GET", "/keys/key").json == {"key": value_to_json(value)}
        assert ask("GET", "/keys/in%20base64").json == {"in base64": value_to_json(value)}

    @pytest.mark.one_slot
    @every_put
    def test_any_value_is_stored_unchanged_under_the_prefix(
        self, ask: Ask, client: Redis, prefix: str, put: Put
    ) -> None:
        values = {"a": b"", **VALUES}
        names = [f"{prefix}{key}" for key in values]
        client.mset(dict.fromkeys(names, "old"))

        assert put(ask, values, None) == len(values)

        assert client.mget(names) == list(values.values())
        assert len(client.keys()) == len(names)

    def test_what_get_gives_put_takes_back_unchanged(self, ask: Ask) -> None:
        entries = {name: value_to_json(value) for name, value in VALUES.items()}
        put_json(ask, entries)

        listed = ask("GET", "/keys").json
        ask("DELETE", "/keys")

        assert put_json(ask, listed).json == {"stored": len(VALUES)}
        assert ask("GET", "/keys").json == entries

    @pytest.mark.one_slot
    @every_put
    def test_an_expiry_is_set_replaced_and_removed(self, ask: Ask, client: Redis, prefix: str, put: Put) -> None:
        client.mset({f"{prefix}a": "old", f"{prefix}b": "old"})

        for expire_in, ttls in ((100, {99, 100}), (50, {49, 50}), (None, {-1})):
            put(ask, {"a": b"1", "b": b"2"}, expire_in)
            assert {client.ttl(f"{prefix}{key}") for key in "ab"} <= ttls

    def test_the_expiry_holds_for_every_pair(self, ask: Ask, client: Redis) -> None:
        put_json(ask, {"a": "1", "b": "2"}, "?expire_in=100&c=3")

        assert [client.ttl(f"kv:{key}") for key in "abc"] == about([100, 100, 100])

    def test_the_longest_expiry_is_taken(self, ask: Ask, client: Redis) -> None:
        assert ask("PUT", "/keys?a=1&expire_in=2147483647").status == 200
        assert client.ttl("kv:a") == 2147483647

    def test_an_expired_key_is_gone(self, ask: Ask, client: Redis) -> None:
        ask("PUT", "/keys?a=1&expire_in=100")
        client.pexpire("kv:a", 1)
        while client.exists("kv:a"):
            pass

        assert ask("GET", "/keys/a").status == 404
        assert ask("GET", "/keys").json == {}

    def test_expire_in_in_a_body_is_a_key(self, ask: Ask, client: Redis) -> None:
        ask("PUT", "/keys", b"a=1&expire_in=100", FORM)

        assert client.ttl("kv:a") == -1
        assert client.get("kv:expire_in") == b"100"

    def test_a_value_replaces_what_is_no_string(self, ask: Ask, client: Redis) -> None:
        client.hset("kv:a", "field", "1")

        assert ask("PUT", "/keys?a=1").status == 200
        assert ask("GET", "/keys/a").json == {"a": "1"}


class TestStoringNothing:
    """Bad input: a clear 4xx, and nothing written."""

    @pytest.mark.parametrize("expire_in", NOT_EXPIRIES)
    def test_what_is_no_expiry_is_refused(self, ask: Ask, client: Redis, expire_in: str) -> None:
        answer = ask("PUT", f"/keys?a=1&expire_in={quote(expire_in)}")

        assert (answer.status, answer.code) == (400, "invalid_expiry")
        assert client.keys() == []

    @pytest.mark.parametrize(
        "value", [1, 1.5, True, None, [], ["a"], {}, {"base64": 1}, {"base64": "", "b": ""}, {"b": "a"}]
    )
    def test_a_json_value_that_is_neither_string_nor_base64_is_refused_by_its_key(
        self, ask: Ask, client: Redis, value: object
    ) -> None:
        answer = put_json(ask, {"good": "1", "the bad one": value})

        assert (answer.status, answer.code) == (400, "invalid_value")
        assert "the bad one" in answer.json["detail"]
        assert client.keys() == []

    @pytest.mark.parametrize("text", ["A", "AA=A", "????", "AA==\n", "ü", "_-8="])
    def test_what_is_not_base64_is_refused_by_its_key(self, ask: Ask, client: Redis, text: str) -> None:
        answer = put_json(ask, {"good": "1", "the bad one": {"base64": text}})

        assert (answer.status, answer.code) == (400, "invalid_value")
        assert "the bad one" in answer.json["detail"]
        assert client.keys() == []

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"nonsense",
            b'{"a": "1"',
            b'{"a": "1"} x',
            b"{'a': '1'}",
            b'{"a": "1",}',
            b'{"a": NaN}',
            b'{"a": "\n"}',
            b'\xef\xbb\xbf\xef\xbb\xbf{"a": "1"}',
            b'{"a": "\xff"}',
            '{"a": "1"}'.encode("utf-16"),
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"a": ' + b"1" * 5_000 + b"}",
            b"[]",
            b'[["a", "1"]]',
            b'"a"',
            b"null",
            b"1",
        ],
        ids=lambda body: repr(body[:24]),
    )
    def test_a_body_that_is_no_json_object_is_refused(self, ask: Ask, client: Redis, body: bytes) -> None:
        answer = ask("PUT", "/keys?good=1", body, JSON)

        assert answer.status == 400
        assert answer.code == ("invalid_value" if body.startswith(b'{"a": NaN') else "invalid_body")
        assert client.keys() == []

    @pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "utf8", '"UTF8"', "us-ascii", "UTF_8"])
    def test_utf_8_has_many_names(self, ask: Ask, charset: str) -> None:
        for media_type, body in (("application/json", b'{"a": "1"}'), ("application/x-www-form-urlencoded", b"a=1")):
            answer = ask("PUT", "/keys", body, {"Content-Type": f"{media_type}; charset={charset}"})
            assert answer.status == 200

    @pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "utf-7", "nonsense"])
    @pytest.mark.parametrize(
        ("media_type", "body"),
        [
            ("application/json", b'{"a": "1"}'),
            ("application/x-www-form-urlencoded", b"a=1"),
            ("application/x-ndjson", b'{"key": "a", "value": "1"}'),
        ],
    )
    def test_another_charset_is_refused(
        self, ask: Ask, client: Redis, media_type: str, body: bytes, charset: str
    ) -> None:
        answer = ask("PUT", "/keys", body, {"Content-Type": f"{media_type}; charset={charset}"})

        assert (answer.status, answer.code) == (415, "unsupported_media_type")
        assert client.keys() == []

    def test_a_byte_order_mark_before_json_is_left_out(self, ask: Ask) -> None:
        assert ask("PUT", "/keys", b'\xef\xbb\xbf{"a": "1"}', JSON).json == {"stored": 1}

    @pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
    def test_a_media_type_without_a_body_is_left_alone(self, ask: Ask, media_type: str) -> None:
        assert ask("PUT", "/keys?a=1", b"", {"Content-Type": media_type}).json == {"stored": 1}

    @pytest.mark.parametrize("body", [b"A=1\nB=2\n", b"A=1\r\nB=2", b"A=1\n"])
    def test_a_form_with_raw_line_breaks_is_refused(self, ask: Ask, client: Redis, body: bytes) -> None:
        answer = ask("PUT", "/keys", body, FORM)

        assert (answer.status, answer.code) == (400, "invalid_body")
        assert client.keys() == []

    def test_a_bad_json_body_is_refused_with_its_position(self, ask: Ask) -> None:
        answer = ask("PUT", "/keys", b'{"a": "1",\n "b": x}', JSON)

        assert answer.json["position"] == 17
        assert "line 2, column 7" in answer.json["detail"]

    @pytest.mark.parametrize("body", [rb'{"ab\ud800": "1"}', rb'{"a": "12\udfff"}'])
    def test_half_a_surrogate_pair_is_refused_with_its_position(self, ask: Ask, client: Redis, body: bytes) -> None:
        answer = ask("PUT", "/keys", body, JSON)

        assert answer.code in {"invalid_key", "invalid_value"}
        assert answer.json["position"] == 2
        assert client.keys() == []

    @pytest.mark.parametrize(
        ("target", "body", "headers"),
        [
            ("/keys?a=1&a=2", b"", {}),
            ("/keys?a=1&%61=1", b"", {}),
            ("/keys", b"a=1&a=1", FORM),
            ("/keys", b'{"a": "1", "a": "1"}', JSON),
            ("/keys", rb'{"a": "1", "\u0061": "1"}', JSON),
            ("/keys?a=1", b'{"a": "1"}', JSON),
            ("/keys?a=1", b"a=1", FORM),
            ("/keys?a=1&expire_in=5&expire_in=5", b"", {}),
        ],
    )
    def test_the_same_name_twice_is_refused(
        self, ask: Ask, client: Redis, target: str, body: bytes, headers: dict[str, str]
    ) -> None:
        answer = ask("PUT", target, body, headers)

        assert (answer.status, answer.code) == (400, "invalid_pairs")
        assert client.keys() == []

    def test_the_same_member_twice_within_a_value_is_refused(self, ask: Ask, client: Redis) -> None:
        assert ask("PUT", "/keys", b'{"a": {"base64": "", "base64": "AA=="}}', JSON).code == "invalid_body"
        assert client.keys() == []

    @pytest.mark.parametrize(
        ("target", "body", "headers"),
        [
            ("/keys", b"", {}),
            ("/keys?expire_in=5", b"", {}),
            ("/keys?", b"", {}),
            ("/keys?&", b"", {}),
            ("/keys", b"{}", JSON),
            ("/keys", b"", FORM),
            ("/keys", b"&", FORM),
        ],
    )
    def test_no_pair_at_all_is_refused(self, ask: Ask, target: str, body: bytes, headers: dict[str, str]) -> None:
        answer = ask("PUT", target, body, headers)

        assert (answer.status, answer.code) == (400, "invalid_pairs")

    @pytest.mark.parametrize(
        ("target", "body", "headers"),
        [("/keys?=1", b"", {}), ("/keys", b"=1", FORM), ("/keys", b'{"": "1", "b": "2"}', JSON)],
    )
    def test_the_empty_key_is_refused(
        self, ask: Ask, client: Redis, target: str, body: bytes, headers: dict[str, str]
    ) -> None:
        answer = ask("PUT", target, body, headers)

        assert (answer.status, answer.code) == (400, "invalid_key")
        assert client.keys() == []

    @pytest.mark.parametrize("key", ["k" * 1025, "ü" * 513])
    def test_a_key_that_is_too_long_is_refused_with_both_lengths(self, ask: Ask, client: Redis, key: str) -> None:
        answer = put_json(ask, {"good": "1", key: "1"})

        assert (answer.status, answer.code) == (400, "invalid_key")
        assert (answer.json["limit"], answer.json["actual"]) == (1024, len(key.encode()))
        assert client.keys() == []

    def test_a_value_that_is_too_large_is_refused_with_both_sizes(self, ask: Ask, client: Redis) -> None:
        answer = put_json(ask, {"good": "1", "the bad one": "v" * (1024 * 1024 + 1)})

        assert (answer.status, answer.code) == (413, "value_too_large")
        assert (answer.json["limit"], answer.json["actual"]) == (1024 * 1024, 1024 * 1024 + 1)
        assert "the bad one" in answer.json["detail"]
        assert client.keys() == []

    def test_the_limit_of_a_value_counts_the_bytes_that_base64_stands_for(self, ask: Ask) -> None:
        largest = {"base64": base64.b64encode(b"\xff" * (1024 * 1024)).decode()}

        assert put_json(ask, {"a": largest}).status == 200

    def test_more_pairs_than_one_step_may_write_are_refused(self, ask: Ask, client: Redis) -> None:
        pairs = {str(number): "" for number in range(131_073)}

        answer = put_json(ask, pairs)

        assert (answer.status, answer.code) == (413, "too_many_keys")
        assert client.keys() == []
        pairs.popitem()
        assert put_json(ask, pairs).json == {"stored": 131_072}

    @pytest.mark.parametrize(
        ("body", "headers", "limit"),
        [(b"=&" * 131_072, FORM, 131_072), (b'{"a": [' + b"[]," * 200_000 + b"1]}", JSON, 262_144)],
    )
    def test_more_of_them_than_are_ever_taken_are_refused_before_they_are_taken_apart(
        self, ask: Ask, client: Redis, body: bytes, headers: dict[str, str], limit: int
    ) -> None:
        answer = ask("PUT", "/keys", body, headers)

        assert (answer.status, answer.code, answer.json["limit"]) == (413, "too_many_keys", limit)
        assert client.keys() == []

    @pytest.mark.one_slot
    @pytest.mark.parametrize(
        ("query", "headers"),
        [("?expire_in=60", {}), ("", {"If-None-Match": "*"}), ("?expire_in=60", {"If-Match": "*"})],
    )
    def test_with_an_expiry_or_a_condition_one_step_writes_fewer(
        self, ask: Ask, client: Redis, prefix: str, query: str, headers: dict[str, str]
    ) -> None:
        pairs = {str(number): "" for number in range(10_001)}
        if "If-Match" in headers:
            client.mset({f"{prefix}{key}": "old" for key in pairs})

        refused = ask_json(ask, "PUT", f"/keys{query}", pairs, headers)
        pairs.popitem()
        stored = ask_json(ask, "PUT", f"/keys{query}", pairs, headers)

        assert (refused.status, refused.code) == (413, "too_many_keys")
        assert (refused.json["limit"], refused.json["actual"]) == (10_000, 10_001)
        assert stored.json == {"stored": 10_000}

    @pytest.mark.gunicorn("Granian closes a connection whose body was not read")
    def test_a_body_that_is_too_large_is_refused_with_both_sizes(self, ask: Ask) -> None:
        body = b" " * (16 * 1024 * 1024 + 1)

        answer = ask("PUT", "/keys", body, JSON)

        assert (answer.status, answer.code) == (413, "body_too_large")
        assert (answer.json["limit"], answer.json["actual"]) == (16 * 1024 * 1024, len(body))

    @pytest.mark.parametrize(
        "media_type",
        [
            "text/plain",
            "application/xml",
            "multipart/form-data; boundary=x",
            "application/json; charset=latin-1",
            "application/jsonx",
            "nonsense",
            "application/merge-patch+json",
        ],
    )
    def test_another_media_type_is_refused(self, ask: Ask, client: Redis, media_type: str) -> None:
        answer = ask("PUT", "/keys?good=1", b'{"a": "1"}', {"Content-Type": media_type})

        assert (answer.status, answer.code) == (415, "unsupported_media_type")
        assert client.keys() == []

    @pytest.mark.parametrize(
        "media_type", ["application/json; charset=UTF-8", "APPLICATION/JSON", 'application/json;charset="utf-8"']
    )
    def test_the_media_type_may_name_utf_8(self, ask: Ask, media_type: str) -> None:
        assert ask("PUT", "/keys", b'{"a": "1"}', {"Content-Type": media_type}).status == 200

    def test_a_body_without_a_media_type_is_refused(self, ask: Ask) -> None:
        assert ask("PUT", "/keys?good=1", b"a=1").status == 415

    def test_json_that_is_sent_as_a_form_is_refused_with_advice(self, ask: Ask, client: Redis) -> None:
        answer = ask("PUT", "/keys", b'{"a":"b"}', FORM)

        assert answer.status == 400
        assert "Content-Type: application/json" in answer.json["detail"]
        assert client.keys() == []


class TestReading:
    def test_a_key_that_is_not_there_is_404_by_its_name(self, ask: Ask) -> None:
        answer = ask("GET", "/keys/nothing")

        assert (answer.status, answer.code) == (404, "key_not_found")
        assert "nothing" in answer.json["detail"]

    def test_head_gives_the_headers_of_get(self, ask: Ask) -> None:
        put_json(ask, {"a": "1"})

        get, head = (ask(method, "/keys/a", headers={"X-Request-Id": "same"}) for method in ("GET", "HEAD"))

        assert dict(get.headers) == dict(head.headers)
        assert head.headers["Content-Length"] == str(len(get.body))

    def test_head_of_a_key_that_is_not_there_is_404(self, ask: Ask) -> None:
        assert ask("HEAD", "/keys/nothing").status == 404

    def test_an_encoded_slash_and_a_slash_are_the_same(self, ask: Ask) -> None:
        put_json(ask, {"a/b": "1"})

        assert ask("GET", "/keys/a/b").json == ask("GET", "/keys/a%2Fb").json == ask("GET", "/keys/a%2fb").json

    def test_a_plus_in_a_path_is_a_plus(self, ask: Ask) -> None:
        put_json(ask, {"a+b": "1"})

        assert ask("GET", "/keys/a+b").status == 200

    @pytest.mark.parametrize("name", ["a//b", "//a", "a//", ".", "..", "a/../b", "a/./b"])
    def test_a_path_is_not_tidied_up(self, ask: Ask, name: str) -> None:
        put_json(ask, {name: "1"})

        assert ask("GET", f"/keys/{name}").json == {name: "1"}

    @pytest.mark.parametrize("target", ["/keys/%FF", "/keys/a%C3", "/keys/%ED%A0%80", "/keys/%C0%80", "/keys/a%FFb%FE"])
    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    def test_bytes_that_are_not_utf_8_are_refused(self, ask: Ask, method: str, target: str) -> None:
        assert ask(method, target).status == 400

    @pytest.mark.parametrize("target", ["/keys/100%", "/keys/%", "/keys/%2", "/keys/%zz", "/keys/%2G", "/keys/a%u0041"])
    @pytest.mark.gunicorn("Granian does not say what the client wrote, only what it decoded")
    def test_a_malformed_escape_is_refused(self, ask: Ask, target: str) -> None:
        assert ask("GET", target).code == "invalid_encoding"

    @pytest.mark.gunicorn("Granian does not say what the client wrote, only what it decoded")
    def test_a_fragment_is_refused_before_it_hits_another_key(self, ask: Ask) -> None:
        put_json(ask, {"a": "1"})

        assert ask("DELETE", "/keys/a#b").code == "invalid_encoding"
        assert ask("GET", "/keys/a").status == 200

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "PATCH"])
    def test_the_empty_key_is_404_in_a_path(self, ask: Ask, method: str) -> None:
        assert ask(method, "/keys/").status == 404

    def test_a_key_that_is_too_long_is_refused(self, ask: Ask) -> None:
        assert ask("GET", "/keys/" + "k" * 1025).code == "invalid_key"

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_a_key_that_is_no_string_is_409(self, ask: Ask, client: Redis, method: str) -> None:
        client.rpush("kv:list", "1")

        assert ask(method, "/keys/list").status == 409

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("GET", "/keys/a"),
            ("HEAD", "/keys/a"),
            ("DELETE", "/keys/a"),
            ("GET", "/keys"),
            ("HEAD", "/keys"),
            ("DELETE", "/keys"),
            ("GET", "/health/live"),
            ("GET", "/health/ready"),
            ("HEAD", "/health/live"),
        ],
    )
    @pytest.mark.parametrize(
        "query", ["fliter=a", "FILTER=a", "expire_in=5", "=", "filter=a&filter=a", "filter", "%FF=a", "x=%zz"]
    )
    def test_an_unknown_repeated_or_malformed_parameter_is_refused_and_changes_nothing(
        self, ask: Ask, method: str, target: str, query: str
    ) -> None:
        put_json(ask, {"a": "1"})

        assert ask(method, f"{target}?{query}").status == 400
        assert ask("GET", "/keys").json == {"a": "1"}


def test_a_server_that_gives_no_raw_target_serves_the_same_keys(app: Flask) -> None:
    for path, status in (("/keys/\xff", 400), ("/keys/100%", 404), ("/keys/\xc3\xbc", 404)):
        environ = create_environ(path="/")
        del environ["RAW_URI"]
        environ["PATH_INFO"] = path
        _, answered, _ = run_wsgi_app(app, environ, buffered=True)
        assert answered.startswith(str(status))


class TestListing:
    def test_an_empty_store_is_an_empty_object(self, ask: Ask) -> None:
        assert ask("GET", "/keys").json == {}
        assert ask("GET", "/keys?limit=5").json == {}
        assert ask("HEAD", "/keys").headers["Total-Count"] == "0"

    @every_listing
    def test_everything_is_listed_without_a_limit(self, ask: Ask, listing: Listing) -> None:
        entries = {f"key {number}": str(number) for number in range(5_000)}
        put_json(ask, entries)

        assert listing(ask, "") == entries

    def test_a_small_list_has_its_length(self, ask: Ask) -> None:
        put_json(ask, {"a": "1"})

        answer = ask("GET", "/keys")

        assert int(answer.headers["Content-Length"]) == len(answer.body)

    def test_pages_give_everything(self, ask: Ask) -> None:
        entries = {f"key {number}": str(number) for number in range(2_500)}
        put_json(ask, entries)

        found = list(pages(ask, "/keys?limit=100"))

        assert {key: value for page in found for key, value in page.items()} == entries
        assert 10 <= len(found) <= 30
        assert all(len(page) <= 150 for page in found)

    def test_pages_keep_the_filter_and_leave_out_values_if_told_so(self, ask: Ask) -> None:
        put_json(ask, {f"{letter}{number}": "1" for letter in "ab" for number in range(300)})

        found = list(pages(ask, "/keys?limit=50&values=false&filter=a$"))

        assert {key: value for page in found for key, value in page.items()} == {f"a{n}": None for n in range(300)}

    def test_the_last_page_has_no_link(self, ask: Ask) -> None:
        put_json(ask, {"a": "1", "b": "2"})

        assert "Link" not in ask("GET", "/keys?limit=10000").headers

    def test_a_cursor_alone_gives_a_page(self, ask: Ask) -> None:
        put_json(ask, {f"key {number}": "1" for number in range(3_000)})

        answer = ask("GET", "/keys?cursor=0")

        assert 0 < len(answer.json) < 3_000
        assert "limit=1000" in answer.headers["Link"]

    def test_keys_alone_have_null_for_a_value(self, ask: Ask) -> None:
        put_json(ask, {"a": "1", "b": {"base64": "/w=="}})

        assert ask("GET", "/keys?values=false").json == {"a": None, "b": None}
        assert ask("GET", "/keys?values=true").json == {"a": "1", "b": {"base64": "/w=="}}

    @pytest.mark.parametrize("query", ["values=", "values=1", "values=False", "values=no"])
    def test_values_is_true_or_false(self, ask: Ask, query: str) -> None:
        assert ask("GET", f"/keys?{query}").code == "invalid_parameter"

    @pytest.mark.parametrize("limit", NOT_LIMITS)
    def test_what_is_no_limit_is_refused(self, ask: Ask, limit: str) -> None:
        assert ask("GET", f"/keys?limit={quote(limit)}").code == "invalid_parameter"

    @pytest.mark.parametrize("cursor", NOT_CURSORS)
    def test_what_is_no_cursor_is_refused(self, ask: Ask, cursor: str) -> None:
        assert ask("GET", f"/keys?limit=1&cursor={quote(cursor)}").code == "invalid_parameter"

    def test_a_forged_cursor_is_refused_or_does_no_harm(self, ask: Ask) -> None:
        put_json(ask, {f"key {number}": "1" for number in range(300)})
        [given] = re.findall(r"cursor=(\w+)", ask("GET", "/keys?limit=10").headers["Link"])
        of_no_process, of_no_server = 2**POSITION_BITS - 1, int(given, 16) | 0xFFF << POSITION_BITS
        of_another_place = int(given, 16) ^ 0xFF

        assert ask("GET", f"/keys?limit=10&cursor={of_no_process:x}").code == "cursor_expired"
        assert ask("GET", f"/keys?limit=10&cursor={of_no_server:x}").code == "cursor_expired"
        assert ask("GET", f"/keys?limit=10&cursor={of_another_place:x}").status == 200
        assert len(ask("GET", "/keys").json) == 300

    @every_listing
    def test_large_values_are_listed_whole(self, ask: Ask, listing: Listing) -> None:
        entries = {f"large {n}": "v" * 500_000 for n in range(12)} | {f"small {n}": "v" for n in range(300)}
        put_json(ask, entries)

        assert listing(ask, "") == entries

    @every_listing
    def test_keys_outside_the_prefix_are_never_seen_counted_or_deleted(
        self, ask: Ask, client: Redis, listing: Listing
    ) -> None:
        for name in ("other", "kv", "kvx:a", "KV:a", "xkv:a"):
            client.set(name, "1")
        put_json(ask, {"a": "1"})

        assert listing(ask, "") == {"a": "1"}
        assert ask("HEAD", "/keys").headers["Total-Count"] == "1"
        assert ask("DELETE", "/keys").json == {"deleted": 1}
        assert len(client.keys()) == 5

    def test_keys_of_other_programs_break_nothing(self, ask: Ask, client: Redis) -> None:
        client.set(b"kv:\xff", "not UTF-8")
        client.set(b"kv:", "the empty key")
        client.hset("kv:hash", "field", "1")
        client.set(b"kv:long" + b"k" * 2_000, "longer than a key")
        put_json(ask, {"a": "1"})

        listed = {"a": "1", "long" + "k" * 2_000: "longer than a key"}
        assert ask("GET", "/keys").json == listed
        assert ask("GET", "/keys?values=false").json == dict.fromkeys(listed)
        assert ask("GET", "/keys?limit=100&values=false").json == dict.fromkeys(listed)
        assert ask("HEAD", "/keys").headers["Total-Count"] == "2"
        assert ask("DELETE", "/keys").json == {"deleted": 5}
        assert client.keys() == []


FILTERS = [
    ("wo$d", {"wod", "word", "world"}),
    (
        "$",
        {
            "wod",
            "word",
            "world",
            "wordy",
            "sword",
            "Word",
            "a*b",
            "a?b",
            "a[b]",
            "a^b",
            "axb",
            "a\\b",
            "a$b",
            "a.b",
            "a\nb",
        },
    ),
    ("word", {"word"}),
    ("$word", {"word", "sword"}),
    ("word$", {"word", "wordy"}),
    ("$$wo$$d$$", {"wod", "word", "world", "wordy", "sword"}),
    ("a*b", {"a*b"}),
    ("a?b", {"a?b"}),
    ("a[b]", {"a[b]"}),
    ("a^b", {"a^b"}),
    ("a.b", {"a.b"}),
    (r"a\\b", {"a\\b"}),
    (r"a\$b", {"a$b"}),
    ("a\nb", {"a\nb"}),
    ("w[a-z]rd", set()),
    ("", set()),
    ("W$", {"Word"}),
    ("nothing$", set()),
]


class TestFilters:
    @pytest.fixture(autouse=True)
    def _some_keys(self, ask: Ask) -> None:
        put_json(ask, dict.fromkeys(FILTERS[1][1], "1"))

    @every_listing
    @pytest.mark.parametrize(("pattern", "matching"), FILTERS)
    def test_a_filter_chooses_what_is_listed_and_counted(
        self, ask: Ask, listing: Listing, pattern: str, matching: set[str]
    ) -> None:
        assert listing(ask, f"filter={quote(pattern)}") == dict.fromkeys(matching, "1")
        assert ask("GET", f"/keys?values=false&filter={quote(pattern)}").json == dict.fromkeys(matching)
        assert ask("HEAD", f"/keys?filter={quote(pattern)}").headers["Total-Count"] == str(len(matching))

    @pytest.mark.parametrize(("pattern", "matching"), [case for case in FILTERS if case[0]])
    def test_a_filter_chooses_what_is_deleted(self, ask: Ask, pattern: str, matching: set[str]) -> None:
        assert ask("DELETE", f"/keys?filter={quote(pattern)}").json == {"deleted": len(matching)}
        assert set(ask("GET", "/keys").json) == FILTERS[1][1] - matching

    @pytest.mark.parametrize(("pattern", "position"), [("\\", 0), ("a\\", 1), (r"a\b", 1), (r"\\\x", 2), (r"$\*", 1)])
    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_a_wrong_escape_is_refused_with_its_position(
        self, ask: Ask, method: str, pattern: str, position: int
    ) -> None:
        answer = ask(method, f"/keys?filter={quote(pattern)}")

        assert (answer.status, answer.code, answer.json["position"]) == (400, "invalid_filter", position)
        assert set(ask("GET", "/keys").json) == FILTERS[1][1]

    def test_an_empty_filter_deletes_nothing(self, ask: Ask) -> None:
        assert ask("DELETE", "/keys?filter=").code == "invalid_filter"
        assert set(ask("GET", "/keys").json) == FILTERS[1][1]

    def test_a_filter_that_is_too_long_is_refused(self, ask: Ask) -> None:
        assert ask("GET", "/keys?filter=" + "k" * 2049).code == "invalid_filter"


class TestDeleting:
    @every_delete
    def test_a_key_is_deleted_alone(self, ask: Ask, delete: Delete) -> None:
        put_json(ask, {"a": "1", "b": "2"})

        assert delete(ask, "a") == 1

        assert ask("DELETE", "/keys/a").code == "key_not_found"
        assert ask("GET", "/keys").json == {"b": "2"}

    def test_all_keys_are_deleted(self, ask: Ask) -> None:
        put_json(ask, KEYS)

        assert ask("DELETE", "/keys").json == {"deleted": len(KEYS)}
        assert ask("DELETE", "/keys").json == {"deleted": 0}
        assert ask("GET", "/keys").json == {}

    def test_a_key_that_is_no_string_can_be_deleted(self, ask: Ask, client: Redis) -> None:
        client.hset("kv:hash", "field", "1")

        assert ask("DELETE", "/keys/hash").json == {"deleted": 1}


class TestAnswers:
    def test_bodies_are_json_that_ends_in_a_line_break(self, ask: Ask) -> None:
        put_json(ask, {"ü": "ä"})

        answer = ask("GET", "/keys/%C3%BC")

        assert answer.body == '{"ü":"ä"}\n'.encode()
        assert answer.headers["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("PATCH", "/keys"),
            ("POST", "/keys/a"),
            *(("PUT", target) for target in ("/health/live", "/health/ready")),
            *((method, target) for method in ("TRACE", "BREW") for target in ("/keys", "/keys/a", "/health/live")),
        ],
    )
    def test_other_methods_are_405_with_allow(self, ask: Ask, method: str, target: str) -> None:
        answer = ask(method, target)

        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert {"GET", "HEAD", "OPTIONS"} <= set(answer.headers["Allow"].split(", "))

    @pytest.mark.parametrize(
        "target", ["/key", "/keysx", "/KEYS", "//keys", "/health", "/health/", "/health/live/", "/a/keys"]
    )
    def test_other_urls_are_404(self, ask: Ask, target: str) -> None:
        assert ask("GET", target).code == "not_found"

    def test_a_well_formed_request_id_comes_back(self, ask: Ask) -> None:
        assert ask("GET", "/keys", headers={"X-Request-Id": "Az09._-"}).headers["X-Request-Id"] == "Az09._-"
        assert ask("GET", "/nope", headers={"X-Request-Id": "mine"}).json["request_id"] == "mine"

    @pytest.mark.parametrize("given", ["", "a b", "ü", "a" * 129, "a;b", '"'])
    def test_a_malformed_request_id_is_replaced(self, ask: Ask, given: str) -> None:
        answer = ask("GET", "/keys", headers={"X-Request-Id": given})

        assert answer.headers["X-Request-Id"] != given
        assert len(answer.headers["X-Request-Id"]) == 32

    def test_a_problem_names_its_kind_in_every_way(self, ask: Ask) -> None:
        answer = ask("GET", "/keys/nothing")

        assert answer.json == {
            "type": "urn:flaskvstore:problem:key_not_found",
            "title": "Key not found",
            "status": 404,
            "detail": 'There is no key "nothing".',
            "code": "key_not_found",
            "request_id": answer.headers["X-Request-Id"],
        }

    def test_control_characters_of_a_key_are_escaped_in_a_problem(self, ask: Ask) -> None:
        detail = json.loads(ask("GET", "/keys/a%0D%0Ab%1B%E2%80%AE").body)["detail"]

        assert detail == r'There is no key "a\r\nb\u001b\u202e".'

    def test_health_says_ok(self, ask: Ask) -> None:
        assert ask("GET", "/health/live").json == {"status": "ok"}
        assert ask("GET", "/health/ready").json == {"status": "ok"}
        assert ask("HEAD", "/health/ready").status == 200
