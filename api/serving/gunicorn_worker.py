"""Gunicorn's worker on gevent: its idle connections, its refusals, and the version that it answers with."""

import time
from http import HTTPStatus
from typing import Any, Self

import gevent
from gunicorn import util
from gunicorn.workers.ggevent import GeventWorker


# Connections that wait longer give way where there is no room for others, and at a stop.
PATIENCE_SECONDS = 5
HTTP_1_1 = (1, 1)


class Wait(gevent.Timeout):
    """Ends a connection on which no request comes in time.

    :param waits: those of all connections of the worker
    """

    def __init__(self, seconds: float, waits: set["Wait"]) -> None:
        super().__init__(seconds, exception=False)
        self.since = time.monotonic()
        self.greenlet = gevent.getcurrent()
        self._waits = waits

    def __enter__(self) -> Self:
        self._waits.add(self)
        super().__enter__()
        return self

    def __exit__(self, *details: object) -> Any:
        self._waits.discard(self)
        return super().__exit__(*details)


class Worker(GeventWorker):
    """A worker whose idle connections live long, unless there is no room or no time for them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waits: set[Wait] = set()
        self._connections = 0

    def timeout_ctx(self) -> Wait:
        """Limit the wait for the next head of a request, on a new connection and on one that is kept alive."""
        return Wait(self.cfg.keepalive, self._waits)

    def notify(self) -> None:
        """Send the heartbeat, once a second; where there is no room or a stop, end what waits for long."""
        super().notify()
        if not self.alive or self._connections >= self.worker_connections:
            before = time.monotonic() - PATIENCE_SECONDS
            for wait in [wait for wait in self._waits if wait.since < before]:
                gevent.kill(wait.greenlet, wait, block=False)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection to its end."""
        self._connections += 1
        try:
            super().handle(listener, client, addr)
        finally:
            self._connections -= 1

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request, as HTTP/1.1 if it is of a later minor version (RFC 9110 section 2.5)."""
        req.version = min(req.version, HTTP_1_1)
        super().handle_request(listener_name, req, sock, addr)


def write_problem(sock: Any, status: int, _reason: str, _message: str) -> None:
    """Send a problem document for what is no request, without a word of it.

    :param status: the status that Gunicorn has found
    """
    # Gunicorn's parent reads this module too, and must not read these.
    from api.errors import PROBLEM_JSON, refusal  # noqa: PLC0415
    from api.telemetry.record import REQUEST_ID_HEADER, id_of  # noqa: PLC0415

    request_id = id_of({})
    body = refusal(status, request_id)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\nContent-Type: {PROBLEM_JSON}\r\n"
        f"Content-Length: {len(body)}\r\n{REQUEST_ID_HEADER}: {request_id}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode() + body)


# There is no setting for it.
util.write_error = write_problem
