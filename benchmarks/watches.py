"""What it costs to watch: to those who write, for each event, for each watcher, and how late changes are told."""

import re
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles
from typing import Self

import psutil
import redis

from benchmarks.candidates import Running
from benchmarks.load import Request, Sample, cpu_seconds, run


WATCHERS = (1, 100, 1_000)
WRITES_A_SECOND = 50
BURST_WRITES = 100_000
BURST_KEYS = 1_000
SETTLE_SECONDS = 30.0
# A worker notices within a second that a client has left.
LEAVE_SECONDS = 2.0
_TOLD = re.compile(rb'^data: {"key":"[^"]*","value":"([0-9]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Delays:
    """What some watchers of one worker have shown, while one key was written again and again.

    :param p50_ms: how long after a write half of them were told
    :param p99_ms: the same for nearly all
    :param event_cpu_us: the worker's CPU time for each event
    :param watcher_bytes: the private memory of the worker for each watcher
    """

    p50_ms: float
    p99_ms: float
    event_cpu_us: float
    watcher_bytes: float


@dataclass(frozen=True)
class Burst:
    """What one watcher of many writes in one go has shown.

    :param write_seconds: how long the writes took
    :param told_seconds: how long after them the last value was told
    :param cpu_seconds: the worker's CPU time
    :param resets: how often it had to be told the whole state
    """

    write_seconds: float
    told_seconds: float
    cpu_seconds: float
    resets: int


@dataclass(frozen=True)
class Watches:
    """What was measured of watching.

    :param alone: a PUT while nobody watches, in each round
    :param watched: the same while somebody watches other keys
    :param delays: by the number of watchers
    """

    alone: list[Sample]
    watched: list[Sample]
    delays: dict[int, Delays]
    burst: Burst


class Watchers:
    """Clients that watch, all read by one thread. What is written is the time of the write, in nanoseconds."""

    def __init__(self, port: int, target: str, count: int) -> None:
        self._port = port
        self._target = target
        self._count = count
        self._selector = selectors.DefaultSelector()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.delays: list[float] = []
        self.synced = self.resets = 0
        self._last, self._told_last = b"", 0

    def __enter__(self) -> Self:
        head = f"GET {self._target} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n".encode()
        # Those before have just left.
        time.sleep(LEAVE_SECONDS)
        for _ in range(self._count):
            connection = socket.create_connection(("127.0.0.1", self._port))
            connection.sendall(head)
            self._selector.register(connection, selectors.EVENT_READ, connection)
        self._thread.start()
        _wait(lambda: self.synced >= self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.data.close()
        self._selector.close()

    def write_last(self, client: redis.Redis, name: str) -> None:
        """Write once more, and wait until all have been told."""
        self._told_last, self._last = 0, str(time.time_ns()).encode()
        client.set(name, self._last)
        _wait(lambda: self._told_last >= self._count)

    def _read(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.1):
                data = key.data.recv(256 * 1024)
                now = time.time_ns()
                self.synced += data.count(b"event: synced")
                self.resets += data.count(b"event: reset")
                for written in _TOLD.findall(data):
                    self._told_last += written == self._last
                    self.delays.append((now - int(written)) / 1e6)


def measure(
    service: Running, client: redis.Redis, store_pid: int, put: Request, *, rounds: int, seconds: float
) -> Watches:
    """Measure all of it, on a service with one worker.

    :param client: a client of the store behind it
    :param store_pid: the process of that
    :param put: a PUT of one key
    """
    # Every watcher begins with a look at all names.
    client.flushall()
    alone: list[Sample] = []
    watched: list[Sample] = []
    for _ in range(rounds):
        for samples, count in ((alone, 0), (watched, 1)):
            with Watchers(service.port, "/keys/another", count):
                samples.append(run(put, port=service.port, pid=service.pid, store_pid=store_pid, seconds=seconds))
    delays = {count: _delays(service, client, count, seconds * rounds) for count in WATCHERS}
    return Watches(alone, watched, delays, _burst(service, client))


def _delays(service: Running, client: redis.Redis, count: int, seconds: float) -> Delays:
    worker = psutil.Process(service.pid).children(recursive=True)[-1]
    before_bytes = worker.memory_full_info().uss
    with Watchers(service.port, "/keys?filter=bench:$", count) as watchers:
        watcher_bytes = (worker.memory_full_info().uss - before_bytes) / count
        watchers.delays.clear()
        used = cpu_seconds(service.pid)
        for number in range(int(seconds * WRITES_A_SECOND)):
            client.set(f"kv:bench:{number % 10}", time.time_ns())
            time.sleep(1 / WRITES_A_SECOND)
        watchers.write_last(client, "kv:bench:0")
        used = cpu_seconds(service.pid) - used
        cuts = quantiles(watchers.delays, n=100)
        return Delays(cuts[49], cuts[98], used / len(watchers.delays) * 1e6, watcher_bytes)


def _burst(service: Running, client: redis.Redis) -> Burst:
    with Watchers(service.port, "/keys?filter=burst:$", 1) as watchers:
        used, started = cpu_seconds(service.pid), time.perf_counter()
        for _ in range(BURST_WRITES // BURST_KEYS):
            with client.pipeline(transaction=False) as steps:
                for number in range(BURST_KEYS):
                    steps.set(f"kv:burst:{number}", time.time_ns())
                steps.execute()
        written = time.perf_counter()
        watchers.write_last(client, "kv:burst:0")
        told = time.perf_counter()
        return Burst(written - started, told - written, cpu_seconds(service.pid) - used, watchers.resets - 1)


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)
