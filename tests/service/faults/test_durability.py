"""With `--durability always` no acknowledged write is lost, however often the store is killed."""

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from tests.support.amounts import SEED, amount
from tests.support.clients import JSON, Answer
from tests.support.servers.services import Service, eventually, serving
from tests.support.wire import Wire


CLIENTS = 4
KILLS = amount(2, 20)


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

    def run(self, service: Service, stop: Event) -> None:
        """Write a key of its own for each number, the number to a key that is always the same, and count together."""
        with Wire(service.port) as wire:
            while not stop.is_set():
                self.tried += 1
                both = b'{"%s": "", "last of %d": "%d"}' % (self.key(self.tried).encode(), self.number, self.tried)
                if succeeded(wire.ask("PUT", "/keys", both, JSON)):
                    self.acknowledged.append(self.tried)
                else:
                    self.failures += 1
                answer = wire.ask("PATCH", "/keys/counter", b'{"increment": 1}', JSON)
                if succeeded(answer):
                    self.increments += 1
                elif answer.code == "outcome_unknown":
                    self.unknown_increments += 1

    def key(self, tried: int) -> str:
        """Give the key of one of its writes."""
        return f"{self.number} wrote {tried}"


def succeeded(answer: Answer) -> bool:
    assert answer.status == 200 or answer.code in {"outcome_unknown", "store_unavailable", "store_loading"}
    return answer.status == 200


@pytest.mark.grows
def test_no_acknowledged_write_is_lost_while_the_store_is_killed(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    writers = [Writer(number) for number in range(CLIENTS)]
    with serving(tmp_path, "--workers", "2", "--durability", "always") as service:
        stop = Event()
        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(writer.run, service, stop) for writer in writers]
            for _ in range(KILLS):
                before = [len(writer.acknowledged) for writer in writers]
                eventually(lambda before=before: all_go_on(writers, before), 30)
                time.sleep(chance.uniform(0, 0.2))
                os.kill(service.children()["valkey"], signal.SIGKILL)
            before = [len(writer.acknowledged) for writer in writers]
            eventually(lambda: all_go_on(writers, before), 30)
            stop.set()
            for each in running:
                each.result()

        with Wire(service.port) as wire:
            stored = wire.ask("GET", "/keys").json
    for writer in writers:
        assert {writer.key(each) for each in writer.acknowledged} <= set(stored)
        assert writer.acknowledged[-1] <= int(stored[f"last of {writer.number}"]) <= writer.tried
    certain = sum(writer.increments for writer in writers)
    unknown = sum(writer.unknown_increments for writer in writers)
    assert all(writer.failures > 0 for writer in writers), "a client saw no kill, so this showed nothing"
    assert certain <= int(stored["counter"]) <= certain + unknown


def all_go_on(writers: list[Writer], before: list[int]) -> bool:
    """Tell whether every client has had ten more writes acknowledged."""
    return all(len(writer.acknowledged) >= count + 10 for writer, count in zip(writers, before, strict=True))
