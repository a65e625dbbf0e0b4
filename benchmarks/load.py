"""Requests from `wrk`, and what they cost: the CPU time of a process tree, read from the operating system."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil


# One core for the server that is measured, and the other for everything else: load, store, and this program.
SERVER_CORE, OTHER_CORE = "0", "1"
CONNECTIONS = 8
SCRIPT = Path(__file__).with_name("request.lua")


class Failed(Exception):
    """The load was not answered as it should be: there is nothing to measure."""


@dataclass(frozen=True)
class Request:
    """A request that is sent over and over.

    :param method: its method
    :param path: its path; ``%d`` in it is replaced by a number
    :param body: a file with its body
    :param headers: its headers
    :param limit: how many numbers there are
    :param fails: whether its answer is an error, as it should be
    :param put_path: where a tenth of the requests write the body by PUT instead; then the others have none, and some
        numbers come far more often than others
    """

    method: str
    path: str
    body: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    limit: int = 1
    fails: bool = False
    put_path: str = ""


@dataclass(frozen=True)
class Sample:
    """What one run has shown; errors are the share of requests that were not answered as they should be."""

    cpu_us: float
    store_cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: float


def pinned(core: str, command: Sequence[str]) -> list[str]:
    """Return a command that runs on one core.

    :param core: its number
    :param command: the program and its arguments
    """
    return ["taskset", "--cpu-list", core, *command]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and what it started have used until now.

    :param pid: the process
    """
    parent = psutil.Process(pid)
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def run(
    request: Request,
    *,
    port: int,
    pid: int,
    store_pid: int,
    seconds: float,
    connections: int = CONNECTIONS,
    may_fail: bool = False,
) -> Sample:
    """Send a request for a while, and measure what it costs.

    :param request: the request
    :param port: where the server listens
    :param pid: the parent of its processes
    :param store_pid: the process of the store behind it
    :param seconds: for how long
    :param connections: on how many connections
    :param may_fail: whether errors are counted only
    :raises Failed: an answer is not what it should be
    """
    send = heads if request.method == "HEAD" else wrk
    before, store_before = cpu_seconds(pid), cpu_seconds(store_pid)
    told = send(request, port=port, seconds=seconds, connections=connections)
    used, store_used = cpu_seconds(pid) - before, cpu_seconds(store_pid) - store_before
    requests = told["requests"]
    errors = told["broken"] + abs(told["failed"] - (requests if request.fails else 0))
    if errors and not may_fail:
        raise Failed(f"{request.method} {request.path} on port {port}: {told}")
    return Sample(
        used / max(requests, 1) * 1e6,
        store_used / max(requests, 1) * 1e6,
        requests / told["seconds"],
        told["p50_ms"],
        told["p99_ms"],
        errors / max(requests + told["broken"], 1),
    )


def heads(request: Request, *, port: int, seconds: float, connections: int) -> dict[str, Any]:
    """Do what `wrk` does for HEAD, to which it waits for a body: for each connection a request at a time.

    :param request: the request
    :param port: where the server listens
    :param seconds: for how long
    :param connections: on how many connections
    :return: as :func:`wrk`
    """
    text = f"{request.method} {request.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    taken: list[float] = []
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(connections)]
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            sent = time.perf_counter()
            for connection in opened:
                connection.sendall(text)
            for connection in opened:
                assert b" 200 " in connection.recv(65536).partition(b"\r\n")[0]
                taken.append((time.perf_counter() - sent) * 1000)
        passed = time.perf_counter() - started
    taken.sort()
    return {
        "requests": len(taken),
        "seconds": passed,
        "p50_ms": taken[len(taken) // 2],
        "p99_ms": taken[len(taken) * 99 // 100],
        "failed": 0,
        "broken": 0,
    }


def wrk(request: Request, *, port: int, seconds: float, connections: int = CONNECTIONS) -> dict[str, Any]:
    """Send a request for a while.

    :param request: the request
    :param port: where the server listens
    :param seconds: for how long; `wrk` counts in whole ones
    :param connections: on how many connections
    :return: what `wrk` has counted
    """
    headers = [word for header in request.headers.items() for word in header]
    command = [
        *("wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s"),
        *("--script", str(SCRIPT), f"http://127.0.0.1:{port}", "--"),
        *(request.method, request.path, str(request.body or ""), str(request.limit), request.put_path, *headers),
    ]
    output = subprocess.run(pinned(OTHER_CORE, command), capture_output=True, check=True, text=True).stdout
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told
