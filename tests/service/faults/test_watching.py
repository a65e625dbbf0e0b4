"""Watching over HTTP while processes die, hang and are replaced: every view is right in the end."""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from redis import RedisError

from models.filter import Filter
from tests.support.amounts import SEED, amount
from tests.support.events import AS_EVENTS, Blocks
from tests.support.replay import Event, Viewer, replay
from tests.support.servers.services import (
    SLACK_SECONDS,
    Service,
    ask,
    eventually,
    kill,
    ready,
    serving,
    stopped,
    workers,
)
from tests.support.servers.stores import PREFIX, server_of


QUIET_SECONDS = 0.05
EVERY_SECONDS = 0.7


@contextmanager
def watch(port: int, pattern: Filter, since: str | None) -> Iterator[Iterator[Event | None]]:
    """Watch over HTTP/1.0, whose bodies have no frames: a wait for more can end at any byte."""
    query = urlencode({"filter": pattern.text, **({} if since is None else {"since": since})})
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        head = f"GET /keys?{query} HTTP/1.0\r\n" + "".join(f"{name}: {each}\r\n" for name, each in AS_EVENTS.items())
        connection.sendall(head.encode() + b"\r\n")
        yield _events(connection)


def _events(connection: socket.socket) -> Iterator[Event | None]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, rest = received.partition(b"\r\n\r\n")
    if b" 200 " not in head:
        raise ConnectionError(head)
    blocks = Blocks()
    connection.settimeout(QUIET_SECONDS)
    while True:
        for name, data, id_ in blocks.feed(rest):
            if name == "put":
                yield Event("put", data["key"], int(data["value"]), id_)
            else:
                yield Event(
                    {"delete": "gone", "expire": "gone", "": "id"}.get(name, name), (data or {}).get("key", ""), 0, id_
                )
        rest = b""
        yield None
        with suppress(TimeoutError):
            rest = _more(connection)


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(64 * 1024)
    if not data:
        raise ConnectionError("The stream has ended.")
    return data


def kill_a_worker(service: Service, _: Any) -> None:
    kill(random.choice(workers(service)))


def reload(service: Service, _: Any) -> None:
    os.kill(service.process.pid, signal.SIGHUP)


def kill_the_store(service: Service, _: Any) -> None:
    kill(service.children()["valkey"])
    eventually(lambda: ready(service))


def freeze_the_store(service: Service, _: Any) -> None:
    with stopped(service.children()["valkey"]):
        time.sleep(1.6)


def cut_the_connections(_: Service, server: Any) -> None:
    server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def delete_everything(_: Service, server: Any) -> None:
    server.flushall()


def run(service: Service, seconds: float, disturb: Callable[[Service, Any], None] | None) -> list[Viewer]:
    """Replay changes over HTTP, with a fault again and again."""
    last = time.monotonic()

    def fault() -> None:
        nonlocal last
        if disturb is not None and time.monotonic() > last + EVERY_SECONDS:
            with suppress(RedisError):
                disturb(service, server)
            last = time.monotonic()

    with closing(server_of(service)) as server:
        server.flushall()
        return replay([partial(watch, service.port)], server, PREFIX, seconds, SEED, disturb=fault)


@pytest.mark.grows
def test_every_view_is_right_in_the_end(service: Service) -> None:
    viewers = run(service, amount(1, 20), None)

    assert sum(viewer.events for viewer in viewers) > 100


@pytest.mark.soak
@pytest.mark.parametrize(
    "disturb", [kill_a_worker, reload, kill_the_store, freeze_the_store, cut_the_connections, delete_everything]
)
def test_every_view_is_right_after_faults(disturb: Callable[[Service, Any], None], tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as service:
        viewers = run(service, amount(4, 10), disturb)

        assert sum(viewer.resets for viewer in viewers) > len(viewers)
        eventually(lambda: ready(service))


@pytest.mark.soak
@pytest.mark.parametrize("count", [131_072, 600_000])
def test_many_changes_at_once_are_told_and_hold_nobody_up(count: int, tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as service, closing(server_of(service)) as server:
        names = [f"{PREFIX}{number}" for number in range(count)]
        with Viewer([partial(watch, service.port)], "$", SEED, None) as viewer:
            eventually(lambda: viewer.is_synced)
            for first in range(0, count, 131_072):
                server.mset(dict.fromkeys(names[first : first + 131_072], 1))
            eventually(lambda: viewer.is_synced and len(viewer.view) == count, 120)
            slowest = 0.0
            deleting = threading.Thread(
                target=lambda: [server.unlink(*names[n : n + 1_000]) for n in range(0, count, 1_000)]
            )
            deleting.start()
            while deleting.is_alive() or viewer.view:
                started = time.monotonic()
                ask(service, "GET", "/keys/other")
                slowest = max(slowest, time.monotonic() - started)

    assert slowest < 1 + SLACK_SECONDS
    assert viewer.errors == []


@pytest.mark.soak
def test_an_expiry_is_told_at_its_time_beside_many_others(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as service, closing(server_of(service)) as server:
        with server.pipeline(transaction=False) as steps:
            for number in range(100_000):
                steps.set(f"other:{number}", "1", px=random.randint(1_000, 3_000))
            steps.execute()
        late = []
        with Viewer([partial(watch, service.port)], "$", SEED, None) as viewer:
            eventually(lambda: viewer.is_synced)
            for number in range(20):
                server.set(f"{PREFIX}a", number + 1, px=100)
                due = time.monotonic() + 0.1
                eventually(lambda: "a" in viewer.view)
                eventually(lambda: "a" not in viewer.view)
                late.append(time.monotonic() - due)

    assert sorted(late)[len(late) // 2] < 0.1 + SLACK_SECONDS
