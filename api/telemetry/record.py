"""The record of each request, for its log line and its metrics: never a key, never a value."""

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import cache, partial
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, g
from flask.globals import request_ctx

from api.telemetry.logs import log_request
from api.telemetry.metrics import (
    POOL_WAIT,
    RECEIVED_BYTES,
    REQUEST,
    SENT_BYTES,
    STORE_DURATION,
    STORE_FAILURE,
    WATCH,
    Metrics,
)
from resources.base import resource_class
from resources.extensions import BODY_BYTES, REQUEST_ID, WATCHES


REQUEST_ID_HEADER = "X-Request-Id"
RULE_VARIABLE = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
OTHER_RESOURCE = "documentation"
NO_RESOURCE = "none"
MEASURED_METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS")
OTHER_METHOD = "other"
WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestRecord:
    """One request, from its arrival to the last byte of its answer.

    :param request_id: its id
    """

    __slots__ = (
        *("_started", "_seconds", "_request_id", "_method", "_rule", "_resource", "_status", "_key_bytes", "_token"),
        *("_received_bytes", "_sent_bytes", "_store_seconds", "_failures", "_watches", "pool_wait_seconds"),
    )

    def __init__(self, request_id: str) -> None:
        self._started = time.perf_counter()
        self._request_id = request_id
        # What it spends in the store is added up, so that it fits in one datagram.
        self._store_seconds: dict[str, float] = {}
        self._failures: list[tuple[str, str]] = []
        self.pool_wait_seconds = 0.0

    def add_operation(self, operation: str, seconds: float, code: str | None) -> None:
        """Add an operation of the store.

        :param operation: its name
        :param seconds: how long it took
        :param code: the code of the error, if it failed
        """
        self._store_seconds[operation] = self._store_seconds.get(operation, 0.0) + seconds
        if code is not None:
            self._failures.append((operation, code))

    def start_answer(self, status: int) -> None:
        """Capture the current request: Flask forgets it before the body of its answer is sent.

        :param status: the status of the answer
        """
        request = request_ctx.request
        rule, key, token = request.url_rule, (request.view_args or {}).get("key"), g.get("token")
        self._method = request.method
        self._resource = resource_class(request_ctx.app, request.endpoint)
        self._rule = None if rule is None else rule.rule
        self._status = status
        self._key_bytes = None if key is None else len(key.encode(errors="surrogatepass"))
        self._token = token and token.name
        # What came, and not what the client has announced: it can announce anything.
        self._received_bytes = request.environ.get(BODY_BYTES, 0)
        self._watches = WATCHES in request.environ

    def finish(self, sent_bytes: int) -> None:
        """Stop the clock: the answer has been sent, or its client has gone.

        :param sent_bytes: the bytes of its body
        """
        self._seconds = time.perf_counter() - self._started
        self._sent_bytes = sent_bytes

    def log_fields(self) -> dict[str, Any]:
        """Return :data:`api.telemetry.logs.REQUEST_FIELDS`."""
        return {
            "request_id": self._request_id,
            "method": self._method,
            "route": self._rule and route(self._rule),
            "status": self._status,
            "duration_ms": round(self._seconds * 1000, 3),
            "bytes": self._sent_bytes,
            "key_bytes": self._key_bytes,
            "token": self._token,
        }

    def statsd_lines(self, name: Callable[..., str]) -> str:
        """Return the metrics, a line for each.

        :param name: from a template of :mod:`api.telemetry.metrics` and its parts to a name
        """
        resource = NO_RESOURCE if self._rule is None else getattr(self._resource, "metric_name", OTHER_RESOURCE)
        method = self._method if self._method in MEASURED_METHODS else OTHER_METHOD
        # How long a watch takes is up to its client: it says nothing of how fast the service is.
        template = WATCH if self._watches else REQUEST
        request = name(template, resource=resource, method=method, status=self._status)
        lines = (
            f"{request}:{self._seconds * 1000:.3f}|ms\n"
            f"{name(RECEIVED_BYTES, resource=resource)}:{self._received_bytes}|c\n"
            f"{name(SENT_BYTES, resource=resource)}:{self._sent_bytes}|c\n"
        )
        for operation, seconds in self._store_seconds.items():
            lines += f"{name(STORE_DURATION, operation=operation)}:{seconds * 1000:.3f}|ms\n"
        if self._store_seconds:
            lines += f"{name(POOL_WAIT)}:{self.pool_wait_seconds * 1000:.3f}|ms\n"
        for operation, code in self._failures:
            lines += f"{name(STORE_FAILURE, operation=operation, code=code)}:1|c\n"
        return lines


# Not in Flask's g, which is gone when a stream is sent.
_current: ContextVar[RequestRecord | None] = ContextVar("record", default=None)


def current_record() -> RequestRecord:
    """Return the record of the current request; outside of one, a new record that nobody reads."""
    return _current.get() or RequestRecord("")


def add_pool_wait(seconds: float) -> None:
    """Add the time that the current request waited for a free connection."""
    current_record().pool_wait_seconds += seconds


class RecordedStream:
    """The body of an answer that is sent in chunks.

    :param chunks: the body
    :param report: called with the number of bytes at its end, however it ends
    """

    def __init__(self, chunks: Any, report: Callable[[int], None]) -> None:
        self._chunks = chunks
        self._report = report
        self._sent_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield chunk
            self._sent_bytes += len(chunk)

    def close(self) -> None:
        """Release what the body is read from: the server calls this once, also when the client has gone."""
        self._chunks.close()
        self._report(self._sent_bytes)


def register_records(app: Flask, metrics: Metrics | None) -> None:
    """Give every request an id, a line in the log, and metrics.

    :param metrics: where to send metrics, if anywhere
    """
    inner = app.wsgi_app

    def report(record: RequestRecord, sent_bytes: int) -> None:
        record.finish(sent_bytes)
        log_request(record.log_fields())
        if metrics is not None:
            metrics.send(partial(record.statsd_lines, metrics.name))

    def recorded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request_id = environ[REQUEST_ID] = id_of(environ)
        record = RequestRecord(request_id)
        if metrics is not None:
            _current.set(record)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            record.start_answer(int(status[:3]))
            return start_response(status, [*headers, (REQUEST_ID_HEADER, request_id)], *exc_info)

        body = inner(environ, start)
        if isinstance(body, list):
            report(record, sum(map(len, body)))
            return body
        return RecordedStream(body, partial(report, record))

    app.wsgi_app = recorded  # type: ignore[method-assign]  # as Flask documents it


def id_of(environ: WSGIEnvironment) -> str:
    """Return the id of a request: that of its client if it is well formed, else a new one."""
    given: str | None = environ.get("HTTP_X_REQUEST_ID")
    if given is not None and WELL_FORMED_ID.fullmatch(given):
        return given
    # It is no secret, so a random generator without a system call is enough.
    return f"{random.getrandbits(128):032x}"


@cache
def route(rule: str) -> str:
    """Return a rule of Werkzeug as Swagger writes it."""
    return RULE_VARIABLE.sub(r"{\1}", rule)
