"""Killing a primary under load: the service is back when the servers are, and loses what replication can lose."""

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from tests.support.clients import JSON
from tests.support.contract import Contract
from tests.support.servers.replicated import FAILOVER_SECONDS, SERVICE, Group, Node, cluster, sentinels
from tests.support.servers.services import Service, eventually, serving


pytestmark = pytest.mark.soak

WRITERS = 4
LIMIT_SECONDS = 2.0
SLACK_SECONDS = 1.5  # a machine that also runs six servers and an election
# What an error may be called meanwhile.
CODES = {"store_unavailable", "store_timeout", "store_read_only", "store_loading", "outcome_unknown"}
# Replication lags by milliseconds here. What was acknowledged longer than this before the kill must be there.
SAFE_SECONDS = 1.0
# How long after the Sentinels say that a primary was replaced the service may still use it, as docs/scaling.md says.
NOTICED_SECONDS = 1.0


class Attempt(NamedTuple):
    """A write, and what came of it."""

    key: str
    value: str
    ended_at: float
    took_seconds: float
    status: int
    code: str


class Load:
    """Clients that write without a pause, each key once and a counter again and again.

    :param port: of the service
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self.attempts: list[Attempt] = []
        self.increments: list[Attempt] = []
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def is_fine(self) -> bool:
        """Tell whether nothing has failed for a second."""
        now = time.monotonic()
        recent = [each for each in [*self.attempts, *self.increments] if each.ended_at > now - 1]
        return len(recent) > 10 and all(each.status == 200 for each in recent)

    def _write(self, writer: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        number = 0
        while not self._ended.is_set():
            number += 1
            key = f"{writer} {number}"
            self.attempts.append(_attempt(connection, "PUT", key, str(number)))
            self.increments.append(_attempt(connection, "PATCH", f"count{writer}", '{"increment": 1}'))
        connection.close()


def _attempt(connection: http.client.HTTPConnection, method: str, key: str, body: str) -> Attempt:
    started = time.monotonic()
    connection.request(method, "/keys/" + key.replace(" ", "%20"), body, JSON)
    response = connection.getresponse()
    answer = json.loads(response.read())
    ended = time.monotonic()
    return Attempt(key, body, ended, ended - started, response.status, answer.get("code", ""))


@pytest.fixture(params=[cluster, sentinels], ids=["cluster", "sentinel"])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Group]:
    start: Callable[[Path], AbstractContextManager[Group]] = request.param
    (tmp_path / "servers").mkdir()
    with start(tmp_path / "servers") as running:
        yield running


@pytest.fixture
def service(group: Group, tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path, "--redis-url", group.url, "--workers", "2") as running:
        yield running


def test_a_primary_that_is_killed_under_load_is_replaced(
    group: Group, service: Service, contract: Contract, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = service.ask(contract)
    victim = group.primaries()[0]

    with Load(service.port) as load:
        eventually(load.is_fine)
        time.sleep(SAFE_SECONDS)
        victim.kill()
        killed_at = time.monotonic()
        eventually(lambda: time.monotonic() > killed_at + 2 and load.is_fine(), FAILOVER_SECONDS)
        recovered_at = max(each.ended_at for each in load.attempts if each.status != 200)

    attempts, increments = load.attempts, load.increments
    failed = [each for each in [*attempts, *increments] if each.status != 200]
    assert failed, "the primary that was killed had no part in it"
    assert {each.status for each in failed} == {500}
    assert {each.code for each in failed} <= CODES
    assert max(each.took_seconds for each in failed) < LIMIT_SECONDS + SLACK_SECONDS

    listed = ask("GET", "/keys").json
    acknowledged = [each for each in attempts if each.status == 200]
    lost = [each for each in acknowledged if each.key not in listed]
    assert all(listed[each.key] == each.value for each in attempts if each.key in listed)
    assert all(each.ended_at > killed_at - SAFE_SECONDS for each in lost)
    assert all(each.ended_at < killed_at + SAFE_SECONDS for each in lost)
    for writer in range(WRITERS):
        mine = [each for each in increments if each.key == f"count{writer}"]
        done = sum(each.status == 200 for each in mine)
        unknown = sum(each.code == "outcome_unknown" for each in mine)
        # Never more than was sent: no increment is applied twice.
        assert int(listed[f"count{writer}"]) <= done + unknown

    with capsys.disabled():
        codes = dict(Counter(each.code for each in failed))
        print(  # noqa: T201  # the numbers are what one wants to see
            f"\n{len(acknowledged):,} writes acknowledged, {len(lost)} of them lost; back after "
            f"{recovered_at - killed_at:.1f} s; errors: {codes}; the slowest took "
            f"{max(each.took_seconds for each in failed):.2f} s"
        )


@pytest.mark.parametrize(
    ("start", "command", "may_lose"),
    [
        pytest.param(cluster, "CLUSTER FAILOVER", False, id="cluster"),
        pytest.param(sentinels, f"SENTINEL FAILOVER {SERVICE}", True, id="sentinel"),
        # Valkey 9 and newer.
        pytest.param(sentinels, f"SENTINEL FAILOVER {SERVICE} COORDINATED", False, id="sentinel-coordinated"),
    ],
)
def test_a_primary_that_is_replaced_on_purpose_loses_nothing_after_that_is_announced(
    start: Callable[[Path], AbstractContextManager[Group]],
    command: str,
    may_lose: bool,
    tmp_path: Path,
    contract: Contract,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "servers").mkdir()
    with (
        start(tmp_path / "servers") as group,
        serving(tmp_path, "--redis-url", group.url, "--workers", "2") as service,
        announcements(group.guides) as announced,
    ):
        (victim, *_) = group.primaries()
        (asked, *_) = group.guides or [node for node in group.nodes if follows(node, victim)]
        with Load(service.port) as load:
            eventually(load.is_fine)
            time.sleep(SAFE_SECONDS)
            started_at = time.monotonic()
            asked.client.execute_command(command)
            eventually(lambda: victim not in group.primaries(), 4 * FAILOVER_SECONDS)
            time.sleep(SAFE_SECONDS)
            eventually(load.is_fine)
        listed = service.ask(contract)("GET", "/keys").json

    acknowledged = [each for each in load.attempts if each.status == 200]
    lost_at = [each.ended_at for each in acknowledged if each.key not in listed]
    codes = Counter(each.code for each in [*load.attempts, *load.increments] if each.status != 200)
    with capsys.disabled():
        last = f", the last {max(lost_at) - min(announced):+.3f} s after the switch was announced" if lost_at else ""
        print(  # noqa: T201  # the numbers are what one wants to see
            f"\n{len(acknowledged):,} writes acknowledged, {len(lost_at)} of them lost{last}; errors: {dict(codes)}"
        )
    assert set(codes) <= CODES
    if may_lose:
        assert all(started_at - SAFE_SECONDS < at < min(announced) + NOTICED_SECONDS for at in lost_at)
    else:
        assert lost_at == []


@contextlib.contextmanager
def announcements(guides: Sequence[Node]) -> Iterator[list[float]]:
    """Collect when each Sentinel says that the primary has changed."""
    heard: list[float] = []

    def listen(guide: Node) -> None:
        said = guide.client.pubsub()
        said.subscribe("+switch-master")
        while not ended.is_set():
            if said.get_message(ignore_subscribe_messages=True, timeout=0.1):
                heard.append(time.monotonic())
        said.close()

    ended = threading.Event()
    listeners = [threading.Thread(target=listen, args=(guide,)) for guide in guides]
    for listener in listeners:
        listener.start()
    try:
        yield heard
    finally:
        ended.set()
        for listener in listeners:
            listener.join()


def follows(node: Node, primary: Node) -> bool:
    """Tell whether a server is a replica of another."""
    role: list[Any] = node.client.role()
    return bool(role[0] == b"slave" and role[2] == primary.port)


def test_a_primary_that_hangs_under_load_is_replaced(group: Group, service: Service) -> None:
    victim: Node = group.primaries()[0]

    with Load(service.port) as load:
        eventually(load.is_fine)
        victim.pause()
        paused_at = time.monotonic()
        eventually(lambda: time.monotonic() > paused_at + 3 and load.is_fine(), FAILOVER_SECONDS)

    failed = [each for each in [*load.attempts, *load.increments] if each.status != 200]
    assert failed
    assert {each.code for each in failed} <= CODES
    assert max(each.took_seconds for each in failed) < LIMIT_SECONDS + SLACK_SECONDS
