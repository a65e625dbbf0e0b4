"""A proxy between the client and the service loses each answer in turn: no write is done twice, none misreported."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from client import CutOff, OutcomeUnknown, Store, Unavailable
from tests.python_client.conftest import Make
from tests.support.servers.proxy import LOST, Fault, Proxy, Then, proxy_to
from tests.support.servers.services import Service


STATE = {"n": "1", "text": "a", "old": "x"}


@dataclass(frozen=True)
class Call:
    """One call of the client.

    :param do: makes it
    :param done: what it changes of the state when it is done once
    """

    do: Callable[[Store], object]
    done: dict[str, str | None]


def transact(kv: Store) -> None:
    with kv.transaction() as tx:
        tx.exists("n")
        tx.put("text", "b")
        tx.delete("old")


def hold(kv: Store) -> None:
    with kv.lock("job") as lock:
        lock.extend()


CALLS = {
    "put": Call(lambda kv: kv.put("text", "b"), {"text": "b"}),
    "put, only if absent": Call(lambda kv: kv.put("new", "b", only_if_absent=True), {"new": "b"}),
    "put, only if present": Call(lambda kv: kv.put("text", "b", only_if_present=True), {"text": "b"}),
    "put, if it matches": Call(lambda kv: kv.put("text", "b", if_match=kv.entry("text")), {"text": "b"}),
    "delete": Call(lambda kv: kv.delete("old"), {"old": None}),
    "delete, if it matches": Call(lambda kv: kv.delete("old", if_match=kv.entry("old")), {"old": None}),
    "increment": Call(lambda kv: kv.increment("n"), {"n": "2"}),
    "append": Call(lambda kv: kv.append("text", "b"), {"text": "ab"}),
    "modify": Call(lambda kv: kv.modify("text", lambda value: f"{value!s}b"), {"text": "ab"}),
    "update": Call(lambda kv: kv.update({"text": "b", "new": "c"}), {"text": "b", "new": "c"}),
    "update, only if absent": Call(lambda kv: kv.update({"new": "c"}, only_if_absent=True), {"new": "c"}),
    "delete_matching": Call(lambda kv: kv.delete_matching("o$"), {"old": None}),
    "transaction": Call(transact, {"text": "b", "old": None}),
    "lock": Call(hold, {}),
    "read": Call(lambda kv: (kv.read("text"), kv.exists("n"), kv.count()), {}),
    "list": Call(lambda kv: [*kv.keys(page=1), *kv.items(page=1), *kv.scan(page=1)], {}),
}


class Losing:
    """Chooses the fault of one request.

    :param fault: what happens to it
    :param number: which one it is; the first is 1
    """

    def __init__(self, fault: Fault, number: int) -> None:
        self._fault = fault
        self._number = number
        self.seen = 0

    def __call__(self, data: bytes) -> Fault | None:
        # Its body comes apart.
        self.seen += re.match(rb"[A-Z]+ /", data) is not None
        return self._fault if self.seen == self._number else None


@pytest.fixture
def proxy(service: Service) -> Iterator[Proxy]:
    with proxy_to(service.port) as running:
        yield running


@pytest.fixture
def state(service_connection: Redis) -> Callable[[], dict[str, str]]:
    """Return what the store has; before, it has the state that all calls start from."""

    def found() -> dict[str, str]:
        client: Any = service_connection
        return {name.decode()[3:]: client.get(name).decode() for name in client.keys("*")}

    begin(service_connection)
    return found


def begin(server: Redis) -> None:
    """Give a server the state that all calls start from."""
    server.flushall()
    server.mset({f"kv:{key}": value for key, value in STATE.items()})


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("fault", [LOST, Fault(Then.CUT, of_command=True, kept_bytes=9)], ids=["answer", "request"])
def test_each_answer_in_turn(
    make: Make, proxy: Proxy, state: Callable[[], dict[str, str]], service_connection: Redis, name: str, fault: Fault
) -> None:
    call = CALLS[name]
    done = {key: value for key, value in {**STATE, **call.done}.items() if value is not None}
    number, lost = 0, True
    while lost:
        number += 1
        begin(service_connection)
        # Of its own, so that each starts with a connection of its own.
        kv = make(f"http://127.0.0.1:{proxy.port}")
        losing, before = Losing(fault, number), proxy.struck
        with proxy.choosing(losing):
            try:
                call.do(kv)
            except OutcomeUnknown:
                assert call.done
                assert state() in (STATE, done)
            else:
                assert state() == done
        lost = proxy.struck > before
    assert number > 1


@pytest.mark.parametrize("name", ["increment", "put", "read"])
def test_a_connection_that_was_closed_meanwhile_costs_nothing(
    make: Make, proxy: Proxy, state: Callable[[], dict[str, str]], name: str
) -> None:
    kv = make(f"http://127.0.0.1:{proxy.port}")
    kv.read("text")

    proxy.cut_all()
    CALLS[name].do(kv)

    assert state() == {**STATE, **CALLS[name].done}


def test_a_write_that_is_not_answered_in_time_is_unknown_and_a_read_is_not(make: Make, proxy: Proxy) -> None:
    kv = make(f"http://127.0.0.1:{proxy.port}", timeout_seconds=0.2)

    with proxy.failing(Fault(Then.HANG, kept_bytes=0)):
        with pytest.raises(OutcomeUnknown) as raised:
            kv.increment("n")
        assert raised.value.request_id
        with pytest.raises(Unavailable, match="does not answer"):
            kv.read("n")


def test_an_export_that_breaks_off_leaves_what_was_there(kv: Store, make: Make, proxy: Proxy, tmp_path: Path) -> None:
    kv.update({f"k{number}": "v" * 1000 for number in range(200)})
    path = tmp_path / "export.ndjson"
    path.write_text("before")

    with proxy.failing(Fault(Then.CUT, kept_bytes=5000)), pytest.raises(CutOff):
        make(f"http://127.0.0.1:{proxy.port}").export_to(str(path))

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
