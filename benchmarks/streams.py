"""What is asked once and takes long: lists, exports and imports of many keys; and what does not grow with them."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import redis

from benchmarks.candidates import Running
from benchmarks.load import OTHER_CORE, SERVER_CORE, Request, cpu_seconds, pinned, run, wrk


BATCH_KEYS = 10_000
NDJSON = "application/x-ndjson"
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Stream:
    """What one run has shown.

    :param seconds: how long it took
    :param cpu_seconds: the CPU time of what was measured, without the store's
    :param store_cpu_seconds: that of the store
    :param grown_bytes: how much a worker's peak of memory has grown
    """

    seconds: float
    cpu_seconds: float
    store_cpu_seconds: float
    grown_bytes: int = 0


class Streams:
    """Runs streams of a service and of what is beside it.

    :param service: the service
    :param webdis: Webdis
    :param client: a client of the store behind both
    :param socket: the store's socket
    :param store_pid: the store's process
    :param directory: for the file that is imported
    """

    def __init__(
        self, service: Running, webdis: Running, client: redis.Redis, socket: Path, store_pid: int, directory: Path
    ) -> None:
        self.service = service
        self.webdis = webdis
        self.client = client
        self.socket = socket
        self.store_pid = store_pid
        self.file = directory / "export.ndjson"

    def fill(self, keys: int) -> None:
        """Return a store of so many keys, of which none expires."""
        self.client.flushall()
        for first in range(0, keys, BATCH_KEYS):
            numbers = range(first, min(first + BATCH_KEYS, keys))
            self.client.mset({f"kv:key:{number}": f"value of the key {number}" for number in numbers})

    def runs(self, keys: int, rounds: int) -> dict[str, list[Stream]]:
        """Run all of them some times, one after the other.

        :param keys: how many keys there are
        :param rounds: how often
        """
        self.fill(keys)
        self._curl(self.service.port, "--header", f"Accept: {NDJSON}", "--output", str(self.file))
        found: dict[str, list[Stream]] = {}
        for _ in range(rounds):
            for name, stream in self._round():
                found.setdefault(name, []).append(stream)
            assert self.client.dbsize() == keys
        return found

    def _round(self) -> Iterator[tuple[str, Stream]]:
        accept = ("--header", f"Accept: {NDJSON}")
        yield "bare SCAN and MGET", self._bare("list")
        yield "list", self._asked(self.service)
        yield "export", self._asked(self.service, *accept)
        yield "Webdis KEYS, names only", self._asked(self.webdis, path="/KEYS/kv:*")
        self.client.expire("kv:key:1", 100_000)
        yield "bare SCAN, MGET and PTTL", self._bare("expiries")
        yield "export where a key expires", self._asked(self.service, *accept)
        self.client.flushall()
        yield "bare pipeline", self._bare("import", str(self.file))
        self.client.flushall()
        upload = ("--header", f"Content-Type: {NDJSON}", "--upload-file", str(self.file))
        yield "import", self._asked(self.service, *upload)

    def neighbours(self, seconds: float, rounds: int) -> tuple[float, float]:
        """Return the 99th percentile of one client's GETs, in milliseconds: alone, and beside a list that is sent.

        :param seconds: for how long each is asked
        :param rounds: how often; the medians are given
        """
        request = Request("GET", "/keys/key:1")

        def p99_ms() -> float:
            return float(wrk(request, port=self.service.port, seconds=seconds, connections=1)["p99_ms"])

        alone, beside = [], []
        for _ in range(rounds):
            alone.append(p99_ms())
            stop = threading.Event()
            thread = threading.Thread(target=self._list_until, args=(stop,))
            thread.start()
            try:
                time.sleep(0.2)
                beside.append(p99_ms())
            finally:
                stop.set()
                thread.join()
        return median(alone), median(beside)

    def _list_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._asked(self.service)

    def sizes(self, keys: list[int], rounds: int, seconds: float) -> dict[int, dict[str, float]]:
        """Return the CPU time of a GET and of a page, in microseconds, for stores of some sizes.

        :param keys: the sizes
        :param rounds: how often each is measured
        :param seconds: for how long
        """
        requests = {"GET": Request("GET", "/keys/key:1"), "a page of 100": Request("GET", "/keys?limit=100")}
        found: dict[int, dict[str, list[float]]] = {size: {name: [] for name in requests} for size in keys}
        for _ in range(rounds):
            for size in keys:
                self.fill(size)
                for name, request in requests.items():
                    sample = run(
                        request,
                        port=self.service.port,
                        pid=self.service.pid,
                        store_pid=self.store_pid,
                        seconds=seconds,
                    )
                    found[size][name].append(sample.cpu_us)
        return {size: {name: median(each) for name, each in by_name.items()} for size, by_name in found.items()}

    def _asked(self, whom: Running, *options: str, path: str = "/keys") -> Stream:
        worker = psutil.Process(whom.pid).children(recursive=True)[-1:] or [psutil.Process(whom.pid)]
        before_bytes = _peak_bytes(worker[0].pid)
        return self._measured(
            lambda: self._curl(whom.port, *options, path=path),
            whom.pid,
            lambda: _peak_bytes(worker[0].pid) - before_bytes,
        )

    def _measured(self, do: Callable[[], object], pid: int, grown: Callable[[], int]) -> Stream:
        used, store_used, started = cpu_seconds(pid), cpu_seconds(self.store_pid), time.perf_counter()
        do()
        seconds = time.perf_counter() - started
        return Stream(seconds, cpu_seconds(pid) - used, cpu_seconds(self.store_pid) - store_used, grown())

    def _bare(self, what: str, *files: str) -> Stream:
        store_used = cpu_seconds(self.store_pid)
        command = [sys.executable, "-m", "benchmarks.bare", what, str(self.socket), *files]
        output = subprocess.run(pinned(SERVER_CORE, command), capture_output=True, check=True).stdout
        return Stream(**json.loads(output), store_cpu_seconds=cpu_seconds(self.store_pid) - store_used)

    def _curl(self, port: int, *options: str, path: str = "/keys") -> None:
        output = () if "--output" in options else ("--output", "/dev/null")
        command = ["curl", "--silent", "--show-error", "--fail", f"http://127.0.0.1:{port}{path}", *options, *output]
        subprocess.run(pinned(OTHER_CORE, command), check=True)


def private_bytes(pid: int) -> int:
    """Return the memory that a process shares with no other.

    :param pid: the process
    """
    full = psutil.Process(pid).memory_full_info()
    return int(full.uss)


def _peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
