"""Clients that send or ask for more than their share, too slowly or without end: the others are served."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from api.serving.embedded import EmbeddedServer
from api.serving.gunicorn_connection import LINGER_BYTES
from models.tokens import Tokens
from tests.service.processes.test_gunicorn_habits import gunicorn_alone
from tests.support.clients import JSON, Answer
from tests.support.servers.services import SLACK_SECONDS, Service, eventually, free_port, serving, workers
from tests.support.servers.stores import fill
from tests.support.wire import LARGE, Cut, Wire


pytestmark = pytest.mark.gunicorn("Granian has none of these limits: it is for clients that are trusted")
ATTACKERS = 4
ATTACK_SECONDS = 2.5
PATIENCE_SECONDS = 1
# Far above what others wait, and below the time of an attack, for which a worker that does not give way is silent.
LONGEST_SECONDS = 2 * SLACK_SECONDS
IMPORT = (
    b"PUT /keys HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    b"Content-Length: 1000000000000\r\n\r\n"
)
RECORD = b'{"key": "a", "value": "1"}\n'
CHUNKED = {"Transfer-Encoding": "chunked"}
LIMITS = """
from api.serving.gunicorn_settings import *
from api.serving import gunicorn_connection
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a token that nobody here has."""
    directory = tmp_path_factory.mktemp("guarded")
    Tokens(directory / "tokens").create("a", namespace="a", scopes=["read"])
    with serving(directory, "--workers", "2", "--tokens-file", str(directory / "tokens")) as service:
        yield service


@contextlib.contextmanager
def limited(directory: Path, server: EmbeddedServer, *options: str, **limits: float) -> Iterator[Service]:
    """Run a service with other limits than those of :mod:`api.serving.gunicorn_connection`."""
    config = directory / "limits.py"
    lines = [f"gunicorn_connection.{name} = {value}\n" for name, value in limits.items()]
    config.write_text(LIMITS + "".join(lines))
    port = free_port()
    with gunicorn_alone(directory / "log", server, "-c", str(config), *options, "-b", f"127.0.0.1:{port}") as service:
        yield service


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, valkey_server: EmbeddedServer) -> Iterator[Service]:
    """A service that waits for a client for a second."""
    with limited(tmp_path_factory.mktemp("impatient"), valkey_server, PATIENCE_SECONDS=PATIENCE_SECONDS) as service:
        yield service


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, valkey_server: EmbeddedServer) -> Iterator[Service]:
    """A service that has room for five connections."""
    with limited(tmp_path_factory.mktemp("narrow"), valkey_server, "--worker-connections", "5") as service:
        yield service


@pytest.fixture(scope="module")
def frugal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that holds little for its requests."""
    limits = {"FLASKVSTORE_MAX_BODY_BYTES": "100000", "FLASKVSTORE_MAX_HELD_BYTES": "1048576"}
    with serving(tmp_path_factory.mktemp("frugal"), **limits) as service:
        yield service


@contextlib.contextmanager
def flooding(port: int, head: bytes, piece: bytes) -> Iterator[None]:
    """Send the same piece without end on some connections, and read what comes; begin anew when one ends."""
    ended = threading.Event()

    def flood() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(head)
                connection.settimeout(0)
                while not ended.is_set():
                    try:
                        connection.send(piece)
                    except BlockingIOError:
                        time.sleep(0.001)
                    with contextlib.suppress(BlockingIOError):
                        if not connection.recv(1024 * 1024):
                            break

    threads = [threading.Thread(target=flood) for _ in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500),
        (b"", b"GET /keys/a HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500),
        (b"PUT /keys/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 5_000),
        (b"PUT /keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n", b"x" * 50_000),
    ],
    ids=["requests", "refused requests", "a refused body in chunks", "a refused body with a length"],
)
def test_what_comes_without_end_keeps_nobody_waiting(guarded: Service, head: bytes, piece: bytes) -> None:
    before = set(workers(guarded))
    with flooding(guarded.port, head, piece):
        slowest = slowest_answer(guarded)

    assert slowest < LONGEST_SECONDS
    assert set(workers(guarded)) == before


@pytest.mark.soak
@pytest.mark.parametrize("piece", [RECORD * 1_000, b"x\n" * 5_000], ids=["records", "wrong lines"])
def test_an_import_without_end_keeps_nobody_waiting(tmp_path: Path, piece: bytes) -> None:
    with serving(tmp_path) as service, flooding(service.port, IMPORT + RECORD, piece):
        assert slowest_answer(service) < LONGEST_SECONDS


@pytest.mark.parametrize("framing", [CHUNKED, {"Content-Length": str(10**12)}], ids=str)
def test_a_refused_body_is_not_read_to_its_end(guarded: Service, framing: dict[str, str]) -> None:
    sent = 0
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with Wire(guarded.port) as wire:
        wire.begin("PUT", "/keys/a", framing)
        answer = wire.answer()
        with contextlib.suppress(ConnectionError):
            while sent < 10 * LINGER_BYTES:
                wire.send(piece)
                sent += len(piece)

    assert (answer.status, answer.headers["Connection"]) == (401, "close")
    # What the kernel of each end holds comes on top.
    assert sent < 2 * LINGER_BYTES


@pytest.mark.parametrize("size", [2_000_000, 20_000_000])
def test_a_client_that_sends_all_before_it_reads_sees_the_refusal(guarded: Service, size: int) -> None:
    for framing in (CHUNKED, {"Content-Length": str(size)}):
        for _ in range(4):
            with Wire(guarded.port) as wire:
                wire.begin("PUT", "/keys/a", framing)
                wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size) if framing is CHUNKED else b"x" * size)

                assert wire.answer().status == 401


def test_a_short_body_that_nobody_reads_leaves_the_connection_usable(guarded: Service) -> None:
    with Wire(guarded.port) as wire:
        for _ in range(3):
            assert wire.ask("PUT", "/keys/a", b"x" * 65_536).status == 401
        assert wire.ask("GET", "/health/live").status == 200


@pytest.mark.parametrize("trickles", [False, True])
@pytest.mark.parametrize("framing", [{"Content-Length": "100000"}, CHUNKED], ids=str)
def test_a_body_that_comes_too_slowly_is_ended(impatient: Service, *, trickles: bool, framing: dict[str, str]) -> None:
    with Wire(impatient.port) as wire:
        wire.begin("PUT", "/keys/late", framing)
        ended = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(ConnectionError):
                while trickles and not ended.wait(0.1):
                    wire.send(b"1\r\nx\r\n" if framing is CHUNKED else b"x")

        with thread(trickle):
            answer = wire.answer()
            ended.set()

        assert (answer.status, answer.code, answer.headers["Connection"]) == (408, "request_timeout", "close")
        assert asked(impatient, "GET", "/keys/late").status == 404


def test_a_body_that_goes_on_is_waited_for(impatient: Service) -> None:
    with Wire(impatient.port) as wire:
        wire.begin("PUT", "/keys/steady", {"Content-Length": "40000"})
        for _ in range(5):
            time.sleep(PATIENCE_SECONDS / 2)
            wire.send(b"x" * 8_000)

        assert wire.answer().status == 200


def test_a_reader_that_does_not_read_is_ended_and_its_list_is_given_back(impatient: Service) -> None:
    put(impatient, "big", b"v" * 1_000_000)
    with Wire(impatient.port, receive_buffer_bytes=4096) as wire:
        for _ in range(20):
            wire.begin("GET", "/keys/big", {})
        ended(wire)


@pytest.mark.parametrize("ended_by", ["half heads", "half bodies", "slow readers"])
def test_who_waits_longest_makes_room_for_others(narrow: Service, ended_by: str) -> None:
    sent = {
        "half heads": b"GET /keys/big HTTP/1.1\r\n",
        "half bodies": b"PUT /keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
        "slow readers": b"GET /keys/big HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20,
    }
    put(narrow, "big", b"v" * 1_000_000)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            wire = stack.enter_context(Wire(narrow.port, receive_buffer_bytes=4096))
            wire.send(sent[ended_by])

        started = time.monotonic()
        assert asked(narrow, "GET", "/health/live").status == 200
        # The worker looks after its connections every second.
        assert time.monotonic() - started < 1 + SLACK_SECONDS


def test_answers_that_wait_for_their_clients_are_bounded_together(
    tmp_path: Path, valkey_server: EmbeddedServer
) -> None:
    with limited(tmp_path, valkey_server, UNSENT_BYTES=5_000_000) as service, contextlib.ExitStack() as stack:
        put(service, "big", b"v" * 1_000_000)
        wires = [stack.enter_context(Wire(service.port, receive_buffer_bytes=4096)) for _ in range(10)]
        for wire in wires:
            wire.begin("GET", "/keys/big", {})
            assert wire.head()[0] == 200

        assert wires[-1].exactly(1_000_000)
        with pytest.raises(Cut):
            wires[0].exactly(1_000_000)


def test_bodies_that_are_on_their_way_are_bounded_together(tmp_path: Path) -> None:
    with serving(tmp_path, FLASKVSTORE_MAX_HELD_BYTES="1048576") as service, contextlib.ExitStack() as stack:
        answers = []
        for _ in range(6):
            wire = stack.enter_context(Wire(service.port))
            wire.begin("PUT", "/keys", {"Content-Length": "4000000", **JSON})
            wire.send(b" " * 3_999_999)
            wire.socket.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                answers.append(wire.answer())
        [refused, *_] = answers

        assert (refused.status, refused.code, refused.json["limit"]) == (429, "too_many_bytes", 16_777_216)
        assert refused.headers["Retry-After"] == "1"
        # Small ones are not meant.
        put(service, "small", b"x" * 10_000)
        stack.close()
        eventually(lambda: asked(service, "PUT", "/keys/large", b"x" * 100_000).status == 200)


def test_a_transaction_that_may_not_hold_what_it_reads_changes_nothing(frugal: Service) -> None:
    fill(frugal, {str(number): "v" * 1_000_000 for number in range(3)})

    refused = asked(frugal, "POST", "/keys", b'{"get": ["0", "1", "2"], "put": {"new": "1"}}', JSON)

    assert (refused.status, refused.code) == (429, "too_many_bytes")
    assert asked(frugal, "GET", "/keys/new").status == 404


def test_a_line_that_never_ends_is_counted_as_well(frugal: Service) -> None:
    with Wire(frugal.port) as wire:
        wire.begin("PUT", "/keys", {"Content-Type": "application/x-ndjson", "Content-Length": "4000000"})
        wire.send(b"x" * 2_000_000)

        assert wire.answer().code == "too_many_bytes"


def test_a_stop_does_not_wait_for_clients_that_wait(tmp_path: Path) -> None:
    with serving(tmp_path) as service, contextlib.ExitStack() as stack:
        fill(service, LARGE)
        idle, head, half, reader = (
            stack.enter_context(Wire(service.port, receive_buffer_bytes=4096)) for _ in range(4)
        )
        assert idle.ask("GET", "/health/live").status == 200
        head.send(b"GET /health/live HTTP/1.1\r\n")
        half.begin("PUT", "/keys/half", {"Content-Length": "9"})
        reader.begin("GET", "/keys", {})
        assert reader.head()[0] == 200
        started = time.monotonic()

        assert service.stop() == 0
        # Gunicorn would give them half a minute.
        assert time.monotonic() - started < 15
        assert idle.has_ended()
        assert half.answer().code == "request_timeout"


def test_a_stop_ends_an_import_that_goes_on(tmp_path: Path, valkey_server: EmbeddedServer) -> None:
    with (
        limited(tmp_path, valkey_server, "--graceful-timeout", "2") as service,
        flooding(service.port, IMPORT, RECORD * 1_000),
    ):
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 10


def slowest_answer(service: Service) -> float:
    """Ask for a while, each time on a new connection, and return how long the slowest answer took."""
    until, slowest = time.monotonic() + ATTACK_SECONDS, 0.0
    while time.monotonic() < until:
        started = time.monotonic()
        assert asked(service, "GET", "/health/live").status == 200
        slowest = max(slowest, time.monotonic() - started)
    return slowest


def put(service: Service, key: str, value: bytes) -> None:
    assert asked(service, "PUT", f"/keys/{key}", value).status == 200


def asked(
    service: Service, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    with Wire(service.port) as wire:
        return wire.ask(method, target, body, headers)


def ended(wire: Wire) -> None:
    """Wait until the service has reset a connection on which nothing is read."""
    eventually(lambda: wire.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0)


@contextlib.contextmanager
def thread(target: Callable[[], None]) -> Iterator[None]:
    """Run something at the same time."""
    running = threading.Thread(target=target)
    running.start()
    try:
        yield
    finally:
        running.join()
