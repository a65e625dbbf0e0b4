"""The embedded Valkey dies or hangs below a running service."""

import contextlib
import os
import shutil
import time
from pathlib import Path

import psutil
import pytest
from redis import Redis

from tests.support.clients import AS_BYTES, JSON
from tests.support.servers.services import (
    BOUND_SECONDS,
    Service,
    ask,
    eventually,
    kill,
    ready,
    serving,
    stopped,
    wire_to_each_worker,
)
from tests.support.servers.stores import server_of
from tests.support.wire import Wire


def test_while_it_is_gone_requests_fail_soon_and_say_when_to_try_again_and_it_is_logged(disturbed: Service) -> None:
    ask(disturbed, "PUT", "/keys?a=1")
    old = disturbed.children()["valkey"]
    # The supervisor is frozen so that it cannot start a new one too soon for the test.
    with stopped(disturbed.process.pid):
        kill(old)
        for method, target in (("GET", "/keys/a"), ("PUT", "/keys?a=2"), ("DELETE", "/keys/a"), ("GET", "/keys")):
            started = time.monotonic()
            answer = ask(disturbed, method, target)

            assert (answer.status, answer.code) == (500, "store_unavailable")
            assert answer.headers["Retry-After"] == "1"
            assert time.monotonic() - started < BOUND_SECONDS
        assert ask(disturbed, "GET", "/health/ready").status == 503
        assert ask(disturbed, "GET", "/health/live").status == 200

    eventually(lambda: ready(disturbed))
    assert disturbed.children()["valkey"] != old
    assert ask(disturbed, "GET", "/keys/a").json == {"a": "1"}
    [line] = [line for line in disturbed.lines() if "has ended by itself" in line.get("message", "")]
    assert line["level"] == "error"
    assert "by a signal (Killed)" in line["message"]


def test_after_it_was_killed_the_first_request_to_the_next_one_succeeds(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as service, contextlib.closing(server_of(service)) as client:
        ask(service, "PUT", "/keys?a=1")
        for first in (["PUT /keys?b=1", "GET /keys/a"], ["GET /keys/a", "PUT /keys?b=1"]):
            with wire_to_each_worker(service) as wires:
                old = service.children()["valkey"]
                kill(old)
                eventually(lambda: valkey_is_back(client))

                for wire, request in zip(wires, first, strict=True):
                    method, target = request.split()
                    assert wire.ask(method, target).status == 200
                for wire in wires * 5:
                    assert wire.ask("PUT", "/keys?c=1").status == 200
                    assert wire.ask("GET", "/keys/a").json == {"a": "1"}
                assert service.children()["valkey"] != old


def test_if_its_socket_is_deleted_it_is_back_within_seconds(disturbed: Service) -> None:
    ask(disturbed, "PUT", "/keys?a=1")
    socket = disturbed.log.parent / "data" / "valkey.sock"
    eventually(socket.exists)
    old = disturbed.children()["valkey"]
    # The supervisor has to have seen it.
    eventually(lambda: psutil.Process(old).create_time() + 3 < time.time())

    socket.unlink()

    eventually(lambda: socket.exists() and ready(disturbed))
    assert disturbed.children()["valkey"] != old
    assert ask(disturbed, "GET", "/keys/a").json == {"a": "1"}


def test_if_its_folder_is_deleted_the_service_ends_with_a_sentence(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as service:
        ask(service, "PUT", "/keys?a=1")

        shutil.rmtree(tmp_path / "data")

        assert service.process.wait(30) == os.EX_SOFTWARE
        [line] = [line for line in service.lines() if line["level"] == "critical"]
        assert line["message"].startswith(f"The data directory {tmp_path / 'data'} was moved, deleted or emptied")
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("request_line", ["HEAD /keys", "DELETE /keys"])
def test_while_it_hangs_what_starts_with_a_scan_fails_in_time_and_changes_nothing(
    disturbed: Service, request_line: str
) -> None:
    with Wire(disturbed.port) as wire:
        assert wire.ask("PUT", "/keys?a=1").status == 200
        with stopped(disturbed.children()["valkey"]):
            started = time.monotonic()
            method, target = request_line.split()
            answer = wire.ask(method, target)

            assert time.monotonic() - started < BOUND_SECONDS
            assert answer.status == 500
            assert answer.headers["Retry-After"] == "1"
            assert method == "HEAD" or answer.code == "store_timeout"

        assert wire.ask("GET", "/keys/a").json == {"a": "1"}


def test_while_it_hangs_the_service_is_alive_and_not_ready(disturbed: Service) -> None:
    with stopped(disturbed.children()["valkey"]):
        started = time.monotonic()

        assert ask(disturbed, "GET", "/health/live").status == 200
        assert ask(disturbed, "GET", "/health/ready").status == 503
        assert time.monotonic() - started < BOUND_SECONDS

    assert ready(disturbed)


def test_when_it_is_full_writes_fail_reads_and_deletions_go_on_and_nothing_is_lost(tmp_path: Path) -> None:
    limited = {"FLASKVSTORE_RATE_LIMIT": "1000000/day"}
    with (
        serving(tmp_path, "--max-memory-bytes", str(16 * 1024 * 1024), **limited) as service,
        Wire(service.port) as wire,
    ):
        value = b"x" * 256 * 1024
        stored = 0
        while (answer := wire.ask("PUT", f"/keys/{stored}", value)).status == 200:
            stored += 1

        assert 32 < stored < 64
        assert (answer.code, answer.headers["Retry-After"]) == ("store_full", "1")
        for method, target, body in (
            ("PUT", "/keys", b'{"a": "%s"}' % value),
            ("PATCH", "/keys/a", b'{"append": "%s"}' % value),
            ("POST", "/keys", b'{"put": {"a": "%s"}}' % value),
            ("PUT", "/keys/0", value),
        ):
            assert wire.ask(method, target, body, JSON if body[:1] == b"{" else None).code == "store_full"
        for number in range(stored):
            assert wire.ask("GET", f"/keys/{number}", b"", AS_BYTES).body == value
        assert wire.ask("HEAD", "/keys").headers["Total-Count"] == str(stored)
        assert len(wire.ask("GET", "/keys").json) == stored
        assert wire.ask("POST", "/keys", b'{"get": ["0"], "delete": ["1"]}', JSON).status == 200
        assert wire.ask("DELETE", "/keys?filter=2$").status == 200
        assert wire.ask("PUT", "/keys/0", b"new").status == 200
        assert ready(service)

        kill(service.children()["valkey"])
        eventually(lambda: ready(service))

        kept = {str(number) for number in range(stored) if number != 1 and not str(number).startswith("2")}
        assert wire.ask("GET", "/keys?values=false").json.keys() == kept
        assert wire.ask("GET", "/keys/0").json == {"0": "new"}


def valkey_is_back(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except Exception:  # noqa: BLE001  # whatever the client says while there is nothing to connect to
        return False
