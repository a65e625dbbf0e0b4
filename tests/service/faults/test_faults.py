"""Every row of docs/failures.md, on real processes: a bounded, documented answer, and recovery without a restart."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.clients import JSON, Answer
from tests.support.faults import (
    DISK_ROWS,
    READS,
    ROWS,
    TIMEOUT_SECONDS,
    TIMEOUT_SETTING,
    WRITES,
    Answers,
    Row,
    Scene,
    Server,
)
from tests.support.servers.proxy import proxy_to
from tests.support.servers.services import SLACK_SECONDS, Service, eventually, need, serving, workers
from tests.support.wire import Wire


CALLS = READS | WRITES
ALL: dict[str, Answers] = {**ROWS, **DISK_ROWS}
ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A real server, a proxy before it, and a service with one worker on each."""
    directory = tmp_path_factory.mktemp("scene")
    for name in ("server", "direct", "proxied", "narrow"):
        (directory / name).mkdir()
    server = Server(directory / "server")
    one = ("--redis-url",)
    limited = {TIMEOUT_SETTING: str(TIMEOUT_SECONDS)}
    # Others wait for its connection for a fifth of its time limit, and that for an answer twice as long.
    slow = {TIMEOUT_SETTING: str(6 * TIMEOUT_SECONDS), "FLASKVSTORE_STORE_CONNECTIONS": "1"}
    try:
        with (
            proxy_to(server.port) as proxy,
            serving(directory / "direct", *one, f"redis://127.0.0.1:{server.port}", **limited) as direct,
            serving(directory / "proxied", *one, f"redis://127.0.0.1:{proxy.port}", **limited) as proxied,
            serving(directory / "narrow", *one, f"redis://127.0.0.1:{proxy.port}", **slow) as narrow,
        ):
            yield Scene(server, proxy, direct, proxied, narrow)
    finally:
        server.kill()


def ask(service: Service, method: str, target: str, body: bytes = b"") -> Answer:
    """Send one request on a connection of its own, and hold its answer to the time limit."""
    with Wire(service.port) as wire:
        started = time.monotonic()
        answer = wire.ask(method, target, body, JSON if body.startswith(b"{") else None)
        assert time.monotonic() - started < TIMEOUT_SECONDS + SLACK_SECONDS, (method, target)
    return answer


def works(service: Service) -> bool:
    return ask(service, "GET", "/health/ready").status == 200


def outcome(answer: Answer) -> str:
    """Give what a row says of an answer, and make sure that a fault of the store says when to try again."""
    if answer.status == 200:
        return "200"
    assert (answer.status, answer.headers.get("Retry-After")) in {(500, "1"), (409, None)}
    return answer.code


def one_by_one(scene: Scene, row: Row, service: Service) -> dict[str, str]:
    """Make each call in the middle of a fault of its own, and give what was answered."""
    seen = {}
    for call, request in CALLS.items():
        prepare(scene, service)
        with row.make(scene):
            seen[call] = outcome(ask(service, *request))
            if call == "GET":
                assert ask(service, "GET", "/health/live").status == 200
                assert ask(service, "GET", "/health/ready").status == int(row.ready)
        if seen[call].startswith("store_"):
            # An error that is certain: the value is not what the writes make of it.
            eventually(lambda: works(service))
            assert scene.server.admin.get("kv:a") != b"2"
    return seen


def at_once(scene: Scene, row: Row, service: Service) -> dict[str, str]:
    """Make all calls at the same time in the middle of one fault, and give what was answered."""
    prepare(scene, service)
    with row.make(scene), ThreadPoolExecutor(len(CALLS) + 1) as pool:
        ready = pool.submit(ask, service, "GET", "/health/ready")
        answers = {call: pool.submit(ask, service, *request) for call, request in CALLS.items()}
        assert ready.result().status == int(row.ready)
        return {call: outcome(answer.result()) for call, answer in answers.items()}


def prepare(scene: Scene, service: Service) -> None:
    """Let the service be well, with a connection, and the key hold 1."""
    eventually(lambda: works(service))
    scene.server.admin.delete("kv:a")
    assert ask(service, "PUT", "/keys/a", b"1").status == 200


@pytest.mark.parametrize("name", ROWS)
def test_a_fault_has_its_documented_answers_in_time_and_leaves_nothing_behind(scene: Scene, name: str) -> None:
    row = ROWS[name]
    service: Service = getattr(scene, row.service)
    processes = workers(service)

    seen = (at_once if row.at_once else one_by_one)(scene, row, service)

    assert seen == {**dict.fromkeys(READS, row.read), **dict.fromkeys(WRITES, row.write), **row.but}
    prepare(scene, service)
    assert ask(service, "GET", "/keys/a").json == {"a": "1"}
    assert workers(service) == processes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four mebibytes."""
    need(os.geteuid() == 0, "root, to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", DISK_ROWS)
def test_a_full_disk_has_its_documented_answers_and_costs_nothing_that_was_acknowledged(
    small_disk: Path, name: str
) -> None:
    row = DISK_ROWS[name]
    filler = small_disk / "filler"
    acknowledged = []
    reads, writes, ready = set(), set(), set()
    options = ("--data-dir", str(small_disk / "data"), "--durability", row.durability)
    with serving(small_disk.parent, *options, **{TIMEOUT_SETTING: str(TIMEOUT_SECONDS)}) as service:
        assert ask(service, "PUT", "/keys/a", b"1").status == 200
        free = os.statvfs(small_disk)
        filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize))

        # The last page of the file has room for some more.
        for number in range(20):
            written = outcome(ask(service, "PUT", f"/keys/{number}", b"v" * 1_000))
            if written == "200":
                acknowledged.append(number)
                continue
            writes.add(written)
            reads.add(outcome(ask(service, "GET", "/keys/a")))
            ready.add(str(ask(service, "GET", "/health/ready").status))
            time.sleep(0.05)
        assert len(acknowledged) < 10

        filler.unlink()
        eventually(lambda: ask(service, "PUT", "/keys/a", b"2").status == 200, 20)

        stored = ask(service, "GET", "/keys").json
        assert {"a", *map(str, acknowledged)} <= set(stored)
    for seen, documented in ((reads, row.read), (writes, row.write), (ready, row.ready)):
        assert seen
        assert seen <= set(documented.split(" or "))


def test_the_document_has_every_row_and_no_other() -> None:
    text = (ROOT / "docs" / "failures.md").read_text()
    [block] = re.findall(r"^\| what happens \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    documented = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]

    expected = {
        name: (cell(READS, row, row.read), cell(WRITES, row, row.write), row.ready) for name, row in ALL.items()
    }

    assert {name: (read, write, ready) for name, _, read, write, ready, _ in documented} == expected
    assert len(documented) == len(expected)


def cell(calls: dict[str, tuple[str, str, bytes]], row: Answers, answer: str) -> str:
    """Write down what calls are answered: in words, and the exceptions after them."""
    exceptions = [f"{call} {coded(each)}" for call, each in row.but.items() if call in calls]
    return "; ".join([coded(answer), *exceptions])


def coded(answers: str) -> str:
    return " or ".join(each if each.isdecimal() else f"`{each}`" for each in answers.split(" or "))
