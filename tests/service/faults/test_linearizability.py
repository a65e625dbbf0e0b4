"""Reads, writes, compare-and-sets and deletions by many clients, with faults: each key is one register.

First the judge is judged: right histories pass, wrong ones do not.
"""

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.serving.embedded import EmbeddedServer
from models.change import tag_of
from tests.support.amounts import SEED, amount
from tests.support.clients import AS_BYTES, Answer
from tests.support.linearizability import Kind, Operation, State, is_linearizable
from tests.support.servers.proxy import LOST, Choice, Fault, Proxy, Then, proxy_to
from tests.support.servers.services import Service, eventually, serving, stopped, valkey
from tests.support.wire import Wire


def read(value: State, called: float, returned: float) -> Operation:
    return Operation(Kind.READ, called, returned, value)


def write(value: State, called: float, returned: float = math.inf) -> Operation:
    return Operation(Kind.WRITE, called, returned, value)


def swap(expected: State, value: State, called: float, returned: float = math.inf, *, done: bool = True) -> Operation:
    return Operation(Kind.SWAP, called, returned, value, expected, done)


def delete(called: float, returned: float = math.inf, *, done: bool = True) -> Operation:
    return Operation(Kind.DELETE, called, returned, done=done)


RIGHT = {
    "nothing": [],
    "a key that is not there": [read(None, 0, 1), delete(2, 3, done=False)],
    "one after the other": [write(b"a", 0, 1), read(b"a", 2, 3), delete(4, 5), read(None, 6, 7)],
    "a read during a write sees it": [write(b"a", 0, 5), read(b"a", 1, 2), read(b"a", 3, 4)],
    "a read during a write does not see it": [write(b"a", 0, 5), read(None, 1, 2), read(b"a", 3, 4)],
    "two writes at once, in the order that is seen": [write(b"a", 0, 5), write(b"b", 0, 5), read(b"a", 6, 7)],
    "one of two swaps at once": [
        write(b"a", 0, 1),
        swap(b"a", b"b", 2, 9),
        swap(b"a", b"c", 2, 9, done=False),
        read(b"b", 10, 11),
    ],
    "a creation": [swap(None, b"a", 0, 1), swap(None, b"b", 2, 3, done=False), read(b"a", 4, 5)],
    "an unknown write that was done": [write(b"a", 0), read(b"a", 1, 2)],
    "an unknown write that was not": [write(b"a", 0), read(None, 1, 2), read(None, 3, 4)],
    "an unknown write that was done late": [write(b"a", 0), read(None, 1, 2), write(b"b", 3, 4), read(b"a", 5, 6)],
    "an unknown deletion": [write(b"a", 0, 1), delete(2), read(b"a", 3, 4), read(None, 5, 6)],
    "an unknown swap that was done": [write(b"a", 0, 1), swap(b"a", b"b", 2), read(b"b", 3, 4)],
    "an unknown swap that failed": [write(b"a", 0, 1), swap(b"x", b"b", 2), read(b"a", 3, 4)],
}
WRONG = {
    "a value that nobody wrote": [read(b"a", 0, 1)],
    "a stale read": [write(b"a", 0, 1), write(b"b", 2, 3), read(b"a", 4, 5)],
    "a lost write": [write(b"a", 0, 1), read(None, 2, 3)],
    "a read before the write": [read(b"a", 0, 1), write(b"a", 2, 3)],
    "back in time": [write(b"a", 0, 1), write(b"b", 2, 9), read(b"b", 3, 4), read(b"a", 5, 6)],
    "two readers that disagree on the order": [
        *(write(b"a", 0, 9), write(b"b", 0, 9)),
        *(read(b"a", 1, 2), read(b"b", 3, 4), read(b"a", 5, 6)),
    ],
    "a lost update: two swaps of one value": [
        write(b"a", 0, 1),
        swap(b"a", b"b", 2, 9),
        swap(b"a", b"c", 2, 9),
        read(b"c", 10, 11),
    ],
    "two creations": [swap(None, b"a", 0, 9), swap(None, b"b", 0, 9)],
    "a swap that failed without a reason": [write(b"a", 0, 1), swap(b"a", b"b", 2, 3, done=False)],
    "a swap that failed and was done": [write(b"a", 0, 1), swap(b"x", b"b", 2, 3, done=False), read(b"b", 4, 5)],
    "a resurrected value": [write(b"a", 0, 1), delete(2, 3), read(b"a", 4, 5)],
    "a deletion of nothing": [delete(0, 1)],
    "a deletion that did not see its key": [write(b"a", 0, 1), delete(2, 3, done=False)],
    "two deletions of one value": [write(b"a", 0, 1), delete(2, 9), delete(2, 9)],
    "an unknown write before its call": [read(b"a", 0, 1), write(b"a", 2)],
    "an unknown write that was done twice": [
        *(write(b"a", 0), read(b"a", 1, 2)),
        *(write(b"b", 3, 4), read(b"b", 5, 6), read(b"a", 7, 8)),
    ],
    "an unknown swap that was done where it could not": [write(b"a", 0, 1), swap(b"x", b"b", 2), read(b"b", 3, 4)],
}


@pytest.mark.parametrize("history", RIGHT.values(), ids=RIGHT.keys())
def test_a_right_history_passes(history: list[Operation]) -> None:
    assert is_linearizable(history)
    assert is_linearizable(reversed(history))


@pytest.mark.parametrize("history", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_history_does_not(history: list[Operation]) -> None:
    assert not is_linearizable(history)
    assert not is_linearizable(reversed(history))


VALUES = st.sampled_from([b"a", b"b", None])
WRITTEN = st.sampled_from([b"a", b"b"])


@st.composite
def sequential(draw: st.DrawFn) -> list[Operation]:
    """Do things to a real variable, one after the other, and make the times wider than they were."""
    state: State = None
    history = []
    for moment in range(draw(st.integers(1, 12))):
        times = (moment - draw(st.floats(0, 3)), moment + draw(st.floats(0, 3)))
        kind = draw(st.sampled_from(Kind))
        match kind:
            case Kind.READ:
                history.append(Operation(kind, *times, state))
            case Kind.WRITE:
                state = draw(WRITTEN)
                history.append(Operation(kind, *times, state))
            case Kind.SWAP:
                expected, value = draw(VALUES), draw(WRITTEN)
                history.append(Operation(kind, *times, value, expected, done=state == expected))
                state = value if state == expected else state
            case Kind.DELETE:
                history.append(Operation(kind, *times, done=state is not None))
                state = None
    return history


@given(sequential())
def test_what_a_variable_did_passes_however_long_each_step_seems_to_take(history: list[Operation]) -> None:
    assert is_linearizable(history)


@given(sequential())
def test_what_no_variable_did_does_not(history: list[Operation]) -> None:
    assert not is_linearizable([*history, read(b"never written", 100, 101)])


CLIENTS = 6
OPERATIONS = 150
KEYS = ("x", "y", "z")
# Of a hundred commands so many fail, in each of these ways.
FAULTS = {
    LOST: 2,
    Fault(Then.CUT, kept_bytes=2): 1,
    Fault(Then.HALF_CLOSE, kept_bytes=0): 1,
    Fault(Then.CUT, of_command=True, kept_bytes=11): 1,
    Fault(delay_seconds=0.02): 20,
    Fault(of_command=True, delay_seconds=0.02): 10,
}
TO_BE_SEEN = {"READ 200", "READ 404", "WRITE 200", "SWAP 200", "SWAP 412", "DELETE 200", "SWAP outcome_unknown"}


class Recorder:
    """Clients that do things to some keys, and write down what they were told.

    :param service: whom they ask
    :param seed: makes what they do, and in what order each does it, the same every time
    """

    def __init__(self, service: Service, seed: int) -> None:
        self._service = service
        self._seed = seed
        self.histories: dict[str, list[Operation]] = defaultdict(list)
        self.counted: Counter[str] = Counter()

    def run(self, client: int, operations: int) -> None:
        """Be one client.

        :param client: its number
        :param operations: how many things it does
        """
        chance = random.Random(f"{self._seed} {client}")
        seen: dict[str, State] = {}
        with Wire(self._service.port) as wire:
            for number in range(operations):
                key = chance.choice(KEYS)
                kind = chance.choices(list(Kind), [4, 2, 5, 1])[0]
                value = b"%d-%d" % (client, number)
                called = time.monotonic()
                answer = ask(wire, kind, key, value, seen.get(key))
                returned = time.monotonic()
                operation = understood(kind, answer, called, returned, value, seen.get(key))
                self.counted[f"{kind.name} {answer.status if answer.status < 500 else answer.code}"] += 1
                if operation is not None:
                    self.histories[key].append(operation)
                if kind == Kind.READ and answer.status in {200, 404}:
                    seen[key] = answer.body if answer.status == 200 else None


def ask(wire: Wire, kind: Kind, key: str, value: bytes, expected: State) -> Answer:
    """Send the request for an operation."""
    match kind:
        case Kind.READ:
            return wire.ask("GET", f"/keys/{key}", headers=AS_BYTES)
        case Kind.WRITE:
            return wire.ask("PUT", f"/keys/{key}", value)
        case Kind.SWAP:
            condition = {"If-None-Match": "*"} if expected is None else {"If-Match": f'"{tag_of(expected)}"'}
            return wire.ask("PUT", f"/keys/{key}", value, condition)
        case Kind.DELETE:
            return wire.ask("DELETE", f"/keys/{key}")


def understood(
    kind: Kind, answer: Answer, called: float, returned: float, value: bytes, expected: State
) -> Operation | None:
    """Give what an answer says has happened; None if it says that nothing has."""
    if answer.status == 500:
        unknown = answer.code == "outcome_unknown"
        assert not (unknown and kind == Kind.READ)
        return Operation(kind, called, math.inf, value, expected) if unknown else None
    done = answer.status == 200
    match kind:
        case Kind.READ:
            assert done or answer.code == "key_not_found"
            return Operation(kind, called, returned, answer.body if done else None)
        case Kind.WRITE:
            assert done
        case Kind.SWAP:
            assert done or answer.code == "precondition_failed"
        case Kind.DELETE:
            assert done or answer.code == "key_not_found"
    return Operation(kind, called, returned, value, expected, done)


def faults(seed: int) -> Choice:
    """Give a function that lets commands fail at random, the same every time."""
    chance = random.Random(seed)
    ways = [*FAULTS, None]
    weights = [*FAULTS.values(), 100 - sum(FAULTS.values())]

    def choose(command: bytes) -> Fault | None:
        return chance.choices(ways, weights)[0] if b"kv:" in command else None

    return choose


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedServer, Proxy, Service]]:
    """A service with two workers that reaches a real server through a proxy."""
    with (
        valkey(tmp_path_factory.mktemp("valkey")) as server,
        proxy_to(str(server.data_dir / "valkey.sock")) as proxy,
        serving(
            tmp_path_factory.mktemp("proxied"), "--workers", "2", "--redis-url", f"redis://127.0.0.1:{proxy.port}"
        ) as service,
    ):
        yield server, proxy, service


@pytest.mark.grows
@pytest.mark.parametrize("seed", range(SEED, SEED + amount(1, 7)))
def test_what_many_clients_see_under_faults_is_linearizable(
    proxied: tuple[EmbeddedServer, Proxy, Service], seed: int
) -> None:
    server, proxy, service = proxied
    assert server.pid is not None
    with Wire(service.port) as wire:
        wire.ask("DELETE", "/keys")
    recorder = Recorder(service, seed)

    with proxy.choosing(faults(seed)), ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(recorder.run, client, OPERATIONS) for client in range(CLIENTS)]
        eventually(lambda: recorder.counted.total() > CLIENTS * OPERATIONS / 4)
        # Long enough for what is under way to be given up, and to be applied afterwards.
        with stopped(server.pid):
            time.sleep(1)
        for client in clients:
            client.result()

    assert recorder.counted.keys() >= TO_BE_SEEN, "this showed nothing"
    for history in recorder.histories.values():
        assert is_linearizable(history), history
        assert not is_linearizable(without_a_write(history)), "the judge lets everything pass"


def without_a_write(history: list[Operation]) -> list[Operation]:
    """Leave out a write that somebody has seen."""
    seen = {each.value for each in history if each.kind == Kind.READ and each.value is not None}
    lost = next(each for each in history if each.kind != Kind.READ and each.value in seen and not each.is_unknown)
    return [each for each in history if each is not lost]
