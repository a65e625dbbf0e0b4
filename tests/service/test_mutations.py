"""Many thousands of requests that are nearly right: no answer is a fault of the service, and it stays as it was."""

import re
import socket
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.support.amounts import SEED, amount
from tests.support.mutations import requests
from tests.support.servers.services import Service, eventually, ready, serving, workers
from tests.support.servers.stores import server_of


CLIENTS = 4
REQUESTS = amount(100, 4_000, "REQUESTS")
GOLDEN = {f"golden {number}": f"{number}".encode() for number in range(50)}
# What a request that never ends may wait for.
PATIENCE_SECONDS = 0.2
# Half of the time after which Gunicorn kills what has not ended.
STOP_SECONDS = 15
# By threads that have not been used before, caches of Python, and connections to the store.
MAX_GROWTH_BYTES = 32 * 1024 * 1024
MAX_GROWTH_FILES = 64
UNANSWERED = "unanswered"
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
# Of the server itself or of ours: the body has a transfer coding that is not known.
MEANT = {"501"}


@pytest.mark.grows
@pytest.mark.parametrize("server", ["gunicorn", "granian"])
def test_requests_that_are_nearly_right_are_answered_or_closed_and_change_nothing_else(
    tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # A store that waits for a busy machine is no fault.
    patient = {"FLASKVSTORE_STORE_TIMEOUT_SECONDS": "30"}
    options = ("--workers", "2", "--server", server)
    with serving(tmp_path, *options, **patient) as service, closing(server_of(service)) as store:
        # Keys of others in the same store.
        store.mset(GOLDEN)
        half = REQUESTS // 2
        made = list(requests(SEED, REQUESTS))
        outcomes = send(service, made[:half])
        eventually(lambda: ready(service))
        pids, before = family(service), footprint(service)

        outcomes += send(service, made[half:])

        summary = dict(sorted(outcomes.items()))
        with capsys.disabled():
            sys.stdout.write(f"\n{REQUESTS:,} mutated requests to {server} (seed {SEED}): {summary}\n")
        eventually(lambda: ready(service))
        after = footprint(service)
        assert {status for status in summary if status.startswith("5")} <= MEANT
        assert {"200", "400"} <= summary.keys()
        assert family(service) == pids
        assert after[0] - before[0] < MAX_GROWTH_BYTES
        assert after[1] - before[1] < MAX_GROWTH_FILES
        assert dict(zip(GOLDEN, store.mget(GOLDEN), strict=True)) == GOLDEN
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < STOP_SECONDS
        # Also of the requests whose answer was not the first on its connection.
        lines = service.lines()
        assert {line["status"] for line in lines if line.get("status", 0) >= 500} <= set(map(int, MEANT))
        assert [line for line in lines if line["level"] in {"error", "critical"}] == []


def send(service: Service, made: list[bytes]) -> Counter[str]:
    """Send requests, each on a connection of its own, and count the statuses."""
    # Granian drops a request whose client has sent its end.
    one = partial(outcome_of, service.port, half_closes=server_name(service) == "gunicorn")
    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(one, made))


def outcome_of(port: int, data: bytes, *, half_closes: bool) -> str:
    """Send bytes, and give the status of the first answer."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, suppress(OSError):
        connection.sendall(data)
        if half_closes:
            connection.shutdown(socket.SHUT_WR)
        else:
            connection.settimeout(PATIENCE_SECONDS)
        while more := connection.recv(65536):
            received += more
            if not half_closes:
                break
    status = STATUS_LINE.match(received)
    assert status or not received.startswith(b"HTTP"), received
    return status[1].decode() if status else UNANSWERED


def server_name(service: Service) -> str:
    """Return what serves."""
    command = psutil.Process(service.children()["gunicorn"]).cmdline()
    return "gunicorn" if "gunicorn" in command else "granian"


def family(service: Service) -> set[int]:
    """Return the process ids of all that runs."""
    return {*service.children().values(), *workers(service)}


def footprint(service: Service) -> tuple[int, int]:
    """Return the memory and the open files of the worker that has most."""
    processes = [psutil.Process(pid) for pid in workers(service)]
    return max(each.memory_info().rss for each in processes), max(each.num_fds() for each in processes)
