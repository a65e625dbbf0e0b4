"""Export and import as NDJSON: lossless, line by line. On Valkey and through Gunicorn."""

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from models.entry import value_to_json
from resources.media_types import NDJSON_TYPES
from tests.support.cases import KEYS, VALUES
from tests.support.clients import AS_NDJSON, NDJSON, Answer, Ask, put_json
from tests.support.contract import check_sentence


# A server of which no key expires is read in another way.
every_expiry = pytest.mark.parametrize("expires_at", [None, 4_000_000_000])


def exported(ask: Ask, target: str = "/keys") -> list[dict[str, Any]]:
    answer = ask("GET", target, headers=AS_NDJSON)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    *records, end = [json.loads(line) for line in answer.body.splitlines()]
    assert end == {"count": len(records)}
    return sorted(records, key=lambda record: str(record["key"]))


def imported(ask: Ask, *lines: object) -> Answer:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return ask("PUT", "/keys", b"\n".join(texts), NDJSON)


def pages_of_lines(ask: Ask, target: str) -> Iterator[list[dict[str, Any]]]:
    """Follow the links from a first page to the last."""
    following: str | None = target
    while following:
        answer = ask("GET", following, headers=AS_NDJSON)
        assert answer.status == 200, answer.body
        yield [json.loads(line) for line in answer.body.splitlines()]
        link = answer.headers.get("Link")
        following = "/keys" + link[1 : link.index(">")] if link else None


def errors_of(answer: Answer) -> list[int]:
    assert answer.status == 200, answer.body
    for error in answer.json["errors"]:
        check_sentence(error["detail"])
    return [error["line"] for error in answer.json["errors"]]


class TestExporting:
    @every_expiry
    def test_a_line_is_a_record(self, ask: Ask, client: Redis, expires_at: int | None) -> None:
        client.set("kv:a", "1")
        client.set("kv:b", b"\xff", exat=expires_at)
        client.set(b"kv:\xfe", "2")
        client.rpush("kv:list", "1")
        client.hset("kv:hash", "field", "1")
        client.set("kv:", "the empty key")
        client.set("other", "1")

        assert exported(ask) == [
            {"key": "a", "value": "1"},
            {"key": "b", "value": {"base64": "/w=="}, **({"expires_at": expires_at} if expires_at else {})},
            {"key": {"base64": "/g=="}, "value": "2"},
        ]

    def test_a_filter_chooses(self, ask: Ask, client: Redis) -> None:
        client.mset({"kv:word": "1", "kv:other": "2"})

        assert exported(ask, "/keys?filter=wo$d") == [{"key": "word", "value": "1"}]

    def test_nothing_is_a_count_of_nothing(self, ask: Ask) -> None:
        assert ask("GET", "/keys", headers=AS_NDJSON).body == b'{"count":0}\n'

    @pytest.mark.parametrize("media_type", NDJSON_TYPES)
    def test_ndjson_has_three_names(self, ask: Ask, media_type: str) -> None:
        exported_as = ask("GET", "/keys", headers={"Accept": media_type})
        imported_as = ask("PUT", "/keys", b'{"key": "a", "value": "1"}', {"Content-Type": media_type})

        assert exported_as.headers["Content-Type"] == media_type
        assert imported_as.json["stored"] == 1

    @pytest.mark.parametrize("query", ["x=1", "limit=0", "limit=10001", "cursor=x", "values=no"])
    def test_other_parameters_are_refused(self, ask: Ask, query: str) -> None:
        assert ask("GET", f"/keys?{query}", headers=AS_NDJSON).code == "invalid_parameter"

    def test_a_type_that_is_not_offered_is_406(self, ask: Ask) -> None:
        assert ask("GET", "/keys", headers={"Accept": "text/csv"}).code == "not_acceptable"


class TestSizes:
    @every_expiry
    def test_a_line_without_its_value_has_the_size_of_it(self, ask: Ask, client: Redis, expires_at: int | None) -> None:
        client.set("kv:a", "Grüße")
        client.set("kv:b", b"\xff", exat=expires_at)
        client.set("kv:c", "")
        client.set(b"kv:\xfe", "2")
        client.rpush("kv:list", "1")
        client.set("kv:", "the empty key")
        client.set("other", "1")

        assert exported(ask, "/keys?values=false") == [
            {"key": "a", "value_bytes": 7},
            {"key": "b", "value_bytes": 1, **({"expires_at": expires_at} if expires_at else {})},
            {"key": "c", "value_bytes": 0},
            {"key": {"base64": "/g=="}, "value_bytes": 1},
        ]

    def test_there_may_be_many(self, ask: Ask) -> None:
        put_json(ask, {f"key {number}": "v" * (number % 7) for number in range(3_000)})

        sizes = {record["key"]: record["value_bytes"] for record in exported(ask, "/keys?values=false")}

        assert sizes == {f"key {number}": number % 7 for number in range(3_000)}
        page = ask("GET", "/keys?values=false&limit=5000", headers=AS_NDJSON)
        assert {json.loads(line)["key"] for line in page.body.splitlines()} == sizes.keys()

    def test_an_import_takes_none(self, ask: Ask, client: Redis) -> None:
        answer = imported(ask, {"key": "a", "value": "1"}, {"key": "b", "value_bytes": 1})

        assert errors_of(answer) == [2]
        assert client.keys() == [b"kv:a"]


class TestPages:
    @pytest.mark.parametrize("values", ["true", "false"])
    def test_all_pages_together_have_every_record_and_none_has_a_count(self, ask: Ask, values: str) -> None:
        put_json(ask, {f"key {number}": str(number) for number in range(300)}, "?expire_in=1000")
        put_json(ask, {"other": "1"})
        whole = exported(ask, f"/keys?filter=key%20$&values={values}")

        pages = list(pages_of_lines(ask, f"/keys?limit=50&filter=key%20$&values={values}"))

        assert len(pages) > 1
        records = {record["key"]: record for page in pages for record in page}
        assert sorted(records.values(), key=lambda record: str(record["key"])) == whole
        assert len(whole) == 300

    def test_an_empty_page_is_empty(self, ask: Ask) -> None:
        answer = ask("GET", "/keys?limit=5&values=false", headers=AS_NDJSON)

        assert (answer.status, answer.body) == (200, b"")
        assert "Link" not in answer.headers

    def test_a_cursor_alone_is_a_page(self, ask: Ask) -> None:
        put_json(ask, {"a": "1"})

        assert ask("GET", "/keys?cursor=0", headers=AS_NDJSON).body == b'{"key":"a","value":"1"}\n'

    def test_a_page_can_be_imported(self, ask: Ask) -> None:
        put_json(ask, {"a": "1", "b": "2"})
        page = ask("GET", "/keys?limit=100", headers=AS_NDJSON).body

        assert ask("PUT", "/keys", page, NDJSON).json["stored"] == 2

    def test_a_cursor_goes_from_records_to_entries(self, ask: Ask) -> None:
        put_json(ask, {f"key {number}": "1" for number in range(300)})
        first = ask("GET", "/keys?limit=50", headers=AS_NDJSON)
        link = first.headers["Link"]

        rest = ask("GET", "/keys" + link[1 : link.index(">")]).json

        assert not {json.loads(line)["key"] for line in first.body.splitlines()} & rest.keys()


class TestCounting:
    @pytest.mark.parametrize("query", ["", "?limit=1", "?values=false", "?cursor=0", "?limit=1&values=false&cursor=0"])
    def test_head_takes_what_get_takes_and_counts_everything(self, ask: Ask, client: Redis, query: str) -> None:
        client.mset({b"kv:a": "1", b"kv:b": "2", b"kv:\xfe": "3", b"kv:": "4", b"other": "5"})

        for headers, media_type, count in (({}, "application/json", "2"), (AS_NDJSON, "application/x-ndjson", "3")):
            answer = ask("HEAD", f"/keys{query}", headers=headers)
            assert (answer.status, answer.headers["Total-Count"]) == (200, count)
            assert answer.headers["Content-Type"] == media_type

    @pytest.mark.parametrize("query", ["?limit=0", "?cursor=x", "?values=no", "?x=1"])
    def test_head_refuses_what_get_refuses(self, ask: Ask, query: str) -> None:
        assert ask("HEAD", f"/keys{query}").status == 400
        assert ask("HEAD", "/keys", headers={"Accept": "text/csv"}).status == 406


class TestImporting:
    def test_records_are_stored_with_their_expiry(self, ask: Ask, client: Redis) -> None:
        client.set("kv:a", "old", ex=60)

        answer = imported(
            ask,
            {"key": "a", "value": "1"},
            {"key": "b", "value": {"base64": "/w=="}, "expires_at": 4_000_000_000},
            {"key": {"base64": "/g=="}, "value": "2"},
        )

        assert answer.json == {"stored": 3, "skipped": 0, "failed": 0, "errors": []}
        assert [client.get(name) for name in (b"kv:a", b"kv:b", b"kv:\xfe")] == [b"1", b"\xff", b"2"]
        assert client.ttl("kv:a") == -1
        assert abs(time.time() + client.ttl("kv:b") - 4_000_000_000) < 5

    def test_what_has_expired_is_skipped(self, ask: Ask, client: Redis) -> None:
        client.set("kv:a", "kept")

        answer = imported(
            ask,
            {"key": "a", "value": "1", "expires_at": 0},
            {"key": "b", "value": "1", "expires_at": int(time.time()) - 1},
            {"key": "c", "value": "1", "expires_at": int(time.time()) + 60},
            # In this very second.
            {"key": "d", "value": "1", "expires_at": int(time.time())},
        )

        assert answer.json == {"stored": 1, "skipped": 3, "failed": 0, "errors": []}
        assert client.get("kv:a") == b"kept"

    @pytest.mark.parametrize(
        "line",
        [
            b"nonsense",
            b"{",
            b"[]",
            b"null",
            b'"a"',
            b"\xff",
            b"[" * 5_000,
            b'{"key": "a", "value": [' + b"[]," * 1_000 + b"[]]}",
            {},
            {"key": "a"},
            {"value": "a"},
            {"key": "a", "value": "1", "ttl": 5},
            {"key": "", "value": "1"},
            {"key": {"base64": ""}, "value": "1"},
            {"key": "k" * 1025, "value": "1"},
            {"key": {"base64": "?"}, "value": "1"},
            {"key": 1, "value": "1"},
            {"key": None, "value": "1"},
            {"key": "a", "value": 1},
            {"key": "a", "value": None},
            {"key": "a", "value": "v" * (1024 * 1024 + 1)},
            {"key": "a", "value": "1", "expires_at": None},
            {"key": "a", "value": "1", "expires_at": "4000000000"},
            {"key": "a", "value": "1", "expires_at": 1.5},
            {"key": "a", "value": "1", "expires_at": True},
            {"key": "a", "value": "1", "expires_at": -1},
            {"key": "a", "value": "1", "expires_at": 10**12},
            b'{"key": "a", "key": "b", "value": "1"}',
            b'{"key": "a", "value": "\\ud800"}',
            b'{"key": "a", "value": "1"} {"key": "b", "value": "1"}',
            b"x" * (7 * 1024 * 1024),
        ],
        ids=lambda line: repr(line)[:40],
    )
    def test_a_line_that_is_wrong_is_reported_and_loses_nothing_else(
        self, ask: Ask, client: Redis, line: object
    ) -> None:
        answer = imported(ask, {"key": "first", "value": "1"}, b"", line, {"key": "last", "value": "2"}, b"")

        assert errors_of(answer) == [3]
        assert answer.json["errors"][0]["detail"]
        assert (answer.json["stored"], answer.json["failed"]) == (2, 1)
        assert client.mget("kv:first", "kv:last") == [b"1", b"2"]
        assert len(client.keys()) == 2

    @pytest.mark.parametrize("beyond", [1, 100_000])
    def test_a_last_line_that_is_too_long_is_reported(self, ask: Ask, beyond: int) -> None:
        longest = 6 * (1024 * 1024 + 1024) + 1_000

        answer = imported(ask, {"key": "a", "value": "1"}, b"x" * (longest + beyond))

        assert errors_of(answer) == [2]
        assert "too long" in answer.json["errors"][0]["detail"]
        assert answer.json["stored"] == 1

    def test_the_first_hundred_wrong_lines_are_reported(self, ask: Ask) -> None:
        answer = imported(ask, {"key": "a", "value": "1"}, *[b"wrong"] * 150)

        assert errors_of(answer) == list(range(2, 102))
        assert (answer.json["stored"], answer.json["failed"]) == (1, 150)

    @pytest.mark.parametrize("line", [b"wrong\n", b"\n", b"wrong\n\n", b'{"key": "a"}\n'])
    def test_too_many_wrong_or_blank_lines_end_it_and_it_says_what_is_stored(
        self, ask: Ask, client: Redis, line: bytes
    ) -> None:
        record = b'{"key": "a", "value": "1"}\n'

        answer = ask("PUT", "/keys", record + line * 11_000, NDJSON)

        assert (answer.status, answer.code) == (400, "invalid_body")
        assert answer.json["detail"].startswith(
            "More than 10,000 lines are wrong or blank: the import ended at line 10,"
        )
        assert answer.json["detail"].endswith(" 1 records are stored.")
        assert client.get("kv:a") == b"1"

    def test_a_blank_line_may_follow_each_record(self, ask: Ask) -> None:
        assert ask("PUT", "/keys", b'{"key": "a", "value": "1"}\r\n\r\n' * 11_000, NDJSON).json["stored"] == 11_000

    @pytest.mark.parametrize(
        "body",
        [
            b'[{"key": "a", "value": "1"},\n{"key": "b", "value": "2"}]',
            b'\n \xef\xbb\xbf[\n{"key": "a", "value": "1"}\n]',
            gzip.compress(b'{"key": "a", "value": "1"}'),
            b'{\n"key": "a", "value": "1"}\n{"key": "a", "value": "1"}',
            b'{"a": "1"}\n{"key": "a", "value": "1"}',
            b"{" + b",".join(b'"%d": "1"' % number for number in range(2_000)) + b"}",
            b'key,value\n{"key": "a", "value": "1"}',
            '{"key": "a", "value": "1"}'.encode("utf-16"),
        ],
        ids=["array", "array after blanks", "gzip", "pretty", "pairs", "many pairs", "csv", "utf-16"],
    )
    def test_a_file_in_another_format_is_refused_and_nothing_is_stored(
        self, ask: Ask, client: Redis, body: bytes
    ) -> None:
        assert ask("PUT", "/keys", body, NDJSON).code == "invalid_body"
        assert client.keys() == []

    @pytest.mark.parametrize(("count", "failed"), [(2, 0), (3, 1), (1, 1), ("2", 1), (None, 1)])
    def test_a_count_says_whether_the_file_is_whole(self, ask: Ask, count: object, failed: int) -> None:
        answer = imported(ask, {"key": "a", "value": "1"}, {"key": "b", "value": "2"}, {"count": count})

        assert (answer.json["stored"], answer.json["failed"]) == (2, failed)

    def test_two_exports_in_one_file_are_counted_each(self, ask: Ask) -> None:
        first, second = {"key": "a", "value": "1"}, {"key": "b", "value": "2"}

        answer = imported(ask, first, {"count": 1}, second, b"no", {"count": 2})

        assert answer.json == {"stored": 2, "skipped": 0, "failed": 1, "errors": answer.json["errors"]}
        assert errors_of(answer) == [4]

    def test_a_byte_order_mark_is_left_out(self, ask: Ask) -> None:
        assert ask("PUT", "/keys", b'\xef\xbb\xbf{"key": "a", "value": "1"}', NDJSON).json["stored"] == 1

    @pytest.mark.parametrize("body", [b"", b"\n", b"\n \n\r\n"])
    def test_no_line_is_nothing_to_do(self, ask: Ask, body: bytes) -> None:
        assert ask("PUT", "/keys", body, NDJSON).json == {"stored": 0, "skipped": 0, "failed": 0, "errors": []}

    def test_lines_may_end_as_on_windows(self, ask: Ask) -> None:
        assert ask("PUT", "/keys", b'{"key": "a", "value": "1"}\r\n', NDJSON).json["stored"] == 1

    def test_a_key_that_comes_twice_has_the_last_value(self, ask: Ask) -> None:
        assert imported(ask, {"key": "a", "value": "1"}, {"key": "a", "value": "2"}).json["stored"] == 2
        assert ask("GET", "/keys").json == {"a": "2"}

    @pytest.mark.parametrize("query", ["a=1", "expire_in=5"])
    def test_a_query_parameter_is_refused(self, ask: Ask, client: Redis, query: str) -> None:
        assert ask("PUT", f"/keys?{query}", b'{"key": "a", "value": "1"}', NDJSON).code == "invalid_parameter"
        assert client.keys() == []

    def test_a_condition_is_refused(self, ask: Ask, client: Redis) -> None:
        headers = {**NDJSON, "If-None-Match": "*"}

        assert ask("PUT", "/keys", b'{"key": "a", "value": "1"}', headers).code == "invalid_condition"
        assert client.keys() == []

    def test_a_body_above_the_limit_of_bodies_is_taken(self, ask: Ask) -> None:
        lines = [{"key": f"key {number}", "value": "v" * 1_000_000} for number in range(20)]

        assert imported(ask, *lines).json["stored"] == 20


class TestBoth:
    @every_expiry
    def test_an_export_that_is_imported_gives_an_equal_export(
        self, ask: Ask, client: Redis, expires_at: int | None
    ) -> None:
        for number, key in enumerate(KEYS.values()):
            client.set(f"kv:{key}", b"\xff%d" % number, exat=expires_at if number % 2 else None)
        for name, value in VALUES.items():
            client.set(b"kv:\xff" + name.encode(), value)
        before = ask("GET", "/keys", headers=AS_NDJSON).body
        assert ask("DELETE", "/keys").status == 200

        answer = ask("PUT", "/keys", before, NDJSON)

        assert answer.json == {"stored": len(KEYS) + len(VALUES), "skipped": 0, "failed": 0, "errors": []}
        after = ask("GET", "/keys", headers=AS_NDJSON).body
        assert sorted(after.splitlines()) == sorted(before.splitlines())

    def test_many_records_go_through(self, ask: Ask) -> None:
        lines = [{"key": f"key {number}", "value": value_to_json(b"%d" % number)} for number in range(5_000)]

        assert imported(ask, *lines).json["stored"] == 5_000
        assert exported(ask) == sorted(lines, key=lambda line: str(line["key"]))
