"""Metrics as they leave the service: one datagram a request, and nothing a client writes in any name."""

import inspect
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import metrics
from api.errors import PROBLEMS
from api.measured_store import MeasuredStore
from models.errors import StoreError
from models.store import Store
from tests.asking import Ask, put_json
from tests.contract import Contract
from tests.services import Service, eventually, serving


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

    def ours(self) -> list[str]:
        """Give those that are not Gunicorn's own."""
        return [each for each in self.datagrams() if not each.startswith("flaskvstore.gunicorn.")]


@pytest.fixture(scope="module")
def statsd() -> Iterator[Statsd]:
    server = Statsd()
    yield server
    server.socket.close()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, statsd: Statsd) -> Iterator[Service]:
    """A service that sends its metrics."""
    directory: Path = tmp_path_factory.mktemp("measured")
    with serving(directory, "--workers", "1", FLASKVSTORE_STATSD_HOST=statsd.address) as service:
        yield service


@pytest.fixture
def ask(measured: Service, statsd: Statsd, contract: Contract) -> Ask:
    """Ask a service that sends its metrics, after what it has sent so far."""
    asked = measured.ask(contract)
    eventually(lambda: asked("DELETE", "/keys").status == 200 and statsd.ours())
    statsd.datagrams()
    return asked


def lines(datagram: str) -> dict[str, str]:
    """Give the metrics of a datagram: their names, and what they say."""
    return dict(line.split(":", 1) for line in datagram.split("\n"))


def names(datagrams: list[str]) -> set[str]:
    return {name for datagram in datagrams for name in lines(datagram)}


def test_a_request_is_one_datagram_with_all_that_is_known_of_it(ask: Ask, statsd: Statsd) -> None:
    answer = ask("PUT", "/keys/a?expire_in=60", b"12345")

    [sent] = statsd.ours()
    assert lines(sent).keys() == {
        "flaskvstore.request.key.PUT.200",
        "flaskvstore.received_bytes.key",
        "flaskvstore.sent_bytes.key",
        "flaskvstore.store.put_one.duration",
        "flaskvstore.pool.wait",
    }
    assert lines(sent)["flaskvstore.received_bytes.key"] == "5|c"
    assert lines(sent)["flaskvstore.sent_bytes.key"] == f"{len(answer.body)}|c"
    assert all(re.fullmatch(r"[\d.]+\|ms", lines(sent)[f"flaskvstore.{name}"]) for name in (
        "request.key.PUT.200", "store.put_one.duration", "pool.wait"
    ))  # fmt: skip


def test_a_stream_is_one_datagram_at_its_end(ask: Ask, statsd: Statsd) -> None:
    put_json(ask, {f"key {number}": "v" * 100 for number in range(5_000)})
    statsd.datagrams()

    body = ask("GET", "/keys").body

    [sent] = statsd.ours()
    assert lines(sent)["flaskvstore.sent_bytes.keys"] == f"{len(body)}|c"
    assert "flaskvstore.store.entries.duration" in lines(sent)


@pytest.mark.gunicorn("these are of Gunicorn")
def test_gunicorn_sends_its_own_under_the_names_of_the_seed(ask: Ask, statsd: Statsd) -> None:
    ask("GET", "/keys/nothing")

    # It sends them after its answer.
    sent: list[str] = []

    def have_come() -> bool:
        sent.extend(statsd.datagrams())
        return "flaskvstore.gunicorn.request.status.404" in names(sent)

    eventually(have_come)
    [datagram] = [each for each in sent if "gunicorn.request.status.404" in each]
    assert lines(datagram).keys() == {
        "flaskvstore.gunicorn.request.duration",
        "flaskvstore.gunicorn.request.status.404",
        "flaskvstore.gunicorn.requests",
    }


def test_neither_keys_nor_paths_nor_methods_make_names(ask: Ask, statsd: Statsd) -> None:
    def seen_after(number: int) -> set[str]:
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
        return names(statsd.datagrams())

    first = seen_after(0)
    rest = set().union(*(seen_after(number) for number in range(1, 1_000)))

    assert {name for name in rest - first if ".gunicorn." not in name} == set()
    assert not re.search(r"key-|absent|unknown|BREW|name-", "\n".join(rest))


def test_what_the_store_cannot_do_is_counted_by_its_code(tmp_path: Path, statsd: Statsd, contract: Contract) -> None:
    options = ("--workers", "1", "--redis-url", "redis://127.0.0.1:1")
    with serving(
        tmp_path, *options, FLASKVSTORE_STATSD_HOST=statsd.address, FLASKVSTORE_STATSD_PREFIX="a.b"
    ) as service:
        asked = service.ask(contract)
        eventually(lambda: asked("GET", "/health/live").status == 200 and statsd.datagrams())
        statsd.datagrams()

        assert asked("GET", "/keys/a").status == 500
        assert asked("GET", "/health/ready").status == 503

        failed = {name for name in names(statsd.datagrams()) if ".failed." in name}
        assert failed == {"a.b.store.get.failed.store_unavailable", "a.b.store.ping.failed.not_ready"}


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid:9125", "[::1]:1"])
def test_a_host_that_is_not_there_changes_nothing(tmp_path: Path, contract: Contract, host: str) -> None:
    with serving(tmp_path, FLASKVSTORE_STATSD_HOST=host) as service:
        asked = service.ask(contract)
        for number in range(30):
            assert asked("PUT", f"/keys/{number}", b"1").status == 200
        assert len(asked("GET", "/keys").json) == 30


def test_every_operation_of_the_store_is_measured() -> None:
    operations = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}

    assert operations - {"check", "within"} == {name for name in vars(MeasuredStore) if not name.startswith("_")}


def test_the_longest_datagram_fits_in_one() -> None:
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
