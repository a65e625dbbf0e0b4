"""A replay of changes: writers write whatever can be written, and viewers follow it, cut off and back at random.

In the end each view is what the store holds, and between two resets no key has gone back to an earlier value: every
value is a number, and later ones are larger.
"""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from itertools import count
from typing import Any, NamedTuple, Self

from redis import Redis, RedisError

from models.errors import StoreError
from models.filter import Filter
from models.store import Store
from models.watching.watcher import Kind
from tests.support.servers.services import eventually


KEYS = [f"{group}{number}" for group in ("a", "b:", "c") for number in range(6)]
PATTERNS = ["$", "a$", "b:$", "$1", "c3"]
SETTLE_SECONDS = 20.0
SET = "redis.call('SET', KEYS[1], ARGV[1])"
# How a writer writes: to one key and perhaps another, a number, or a time in milliseconds.
ONE_KEY: dict[str, Callable[[Any, str, str, int, int], Any]] = {
    "set": lambda server, name, _, number, __: server.set(name, number),
    "set again": lambda server, name, _, number, __: server.set(name, number),
    "set px": lambda server, name, _, number, ms: server.set(name, number, px=ms + 2),
    "del": lambda server, name, *_: server.delete(name),
    "expire": lambda server, name, _, __, ms: server.pexpire(name, ms),
    "persist": lambda server, name, *_: server.persist(name),
    "other type": lambda server, name, *_: server.eval(
        "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], '1')", 1, name
    ),
}
WAYS = ONE_KEY | {
    "mset": lambda server, name, other, number, _: server.mset({name: number, other: number}),
    "unlink": lambda server, name, other, *_: server.unlink(name, other),
    "transaction": lambda server, name, other, number, _: server.pipeline().set(name, number).delete(other).execute(),
    "script": lambda server, name, other, number, _: server.eval(
        f"{SET} redis.call('DEL', KEYS[2])", 2, name, other, number
    ),
    "rename": lambda server, name, other, number, _: server.eval(
        f"{SET} redis.call('RENAME', KEYS[1], KEYS[2])", 2, name, other, number
    ),
    "copy": lambda server, name, other, number, _: server.eval(
        f"{SET} redis.call('COPY', KEYS[1], KEYS[2], 'REPLACE')", 2, name, other, number
    ),
}
WRITERS = 3


class Event(NamedTuple):
    """What a viewer is told.

    :param kind: ``put``, ``gone``, ``reset`` or ``synced``; ``id`` for an id alone
    :param key: of a put, or of a key that is gone
    :param number: of a put
    :param id: the id behind it; empty to forget the last one, None for none
    """

    kind: str
    key: str = ""
    number: int = 0
    id: str | None = None


# Watches a filter from an id on; None is told while nothing happens.
Open = Callable[[Filter, str | None], AbstractContextManager[Iterator[Event | None]]]


@contextmanager
def watch(store: Store, pattern: Filter, since: str | None) -> Iterator[Iterator[Event | None]]:
    """Watch a store in this process."""
    with closing(store.watch(pattern, since=since)) as watcher:
        yield _events(watcher)


def _events(watcher: Any) -> Iterator[Event | None]:
    while True:
        batch = watcher.next(0.05)
        if batch is None:
            yield Event("id", id=watcher.position) if watcher.position else None
        elif batch.kind is Kind.STATES:
            *states, last = batch.states
            for state in states:
                yield _event(state, None)
            yield _event(last, batch.id)
        else:
            yield Event(batch.kind.value, id=batch.id)


def _event(state: Any, id_: str | None) -> Event:
    key = state.key.decode()
    return Event("gone", key, id=id_) if state.value is None else Event("put", key, int(state.value), id_)


class Viewer:
    """One who follows what a filter matches, in a thread of its own.

    :param opens: ways to watch, of which one is taken at random each time
    :param text: the filter
    :param cut_seconds: after how long it is cut off, at most; None for never
    """

    def __init__(self, opens: list[Open], text: str, seed: int, cut_seconds: float | None) -> None:
        self.pattern = Filter.parse(text)
        self.view: dict[str, int] = {}
        self.resets = self.events = 0
        self.is_synced = False
        self.errors: list[str] = []
        self._opens = opens
        self._random = random.Random(seed)
        self._cut_seconds = cut_seconds
        self._latest: dict[str, int] = {}
        self._id: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def stay(self) -> None:
        """Be cut off no longer."""
        self._cut_seconds = None

    def _run(self) -> None:
        while not self._ended.is_set():
            cut_at = time.monotonic() + self._random.uniform(0, self._cut_seconds or 0)
            try:
                with self._random.choice(self._opens)(self.pattern, self._id) as events:
                    for event in events:
                        if event is not None:
                            self._take(event)
                        is_cut = self._cut_seconds is not None and time.monotonic() > cut_at
                        if is_cut or self._ended.is_set():
                            break
            except (OSError, StoreError):
                # The service is away for a moment.
                time.sleep(0.05)

    def _take(self, event: Event) -> None:
        self.events += 1
        if event.kind == "reset":
            self.resets += 1
            self.view, self._latest, self.is_synced = {}, {}, False
        elif event.kind == "synced":
            self.is_synced = True
        elif event.kind == "put":
            if event.number < self._latest.get(event.key, 0):
                self.errors.append(f"{event.key} went from {self._latest[event.key]} back to {event.number}")
            self._latest[event.key] = self.view[event.key] = event.number
        elif event.kind == "gone":
            self.view.pop(event.key, None)
        if event.id is not None:
            self._id = event.id or None


class Writer:
    """Writes by every command that changes something, as other programs do, in a thread of its own.

    :param server: where to write
    :param names: those of its keys, to which nobody else writes: their numbers grow
    :param ways: how
    """

    def __init__(self, server: Redis, names: Sequence[str], ways: Collection[str], seed: int) -> None:
        self._server: Any = server
        self._names = names
        self._ways = [*ways]
        self._numbers = count(1)
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.writes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._random.choice([0, 0, 0, 0.002, 0.01])):
            # The store is away for a moment.
            try:
                self._write(self._random.choice(self._ways))
            except RedisError:
                time.sleep(0.02)
            self.writes += 1

    def _write(self, way: str) -> None:
        name, other = self._random.sample(self._names, 2)
        WAYS[way](self._server, name, other, next(self._numbers), self._random.randint(-1, 300))


def replay(
    opens: list[Open],
    server: Redis,
    prefix: str,
    seconds: float,
    seed: int,
    *,
    ways: Collection[str] = WAYS,
    disturb: Callable[[], None] = lambda: None,
) -> list[Viewer]:
    """Let writers write and viewers follow for a while, and compare all views with the store at the end.

    :param opens: ways to watch it
    :param ways: how the writers write
    :param disturb: called again and again meanwhile
    :return: the viewers
    """
    server.delete(*(prefix + key for key in KEYS))
    with ExitStack() as stack:
        cuts = [0.05, 0.4, 2.0, None]
        viewers = [
            stack.enter_context(Viewer(opens, text, seed + number, cuts[number % len(cuts)]))
            for number, text in enumerate(PATTERNS * 2)
        ]
        with ExitStack() as writing:
            for number in range(WRITERS):
                names = [prefix + key for key in KEYS[number::WRITERS]]
                writing.enter_context(Writer(server, names, ways, seed + number))
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                disturb()
                time.sleep(0.01)
        for viewer in viewers:
            viewer.stay()
        # What expires is gone by then.
        eventually(lambda: all(viewer.is_synced for viewer in viewers), SETTLE_SECONDS)
        eventually(lambda: all(viewer.view == _held(server, prefix, viewer) for viewer in viewers), SETTLE_SECONDS)
    errors = [error for viewer in viewers for error in viewer.errors]
    assert not errors, errors
    return viewers


def _held(server: Any, prefix: str, viewer: Viewer) -> dict[str, int]:
    names = {key: prefix + key for key in KEYS if viewer.pattern.matches(key.encode())}
    values = zip(names, server.mget(list(names.values())), strict=True)
    return {key: int(value) for key, value in values if value is not None}
