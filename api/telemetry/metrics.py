"""Metrics, sent to a statsd server: many requests at once, and no key, value or path in any name.

`monitoring/statsd/mapping.yml` says what becomes of each name in Prometheus.
"""

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from statsd import StatsClient

from api import LOGGER
from models.address import Address


# Every name that is sent, below the prefix.
REQUEST = "request.{resource}.{method}.{status}"
RECEIVED_BYTES = "received_bytes.{resource}"
SENT_BYTES = "sent_bytes.{resource}"
STORE_DURATION = "store.{operation}.duration"
STORE_FAILURE = "store.{operation}.failed.{code}"
POOL_WAIT = "pool.wait"
WATCH = "watch.{resource}.{status}"
WATCHER_SECONDS = "watchers.seconds"
WATCH_EVENTS = "watch.events"
WATCH_RESETS = "watch.resets"
WATCH_DELAY = "watch.delay"

# What fits in one Ethernet frame.
MAX_DATAGRAM_BYTES = 1432
RETRY_SECONDS = 30.0
FLUSH_SECONDS = 0.5
# Flush at once when this many requests are buffered.
MAX_WAITING = 50

log = logging.getLogger(f"{LOGGER}.metrics")


class Metrics:
    """Sends metrics to a statsd server, those of many requests at once, at most half a second late.

    The host is resolved in a
    background thread, so that slow DNS never delays a request; until then metrics are dropped.

    :param address: the statsd server
    :param prefix: what every name starts with
    """

    def __init__(self, address: Address, prefix: str) -> None:
        self._address = address
        # There are few names: each is written once.
        self.name = cache(lambda template, **parts: f"{prefix}.{template.format(**parts)}")
        self._client: StatsClient | None = None
        # Threads may write and send at once: each operation of a deque is atomic.
        self._waiting: deque[Callable[[], str]] = deque()
        threading.Thread(target=self._run, daemon=True).start()
        atexit.register(self.flush)

    def send(self, lines: Callable[[], str]) -> None:
        """Buffer lines, and send them with others.

        :param lines: writes them as statsd reads them; called later, for many requests at once
        """
        self._waiting.append(lines)
        if len(self._waiting) >= MAX_WAITING:
            self.flush()

    def flush(self) -> None:
        """Send what is buffered, or lose it: no request fails for its metrics."""
        datagram = ""
        with suppress(IndexError):
            while True:
                lines = self._waiting.popleft()()
                if len(datagram) + len(lines) > MAX_DATAGRAM_BYTES:
                    self._send(datagram)
                    datagram = ""
                datagram += lines
        self._send(datagram)

    def _send(self, datagram: str) -> None:
        if datagram and self._client is not None:
            self._client._send(datagram.rstrip())  # noqa: SLF001  # its own methods take a line each

    def _run(self) -> None:
        host, port = self._address
        while self._client is None:
            try:
                self._client = StatsClient(host, port, ipv6=":" in host)
            except OSError as error:
                log.warning("No metrics are sent to %s for now: %s", self._address, error)
                time.sleep(RETRY_SECONDS)
        while True:
            time.sleep(FLUSH_SECONDS)
            self.flush()
