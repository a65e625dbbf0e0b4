"""Metrics as they leave the service: many in one datagram, and nothing a client writes in any name."""

import inspect
import os
import re
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.errors import PROBLEMS
from api.telemetry import metrics
from api.telemetry.measured_store import MeasuredStore
from models.errors import StoreError
from models.store import Store
from tests.support.amounts import amount
from tests.support.clients import Ask, put_json
from tests.support.contract import Contract
from tests.support.events import AS_EVENTS
from tests.support.servers.services import SLACK_SECONDS, WSGI_SERVER, Service, eventually, serving, workers
from tests.support.streams import Stream
from tests.support.wire import Wire


class Statsd:
    """A statsd server that keeps what it is sent."""

    def __init__(self) -> None:
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024 * 1024)
        self.socket.settimeout(0)

    @property
    def address(self) -> str:
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def datagrams(self) -> list[str]:
        """Give what has come since the last time."""
        came = []
        while True:
            try:
                came.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return came

    def lines(self, *, until: str) -> dict[str, str]:
        """Give the metrics that come, their names and what they say, until there is one of this name."""
        came: dict[str, str] = {}

        def has_come() -> bool:
            for line in "\n".join(self.datagrams()).splitlines():
                name, _, said = line.partition(":")
                came[name] = said
            return until in came

        eventually(has_come)
        return came


@pytest.fixture(scope="module")
def statsd() -> Iterator[Statsd]:
    server = Statsd()
    yield server
    server.socket.close()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, statsd: Statsd) -> Iterator[Service]:
    """A service that sends its metrics."""
    directory: Path = tmp_path_factory.mktemp("measured")
    with serving(directory, FLASKVSTORE_STATSD_HOST=statsd.address) as service:
        yield service


@pytest.fixture
def ask(measured: Service, statsd: Statsd, contract: Contract) -> Ask:
    """Ask a service that sends its metrics, after what it has sent so far."""
    asked = measured.ask(contract)
    # It sends nothing before it knows where to.
    eventually(lambda: asked("GET", "/health/live").status == 200 and statsd.datagrams())
    asked("DELETE", "/keys")
    statsd.lines(until="flaskvstore.request.keys.DELETE.200")
    return asked


def ours(lines: dict[str, str]) -> dict[str, str]:
    """Leave out Gunicorn's own."""
    return {name: said for name, said in lines.items() if not name.startswith("flaskvstore.gunicorn.")}


def test_all_that_is_known_of_a_request_is_sent(ask: Ask, statsd: Statsd) -> None:
    answer = ask("PUT", "/keys/a?expire_in=60", b"12345")

    sent = ours(statsd.lines(until="flaskvstore.request.key.PUT.200"))
    assert sent.keys() == {
        "flaskvstore.request.key.PUT.200",
        "flaskvstore.received_bytes.key",
        "flaskvstore.sent_bytes.key",
        "flaskvstore.store.put_one.duration",
        "flaskvstore.pool.wait",
    }
    assert sent["flaskvstore.received_bytes.key"] == "5|c"
    assert sent["flaskvstore.sent_bytes.key"] == f"{len(answer.body)}|c"
    timings = ("request.key.PUT.200", "store.put_one.duration", "pool.wait")
    assert all(re.fullmatch(r"[\d.]+\|ms", sent[f"flaskvstore.{name}"]) for name in timings)


@pytest.mark.gunicorn("Granian refuses such a length by itself, and drops the request of a client that ends its stream")
def test_what_came_is_counted_and_not_what_was_announced(ask: Ask, measured: Service, statsd: Statsd) -> None:
    counted = {}
    for target, resource, body in (
        ("/nothing", "none", b"Content-Length: 999999999999999999999999\r\n\r\n"),
        ("/keys/a", "key", b"Content-Length: 999999999\r\n\r\n"),
        ("/keys/b", "key", b"Content-Length: 9\r\n\r\nhello"),
        ("/keys/c", "key", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2\r\n..\r\n0\r\n\r\n"),
    ):
        with Wire(measured.port) as wire:
            wire.send(f"PUT {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode() + body)
            wire.finish_sending()
            wire.rest()
        name = f"flaskvstore.received_bytes.{resource}"
        counted[target] = statsd.lines(until=name)[name]

    assert counted == {"/nothing": "0|c", "/keys/a": "0|c", "/keys/b": "5|c", "/keys/c": "7|c"}


def test_a_stream_is_measured_at_its_end(ask: Ask, statsd: Statsd) -> None:
    put_json(ask, {f"key {number}": "v" * 100 for number in range(5_000)})

    body = ask("GET", "/keys").body

    sent = statsd.lines(until="flaskvstore.request.keys.GET.200")
    assert sent["flaskvstore.sent_bytes.keys"] == f"{len(body)}|c"
    assert "flaskvstore.store.entries.duration" in sent


def test_a_watch_has_metrics_of_its_own_and_is_no_duration_of_a_request(
    ask: Ask, measured: Service, statsd: Statsd
) -> None:
    ask("PUT", "/keys/a", b"1")
    statsd.lines(until="flaskvstore.request.key.PUT.200")
    began_at = time.monotonic()
    with Stream(measured.port, "/keys", {"Prefer": "wait=60"}) as stream:
        stream.until("synced")
        ask("PUT", "/keys/a", b"2")
        stream.until("put")
    ask("GET", "/keys/nothing", b"", {"Prefer": "wait=1"})
    open_seconds = time.monotonic() - began_at

    sent: dict[str, float] = defaultdict(float)
    names: set[str] = set()

    def have_come() -> bool:
        for line in "\n".join(statsd.datagrams()).splitlines():
            name, _, said = line.partition(":")
            names.add(name)
            sent[name.removeprefix("flaskvstore.")] += float(said.partition("|")[0])
        return {"watch.keys.200", "watch.key.404"} <= sent.keys()

    eventually(have_come)
    # What was just written may be told once more.
    assert 2 <= sent["watch.events"] <= 3
    assert sent["watch.resets"] == 1
    assert 0 < sent["watch.delay"] < 1_000 * open_seconds
    assert 1 <= sent["watchers.seconds"] <= open_seconds + 2 * SLACK_SECONDS
    assert 1_000 <= sent["watch.key.404"] <= 1_000 * open_seconds
    assert {name for name in names if ".request." in name and "status" not in name} <= {
        "flaskvstore.request.key.PUT.200",
        "flaskvstore.gunicorn.request.duration",
    }
    if WSGI_SERVER == "gunicorn":
        assert sent["gunicorn.request.duration"] < 1_000
        assert sent["gunicorn.requests"] == 3


def test_a_watch_that_could_not_begin_is_a_request_that_failed(
    tmp_path: Path, statsd: Statsd, contract: Contract
) -> None:
    with serving(tmp_path, "--redis-url", "redis://127.0.0.1:1", FLASKVSTORE_STATSD_HOST=statsd.address) as service:
        asked = service.ask(contract)
        eventually(lambda: asked("GET", "/health/live").status == 200 and statsd.datagrams())

        assert asked("GET", "/keys", b"", AS_EVENTS).code == "store_unavailable"

        sent = statsd.lines(until="flaskvstore.request.keys.GET.500")
        assert sent["flaskvstore.store.watch.failed.store_unavailable"] == "1|c"


@pytest.mark.gunicorn("these are of Gunicorn")
def test_gunicorn_sends_its_own_under_the_names_of_the_first_readme(ask: Ask, statsd: Statsd) -> None:
    ask("GET", "/keys/nothing")

    sent = statsd.lines(until="flaskvstore.gunicorn.request.status.404")
    assert sent.keys() - ours(sent).keys() == {
        "flaskvstore.gunicorn.request.duration",
        "flaskvstore.gunicorn.request.status.404",
        "flaskvstore.gunicorn.requests",
    }


def test_many_requests_are_one_datagram_that_fits_the_network(ask: Ask, statsd: Statsd) -> None:
    for _ in range(200):
        ask("GET", "/health/live")

    datagrams: list[str] = []

    def have_come() -> bool:
        datagrams.extend(statsd.datagrams())
        return "\n".join(datagrams).count("flaskvstore.request.live.GET.200:") == 200

    eventually(have_come)
    assert len(datagrams) < 100
    assert max(map(len, datagrams)) <= metrics.MAX_DATAGRAM_BYTES


@pytest.mark.gunicorn("a worker of Granian ends at once, with the metrics of its last half second")
def test_nothing_is_lost_at_the_end(ask: Ask, measured: Service, statsd: Statsd) -> None:
    [worker] = workers(measured)
    ask("GET", "/health/ready")

    # It ends at once, long before it would have sent them.
    os.kill(worker, signal.SIGQUIT)

    statsd.lines(until="flaskvstore.request.ready.GET.200")


@pytest.mark.grows
def test_neither_keys_nor_paths_nor_methods_make_names(ask: Ask, statsd: Statsd) -> None:
    def sent_for(numbers: range) -> set[str]:
        datagrams = []
        for number in numbers:
            put_json(ask, {f"key-{number}": "value"})
            for target in (
                f"/keys/key-{number}",
                f"/keys/absent-{number}",
                f"/unknown-{number}",
                f"/keys?filter=key-{number}",
            ):
                ask("GET", target)
            ask(f"BREW{number}", f"/keys/key-{number}")
            ask("PUT", f"/keys?name-{number}=1")
            ask("DELETE", f"/keys/key-{number}")
            datagrams += statsd.datagrams()
        ask("HEAD", "/keys")
        rest = statsd.lines(until="flaskvstore.request.keys.HEAD.200")
        return {line.partition(":")[0] for line in "\n".join(datagrams).splitlines()} | set(rest)

    first, rest = sent_for(range(1)), sent_for(range(1, amount(100, 1_000)))

    assert {name for name in rest - first if ".gunicorn." not in name} == set()
    assert not re.search(r"key-|absent|unknown|BREW|name-", "\n".join(rest))


def test_what_the_store_cannot_do_is_counted_by_its_code(tmp_path: Path, statsd: Statsd, contract: Contract) -> None:
    with serving(
        tmp_path,
        "--redis-url",
        "redis://127.0.0.1:1",
        FLASKVSTORE_STATSD_HOST=statsd.address,
        FLASKVSTORE_STATSD_PREFIX="a.b",
    ) as service:
        asked = service.ask(contract)
        eventually(lambda: asked("GET", "/health/live").status == 200 and statsd.datagrams())

        assert asked("GET", "/keys/a").status == 500
        assert asked("GET", "/health/ready").status == 503

        failed = {name for name in statsd.lines(until="a.b.request.ready.GET.503") if ".failed." in name}
        assert failed == {"a.b.store.get.failed.store_unavailable", "a.b.store.ping.failed.not_ready"}


@pytest.mark.parametrize("host", ["no-such-host.invalid:9125", "[::1]:1"])
def test_a_host_that_is_not_there_changes_nothing(tmp_path: Path, contract: Contract, host: str) -> None:
    with serving(tmp_path, FLASKVSTORE_STATSD_HOST=host) as service:
        asked = service.ask(contract)
        for number in range(30):
            assert asked("PUT", f"/keys/{number}", b"1").status == 200
        assert len(asked("GET", "/keys").json) == 30


def test_every_operation_of_the_store_is_measured() -> None:
    operations = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}

    assert operations - {"check", "within"} == {name for name in vars(MeasuredStore) if not name.startswith("_")}


def test_the_metrics_of_a_request_fit_in_a_datagram() -> None:
    failures = [problem.code for error, problem in PROBLEMS.items() if issubclass(error, StoreError)]
    longest_code, longest_operation = max(failures, key=len), max(vars(MeasuredStore), key=len)
    parts = [
        metrics.REQUEST.format(resource="documentation", method="OPTIONS", status=500),
        metrics.RECEIVED_BYTES.format(resource="documentation"),
        metrics.SENT_BYTES.format(resource="documentation"),
        metrics.STORE_DURATION.format(operation=longest_operation),
        metrics.STORE_FAILURE.format(operation=longest_operation, code=longest_code),
        metrics.POOL_WAIT,
    ]

    assert sum(len(f"flaskvstore.{part}:123456789.123456|ms\n") for part in parts) < metrics.MAX_DATAGRAM_BYTES
