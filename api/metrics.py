"""Metrics, sent to a statsd server: at most one datagram a request, and no key, value or path in any name.

`monitoring/statsd/mapping.yml` says what becomes of each name in Prometheus.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar

from flask import request
from statsd import StatsClient

from api.logs import LOGGER
from models.url import Address


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

log = logging.getLogger(f"{LOGGER}.metrics")


class Client(StatsClient):  # type: ignore[misc]  # it has no types
    """A client that writes all of a datagram at once: line by line it takes six calls for each."""

    def send(self, timings: Mapping[str, float], counts: Mapping[str, int]) -> None:
        """Send a datagram, or lose it: a failure is no business of the request that it is about.

        :param timings: seconds by name
        :param counts: numbers by name
        """
        lines = [f"{self._prefix}.{name}:{seconds * 1000:.6f}|ms" for name, seconds in timings.items()]
        lines += [f"{self._prefix}.{name}:{count}|c" for name, count in counts.items()]
        self._send("\n".join(lines))


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


def resource_name() -> str:
    """Name the resource of the current request: one of a few, whatever its path."""
    rule = request.url_rule
    return NO_RESOURCE if rule is None else RESOURCES.get(rule.rule, OTHER_RESOURCE)


class Metrics:
    """Sends what was measured.

    Where to is looked up aside, so that a name server that is slow or knows nothing costs no request a moment; until it
    is known nothing is sent.

    :param address: the statsd server
    :param prefix: what every name starts with
    """

    def __init__(self, address: Address, prefix: str) -> None:
        self._address = address
        self._prefix = prefix
        self._client: Client | None = None
        threading.Thread(target=self._connect, daemon=True).start()

    def observe(self, status: int) -> Callable[[float, int], None]:
        """Take down what is known of the current request before its answer is sent.

        :param status: the status of its answer
        :return: sends all of it, given the seconds that the request took and the bytes of the answer's body
        """
        measured = _current.get(None) or start_measuring()
        resource = resource_name()
        method = request.method if request.method in METHODS else OTHER_METHOD
        received_bytes = request.content_length or 0

        def send(seconds: float, sent_bytes: int) -> None:
            if self._client is None:
                return
            timings = {REQUEST.format(resource=resource, method=method, status=status): seconds}
            for operation, store_seconds in measured.store_seconds.items():
                timings[STORE_DURATION.format(operation=operation)] = store_seconds
            if measured.store_seconds:
                timings[POOL_WAIT] = measured.pool_wait_seconds
            counts = {
                RECEIVED_BYTES.format(resource=resource): received_bytes,
                SENT_BYTES.format(resource=resource): sent_bytes,
            }
            for operation, code in measured.failures:
                failure = STORE_FAILURE.format(operation=operation, code=code)
                counts[failure] = counts.get(failure, 0) + 1
            self._client.send(timings, counts)

        return send

    def _connect(self) -> None:
        host, port = self._address
        while self._client is None:
            try:
                self._client = Client(host, port, prefix=self._prefix, ipv6=":" in host)
            except OSError as error:
                log.warning("No metrics are sent to %s for now: %s", self._address, error)
                time.sleep(RETRY_SECONDS)
