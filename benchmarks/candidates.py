"""The programs that are compared: each a process tree on the server's core, in front of the same Valkey."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import SERVER_CORE, pinned


ROOT = Path(__file__).parent.parent
PROGRAM = Path(sys.executable).with_name("flaskvstore")
START_SECONDS = 30
SERVICE = "service"
METRICS = "service with metrics"
SILENT = "service without log"
GRANIAN = "service on Granian"
FLOOR = "floor"
TUTORIAL = "plain Flask-RESTX"
FASTAPI = "FastAPI"
ETCD = "etcd"
WEBDIS = "Webdis"


@dataclass(frozen=True)
class Running:
    """A program that answers.

    :param name: what it is called in the report
    :param pid: the parent of its processes
    :param port: where it listens
    :param ready_seconds: how long it took until its first answer
    """

    name: str
    pid: int
    port: int
    ready_seconds: float


@dataclass(frozen=True)
class Candidate:
    """A program to be started.

    :param name: what it is called in the report
    :param command: gives its command for a port, the store's socket and a directory of its own
    :param variables: its settings, beside the address and the store
    """

    name: str
    command: Callable[[int, Path, Path], Sequence[str]]
    variables: Sequence[tuple[str, str]] = ()


def _serve(port: int, _store: Path, _directory: Path) -> Sequence[str]:
    return [str(PROGRAM), "serve", "--bind", f"127.0.0.1:{port}", "--workers", "1"]


def _gunicorn(module: str) -> Callable[[int, Path, Path], Sequence[str]]:
    # Without our settings and our worker.
    options = ("--config", os.devnull, "--worker-class", "gevent", "--keep-alive", "75", "--no-control-socket")
    return lambda port, _store, _directory: [
        *(sys.executable, "-m", "gunicorn", *options, "--bind", f"127.0.0.1:{port}", f"benchmarks.{module}:app"),
    ]


def _uvicorn(port: int, _store: Path, _directory: Path) -> Sequence[str]:
    return [sys.executable, "-m", "uvicorn", "benchmarks.asynchronous:app", "--port", str(port)]


def _etcd(port: int, _store: Path, directory: Path) -> Sequence[str]:
    """Return its command: it is a store of its own, and its other port, for its like, is not used."""
    address, unused = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    return [
        *("etcd", "--data-dir", str(directory / "data"), "--log-level", "error"),
        *("--listen-client-urls", address, "--advertise-client-urls", address),
        *(
            "--listen-peer-urls",
            unused,
            "--initial-advertise-peer-urls",
            unused,
            "--initial-cluster",
            f"default={unused}",
        ),
    ]


def _webdis(port: int, store: Path, directory: Path) -> Sequence[str]:
    config = directory / "webdis.json"
    config.write_text(
        json.dumps(
            {
                "redis_host": str(store),
                "http_host": "127.0.0.1",
                "http_port": port,
                "threads": 1,
                "daemonize": False,
                "verbosity": 3,
                "logfile": str(directory / "webdis.log"),
                # Its own limit is a mebibyte; 1,000 keys with their values have to fit.
                "http_max_request_size": 16 * 1024 * 1024,
            }
        )
    )
    return ["webdis", str(config)]


def candidates(statsd: str) -> dict[str, Candidate]:
    """Return all of them by name.

    :param statsd: where metrics are sent, as HOST:PORT
    """
    all_ = (
        Candidate(SERVICE, _serve),
        Candidate(METRICS, _serve, [("FLASKVSTORE_STATSD_HOST", statsd)]),
        Candidate(SILENT, _serve, [("FLASKVSTORE_LOG_LEVEL", "error")]),
        Candidate(GRANIAN, _serve, [("FLASKVSTORE_SERVER", "granian"), ("FLASKVSTORE_TRUST_CLIENTS", "true")]),
        Candidate(FLOOR, _gunicorn("floor")),
        Candidate(TUTORIAL, _gunicorn("tutorial")),
        Candidate(FASTAPI, _uvicorn),
        Candidate(ETCD, _etcd),
        Candidate(WEBDIS, _webdis),
    )
    return {candidate.name: candidate for candidate in all_}


@contextlib.contextmanager
def running(candidate: Candidate, *, store: Path, directory: Path) -> Iterator[Running]:
    """Start a program, wait for its first answer, and end it.

    :param candidate: the program
    :param store: the unix socket of the store behind it
    :param directory: for its files; its own
    """
    directory.mkdir()
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLASKVSTORE_")} | {
        "FLASKVSTORE_REDIS_URL": f"unix://{store}",
        "FLASKVSTORE_BIND": f"127.0.0.1:{port}",
        "FLASKVSTORE_WORKERS": "1",
        **dict(candidate.variables),
    }
    command = pinned(SERVER_CORE, candidate.command(port, store, directory))
    with (directory / "log").open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for_answer(process, port)
            yield Running(candidate.name, process.pid, port, time.monotonic() - started)
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def wait_for_answer(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a program answers with anything.

    :param process: the program
    :param port: where it is to listen
    """
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), START_SECONDS) as connection:
            connection.sendall(b"GET /keys/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if connection.recv(1):
                return
        time.sleep(0.005)
    raise RuntimeError(f"{process.args!r} does not answer; its exit status is {process.poll()}.")


def free_port() -> int:
    """Find a port that is free for now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
