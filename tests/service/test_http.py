"""What only real HTTP shows: bytes on the wire, connections that are kept, framing, and the log of all of it."""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from resources.media_types import NDJSON
from tests.support.clients import JSON, Answer, Ask, put_json, target_of
from tests.support.servers.services import PROGRAM, Service, environment, eventually, kill, ready, serving, workers
from tests.support.servers.stores import MAX_VALUE_BYTES, fill
from tests.support.wire import LARGE, Cut, Wire


CHUNKED = {**JSON, "Transfer-Encoding": "chunked"}
MAX_BODY_BYTES = 1_000


@pytest.fixture
def wire(served: Ask, service: Service) -> Iterator[Wire]:
    """A connection to a service with an empty store."""
    with Wire(service.port) as connected:
        yield connected


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that tests may disturb, with a low limit for bodies, and patience on a busy machine."""
    directory = tmp_path_factory.mktemp("own")
    limits = {"FLASKVSTORE_MAX_BODY_BYTES": str(MAX_BODY_BYTES), "FLASKVSTORE_STORE_TIMEOUT_SECONDS": "10"}
    with serving(directory, "--workers", "2", **limits) as running:
        yield running


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def is_ours(answer: Answer) -> bool:
    """Tell an answer of the application from a refusal of Gunicorn's; both are problem documents with an id."""
    assert answer.status < 400 or answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert answer.status < 400 or answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"]
    if "X-Content-Type-Options" in answer.headers:
        return True
    assert answer.headers["Connection"] == "close"
    return False


class TestTargets:
    @pytest.mark.parametrize("target", ["/keys/%FF", "/keys/%C3", "/keys/a%ED%A0%80", "/keys?filter=%FF", "/%FF"])
    def test_percent_encoded_bytes_that_are_not_utf_8_are_refused(self, served: Ask, target: str) -> None:
        assert served("GET", target).code == "invalid_encoding"

    @pytest.mark.parametrize("target", ["/keys/%", "/keys/%2", "/keys/%zz", "/keys/a#b"])
    @pytest.mark.gunicorn("Granian does not say what the client wrote, only what it decoded")
    def test_a_malformed_path_is_refused(self, served: Ask, target: str) -> None:
        assert served("GET", target).code == "invalid_encoding"

    @pytest.mark.parametrize(
        ("target", "key"),
        [
            ("/keys/a%2Fb", "a/b"),
            ("/keys/a/b", "a/b"),
            ("/keys/a//b", "a//b"),
            ("/keys//", "/"),
            ("/keys/a/", "a/"),
            ("/keys/.", "."),
            ("/keys/..", ".."),
            ("/keys/../keys/a", "../keys/a"),
            ("/keys/%2E%2E", ".."),
            ("/keys/%00", "\0"),
            ("/keys/%0A", "\n"),
            ("/keys/%0D%0AX:%20y", "\r\nX: y"),
            ("/keys/%252F", "%2F"),
            ("/keys/a+b", "a+b"),
            ("/keys/a;b=c", "a;b=c"),
            ("/keys/[", "["),
            ('/keys/"<>|^`', '"<>|^`'),
            ("http://example.org/keys/a", "a"),
        ],
    )
    @pytest.mark.gunicorn("what is refused before it is a request is up to the server")
    def test_a_path_names_the_key_that_it_encodes_and_nothing_is_normalised(
        self, served: Ask, wire: Wire, target: str, key: str
    ) -> None:
        put_json(served, {key: "value"})

        assert wire.ask("GET", target).json == {key: "value"}

    @pytest.mark.parametrize("target", ["//keys", "//keys/a", "/keys/", "/Keys", "/keys;a", "/", "//"])
    def test_a_path_that_only_looks_like_the_collection_is_not_the_collection(
        self, served: Ask, wire: Wire, target: str
    ) -> None:
        put_json(served, {"a": "1"})

        answer = wire.ask("DELETE", target)

        assert answer.status in {404, 405}
        assert is_ours(answer)
        assert served("GET", "/keys/a").status == 200

    @pytest.mark.parametrize(
        "line",
        [
            b"GET /keys/\xff HTTP/1.1",
            b"GET /keys/\xc3\xbc HTTP/1.1",
            b"GET /keys/a\x00b HTTP/1.1",
            b"GET /keys/a b HTTP/1.1",
            b"GET keys HTTP/1.1",
            b"GET /keys",
            b"GET /keys HTTP/2.0",
            b"get /keys HTTP/1.1",
            b"\x16\x03\x01",
        ],
    )
    @pytest.mark.gunicorn("what is refused before it is a request is up to the server")
    def test_a_malformed_request_line_never_reaches_us(self, wire: Wire, line: bytes) -> None:
        wire.send(line + b"\r\nHost: localhost\r\n\r\n")

        answer = wire.answer()

        assert (answer.status, is_ours(answer)) == (400, False)
        assert wire.has_ended()

    @pytest.mark.gunicorn("what is refused before it is a request is up to the server")
    def test_the_longest_request_line_is_taken_and_a_longer_one_is_not(self, wire: Wire) -> None:
        longest = 8190 - len("PUT /keys?a= HTTP/1.1")
        assert wire.ask("PUT", "/keys?a=" + "v" * longest).json == {"stored": 1}

        answer = wire.ask("PUT", "/keys?a=" + "v" * (longest + 1))

        assert (answer.status, is_ours(answer)) == (414, False)
        assert wire.has_ended()


class TestHosts:
    @pytest.mark.parametrize("path", ["/", "/openapi.json", "/keys", "/keys?limit=1", "/keys/a", "/nothing", "//x"])
    @pytest.mark.parametrize(
        "host",
        [
            *(
                b"",
                b"a b",
                b"[",
                b"[::1",
                b"::",
                b"%00",
                b"..",
                b"a..b",
                b"a:b:c",
                b"a:99999",
                b"a:x",
                b"@",
                b"/",
                b"#",
            ),
            *(b"\xff\xfe", b"\xc3\xbc", b"x" * 300, b"x" * 5_000, b"http://a", b'"><script>', b"a\tb", b"-"),
        ],
    )
    def test_no_host_header_breaks_anything(self, wire: Wire, host: bytes, path: str) -> None:
        wire.send(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (path.encode(), host))

        answer = wire.answer()

        assert answer.status in {200, 400, 403, 404}
        if answer.status in {400, 403} or path not in {"/", "/openapi.json"}:
            is_ours(answer)
        # An error may quote the host: it is JSON, and no browser takes it for something else.
        assert b"<script>" not in answer.body or path == "/" or answer.status == 403

    def test_a_request_of_http_1_0_needs_no_host(self, wire: Wire) -> None:
        wire.send(b"GET /keys HTTP/1.0\r\n\r\n")

        assert wire.answer().json == {}

    @pytest.mark.parametrize(
        "target",
        [
            *("/keys", "/health/live", "/", "/nothing"),
            pytest.param("http://localhost/keys", marks=pytest.mark.gunicorn("Granian takes the host of the target")),
        ],
    )
    @pytest.mark.parametrize("hosts", ["", "Host:\r\n", "Host: localhost\r\nHost: localhost\r\n"])
    def test_a_request_of_http_1_1_names_its_host_once(self, wire: Wire, target: str, hosts: str) -> None:
        wire.send(f"GET {target} HTTP/1.1\r\n{hosts}\r\n".encode())

        answer = wire.answer()

        assert (answer.status, answer.code) == (400, "malformed_request")


class TestConnections:
    def test_hundreds_of_connections_at_once_are_all_answered(self, own: Service) -> None:
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(Wire(own.port)) for _ in range(256)]
            wires[0].ask("PUT", "/keys?many=1")
            for _ in range(10):
                for wire in wires:
                    wire.begin("GET", "/keys/many", {})
                assert {wire.answer().status for wire in wires} == {200}

    def test_one_connection_carries_many_requests_each_with_an_id(self, wire: Wire) -> None:
        ids = set()
        for number in range(200):
            assert wire.ask("PUT", f"/keys?{number}=value").json == {"stored": 1}
            for target in (f"/keys/{number}", "/keys/none", "/nothing", "/keys?limit=x", "/health/ready"):
                ids.add(wire.ask("GET", target).headers["X-Request-Id"])

        assert len(ids) == 1_000

    def test_a_request_id_of_the_client_comes_back(self, wire: Wire) -> None:
        for given in ("a", "A-b_c.9", "x" * 128):
            assert wire.ask("GET", "/keys", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given
        for bad in ("", "a b", "x" * 129, "ü", "a,b", '"a"'):
            assert re.fullmatch(
                "[0-9a-f]{32}", wire.ask("GET", "/keys", headers={"X-Request-Id": bad}).headers["X-Request-Id"]
            )

    @pytest.mark.parametrize("target", ["/keys/a", "/keys", "/keys?filter=a$", "/health/live", "/health/ready"])
    def test_an_answer_to_head_has_no_body_and_leaves_the_connection_usable(self, wire: Wire, target: str) -> None:
        wire.ask("PUT", "/keys?a=1")

        for _ in range(3):
            answer = wire.ask("HEAD", target)
            assert answer.status == 200
            assert "Transfer-Encoding" not in answer.headers
            assert wire.ask("GET", "/keys/a").json == {"a": "1"}

    @pytest.mark.parametrize("target", ["/keys/none", "/nothing", "/keys?bad=1", "/keys/%FF", "/keys/%zz"])
    def test_nor_has_an_error(self, wire: Wire, target: str) -> None:
        assert wire.ask("HEAD", target).status in {400, 404}
        assert wire.ask("GET", "/health/live").status == 200

    def test_the_headers_of_head_are_those_of_get(self, wire: Wire) -> None:
        wire.ask("PUT", "/keys?a=1")

        head, get = (wire.ask(method, "/keys/a").headers for method in ("HEAD", "GET"))

        for changing in ("Date", "X-Request-Id"):
            del head[changing], get[changing]
        assert dict(head) == dict(get)

    def test_pipelined_requests_are_answered_in_their_order(self, wire: Wire) -> None:
        lines = ["PUT /keys?a=1", "GET /keys/a", "HEAD /keys/a", "DELETE /keys/a", "GET /keys/a", "GET /keys"]

        wire.send(b"".join(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for line in lines))

        answers = [wire.answer(line.split()[0]) for line in lines]
        assert [answer.status for answer in answers] == [200, 200, 200, 200, 404, 200]
        assert answers[1].json == {"a": "1"}
        assert answers[5].json == {}

    def test_a_connection_is_closed_when_the_client_wants_it(self, wire: Wire) -> None:
        answer = wire.ask("GET", "/keys", headers={"Connection": "close"})

        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert wire.has_ended()

    def test_half_a_request_keeps_nobody_else_from_being_served(self, service: Service, served: Ask) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                slow = stack.enter_context(Wire(service.port))
                slow.send(b"GET /keys HTTP/1.1\r\nHost: lo")

            assert [served("GET", "/keys").status for _ in range(10)] == [200] * 10

    @pytest.mark.parametrize("kept", ["", "Connection: keep-alive\r\n"])
    def test_a_client_of_http_1_0_gets_whole_answers(self, service: Service, wire: Wire, kept: str) -> None:
        fill(service, LARGE)

        wire.send(f"GET /keys HTTP/1.0\r\n{kept}\r\n".encode())
        answer = wire.answer()

        assert "Transfer-Encoding" not in answer.headers
        assert answer.json == LARGE
        assert wire.has_ended()


class TestListings:
    def test_a_small_one_has_a_length(self, wire: Wire) -> None:
        wire.ask("PUT", "/keys?a=1&b=2")

        answer = wire.ask("GET", "/keys")

        assert answer.headers["Content-Length"] == str(len(answer.body))
        assert "Transfer-Encoding" not in answer.headers

    def test_a_large_one_comes_in_chunks_and_whole_and_the_connection_goes_on(
        self, service: Service, wire: Wire
    ) -> None:
        fill(service, LARGE)

        for _ in range(2):
            answer = wire.ask("GET", "/keys")

            assert answer.headers["Transfer-Encoding"] == "chunked"
            assert "Content-Length" not in answer.headers
            assert answer.json == LARGE

    @pytest.mark.parametrize(
        ("media_type", "sent"),
        [("application/json", signal.SIGSTOP), ("application/json", signal.SIGKILL), (NDJSON, signal.SIGKILL)],
    )
    @pytest.mark.gunicorn("Granian ends a stream that failed as if it were whole")
    def test_one_that_breaks_ends_without_its_last_chunk(
        self, own: Service, media_type: str, sent: signal.Signals
    ) -> None:
        eventually(lambda: ready(own))
        fill(own, LARGE)
        valkey = own.children()["valkey"]
        with Wire(own.port, receive_buffer_bytes=4096) as slow:
            slow.begin("GET", "/keys", {"Accept": media_type})
            status, headers = slow.head()
            received = slow.chunk()

            os.kill(valkey, sent)
            try:
                received += self.chunks_until_cut(slow)
            finally:
                if sent == signal.SIGSTOP:
                    os.kill(valkey, signal.SIGCONT)

        assert (status, headers["Transfer-Encoding"], headers["Content-Type"]) == (200, "chunked", media_type)
        assert len(received) < sum(map(len, LARGE.values()))
        eventually(lambda: ready(own))

    @pytest.mark.parametrize("media_type", ["application/json", NDJSON])
    @pytest.mark.parametrize("killed", ["valkey", "worker"])
    @pytest.mark.gunicorn("Granian ends a stream that failed as if it were whole")
    def test_one_that_breaks_over_http_1_0_ends_with_a_reset(self, own: Service, media_type: str, killed: str) -> None:
        eventually(lambda: ready(own))
        fill(own, LARGE)
        url = f"http://127.0.0.1:{own.port}/keys"
        curl = ["curl", "--http1.0", "--silent", "--fail", "-H", f"Accept: {media_type}", url]
        with subprocess.Popen(curl, stdout=subprocess.PIPE) as reading:
            assert reading.stdout
            received = len(reading.stdout.read(1024))

            for pid in [own.children()["valkey"]] if killed == "valkey" else workers(own):
                kill(pid)
            received += len(reading.stdout.read())

        # 56: failure in receiving network data.
        assert reading.returncode == 56
        assert received < sum(map(len, LARGE.values()))
        eventually(lambda: ready(own))

    def chunks_until_cut(self, wire: Wire) -> bytes:
        received = b""
        while True:
            try:
                data = wire.chunk()
            except Cut:
                return received
            assert data, "the last chunk came, and the list looks whole"
            received += data

    def test_a_client_that_goes_away_in_the_middle_disturbs_nobody(self, service: Service, served: Ask) -> None:
        fill(service, LARGE)
        for _ in range(5):
            with Wire(service.port, receive_buffer_bytes=4096) as leaving:
                leaving.send(b"GET /keys HTTP/1.1\r\nHost: localhost\r\n\r\n")
                leaving.head()

        assert len(served("GET", "/keys").json) == len(LARGE)


class TestBodies:
    def test_a_body_may_come_in_chunks(self, wire: Wire) -> None:
        wire.begin("PUT", "/keys", CHUNKED)

        wire.send(b"".join(map(chunk, (b'{"a"', b": ", b'"1"}', b""))))

        assert wire.answer().json == {"stored": 1}
        assert wire.ask("GET", "/keys").json == {"a": "1"}

    def test_the_longest_value_comes_back_over_the_wire(self, served: Ask) -> None:
        value = "ü" * (1024 * 1024 // 2)

        assert put_json(served, {"a": value}).json == {"stored": 1}
        assert served("GET", "/keys/a").json == {"a": value}

    def test_a_body_is_asked_for_where_the_client_waits_for_that(self, wire: Wire) -> None:
        body = b'{"a": "1"}'
        wire.begin("PUT", "/keys", {**JSON, "Content-Length": str(len(body)), "Expect": "100-continue"})
        assert wire.answer().status == 100

        wire.send(body)

        assert wire.answer().json == {"stored": 1}
        assert wire.ask("GET", "/keys/a").status == 200

    @pytest.mark.gunicorn("Granian closes a connection whose body was not read")
    def test_a_body_announced_too_large_is_refused_before_it_comes(self, own: Service) -> None:
        body = b'{"a": "' + b"v" * MAX_BODY_BYTES + b'"}'
        with Wire(own.port) as wire:
            wire.begin("PUT", "/keys", {**JSON, "Content-Length": str(len(body))})
            answer = wire.answer()

            assert (answer.status, answer.code) == (413, "body_too_large")
            assert (answer.json["limit"], answer.json["actual"]) == (MAX_BODY_BYTES, len(body))

            # Who sends it nevertheless has not spoilt the connection.
            wire.send(body)
            assert wire.ask("GET", "/keys/a").status == 404

    @pytest.mark.gunicorn("Granian closes a connection whose body was not read")
    def test_a_value_announced_too_large_is_refused_before_it_comes(self, wire: Wire) -> None:
        wire.begin("PUT", "/keys/a", {"Content-Length": str(MAX_VALUE_BYTES + 1)})
        answer = wire.answer()

        assert (answer.status, answer.code) == (413, "value_too_large")
        assert (answer.json["limit"], answer.json["actual"]) == (MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1)

    @pytest.mark.gunicorn("Granian closes a connection whose body was not read")
    def test_a_value_in_chunks_is_refused_as_soon_as_too_much_came(self, wire: Wire) -> None:
        wire.begin("PUT", "/keys/a", CHUNKED)
        wire.send(chunk(bytes(MAX_VALUE_BYTES + 100_000)))  # and no end
        answer = wire.answer()

        assert (answer.status, answer.code, answer.json["limit"]) == (413, "value_too_large", MAX_VALUE_BYTES)

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_body_of_the_largest_size_is_taken(self, own: Service, *, chunked: bool) -> None:
        body = b'{"largest": "' + b"v" * (MAX_BODY_BYTES - 15) + b'"}'
        assert len(body) == MAX_BODY_BYTES
        with Wire(own.port) as wire:
            wire.begin("PUT", "/keys", CHUNKED if chunked else {**JSON, "Content-Length": str(len(body))})
            wire.send(chunk(body) + chunk(b"") if chunked else body)

            assert wire.answer().json == {"stored": 1}

    @pytest.mark.parametrize("spare", [0, 5_000_000])
    @pytest.mark.gunicorn("Granian closes a connection whose body was not read")
    def test_a_body_in_chunks_that_is_too_large_is_refused_and_not_cut_off(self, own: Service, spare: int) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded", "Transfer-Encoding": "chunked"}
        with Wire(own.port) as wire:
            wire.begin("PUT", "/keys", form)
            wire.send(chunk(b"whole=1&cut=" + b"v" * (MAX_BODY_BYTES + spare)) + chunk(b""))
            answer = wire.answer()

            assert (answer.status, answer.code) == (413, "body_too_large")
            assert answer.json["limit"] == MAX_BODY_BYTES
        with Wire(own.port) as wire:
            assert wire.ask("GET", "/keys/whole").status == 404

    @pytest.mark.parametrize("length", [10**10, 2**63, 2**64, 10**30])
    @pytest.mark.gunicorn("what is refused before it is a request is up to the server")
    def test_any_length_that_is_too_large_is_refused(self, own: Service, length: int) -> None:
        with Wire(own.port) as wire:
            wire.begin("PUT", "/keys", {**JSON, "Content-Length": str(length)})

            assert wire.answer().code == "body_too_large"

    @pytest.mark.parametrize("bad", [b"zz\r\n", b"-1\r\n", b"\r\n", b"1\r\nab\r\n"])
    def test_malformed_chunks_are_the_clients_fault(self, wire: Wire, bad: bytes) -> None:
        wire.begin("PUT", "/keys", CHUNKED)
        wire.send(bad + b"0\r\n\r\n")

        answer = wire.answer()

        assert answer.status == 400
        assert wire.has_ended()

    @pytest.mark.parametrize("framing", [{"Content-Length": "100"}, {"Transfer-Encoding": "chunked"}])
    @pytest.mark.gunicorn("Granian hands over a part of a body in chunks as if it were all")
    def test_a_body_that_breaks_off_stores_nothing(self, served: Ask, wire: Wire, framing: dict[str, str]) -> None:
        wire.begin("PUT", "/keys", {"Content-Type": "application/x-www-form-urlencoded", **framing})
        wire.send(b"64\r\na=1&b=" if "Transfer-Encoding" in framing else b"a=1&b=")
        wire.finish_sending()

        assert wire.answer().status == 400
        assert served("GET", "/keys").json == {}

    @pytest.mark.parametrize(
        "headers",
        [
            "Content-Length: x",
            "Content-Length: -1",
            "Content-Length: 1, 1",
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: chunked, chunked",
            "Host: other",
            "Bad Header: x",
            ": x",
        ],
    )
    @pytest.mark.gunicorn("what is refused before it is a request is up to the server")
    def test_ambiguous_framing_never_reaches_us(self, wire: Wire, headers: str) -> None:
        wire.send(f"PUT /keys?a=1 HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n0\r\n\r\n".encode())

        answer = wire.answer()

        assert answer.status in {400, 501}
        assert not is_ours(answer)
        assert wire.has_ended()


class TestLog:
    def test_a_request_is_one_line_of_json(self, service: Service, wire: Wire) -> None:
        key = "ünïque/" + "k" * 20
        wire.ask("PUT", "/keys", json.dumps({key: "v4lue"}).encode(), {**JSON, "X-Request-Id": "log-put"})
        body = wire.ask("GET", target_of(key), headers={"X-Request-Id": "log-get"}).body

        put, get = (self.line_of(service, request_id) for request_id in ("log-put", "log-get"))

        assert list(put) == list(get)
        for line in (put, get):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00", line.pop("time"))
            assert 0 < line.pop("duration_ms") < 10_000
        assert put == {
            "level": "info",
            "request_id": "log-put",
            "method": "PUT",
            "route": "/keys",
            "status": 200,
            "bytes": len('{"stored":1}\n'),
            "key_bytes": None,
            "token": None,
        }
        assert get == {
            "level": "info",
            "request_id": "log-get",
            "method": "GET",
            "route": "/keys/{key}",
            "status": 200,
            "bytes": len(body),
            "key_bytes": len(key.encode()),
            "token": None,
        }

    def test_a_stream_is_one_line_with_all_its_bytes(self, service: Service, wire: Wire) -> None:
        fill(service, LARGE)

        body = wire.ask("GET", "/keys", headers={"X-Request-Id": "log-stream"}).body

        assert self.line_of(service, "log-stream")["bytes"] == len(body)

    def test_no_line_holds_a_key_or_a_value(self, service: Service, wire: Wire) -> None:
        wire.ask("PUT", "/keys?s3cretkey=s3cretvalue", headers={"X-Request-Id": "log-first"})
        for method, target in (
            ("GET", "/keys/s3cretkey"),
            ("GET", "/keys/s3cretkey?s3cretname=s3cretvalue"),
            ("GET", "/keys?filter=s3cret$"),
            ("PUT", "/keys?s3cretkey=s3cretvalue&s3cretkey=s3cretvalue"),
            ("PUT", "/keys?s3cretkey=s3cretvalue&expire_in=s3cret"),
            ("GET", "/keys/s3cretkey%FF"),
            ("GET", "/s3cret"),
            ("DELETE", "/keys/s3cretkey"),
            ("PUT", "/keys?s3cretkey=" + "s3cretvalue" * 1_000),
        ):
            wire.ask(method, target)
        with Wire(service.port) as last:
            last.ask("GET", "/keys/s3cretkey", headers={"X-Request-Id": "log-last"})

        self.line_of(service, "log-first")
        self.line_of(service, "log-last")
        assert "s3cret" not in service.log.read_text()

    @pytest.mark.gunicorn("these are of Gunicorn")
    def test_nor_does_gunicorns_line_about_a_malformed_request(self, service: Service, wire: Wire) -> None:
        wire.send("PUT /keys?hidden=s3crét HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert wire.answer().status == 400

        eventually(lambda: any("Invalid request" in line.get("message", "") for line in service.lines()))
        assert "s3cr" not in service.log.read_text()

    @pytest.mark.gunicorn("these are of Gunicorn")
    def test_gunicorns_lines_are_json_as_well(self, own: Service) -> None:
        with Wire(own.port) as wire:
            wire.send(b"nonsense\r\n\r\n")
            assert wire.answer().status == 400
        eventually(lambda: self.has_line(own, "gunicorn.error", "warning", "Invalid request"))

        worker = psutil.Process(own.children()["gunicorn"]).children()[0]
        worker.kill()

        eventually(lambda: self.has_line(own, "gunicorn.error", "error", f"pid:{worker.pid}"))

    def line_of(self, service: Service, request_id: str) -> dict[str, Any]:
        """Wait for the one line of a request."""

        def found() -> list[dict[str, Any]]:
            return [line for line in service.lines() if line.get("request_id") == request_id]

        eventually(found)
        (line,) = found()
        return line

    def has_line(self, service: Service, logger: str, level: str, text: str) -> bool:
        return any(
            (line.get("logger"), line["level"]) == (logger, level) and text in str(line["message"])
            for line in service.lines()
        )


def test_a_log_that_nobody_reads_stops_no_request_and_lacks_no_count(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    command = [str(PROGRAM), "serve", "--bind", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), "--workers", "1"]
    with subprocess.Popen(command, stdout=writer, env=environment()) as process:
        written = b""
        while b"listens on" not in written:
            written += os.read(reader, 65_536)
        found = re.search(rb"listens on http://127.0.0.1:(\d+)", written)
        assert found is not None
        full = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
        for size in (4_096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(full, b"\n" * size)

        with Wire(int(found[1])) as wire:
            for _ in range(50):
                assert wire.ask("GET", "/keys").status == 200
            os.set_blocking(reader, False)
            with contextlib.suppress(BlockingIOError):
                while os.read(reader, 65_536):
                    pass
            wire.ask("GET", "/keys")

        process.terminate()
        assert process.wait(30) == 0
    for end in (writer, full):
        os.close(end)
    with os.fdopen(reader, "rb") as rest:
        assert b"50 lines were dropped, because nobody read the log." in rest.read()
