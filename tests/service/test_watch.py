"""Event streams and long polls of real processes: how they end, how many there may be, and who is held up."""

import contextlib
import ctypes
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from models.tokens import SCOPES, Tokens
from tests.support.clients import Ask, bearer
from tests.support.contract import Contract
from tests.support.servers.services import SLACK_SECONDS, Service, eventually, serving, workers
from tests.support.streams import Stream
from tests.support.wire import Wire


# How long a watch may go on before it looks whether it may.
CHECK_SECONDS = 1.0
MAX_WATCHERS = 4
WATCHERS = 300
# What is promised of clients that are gone or do not read.
MINUTE = 60
# Values are kept for all who watch, up to 16 MiB and as much again of their events; gigabytes are written meanwhile.
MAX_GROWTH_BYTES = 32 * 1024 * 1024
# bpf(2): a filter that lets nothing pass.
SO_ATTACH_FILTER, DROP_ALL = 26, struct.pack("HBBI", 0x06, 0, 0, 0)
WAIT = {"Prefer": "wait=60"}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one worker, in which there may be few watchers."""
    with serving(tmp_path_factory.mktemp("limited"), FLASKVSTORE_MAX_WATCHERS=str(MAX_WATCHERS)) as running:
        yield running


@pytest.fixture
def ask(limited: Service, contract: Contract) -> Ask:
    """Ask it, when nobody watches any more."""
    eventually(lambda: connections_of(limited) == 0)
    asked = limited.ask(contract)
    asked("DELETE", "/keys")
    return asked


def connections_of(service: Service) -> int:
    """Return how many connections from clients the only worker of a service has."""
    [worker] = workers(service)
    return len([each for each in psutil.Process(worker).net_connections("tcp") if each.raddr])


def begun(stream: Stream) -> Stream:
    """Read a stream up to the end of the state."""
    stream.until("synced")
    return stream


def test_each_change_is_told_as_it_happens(limited: Service, ask: Ask) -> None:
    with begun(Stream(limited.port, "/keys?filter=a$")) as stream:
        ask("PUT", "/keys?a1=1&b1=1")
        first = stream.next()
        ask("DELETE", "/keys/a1")
        ask("PUT", "/keys/a2?expire_in=1", b"2")

        assert (first.name, first.data["key"], first.data["value"]) == ("put", "a1", "1")
        assert [(event.name, event.data["key"]) for event in (stream.next(), stream.next(), stream.next())] == [
            ("delete", "a1"),
            ("put", "a2"),
            ("expire", "a2"),
        ]


def test_a_client_that_was_cut_off_goes_on_where_it_was(limited: Service, ask: Ask) -> None:
    with begun(Stream(limited.port, "/keys")) as stream:
        ask("PUT", "/keys/a", b"1")
        stream.until("put")
    ask("PUT", "/keys/b", b"2")

    with Stream(limited.port, "/keys", {"Last-Event-ID": str(stream.id)}) as again:
        # What was told just before may be told again.
        event = again.next()
        while event.data.get("key") != "b":
            assert event.name != "reset"
            event = again.next()
        assert event.data["value"] == "2"


@pytest.mark.gunicorn("Granian notices only at the next event that a client has left")
def test_only_so_many_may_watch_at_a_time_and_who_leaves_makes_room(limited: Service, ask: Ask) -> None:
    with contextlib.ExitStack() as stack:
        polling = stack.enter_context(Wire(limited.port))
        polling.begin("GET", "/keys/nothing", WAIT)
        for _ in range(MAX_WATCHERS - 1):
            stack.enter_context(begun(Stream(limited.port, "/keys")))

        for target, headers in (("/keys", {"Accept": "text/event-stream"}), ("/keys/a", {**WAIT})):
            refused = ask("GET", target, b"", headers)
            assert (refused.code, refused.json["limit"]) == ("too_many_watchers", MAX_WATCHERS)
            assert refused.headers["Retry-After"] == "1"
        # Whoever does not wait is not meant.
        assert ask("GET", "/keys").status == ask("PUT", "/keys/b", b"1").status == 200
        left_at = time.monotonic()

    eventually(lambda: ask("GET", "/keys/a", b"", {"Prefer": "wait=1"}).status == 404)
    assert time.monotonic() - left_at < 2 * CHECK_SECONDS + SLACK_SECONDS


@pytest.mark.gunicorn("Granian does not tell its workers that they stop")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_streams_end_when_their_worker_stops_and_long_polls_are_answered(
    tmp_path: Path, ending: signal.Signals
) -> None:
    with serving(tmp_path) as service, begun(Stream(service.port, "/keys")) as stream, Wire(service.port) as polling:
        polling.begin("GET", "/keys/nothing", WAIT)
        [worker] = workers(service)
        time.sleep(0.1)

        ended_at = time.monotonic()
        service.process.send_signal(ending)

        event = stream.next()
        assert (event.name, event.data) == ("end", {"code": "stopping"})
        assert polling.answer().status == 404
        with pytest.raises(StopIteration):
            stream.next()
        eventually(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)
        # Gunicorn looks once a second whether it is to stop, and so does each watch.
        assert time.monotonic() - ended_at < 2 * CHECK_SECONDS + 2 * SLACK_SECONDS


def test_a_revoked_token_ends_a_stream_before_any_later_event(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    watching, writing = (bearer(tokens.create(name, namespace="ns", scopes=SCOPES)) for name in ("watching", "writing"))
    with (
        serving(tmp_path, "--tokens-file", str(tmp_path / "tokens.json")) as service,
        begun(Stream(service.port, "/keys", watching)) as stream,
        Wire(service.port) as writer,
        Wire(service.port) as polling,
    ):
        polling.begin("GET", "/keys/nothing", {**watching, **WAIT})
        time.sleep(0.1)
        tokens.revoke("watching")
        assert writer.ask("PUT", "/keys/a", b"1", writing).status == 200

        event = stream.next()
        assert (event.name, event.data) == ("end", {"code": "invalid_token"})
        assert polling.answer().code == "invalid_token"


@pytest.mark.soak
@pytest.mark.gunicorn("Granian waits for slow clients without a limit")
def test_who_does_not_read_is_given_up_within_a_minute_and_holds_nobody_up(limited: Service, ask: Ask) -> None:
    [worker] = map(psutil.Process, workers(limited))
    with (
        begun(Stream(limited.port, "/keys", receive_buffer_bytes=4_096)),
        begun(Stream(limited.port, "/keys")) as reader,
    ):
        stalled_at, before_bytes, slowest = time.monotonic(), worker.memory_info().rss, 0.0
        number = 0
        while connections_of(limited) > 1:
            number += 1
            started = time.monotonic()
            assert ask("PUT", f"/keys/{number % 100}", b"%d" % number * 20_000).status == 200
            assert reader.until("put")[-1].data["value"].startswith(str(number))
            slowest = max(slowest, time.monotonic() - started)
            assert started - stalled_at < MINUTE
        grown_bytes = worker.memory_info().rss - before_bytes

    assert slowest < SLACK_SECONDS
    assert grown_bytes < MAX_GROWTH_BYTES


@pytest.mark.soak
@pytest.mark.gunicorn("Granian leaves it to the kernel, which waits for a quarter of an hour")
def test_who_is_cut_off_without_a_word_is_given_up_within_a_minute(limited: Service, ask: Ask) -> None:
    with begun(Stream(limited.port, "/keys")) as stream:
        program = ctypes.create_string_buffer(DROP_ALL, len(DROP_ALL))
        header = struct.pack("HP", 1, ctypes.addressof(program))
        stream.wire.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)

        eventually(lambda: connections_of(limited) == 0, MINUTE)


@pytest.mark.soak
@pytest.mark.gunicorn("Granian has room for 16 watchers")
def test_watchers_leave_nothing_behind(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        [worker] = map(psutil.Process, workers(service))
        grown: list[tuple[int, int]] = []
        for _ in range(3):
            with contextlib.ExitStack() as stack:
                for _ in range(WATCHERS):
                    stack.enter_context(begun(Stream(service.port, "/keys")))
            eventually(lambda: connections_of(service) == 0)
            grown.append((worker.memory_info().rss, worker.num_fds()))

    assert grown[-1][0] - grown[0][0] < MAX_GROWTH_BYTES
    assert grown[-1][1] == grown[0][1]
