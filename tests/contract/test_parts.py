"""Every part of a request is read, refused or harmless: the table of docs/requests.md, over every operation."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis

from tests.support.clients import JSON, Answer, Ask
from tests.support.contract import Contract
from tests.support.servers.services import Service
from tests.support.wire import Wire


DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "requests.md").read_text()


class Operation(NamedTuple):
    """An operation, and a request for it that succeeds."""

    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = {}

    def ask(self, ask: Ask, query: str = "", body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Send it with something more."""
        return ask(self.method, self.target + query, body or self.body, {**self.headers, **(headers or {})})


OPERATIONS = {
    "GET /keys": Operation("GET", "/keys"),
    "HEAD /keys": Operation("HEAD", "/keys"),
    "PUT /keys": Operation("PUT", "/keys", b'{"b": "2"}', JSON),
    "POST /keys": Operation("POST", "/keys", b'{"put": {"b": "2"}}', JSON),
    "DELETE /keys": Operation("DELETE", "/keys"),
    "GET /keys/{key}": Operation("GET", "/keys/a"),
    "HEAD /keys/{key}": Operation("HEAD", "/keys/a"),
    "PUT /keys/{key}": Operation("PUT", "/keys/a", b"2"),
    "PATCH /keys/{key}": Operation("PATCH", "/keys/a", b'{"increment": 1}', JSON),
    "DELETE /keys/{key}": Operation("DELETE", "/keys/a"),
    "GET /values/{key}": Operation("GET", "/values/a"),
    "HEAD /values/{key}": Operation("HEAD", "/values/a"),
    "PUT /values/{key}": Operation("PUT", "/values/a", b"2"),
    "PATCH /values/{key}": Operation("PATCH", "/values/a", b'{"increment": 1}', JSON),
    "DELETE /values/{key}": Operation("DELETE", "/values/a"),
    "GET /token": Operation("GET", "/token"),
    "HEAD /token": Operation("HEAD", "/token"),
    "GET /health/live": Operation("GET", "/health/live"),
    "HEAD /health/live": Operation("HEAD", "/health/live"),
    "GET /health/ready": Operation("GET", "/health/ready"),
    "HEAD /health/ready": Operation("HEAD", "/health/ready"),
}
ALL = frozenset(OPERATIONS)
TAKE_BODIES = frozenset(name for name in ALL if name.startswith(("PUT", "POST", "PATCH")))
TAKE_BYTES = frozenset({"PUT /keys/{key}", "PUT /values/{key}"})
WRITES = frozenset(name for name in ALL if not name.startswith(("GET", "HEAD")))
HAVE_TAGS = frozenset(name for name in ALL if "{key}" in name)
NEGOTIATE = frozenset(name for name in HAVE_TAGS if name.startswith(("GET", "HEAD", "PATCH"))) | {
    "GET /keys",
    "HEAD /keys",
}


class Case(NamedTuple):
    """What is added to a request, and which operations refuse it: the others answer as if it were not there.

    :param part: its row in the document
    """

    part: str
    status: int = 200
    code: str = ""
    refusing: frozenset[str] = frozenset()
    query: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = {}


TAGS = "`If-Match`, `If-None-Match`"
RANGES = "`Range`, `If-Range`"
TAKE_TEXT = TAKE_BODIES - TAKE_BYTES
# Where a part of a request is read, so that what it does depends on what it says: other tests show that.
READ = {TAGS: WRITES | HAVE_TAGS, RANGES: frozenset({"GET /values/{key}"})}
LONG_AGO = "Sat, 29 Oct 1994 19:43:31 GMT"
CASES = [
    Case("query parameters", 400, "invalid_parameter", ALL - {"PUT /keys"}, query="?unknown=1"),
    Case("query parameters", 400, "invalid_encoding", ALL, query="?flag"),
    Case("body", 400, "invalid_body", ALL - TAKE_BYTES, body=b"filter=tmp:$"),
    Case("body", 400, "invalid_body", ALL - TAKE_BYTES, body=b'["a"]'),
    Case("`multipart/*`", 415, "unsupported_media_type", TAKE_BODIES, headers={"Content-Type": "multipart/mixed"}),
    Case("`Content-Type`", 415, "unsupported_media_type", TAKE_TEXT, headers={"Content-Type": "text/csv"}),
    Case(
        "charset of the `Content-Type`",
        *(415, "unsupported_media_type", TAKE_TEXT),
        headers={"Content-Type": "application/json; charset=utf-16"},
    ),
    *[
        Case("`Content-Encoding`", 415, "unsupported_content_coding", TAKE_BODIES, headers={"Content-Encoding": coding})
        for coding in ("gzip", "br", "GZip", "gzip, identity", "x")
    ],
    Case("`Content-Encoding`", headers={"Content-Encoding": "Identity"}),
    *[
        Case("`Content-Range`", 400, "invalid_body", TAKE_BODIES, headers={"Content-Range": content_range})
        for content_range in ("bytes 0-0/2", "bytes */*")
    ],
    Case("`Accept`", 406, "not_acceptable", NEGOTIATE, headers={"Accept": "image/png"}),
    *[
        Case(TAGS, 412, "precondition_failed", HAVE_TAGS, headers={name: tag})
        for name, tag in (("If-Match", '"another"'), ("If-Match", '""'))
    ],
    *[
        Case(TAGS, 400, "invalid_condition", WRITES - HAVE_TAGS, headers={name: '"another"'})
        for name in ("If-Match", "If-None-Match")
    ],
    Case("`If-Unmodified-Since`", 400, "invalid_condition", WRITES, headers={"If-Unmodified-Since": LONG_AGO}),
    Case("`If-Modified-Since`", headers={"If-Modified-Since": LONG_AGO}),
    Case(RANGES, headers={"Range": "bytes=0-0"}),
    Case(RANGES, headers={"Range": "bytes=0-0", "If-Range": '"x"'}),
    Case("`Host`", 403, "unknown_host", ALL, headers={"Host": "evil.example:5000"}),
    Case("`Host`", headers={"Host": "LOCALHOST.:1"}),
    Case("`Sec-Fetch-Site`", 403, "cross_site", ALL, headers={"Sec-Fetch-Site": "cross-site"}),
    Case("`Sec-Fetch-Site`", headers={"Sec-Fetch-Site": "same-origin"}),
    Case("`Authorization`", headers={"Authorization": "Bearer nonsense"}),
    Case("`X-HTTP-Method-Override`", headers={"X-HTTP-Method-Override": "DELETE"}),
    Case("`X-Forwarded-*`", headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Prefix": "/x"}),
    Case("`X-Request-Id`", headers={"X-Request-Id": "not, well-formed"}),
    *[Case("`Prefer`", headers={"Prefer": prefer}) for prefer in ("wait=1", "wait=x", "return=minimal")],
    Case("`Last-Event-ID`", headers={"Last-Event-ID": "1-1"}),
    Case("`Cookie`, `Cache-Control` and other fields", headers={"Cookie": "a=b"}),
]
# Shown by tests of their own below.
ELSEWHERE = {"a raw `#` in the URL", "`Transfer-Encoding`"}


def dump(client: Redis) -> dict[object, object]:
    return {name: client.get(name) for name in client.scan_iter()}


@pytest.fixture
def planted(client: Redis) -> Callable[[], None]:
    """Put back what operations find."""

    def plant() -> None:
        client.flushall()
        client.mset({"kv:a": "1", "kv:tmp:b": "1"})

    return plant


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_part_is_read_refused_or_harmless(ask: Ask, client: Redis, planted: Callable[[], None], name: str) -> None:
    operation = OPERATIONS[name]
    planted()
    before = dump(client)
    alone = operation.ask(ask)

    for case in CASES:
        planted()
        answer = operation.ask(ask, case.query, case.body, case.headers)

        if name in case.refusing:
            assert answer.status == case.status, (case, answer.body)
            assert operation.method == "HEAD" or answer.code == case.code, case
            assert dump(client) == before, case
            assert case.code != "unsupported_content_coding" or answer.headers["Accept-Encoding"] == "identity"
        elif name not in READ.get(case.part, ()):
            assert answer.status == alone.status == 200, (case, answer.body)
            assert answer.body == alone.body or case.query, case


def test_a_fragment_is_refused(ask: Ask, client: Redis, planted: Callable[[], None]) -> None:
    planted()
    before = dump(client)

    for name, operation in OPERATIONS.items():
        for query in ("?colour=#fff", "?#", "#", "#x"):
            answer = operation.ask(ask, query)
            assert answer.status == 400, (name, query, answer.body)
            assert dump(client) == before, (name, query)


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate,chunked", "gzip"])
def test_another_transfer_coding_is_refused(service: Service, served: Ask, coding: str) -> None:
    served("PUT", "/keys?a=1&tmp:b=1")
    for name, (method, target, _, headers) in OPERATIONS.items():
        with Wire(service.port) as wire:
            wire.begin(method, target, {**headers, "Connection": "close", "Transfer-Encoding": coding})
            wire.send(b"2\r\n{}\r\n0\r\n\r\n")
            status = wire.answer(method).status

        # Gunicorn itself refuses a coding without chunks.
        assert status in ({501} if name in TAKE_BODIES and "chunked" in coding else {400, 501}), name
        assert served("GET", "/keys").json == {"a": "1", "tmp:b": "1"}, name


def test_every_operation_of_the_document_is_here(contract: Contract) -> None:
    assert {f"{method} {path}" for method, path in contract.operations} == ALL


def test_every_row_of_the_document_is_here() -> None:
    rows = set(re.findall(r"^\| ([^|]+?) \|", DOCUMENT, re.MULTILINE)) - {"part"}

    assert rows == {case.part for case in CASES} | ELSEWHERE
