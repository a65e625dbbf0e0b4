"""The end of `flaskvstore serve`: by a signal, under load, and by the death of one of its processes."""

import contextlib
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from api.serving.listener import Listener
from models.address import Address
from tests.support.clients import Answer
from tests.support.servers.services import Service, ask, eventually, gone, kill, serving, workers
from tests.support.servers.stores import fill
from tests.support.wire import LARGE, Wire


# See socket(7).
SO_LOCK_FILTER = 44


@pytest.mark.parametrize(("sent", "count"), [(signal.SIGTERM, 2), (signal.SIGINT, 1)])
def test_a_stop_succeeds_and_leaves_no_process(tmp_path: Path, sent: signal.Signals, count: int) -> None:
    with serving(tmp_path, "--workers", str(count)) as service:
        eventually(lambda: len(workers(service)) == count)
        processes = all_processes(service)
        assert len(processes) == 3 + count

        assert service.stop(sent) == 0
        assert gone(processes)


def test_a_stop_does_not_wait_for_a_worker_that_is_still_starting(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        (killed,) = workers(service)
        kill(killed)
        eventually(lambda: set(workers(service)) - {killed})
        started = time.monotonic()

        assert service.stop() == 0
        # Gunicorn would wait for thirty.
        assert time.monotonic() - started < 15


def test_requests_in_flight_are_finished_before_the_valkey_is_stopped(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        fill(service, LARGE)
        read_while_it_stops(service)
        assert service.process.wait(30) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only there the kernel is told to let nobody in")
def test_where_the_kernel_does_not_take_the_filter_the_stop_goes_on() -> None:
    with Listener(Address("127.0.0.1", 0), {}, to_everybody=False) as listener:
        # As some containers refuse it.
        listener.socket.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)

        listener.drain()


@pytest.mark.gunicorn("a worker of Granian lives until its clients have gone")
def test_a_second_signal_ends_it_whatever_is_in_flight(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        fill(service, LARGE)
        processes = all_processes(service)
        with Wire(service.port, receive_buffer_bytes=4096) as wire:
            wire.begin("GET", "/keys", {})
            wire.head()

            service.process.send_signal(signal.SIGINT)
            eventually(lambda: not connects(service.port))
            service.process.send_signal(signal.SIGINT)

            # A client that does not read would be waited for for thirty.
            assert service.process.wait(15) == 0
        assert gone(processes)


@pytest.mark.gunicorn("Granian takes no connection from the signal on")
def test_it_is_not_ready_from_the_signal_on_while_it_finishes_what_it_has(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        fill(service, LARGE)
        with Wire(service.port) as probe, Wire(service.port, receive_buffer_bytes=4096) as wire:
            wire.send(b"GET /keys HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wire.head()
            # Its connection would be closed if nothing were asked on it for five seconds.
            assert probe.ask("GET", "/health/ready").status == 200

            service.process.send_signal(signal.SIGTERM)
            # Nobody is let in any more; who is in is told.
            eventually(lambda: probe.ask("GET", "/health/ready").status == 503)

            assert len(b"".join(iter(wire.chunk, b""))) > 10_000_000


def test_a_stop_under_load_fails_no_request_and_loses_no_write(tmp_path: Path) -> None:
    written = [0] * 8
    with serving(tmp_path, "--workers", "2") as service, ThreadPoolExecutor(len(written)) as pool:
        clients = [pool.submit(write_until_it_is_gone, service.port, name, written) for name in range(len(written))]
        eventually(lambda: min(written) > 10)

        assert service.stop() == 0
        for client in clients:
            client.result()

    with serving(tmp_path) as next_service:
        stored = ask(next_service, "GET", "/keys").json
    assert stored == {str(name): str(count) for name, count in enumerate(written)}


def test_a_killed_service_takes_its_processes_along_and_keeps_the_data(tmp_path: Path) -> None:
    # As a shell does for what it starts in the background.
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        with serving(tmp_path, "--durability", "always") as service:
            ask(service, "PUT", "/keys?a=1")
            processes = all_processes(service)
            service.stop(signal.SIGKILL)

            with serving(tmp_path) as next_service:
                assert ask(next_service, "GET", "/keys/a").json == {"a": "1"}

            eventually(lambda: gone(processes))
    finally:
        signal.signal(signal.SIGQUIT, before)


@pytest.mark.parametrize("killed", ["serve", "gunicorn"])
@pytest.mark.gunicorn("a worker of Granian lives until its clients have gone")
def test_a_killed_parent_frees_the_port_at_once(tmp_path: Path, killed: str) -> None:
    with serving(tmp_path) as service, Wire(service.port, receive_buffer_bytes=4096) as reader:
        fill(service, LARGE)
        reader.begin("GET", "/keys", {})
        reader.head()

        os.kill(service.process.pid if killed == "serve" else service.children()["gunicorn"], signal.SIGKILL)

        # The reader alone would keep a worker for half a minute.
        eventually(lambda: not connects(service.port))


def test_a_killed_gunicorn_ends_the_service_with_an_error(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        processes = all_processes(service)
        kill(service.children()["gunicorn"])

        assert service.process.wait(30) != 0
        eventually(lambda: gone(processes))


def all_processes(service: Service) -> list[psutil.Process]:
    parent = psutil.Process(service.process.pid)
    return [parent, *parent.children(recursive=True)]


def read_while_it_stops(service: Service) -> None:
    with Wire(service.port, receive_buffer_bytes=4096) as wire:
        wire.send(b"GET /keys HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, headers = wire.head()
        first = wire.chunk()

        service.process.send_signal(signal.SIGTERM)
        # Nobody else is served any more: the stop is under way.
        eventually(lambda: not connects(service.port))
        body = first + b"".join(iter(wire.chunk, b""))

        assert status == 200
        assert Answer(status, headers, body).json == LARGE


def write_until_it_is_gone(port: int, name: int, written: list[int]) -> None:
    """Write numbers until nobody listens, on one connection that is kept, or on one for each.

    :param name: the key; an even one is that of a client that keeps its connection
    :param written: the last number of each client
    """
    while connects(port):
        with contextlib.suppress(ConnectionRefusedError), Wire(port) as wire:
            closes = False
            while not closes:
                answer = wire.ask("PUT", f"/keys/{name}", b"%d" % (written[name] + 1))
                assert answer.status == 200
                written[name] += 1
                closes = name % 2 == 1 or answer.headers.get("Connection") == "close"


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
