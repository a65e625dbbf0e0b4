"""Running services: `flaskvstore serve` as a user starts it, each in its own process."""

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from api import cli
from api.serving.embedded import EmbeddedServer
from client import program
from tests.support.clients import Answer, Ask, over_http
from tests.support.contract import Contract
from tests.support.wire import Wire


PROGRAM = Path(sys.executable).with_name("flaskvstore")
START_SECONDS = 30
# What a busy machine may add to a time that is promised.
SLACK_SECONDS = 1.0
# What one request may take while the store fails, by default.
BOUND_SECONDS = 2 + SLACK_SECONDS
# Gunicorn, or what `make granian` names.
WSGI_SERVER = os.environ.get("TEST_WSGI_SERVER", "gunicorn")


class Service:
    """A `flaskvstore serve` that has said where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self.process = process
        self.log = log
        self.port = port

    def ask(self, contract: Contract) -> Ask:
        """Make a way to ask it."""
        return over_http("127.0.0.1", self.port, contract)

    def lines(self) -> list[dict[str, Any]]:
        """Give what it has logged so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def children(self) -> dict[str, int]:
        """Give the process ids of what it started, by program."""
        found = psutil.Process(self.process.pid).children()
        return {"valkey" if "valkey" in " ".join(c.cmdline()[:1]) else "gunicorn": c.pid for c in found}

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """End it, and give its exit status."""
        self.process.send_signal(with_signal)
        return self.process.wait(30)


def need(found: object, what: str) -> None:
    """Skip a test that lacks something on this machine; in CI it fails instead."""
    if not found:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"This test needs {what}.")


def environment(**variables: str) -> dict[str, str]:
    """Give the environment of this process without settings of ours, and with some."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLASKVSTORE_")}
    return {**clean, "FLASKVSTORE_SERVER": WSGI_SERVER, "FLASKVSTORE_TRUST_CLIENTS": "true", **variables}


def told(*arguments: str, **variables: str) -> Result:
    """Run the command line in this process: a process of its own takes longer than what it does.

    Nothing can be served here.
    """
    ours = [name for name in os.environ if name.startswith("FLASKVSTORE_")]
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(cli, "serve")
        return CliRunner(env={**dict.fromkeys(ours), **environment(**variables)}).invoke(
            program.main, arguments, prog_name="flaskvstore", catch_exceptions=False
        )


@contextlib.contextmanager
def serving(directory: Path, *options: str, **variables: str) -> Iterator[Service]:
    """Run a service with its data below a directory, on a free port, with one worker if not told otherwise."""
    if "MUTANT_UNDER_TEST" in os.environ:
        pytest.skip("A service is another process, which has no fault in it.")
    log = directory / "serve.log"
    with log.open("ab") as output:
        offset = output.tell()
        process = subprocess.Popen(
            [PROGRAM, "serve", "--bind", "127.0.0.1:0", "--data-dir", str(directory / "data"), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(**{"FLASKVSTORE_WORKERS": "1", **variables}),
            cwd=directory,
        )
    try:
        running = Service(process, log, wait_for_port(process, log, offset))
        yield running
        # Whatever a test has made it say.
        assert all({"time", "level"} <= line.keys() for line in running.lines())
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
        # The second time it does not wait for what is under way.
        process.terminate()
        process.wait(30)


def wait_for_port(process: subprocess.Popen[bytes], log: Path, offset: int) -> int:
    """Wait for the line that says where a service listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        written = log.read_bytes()[offset:].decode()
        if match := re.search(r"listens on http://[^ ]*:(\d+), data", written):
            return int(match[1])
        assert process.poll() is None, written
        time.sleep(0.02)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def valkey(directory: Path, durability: str = "everysec") -> Iterator[EmbeddedServer]:
    """Run an embedded Valkey in this process's care."""
    server = EmbeddedServer(directory, durability=durability)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def eventually(condition: Any, seconds: float = 10.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def ask(service: Service, method: str, target: str) -> Answer:
    """Send one request on a connection of its own."""
    with Wire(service.port) as wire:
        return wire.ask(method, target)


def ready(service: Service) -> bool:
    """Tell whether it is ready."""
    return ask(service, "GET", "/health/ready").status == 200


def workers(service: Service) -> list[int]:
    """Give the process ids of the Gunicorn workers."""
    return [child.pid for child in psutil.Process(service.children()["gunicorn"]).children()]


@contextlib.contextmanager
def wire_to_each_worker(service: Service) -> Iterator[list[Wire]]:
    """Connect until every worker has a connection, and give one to each that has been used."""
    with contextlib.ExitStack() as stack:
        wires: dict[int, Wire] = {}
        for _ in range(200):
            wire = stack.enter_context(Wire(service.port))
            assert wire.ask("GET", "/keys?limit=1").status == 200
            wires.setdefault(worker_of(service, wire), wire)
            if wires.keys() == set(workers(service)):
                break
        yield list(wires.values())


def worker_of(service: Service, wire: Wire) -> int:
    """Give the process id of the worker that a connection leads to."""
    for pid in workers(service):
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.raddr and connection.raddr.port == wire.local_port:
                return pid
    raise AssertionError("no worker has the connection")


def gone(processes: list[psutil.Process]) -> bool:
    """Tell whether processes have ended."""

    def is_there(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            # It went between the two questions.
            return False

    return not any(map(is_there, processes))


def kill(pid: int) -> None:
    """Kill a process, and wait until it is gone."""
    process = psutil.Process(pid)
    process.kill()
    eventually(lambda: gone([process]))


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Freeze a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def free_port() -> int:
    """Return a port that nobody listens on.

    It is below those that the kernel gives to connections: none of them takes it before a server does, or while that is
    down for a moment.
    """
    while True:
        port = secrets.choice(range(10_000, 30_000))
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
