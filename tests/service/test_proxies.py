"""The contract through real reverse proxies, each with its file of `deploy/proxies`: `make proxies`.

What a proxy cannot carry is in `docs/proxies.md`.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin

import pytest

from resources.events import HEARTBEAT_SECONDS
from resources.media_types import JSON as AS_JSON
from resources.media_types import NDJSON as EXPORT
from tests.support.cases import KEYS
from tests.support.clients import AS_BYTES, AS_NDJSON, FORM, JSON, NDJSON, Answer, target_of
from tests.support.faults import Server
from tests.support.servers.proxy import LOST, proxy_to
from tests.support.servers.reverse_proxies import FOLDER, REVERSE_PROXIES, reverse_proxy
from tests.support.servers.services import SLACK_SECONDS, Service, serving
from tests.support.servers.stores import PREFIX
from tests.support.streams import Stream
from tests.support.wire import LARGE, Cut, Wire


pytestmark = [
    pytest.mark.proxies,
    pytest.mark.gunicorn("Granian decodes the path, and ends a stream that failed as if it were whole"),
]

MIB = 1024 * 1024
LIMIT = 3
# At the root of a host, and below a prefix.
every_base = pytest.mark.parametrize("base", ["", "/kv"], ids=["root", "prefix"])
# More ways to write a key than that of `target_of`.
TARGETS = {
    "/keys/a/b": "a/b",
    "/keys/a//b": "a//b",
    "/keys//": "/",
    "/keys/a/../b": "a/../b",
    "/keys/a%2F.%2Fb": "a/./b",
    "/keys/%2E": ".",
    "/keys/%2e%2e": "..",
    "/keys/a%2f..": "a/..",
    "/keys/a;b=c": "a;b=c",
    "/keys/a+b": "a+b",
}
# docs/proxies.md has the same list.
NOT_CARRIED = {
    ("nginx", ""): {"a\0b", "../../etc/passwd"},
    ("nginx", "/kv"): {"a\0b"},
    ("apache", ""): {"a\0b"},
    ("apache", "/kv"): {"a\0b"},
}


@dataclass(frozen=True)
class Proxied:
    """A service behind a proxy."""

    name: str
    port: int
    service: Service
    server: Server

    def ask(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Send one request to the proxy."""
        with Wire(self.port) as wire:
            return wire.ask(method, target, body, headers)

    def stored(self) -> set[str]:
        """Return the keys that are stored."""
        return {str(name, "utf-8").removeprefix(PREFIX) for name in self.server.admin.scan_iter()}

    def fill(self, values: Mapping[str, str]) -> None:
        """Store values behind the back of the service."""
        self.server.admin.mset({PREFIX + key: value for key, value in values.items()})


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """A service that trusts one proxy, and is asked without one, before a store that is soon there again."""
    server = Server(tmp_path_factory.mktemp("store"))
    try:
        settings = {"FLASKVSTORE_TRUSTED_PROXIES": "1", "FLASKVSTORE_REDIS_URL": server.url}
        with serving(tmp_path_factory.mktemp("service"), **settings) as service:
            yield Proxied("none", service.port, service, server)
    finally:
        server.kill()


@pytest.fixture(scope="module")
def limited(direct: Proxied, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """The same with a rate limit."""
    settings = {"FLASKVSTORE_RATE_LIMIT": f"{LIMIT}/hour", "FLASKVSTORE_REDIS_URL": direct.server.url}
    with serving(tmp_path_factory.mktemp("limited"), FLASKVSTORE_TRUSTED_PROXIES="1", **settings) as service:
        yield replace(direct, port=service.port, service=service)


@pytest.fixture(scope="module", params=REVERSE_PROXIES)
def running(
    request: pytest.FixtureRequest, direct: Proxied, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    """Each proxy before the service."""
    with reverse_proxy(request.param, tmp_path_factory.mktemp(request.param), direct.port) as port:
        yield replace(direct, name=request.param, port=port)


@pytest.fixture
def proxied(running: Proxied) -> Proxied:
    """Each proxy before the service with an empty store."""
    running.server.admin.flushall()
    return running


class TestKeys:
    @every_base
    def test_every_key_arrives_as_it_was_written_or_is_refused(self, proxied: Proxied, base: str) -> None:
        lost = set()

        for target, key in [*((target_of(key), key) for key in KEYS.values()), *TARGETS.items()]:
            proxied.server.admin.flushall()
            status = proxied.ask("PUT", base + target, b"value").status
            if status != 200:
                assert status in {400, 404}, target
                assert proxied.stored() == set(), target
                lost.add(key)
            else:
                assert proxied.stored() == {key}, target
                assert proxied.ask("GET", base + target).json == {key: "value"}

        assert lost == NOT_CARRIED.get((proxied.name, base), set())

    @every_base
    @pytest.mark.parametrize("target", ["/keys/.", "/keys/..", "/keys/a/..", "/keys/%2E", "/keys/a/../../keys"])
    def test_a_path_upwards_deletes_no_other_key(self, proxied: Proxied, base: str, target: str) -> None:
        proxied.fill({"other": "value"})

        proxied.ask("DELETE", base + target)

        assert proxied.stored() == {"other"}

    @every_base
    def test_a_query_arrives_as_it_was_written(self, proxied: Proxied, base: str) -> None:
        proxied.ask("PUT", base + "/keys?a%2Fb=%26+%25&a//b=../x")

        assert proxied.ask("GET", base + "/keys?filter=a%2F$").json == {"a/b": "& %", "a//b": "../x"}
        assert proxied.ask("HEAD", base + "/keys?filter=$").headers["Total-Count"] == "2"

    def test_the_longest_request_line_arrives(self, proxied: Proxied) -> None:
        value = "v" * (8190 - len("PUT /keys?a= HTTP/1.1"))

        assert proxied.ask("PUT", f"/keys?a={value}").json == {"stored": 1}


class TestConditions:
    @pytest.mark.parametrize("accept", [AS_JSON, "text/plain"])
    def test_they_hold_for_what_the_proxy_has_compressed(self, proxied: Proxied, accept: str) -> None:
        proxied.fill({"a": "value" * 1_000})
        as_asked = {"Accept": accept, "Accept-Encoding": "gzip"}

        read = proxied.ask("GET", "/keys/a", headers=as_asked)
        tag = read.headers["ETag"]
        again = proxied.ask("GET", "/keys/a", headers={**as_asked, "If-None-Match": tag})
        first, second = (proxied.ask("PUT", "/keys/a", b"new", {"If-Match": tag}) for _ in range(2))

        assert read.headers.get("Content-Encoding") == ("gzip" if accept == AS_JSON else None)
        assert (again.status, again.body) == (304, b"")
        assert (first.status, first.json) == (200, {"stored": 1})
        assert (second.status, second.code) == (412, "precondition_failed")

    def test_a_key_is_created_only_once(self, proxied: Proxied) -> None:
        first, second = (proxied.ask("PUT", "/keys/a", b"1", {"If-None-Match": "*"}) for _ in range(2))

        assert (first.status, second.status) == (200, 412)
        tag = first.headers["ETag"]
        assert proxied.ask("DELETE", "/keys/a", headers={"If-Match": tag}).json == {"deleted": 1}


class TestStreams:
    @pytest.mark.parametrize("media_type", [AS_JSON, EXPORT])
    def test_one_that_breaks_off_does_not_look_complete(self, proxied: Proxied, media_type: str) -> None:
        status, received = read_while_the_store_is_killed(proxied, media_type)

        assert status != 0 or proxied.name == "caddy"
        assert not is_complete(received, media_type)

    @pytest.mark.parametrize("media_type", [AS_JSON, EXPORT])
    def test_nor_does_it_where_nginx_asks_by_http_1_0(self, direct: Proxied, tmp_path: Path, media_type: str) -> None:
        text = (FOLDER / "nginx.conf").read_text()
        http_1_0 = text.replace("proxy_http_version 1.1;", "")
        assert http_1_0 != text

        with reverse_proxy("nginx", tmp_path / "proxy", direct.port, configuration=http_1_0) as port:
            status, received = read_while_the_store_is_killed(replace(direct, port=port), media_type)

        assert status != 0
        assert not is_complete(received, media_type)

    @every_base
    def test_an_export_of_any_size_comes_and_is_imported_again(self, proxied: Proxied, base: str) -> None:
        proxied.fill(LARGE)

        export = proxied.ask("GET", base + "/keys", headers=AS_NDJSON).body
        proxied.server.admin.flushall()
        stored = proxied.ask("PUT", base + "/keys", export, NDJSON).json["stored"]

        assert is_complete(export, EXPORT)
        assert stored == len(LARGE)
        assert proxied.ask("GET", base + "/keys").json == LARGE

    def test_a_slow_reader_holds_nobody_up_and_gets_all_of_it(self, proxied: Proxied) -> None:
        proxied.fill(LARGE)
        with Wire(proxied.port, receive_buffer_bytes=4096) as slow:
            slow.begin("GET", "/keys", {})
            status, _ = slow.head()

            others = [proxied.ask("GET", "/keys/key%201").status for _ in range(20)]

            assert (status, others) == (200, [200] * 20)
            assert json.loads(b"".join(iter(slow.chunk, b""))) == LARGE


class TestBodies:
    def test_one_of_the_largest_size_is_taken(self, proxied: Proxied) -> None:
        value = b"v" * (MIB - 1)
        form = b"&".join(b"%02d=%b" % (number, value[: MIB - 4]) for number in range(16))
        assert 0 <= 16 * MIB - len(form) < 16

        assert proxied.ask("PUT", "/keys", form, FORM).json == {"stored": 16}
        assert proxied.ask("PUT", "/keys/a", value + b"\0").json == {"stored": 1}
        assert proxied.ask("GET", "/keys/a", headers=AS_BYTES).body == value + b"\0"

    def test_one_that_is_too_large_is_refused_by_the_service(self, proxied: Proxied) -> None:
        url = f"http://127.0.0.1:{proxied.port}/keys"
        # It reads while it sends.
        curl = ["curl", "--silent", "-X", "PUT", "--data-binary", "@-", url]
        sent = subprocess.run(curl, input=b"a=" + b"v" * 17 * MIB, capture_output=True, check=True)

        assert b'"body_too_large"' in sent.stdout
        assert proxied.stored() == set()

    def test_one_may_come_in_chunks(self, proxied: Proxied) -> None:
        with Wire(proxied.port) as wire:
            wire.begin("PUT", "/keys", {**JSON, "Transfer-Encoding": "chunked"})
            wire.send(b'4\r\n{"a"\r\n6\r\n: "1"}\r\n0\r\n\r\n')

            assert wire.answer().json == {"stored": 1}

    @pytest.mark.parametrize("framing", [{"Content-Length": "100"}, {"Transfer-Encoding": "chunked"}])
    def test_one_that_breaks_off_stores_nothing(self, proxied: Proxied, framing: dict[str, str]) -> None:
        with Wire(proxied.port) as wire:
            wire.begin("PUT", "/keys/cut", framing)
            wire.send(b"32\r\nvalue" if "Transfer-Encoding" in framing else b"value")

        # A later request has been answered, and the service has had the time to do something wrong.
        assert [proxied.ask("PUT", f"/keys/{number}", b"1").status for number in range(10)] == [200] * 10
        assert "cut" not in proxied.stored()


class TestHeaders:
    def test_a_request_id_goes_both_ways(self, proxied: Proxied) -> None:
        answer = proxied.ask("GET", "/keys/missing", headers={"X-Request-Id": f"id-{proxied.name}"})

        assert answer.headers["X-Request-Id"] == answer.json["request_id"] == f"id-{proxied.name}"
        assert any(line.get("request_id") == f"id-{proxied.name}" for line in proxied.service.lines())

    @every_base
    def test_links_and_the_document_lead_through_the_proxy(self, proxied: Proxied, base: str) -> None:
        proxied.fill({str(number): "value" for number in range(30)})
        found: set[str] = set()
        target, link = f"{base}/keys", "<?limit=10>"

        while link:
            target = urljoin(target, link[1 : link.index(">")])
            answer = proxied.ask("GET", target)
            found |= answer.json.keys()
            link = answer.headers.get("Link", "")

        assert len(found) == 30
        document = proxied.ask("GET", f"{base}/swagger.json").json
        assert document["basePath"] == (base or "/")
        assert proxied.ask("GET", document["basePath"].rstrip("/") + "/health/live").json == {"status": "ok"}

    def test_a_client_cannot_set_the_prefix(self, proxied: Proxied) -> None:
        answer = proxied.ask("GET", "/swagger.json", headers={"X-Forwarded-Prefix": "/elsewhere"})

        assert answer.json["basePath"] == "/"


@pytest.mark.parametrize("name", REVERSE_PROXIES)
@pytest.mark.parametrize("call", ["PUT /keys/a", "DELETE /keys/a", "POST /keys", "PATCH /keys/a"])
def test_a_write_whose_answer_is_lost_is_not_sent_again(direct: Proxied, tmp_path: Path, name: str, call: str) -> None:
    method, target = call.split()
    with (
        proxy_to(direct.port) as losing,
        reverse_proxy(name, tmp_path / "proxy", losing.port) as port,
        Wire(port) as wire,
    ):
        # So that there is a connection that could be used again.
        assert wire.ask("GET", "/health/live").status == 200

        # Some close the connection instead of an error.
        with losing.failing(LOST, marker=method.encode()), contextlib.suppress(Cut):
            assert wire.ask(method, target).status in {502, 503}

    assert losing.struck == 1


@pytest.mark.parametrize("name", REVERSE_PROXIES)
def test_the_rate_limit_counts_each_client_whatever_it_says_of_itself(
    limited: Proxied, tmp_path: Path, name: str
) -> None:
    limited.server.admin.flushall()
    with reverse_proxy(name, tmp_path / "proxy", limited.port) as port:
        client = replace(limited, port=port)

        answers = [
            client.ask("GET", "/keys/a", headers={"X-Forwarded-For": f"192.0.2.{number}"})
            for number in range(LIMIT + 1)
        ]
        other = subprocess.run(
            ["curl", "--silent", "--interface", "127.0.0.2", f"http://127.0.0.1:{port}/keys/a"],
            capture_output=True,
            check=True,
        )

    assert [answer.status for answer in answers] == [404] * LIMIT + [429]
    assert b"key_not_found" in other.stdout


@pytest.mark.parametrize("target", ["/health/live", "/health/ready", "/keys/missing", "/nothing", "/swagger.json"])
def test_a_cache_in_front_keeps_no_answer(direct: Proxied, tmp_path: Path, target: str) -> None:
    default = 'vcl 4.1; backend default { .host = "127.0.0.1"; .port = "5000"; }'
    with reverse_proxy("varnish", tmp_path / "proxy", direct.port, configuration=default) as port, Wire(port) as wire:
        ids = {wire.ask("GET", target).headers["X-Request-Id"] for _ in range(3)}

    # An answer from the cache would have the id of an earlier request.
    assert len(ids) == 3


def read_while_the_store_is_killed(proxied: Proxied, media_type: str) -> tuple[int, bytes]:
    """Read a list by curl, kill the store in the middle, and return curl's exit status and what came."""
    proxied.fill(LARGE)
    # It stops reading while nobody reads what it writes.
    curl = ["curl", "--silent", "--fail", "-H", f"Accept: {media_type}", f"http://127.0.0.1:{proxied.port}/keys"]
    with subprocess.Popen(curl, stdout=subprocess.PIPE) as reading:
        assert reading.stdout
        received = reading.stdout.read(1024)
        proxied.server.kill()
        received += reading.stdout.read()
    proxied.server.start()
    assert len(received) > 1024
    return reading.returncode, received


def is_complete(body: bytes, media_type: str) -> bool:
    """Tell whether a client that looks at the body alone takes it for complete."""
    if media_type == EXPORT:
        return body.endswith(b'\n{"count":%d}\n' % len(LARGE))
    return body.endswith(b"}\n")


def wait_for(stream: Stream, value: str) -> None:
    """Read a stream until it tells a value: what was there before may be told again."""
    while stream.next().data.get("value") != value:
        pass


class TestWatching:
    @every_base
    @pytest.mark.parametrize("target", ["/keys?filter=a", "/keys/a"])
    def test_each_change_passes_at_once(self, proxied: Proxied, base: str, target: str) -> None:
        with Stream(proxied.port, base + target) as stream:
            stream.until("synced")
            for number in range(5):
                changed_at = time.monotonic()
                proxied.fill({"a": str(number)})
                wait_for(stream, str(number))
                assert time.monotonic() - changed_at < SLACK_SECONDS
            since = stream.id
        proxied.fill({"a": "later"})

        with Stream(proxied.port, base + target, {"Last-Event-ID": str(since)}) as stream:
            wait_for(stream, "later")

    def test_a_stream_stays_open_in_silence(self, proxied: Proxied) -> None:
        with Stream(proxied.port, "/keys") as stream:
            stream.until("synced")
            time.sleep(HEARTBEAT_SECONDS)
            proxied.fill({"a": "1"})

            wait_for(stream, "1")

    @every_base
    def test_a_long_poll_is_answered_when_there_is_something(self, proxied: Proxied, base: str) -> None:
        with Wire(proxied.port) as wire:
            wire.begin("GET", f"{base}/keys/a", {"Prefer": "wait=30"})
            time.sleep(SLACK_SECONDS)
            proxied.fill({"a": "1"})

            assert wire.answer().json == {"a": "1"}
