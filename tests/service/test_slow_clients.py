"""Clients that send half a request or do not read what they asked for: they hold nobody up."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.support.servers.services import Service, serving
from tests.support.servers.stores import fill
from tests.support.wire import Wire


KEYS = 100_000
HALF_HEADS = 500
# As many as one worker can have without an end to some of them, if all are with it.
SLOW_READERS = 20
# Generous: what is measured is whether others are served, not how fast.
ONE_KEY_SECONDS = 2.0
LIST_SECONDS = 60.0
IDLE_SECONDS = 20.0
VALUE = "v" * 100


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with two workers and a list that is larger than all buffers."""
    with serving(tmp_path_factory.mktemp("filled"), "--workers", "2", FLASKVSTORE_KEEP_ALIVE_SECONDS="5") as service:
        for first in range(0, KEYS, 10_000):
            fill(service, {f"key {number}": VALUE for number in range(first, first + 10_000)})
        yield service


@pytest.mark.soak
def test_half_sent_heads_and_slow_readers_hold_nobody_up(filled: Service) -> None:
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(slow_reader(filled.port)) for _ in range(SLOW_READERS)]
        halves = [stack.enter_context(half_head(filled.port)) for _ in range(HALF_HEADS)]

        for number in range(100):
            with Wire(filled.port) as wire, at_most(ONE_KEY_SECONDS):
                assert wire.ask("GET", f"/keys/key%20{number}").json == {f"key {number}": VALUE}
        with Wire(filled.port) as wire, at_most(LIST_SECONDS):
            assert len(wire.ask("GET", "/keys").json) == KEYS

        # Gunicorn waits for a head as long as for a request on an idle connection.
        with at_most(IDLE_SECONDS):
            assert all(half.has_ended() for half in halves)
        # A slow reader gets the rest of its list whenever it reads.
        assert len(b"".join(iter(readers[0].chunk, b""))) > 1024 * 1024


def slow_reader(port: int) -> Wire:
    """Ask for everything, and read no more than the head of the answer."""
    wire = Wire(port, receive_buffer_bytes=4096)
    wire.send(b"GET /keys HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert wire.head()[0] == 200
    return wire


def half_head(port: int) -> Wire:
    """Send half of a request's head."""
    wire = Wire(port)
    wire.send(b"GET /keys HTTP/1.1\r\nHost: lo")
    return wire


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail if something takes longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds
