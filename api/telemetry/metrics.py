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
from contextvars import ContextVar
from functools import cache

from flask import Request
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

RESOURCES = {"/keys": "keys", "/keys/<key:key>": "key", "/health/live": "live", "/health/ready": "ready"}
OTHER_RESOURCE = "documentation"
NO_RESOURCE = "none"
METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS")
OTHER_METHOD = "other"

# What passes through a network of today in one piece.
MAX_DATAGRAM_BYTES = 1432
RETRY_SECONDS = 30.0
FLUSH_SECONDS = 0.5
# From so many requests on nobody waits.
MAX_WAITING = 50

log = logging.getLogger(f"{LOGGER}.metrics")


class Measurements:
    """What one request has spent in the store, added up, so that it fits in one datagram."""

    def __init__(self) -> None:
        self.store_seconds: dict[str, float] = {}
        self.failures: list[tuple[str, str]] = []
        self.pool_wait_seconds = 0.0


# Not Flask's g, which is gone by the time a stream is sent.
_current: ContextVar[Measurements] = ContextVar("measurements")


def start_measuring() -> Measurements:
    """Start to measure a request."""
    measurements = Measurements()
    _current.set(measurements)
    return measurements


def store_operation(operation: str, seconds: float, code: str | None = None) -> None:
    """Measure what the store did for the current request.

    :param operation: what it was asked
    :param seconds: how long it took
    :param code: the code of the error, if it failed
    """
    measurements = _current.get(None) or start_measuring()
    measurements.store_seconds[operation] = measurements.store_seconds.get(operation, 0.0) + seconds
    if code is not None:
        measurements.failures.append((operation, code))


def pool_wait(seconds: float) -> None:
    """Measure how long the current request waited for a free connection.

    :param seconds: how long
    """
    (_current.get(None) or start_measuring()).pool_wait_seconds += seconds


class Metrics:
    """Sends what was measured, of many requests at once, and at most half a second late.

    A system call for each request costs more CPU time than all else about its metrics. Where to is looked up aside, so
    that a name server that is slow or knows nothing costs no request a moment; until it is known nothing is sent.

    :param address: the statsd server
    :param prefix: what every name starts with
    """

    def __init__(self, address: Address, prefix: str) -> None:
        self._address = address
        # Of the few names that there are each is written once.
        self._name = cache(lambda template, **parts: f"{prefix}.{template.format(**parts)}")
        self._client: StatsClient | None = None
        # Threads may write and send at once: each of its operations is whole.
        self._waiting: deque[Callable[[], str]] = deque()
        threading.Thread(target=self._run, daemon=True).start()
        atexit.register(self.flush)

    def observe(self, request: Request, status: int) -> Callable[[float, int], None]:
        """Take down what is known of the current request before its answer is sent.

        :param request: the request
        :param status: the status of its answer
        :return: sends all of it, given the seconds that the request took and the bytes of the answer's body
        """
        measured = _current.get(None) or start_measuring()
        rule = request.url_rule
        resource = NO_RESOURCE if rule is None else RESOURCES.get(rule.rule, OTHER_RESOURCE)
        method = request.method if request.method in METHODS else OTHER_METHOD
        received_bytes = request.content_length or 0 if "CONTENT_LENGTH" in request.environ else 0

        def send(seconds: float, sent_bytes: int) -> None:
            def lines() -> str:
                name = self._name
                text = (
                    f"{name(REQUEST, resource=resource, method=method, status=status)}:{seconds * 1000:.3f}|ms\n"
                    f"{name(RECEIVED_BYTES, resource=resource)}:{received_bytes}|c\n"
                    f"{name(SENT_BYTES, resource=resource)}:{sent_bytes}|c\n"
                )
                for operation, store_seconds in measured.store_seconds.items():
                    text += f"{name(STORE_DURATION, operation=operation)}:{store_seconds * 1000:.3f}|ms\n"
                if measured.store_seconds:
                    text += f"{name(POOL_WAIT)}:{measured.pool_wait_seconds * 1000:.3f}|ms\n"
                for operation, code in measured.failures:
                    text += f"{name(STORE_FAILURE, operation=operation, code=code)}:1|c\n"
                return text

            self.send(lines)

        return send

    def send(self, lines: Callable[[], str]) -> None:
        """Send lines with those that wait already.

        :param lines: writes them as statsd reads them; later and many at once, which takes half the time
        """
        self._waiting.append(lines)
        if len(self._waiting) >= MAX_WAITING:
            self.flush()

    def flush(self) -> None:
        """Send what waits, or lose it: a failure is no business of the requests that it is about."""
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
