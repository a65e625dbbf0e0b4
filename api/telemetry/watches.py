"""What is measured of event streams and long polls: sums of a worker, sent together."""

import time
from threading import Lock

from api.telemetry.metrics import WATCH_DELAY, WATCH_EVENTS, WATCH_RESETS, WATCHER_SECONDS, Metrics
from models.watching.watcher import Batch, Kind


class WatchTotals:
    """What all watches of a worker have done since it was last sent.

    :param metrics: where to send it
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = Lock()
        self._is_empty = True
        self._seconds = self._longest_delay = 0.0
        self._events = self._resets = 0

    def add(self, told: Batch | None, seconds: float, ready_at: float) -> None:
        """Add what one watch has done.

        :param told: what it is told; None if nothing
        :param seconds: for how long it has been open since the last time
        :param ready_at: since when its client waits: that it reads slowly is not a delay of ours
        """
        with self._lock:
            self._seconds += seconds
            if told is not None:
                self._events += len(told.states)
                # One with an id has no state behind it.
                self._resets += told.kind is Kind.RESET and not told.id
                if told.told_at is not None:
                    delay = time.monotonic() - max(told.told_at, ready_at)
                    self._longest_delay = max(self._longest_delay, delay)
            is_first, self._is_empty = self._is_empty, False
        if is_first:
            self._metrics.send(self._lines)

    def _lines(self) -> str:
        name = self._metrics.name
        with self._lock:
            lines = (
                f"{name(WATCHER_SECONDS)}:{self._seconds:.3f}|c\n"
                f"{name(WATCH_EVENTS)}:{self._events}|c\n"
                f"{name(WATCH_RESETS)}:{self._resets}|c\n"
            )
            if self._longest_delay:
                lines += f"{name(WATCH_DELAY)}:{self._longest_delay * 1000:.3f}|ms\n"
            self._is_empty = True
            self._seconds = self._longest_delay = 0.0
            self._events = self._resets = 0
        return lines
