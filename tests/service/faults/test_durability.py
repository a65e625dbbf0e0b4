"""No acknowledged write is lost, however often a process of the service is killed."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from threading import Event

import pytest

from tests.support.amounts import IS_SOAK, SEED, amount
from tests.support.clients import JSON, Answer
from tests.support.servers.services import Service, eventually, free_port, serving, workers
from tests.support.wire import Cut, Wire


CLIENTS = 4
# Of each process.
KILLS = amount(1, 6, "KILLS")
# What may be killed: its process id, by a name.
VICTIMS: dict[str, Callable[[Service], int]] = {
    "valkey": lambda service: service.children()["valkey"],
    "worker": lambda service: workers(service)[0],
    "server": lambda service: service.children()["gunicorn"],
    "serve": lambda service: service.process.pid,
}
# With these the service ends, and is started again.
ENDING = {"server", "serve"}
# What a write may be answered meanwhile, the last on a busy machine. Only the first may be applied.
REFUSALS = {"outcome_unknown", "store_unavailable", "store_loading", "store_timeout"}
# After that the old workers can hold the port for some seconds.
START_AGAIN_SECONDS = 20


@dataclass
class Writer:
    """A client that writes until it is told to stop, and remembers what it was told.

    :param number: its number
    """

    number: int
    tried: int = 0
    acknowledged: list[int] = field(default_factory=list)
    failures: int = 0
    increments: int = 0
    unknown_increments: int = 0

    def run(self, port: int, stop: Event) -> None:
        """Write until the end, over another connection whenever one is lost."""
        while not stop.is_set():
            try:
                with Wire(port) as wire:
                    while not stop.is_set():
                        self.write(wire)
            except ConnectionRefusedError:
                stop.wait(0.05)
            except (OSError, Cut):
                self.failures += 1

    def write(self, wire: Wire) -> None:
        """Write a key of its own for each number, the number to a key that is always the same, and count together."""
        self.tried += 1
        both = b'{"%s": "", "last of %d": "%d"}' % (self.key(self.tried).encode(), self.number, self.tried)
        if succeeded(wire.ask("PUT", "/keys", both, JSON)):
            self.acknowledged.append(self.tried)
        else:
            self.failures += 1
        # Unknown until its answer is there.
        self.unknown_increments += 1
        answer = wire.ask("PATCH", "/keys/counter", b'{"increment": 1}', JSON)
        is_done = succeeded(answer)
        self.increments += is_done
        self.unknown_increments -= is_done or answer.code != "outcome_unknown"

    def key(self, tried: int) -> str:
        """Give the key of one of its writes."""
        return f"{self.number} wrote {tried}"


def succeeded(answer: Answer) -> bool:
    assert answer.status == 200 or answer.code in REFUSALS
    return answer.status == 200


@pytest.mark.grows
def test_no_acknowledged_write_is_lost_whatever_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(SEED)
    # Those that end the service cost a start each: `make test` leaves them to test_stopping.py.
    kills = [name for name in VICTIMS if IS_SOAK or name not in ENDING] * KILLS
    chance.shuffle(kills)
    writers = [Writer(number) for number in range(CLIENTS)]
    port, stop = free_port(), Event()
    outages: dict[str, float] = dict.fromkeys(VICTIMS, 0.0)
    with ThreadPoolExecutor(CLIENTS) as pool, ExitStack() as services:
        # Also where this test fails, so that the clients end.
        services.callback(stop.set)
        service = services.enter_context(started(tmp_path, port))
        running = [pool.submit(writer.run, port, stop) for writer in writers]
        eventually(all_go_on(writers, running), 30)
        for name in kills:
            time.sleep(chance.uniform(0, 0.2))
            killed_at = time.monotonic()
            os.kill(VICTIMS[name](service), signal.SIGKILL)
            if name in ENDING:
                service.process.wait(30)
                service = services.enter_context(started(tmp_path, port))
            eventually(all_go_on(writers, running), 30)
            outages[name] = max(outages[name], time.monotonic() - killed_at)
        stop.set()
        for each in running:
            each.result()

        with Wire(port) as wire:
            stored = wire.ask("GET", "/keys").json
    for writer in writers:
        assert {writer.key(each) for each in writer.acknowledged} <= set(stored)
        assert writer.acknowledged[-1] <= int(stored[f"last of {writer.number}"]) <= writer.tried
    certain = sum(writer.increments for writer in writers)
    unknown = sum(writer.unknown_increments for writer in writers)
    assert all(writer.failures > 0 for writer in writers), "a client saw no kill, so this showed nothing"
    assert certain <= int(stored["counter"]) <= certain + unknown
    with capsys.disabled():
        acknowledged = sum(len(writer.acknowledged) for writer in writers) + certain
        worst = ", ".join(f"{outages[name]:.1f} s ({name})" for name in VICTIMS if name in kills)
        sys.stdout.write(
            f"\n{len(kills)} kills (seed {SEED}): {acknowledged:,} writes acknowledged, none lost; "
            f"all clients went on after {worst}\n"
        )


@contextmanager
def started(directory: Path, port: int) -> Iterator[Service]:
    """Run a service on a port that an earlier one may still hold for a moment."""
    deadline = time.monotonic() + START_AGAIN_SECONDS
    options = ("--workers", "2", "--durability", "always", "--data-dir", str(directory / "data"))
    with ExitStack() as stack:
        while True:
            try:
                # Each with a log of its own: a refused start says why in words.
                log = Path(mkdtemp(dir=directory))
                service = stack.enter_context(serving(log, *options, "--bind", f"127.0.0.1:{port}"))
                break
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield service


def all_go_on(writers: list[Writer], running: list[Future[None]]) -> Callable[[], bool]:
    """Return what tells whether every client has had ten more writes acknowledged; it fails if one has failed."""
    before = [len(writer.acknowledged) for writer in writers]

    def go_on() -> bool:
        for each in running:
            if each.done():
                each.result()
        return all(len(writer.acknowledged) >= count + 10 for writer, count in zip(writers, before, strict=True))

    return go_on
