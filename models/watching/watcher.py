"""One who watches: first the state, or what has changed since an id, and then each change."""

import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import chain
from threading import Event
from typing import NamedTuple

from models.errors import StoreChanged, StoreError
from models.filter import Filter
from models.turn import Turn
from models.valkey.scan import Scan
from models.watching.hub import Hub
from models.watching.session import Session
from models.watching.states import State


# Of one who does not keep up no more is noted: what has changed is then found in the log.
MAX_PENDING = 4_096
# One for whom the store fails begins anew after this time, and after twice the time if it fails again.
RETRY_SECONDS = 0.25
MAX_RETRY_SECONDS = 4.0


class Kind(Enum):
    """What is told at a time."""

    RESET = "reset"
    STATES = "states"
    SYNCED = "synced"


class Batch(NamedTuple):
    """What is told at a time.

    :param kind: that what was told before counts no longer, or states of keys, or that all of them have been told
    :param states: the states
    :param id: where to go on from if this is the last that was told; empty for nowhere, None for where it was
    :param told_at: when the first of the changes was told to this worker, by :func:`time.monotonic`
    """

    kind: Kind
    states: Sequence[State] = ()
    id: str | None = None
    told_at: float | None = None


class Watcher:
    """One who watches the keys that a filter matches.

    :param hub: tells what changes
    :param prefix: what stands before the keys in their names
    :param pattern: which keys
    :param since: the id to go on from
    :param initial: whether all states are told where nothing is known: without an id, or if too much has changed since
    :raises StoreError: the store cannot be followed
    """

    def __init__(self, hub: Hub, prefix: bytes, pattern: Filter, *, since: str | None, initial: bool) -> None:
        self._hub = hub
        self._prefix = prefix
        self._pattern = pattern
        self._initial = initial
        #: The id to go on from when nothing is left to tell; None while the store cannot be followed.
        self.position: str | None = None
        self._session: Session | None = None
        # The id from which on something may not have been told; None if nothing is known.
        self._mark = since
        # What has changed since, each name with the tick of its latest change; and whether there is more than that.
        self._pending: dict[bytes, int] = {}
        self._is_behind = True
        self._told_at: float | None = None
        self._woken = Event()
        self._run: Iterator[Batch] | None = None
        # States from before this tick may be older than what has been told.
        self._not_before = 0
        self._clock = 0
        self._retry_seconds = RETRY_SECONDS
        hub.enter(self, prefix, pattern)

    def next(self, seconds: float) -> Batch | None:
        """Return what is to be told next.

        :param seconds: how long to wait for something
        :return: None if there is nothing
        """
        until = time.monotonic() + seconds
        while True:
            self._run = self._run or self._begin()
            if self._run is None:
                if not self._woken.wait(max(0, until - time.monotonic())):
                    return None
                continue
            try:
                batch = next(self._run, None)
            except StoreError as error:
                self._give_up(error)
                left_seconds = until - time.monotonic()
                if left_seconds <= 0:
                    return None
                time.sleep(min(self._retry_seconds, left_seconds))
                self._retry_seconds = min(2 * self._retry_seconds, MAX_RETRY_SECONDS)
                continue
            if batch is not None:
                return batch
            self._run, self._retry_seconds = None, RETRY_SECONDS

    def settle(self, seconds: float) -> str | None:
        """Wait until an id covers all that has been told, and return it.

        :param seconds: how long to wait
        :return: the latest id after that time; None if there is more to tell
        """
        with self._hub.changed:
            session = self._session
            if session is None:
                return None
            self._hub.changed.wait_for(lambda: session.mark() >= self._clock, seconds)
            return None if self._is_behind or self._pending else session.id()

    def close(self) -> None:
        """Watch no longer."""
        self._hub.leave(self, self._prefix, self._pattern)

    def tell(self, name: bytes, tick: int) -> None:
        """Take note of a change, as the hub says."""
        if not self._pending:
            self._told_at = time.monotonic()
            self._woken.set()
        elif len(self._pending) >= MAX_PENDING:
            self._pending.clear()
            self._is_behind = True
        self._pending[name] = tick

    def forget(self) -> None:
        """Take note that everything may have changed, as the hub says."""
        if self._session is not None:
            self._mark, self._is_behind = None, True
        self._woken.set()

    def _begin(self) -> Iterator[Batch] | None:
        """Return what is to be told now; None if nothing is."""
        with self._hub.changed:
            self._woken.clear()
            session = self._hub.session
            if session is None:
                self.position = None
                return None
            if not (self._is_behind or self._pending):
                self.position = session.id()
                return None
            names: Mapping[bytes, int] | None = self._pending
            if self._is_behind:
                self._not_before = next(session.tick)
                found = session.since(self._mark)
                names = None if found is None else dict.fromkeys(found, 0)
            told_at, is_behind = self._told_at, self._is_behind
            self._session, self._mark = session, session.id()
            self._pending, self._told_at, self._is_behind = {}, None, False
            self._clock = max(log.clock for log in session.logs)
        if names is None:
            return self._state(session, self._mark)
        return self._changes(session, self._mark, self._wanted(names) if is_behind else names, told_at)

    def _state(self, session: Session, id_: str) -> Iterator[Batch]:
        if not self._initial:
            yield Batch(Kind.RESET, id=id_)
            return
        if self._pattern.key is None:
            found = Scan(session.tracked.reader, self._prefix).names(self._pattern)
        else:
            found = iter([[self._prefix + self._pattern.key]])
        listed = session.states.listed(found, len(self._prefix))
        # Read first: as long as the store fails nothing new is told.
        first = next(listed, [])
        yield Batch(Kind.RESET, id="")
        for states in chain([first], listed):
            there = [state for state in states if state.value is not None]
            if there:
                yield Batch(Kind.STATES, there)
        self._not_before = next(session.tick)
        yield Batch(Kind.SYNCED, id=id_)

    def _changes(
        self, session: Session, id_: str, names: Mapping[bytes, int], told_at: float | None
    ) -> Iterator[Batch]:
        left = len(names)
        younger_than = {name: max(tick, self._not_before) for name, tick in names.items()}
        for states in session.states.of(younger_than, len(self._prefix)):
            left -= len(states)
            yield Batch(Kind.STATES, states, None if left else id_, told_at)

    def _wanted(self, names: Mapping[bytes, int]) -> Mapping[bytes, int]:
        start, turn, wanted = len(self._prefix), Turn(), {}
        for name, tick in names.items():
            if name.startswith(self._prefix) and len(name) > start and self._pattern.matches(name[start:]):
                wanted[name] = tick
            turn.give_way()
        return wanted

    def _give_up(self, error: StoreError) -> None:
        """Begin anew after a failure, with another session unless it is only keys that are on their way."""
        self._mark, self._is_behind, self._run = None, True, None
        if self._session is not None and not isinstance(error, StoreChanged):
            self._session.end()
