"""Metrics, sent to a statsd server: at most one datagram a request, and no key, value or path in any name.

`monitoring/statsd/mapping.yml` says what becomes of each name in Prometheus.
"""

import logging
import threading
import time
from collections.abc import Callable
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
        self._client: StatsClient | None = None
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
            pipe = self._client.pipeline()
            pipe.timing(REQUEST.format(resource=resource, method=method, status=status), seconds * 1000)
            pipe.incr(RECEIVED_BYTES.format(resource=resource), received_bytes)
            pipe.incr(SENT_BYTES.format(resource=resource), sent_bytes)
            for operation, store_seconds in measured.store_seconds.items():
                pipe.timing(STORE_DURATION.format(operation=operation), store_seconds * 1000)
            for operation, code in measured.failures:
                pipe.incr(STORE_FAILURE.format(operation=operation, code=code))
            if measured.store_seconds:
                pipe.timing(POOL_WAIT, measured.pool_wait_seconds * 1000)
            pipe.send()

        return send

    def _connect(self) -> None:
        host, port = self._address
        while self._client is None:
            try:
                self._client = StatsClient(
                    host, port, prefix=self._prefix, maxudpsize=MAX_DATAGRAM_BYTES, ipv6=":" in host
                )
            except OSError as error:
                log.warning("No metrics are sent to %s for now: %s", self._address, error)
                time.sleep(RETRY_SECONDS)
