"""What names hold now: read once for all who watch, and when it ends."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from threading import Lock
from typing import Any

from models.change import tag_of
from models.valkey.backend import Backend
from models.valkey.connection import read
from models.valkey.scan import MAX_BATCH_BYTES, SCAN_COUNT, Batches


# What is kept of values, with what stands around each.
KEPT_BYTES = 16 * 1024 * 1024
STATE_BYTES = 500
MAX_EXPIRIES = 100_000
# A server's clock is as exact as a millisecond.
EXPIRY_SLACK_SECONDS = 0.002
# So many keys are asked for at a time whether they have expired.
MAX_ASKED = 1_000


class State:
    """What one key holds at one moment, shared by all who watch it.

    :param name: its name in the server
    :param key_start: where the key begins in the name
    :param value: its value; None if it is missing
    :param expires_at: in whole seconds since 1970; None for never
    :param has_expired: whether it is missing because its time had come
    """

    __slots__ = ("expires_at", "has_expired", "key", "tag", "texts", "value")

    def __init__(
        self, name: bytes, key_start: int, value: bytes | None, expires_at: int | None, *, has_expired: bool
    ) -> None:
        self.key = name[key_start:]
        self.value = value
        self.expires_at = expires_at
        self.has_expired = has_expired
        self.tag = None if value is None else tag_of(value)
        #: What is written of it, by whoever writes it.
        self.texts: dict[Any, bytes] = {}


class States:
    """Reads what names hold, from the processes that tell changes, and keeps some of it.

    What is kept has the tick of the moment before it was read. So it holds all changes that were told before that.

    :param reader: reads from these processes
    :param tick: counts up
    :param on_expiry: called when the next expiry is earlier than before
    """

    def __init__(self, reader: Backend, tick: Iterator[int], on_expiry: Callable[[], None]) -> None:
        self._reader = reader
        self._tick = tick
        self._on_expiry = on_expiry
        # What is kept last is what was read last.
        self._reading = Lock()
        self._kept: OrderedDict[bytes, tuple[int, State]] = OrderedDict()
        self._kept_bytes = 0
        # When each name expires, by this machine's clock.
        self._ends: dict[bytes, float] = {}
        self._next_ends: list[tuple[float, bytes]] = []

    def of(self, names: Mapping[bytes, int], key_start: int) -> Iterator[list[State]]:
        """Return the states of names, some at a time.

        :param names: the names, and which tick each state must be younger than
        :param key_start: where the keys begin in the names
        """
        found, missing = self._found(names, key_start)
        if found:
            yield found
        if not missing:
            return
        batches = Batches(lambda batch: self._read_once({name: names[name] for name in batch}, key_start))
        for first in range(0, len(missing), SCAN_COUNT):
            yield from batches.of(missing[first : first + SCAN_COUNT])

    def listed(self, scanned: Iterator[list[bytes]], key_start: int) -> Iterator[list[State]]:
        """Return the states of many names, some at a time, without keeping them."""

        def read_some(batch: Sequence[bytes]) -> tuple[list[State], int]:
            with self._reading:
                return self._read(batch, key_start, keep=False)

        batches = Batches(read_some)
        for names in scanned:
            # The bare prefix is the name of no key.
            yield from batches.of([name for name in names if len(name) > key_start])

    def next_end(self) -> float:
        """Return the seconds until a key expires that was read; they may be over."""
        return self._next_ends[0][0] - time.monotonic() if self._next_ends else float("inf")

    def end_due(self) -> None:
        """Ask for the keys whose time has come, which makes the server delete and tell them now.

        By itself it may take minutes to find them.
        """
        due: list[bytes] = []
        while self._next_ends and len(due) < MAX_ASKED and self.next_end() <= 0:
            end, name = heappop(self._next_ends)
            if self._ends.get(name) == end:
                due.append(name)
        if due:
            read(self._reader.by_slot, due, lambda names: ("EXISTS", *names))

    def _found(self, names: Mapping[bytes, int], key_start: int) -> tuple[list[State], list[bytes]]:
        """Return the states that are kept and young enough, and the names of the others."""
        found, missing = [], []
        for name, tick in names.items():
            kept_tick, state = self._kept.get(name, (0, None))
            if state is not None and kept_tick > tick and len(name) - len(state.key) == key_start:
                found.append(state)
            else:
                missing.append(name)
        return found, missing

    def _read_once(self, names: Mapping[bytes, int], key_start: int) -> tuple[list[State], int]:
        """Read what nobody else has read while this one waited for its turn."""
        with self._reading:
            found, missing = self._found(names, key_start)
            states, values_bytes = self._read(missing, key_start, keep=True) if missing else ([], 0)
            return found + states, values_bytes

    def _read(self, names: Sequence[bytes], key_start: int, *, keep: bool) -> tuple[list[State], int]:
        """Return states and the bytes of their values; the caller has the turn to read."""
        states = []
        values_bytes = 0
        tick = next(self._tick)
        for group, snapshot in read(self._reader.snapshot, names, MAX_BATCH_BYTES, expiries=True):
            if len(snapshot) == 1:
                values_bytes += snapshot[0]
                continue
            values, expiries_in_ms, clock = snapshot
            now, now_ms = time.monotonic(), int(clock[0]) * 1000 + int(clock[1]) // 1000
            for name, value, ms in zip(group, values, expiries_in_ms, strict=True):
                has_expired = value is None and self._ends.get(name, float("inf")) <= now + EXPIRY_SLACK_SECONDS
                expires_at = None if value is None or ms < 0 else round((now_ms + ms) / 1000)
                state = State(name, key_start, value, expires_at, has_expired=has_expired)
                states.append(state)
                self._note_end(name, None if expires_at is None else now + ms / 1000 + EXPIRY_SLACK_SECONDS)
                self._keep(name, tick, state if keep else None)
                values_bytes += len(value or b"")
        return states, values_bytes

    def _keep(self, name: bytes, tick: int, state: State | None) -> None:
        """Keep a state in the place of an earlier one, or none: what is kept is never older than what was told."""
        _, earlier = self._kept.pop(name, (0, None))
        if earlier is not None:
            self._kept_bytes -= _size(earlier)
        if state is not None:
            self._kept[name] = tick, state
            self._kept_bytes += _size(state)
            while self._kept_bytes > KEPT_BYTES:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._kept_bytes -= _size(oldest)

    def _note_end(self, name: bytes, end: float | None) -> None:
        if end is None:
            self._ends.pop(name, None)
        elif name in self._ends or len(self._ends) < MAX_EXPIRIES:
            self._ends[name] = end
            is_next = not self._next_ends or end < self._next_ends[0][0]
            heappush(self._next_ends, (end, name))
            if len(self._next_ends) > 2 * len(self._ends) + MAX_ASKED:
                # Keys that were written again have left theirs.
                self._next_ends = [(end, name) for name, end in self._ends.items()]
                heapify(self._next_ends)
            if is_next:
                self._on_expiry()


def _size(state: State) -> int:
    return STATE_BYTES + 2 * len(state.key) + 2 * len(state.value or b"")
