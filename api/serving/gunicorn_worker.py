"""Gunicorn's worker on gevent: how it accepts connections, its refusals, and how answers are sent."""

import socket
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache, partial
from http import HTTPStatus
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT
from typing import Any

from gevent.server import StreamServer
from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.http.body import ChunkedReader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from api.serving.gunicorn_connection import Clients, Connection


HTTP_1_1 = (1, 1)
# Of one worker, in one round of its loop. Gunicorn's is one, and new connections would wait longest under load.
ACCEPTED_AT_A_TIME = 8
# So much of a body is read in one piece of work.
BODY_CHUNK_BYTES = 16 * 1024
# A body that is longer and that nobody has read is not read away for the next request.
UNREAD_BYTES = 64 * 1024
# A body, or a piece of one, that is longer is not copied to be sent together with the head before it.
SENT_TOGETHER_BYTES = 64 * 1024
# What the kernel holds of an answer beside what is on its way.
NOT_SENT_BYTES = 128 * 1024
# How long a client may leave unacknowledged what was sent. Linux would wait for a quarter of an hour for one whose
# network is gone; with the heartbeat of event streams it is noticed within a minute.
UNACKNOWLEDGED_MS = 40_000


class Worker(GeventWorker):
    """A worker whose connections give way to each other, and wait for their clients within limits."""

    _clients: Clients

    def run(self) -> None:
        """Serve until a stop."""
        # Gunicorn's parent reads this module too, and must not read that one.
        from models.turn import Turn  # noqa: PLC0415

        self._clients = Clients(self.worker_connections)
        Turn.pause = self._clients.give_way
        # Gunicorn would find each by two calls, twenty times for each request.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        for listener in self.sockets:
            # A unix socket has none.
            with suppress(OSError):
                listener.setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOT_SENT_BYTES)
                if sys.platform == "linux":
                    listener.setsockopt(IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
        super().run()

    def server_class(self, listener: Any, *, spawn: Any, **_: object) -> StreamServer:
        """Return what accepts connections: some at a time, so that new ones do not wait longer than others."""
        server = StreamServer(listener, handle=partial(self.handle, listener), spawn=spawn)
        server.max_accept = ACCEPTED_AT_A_TIME
        return server

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """Leave time limits to :class:`Connection`."""
        return nullcontext()

    def notify(self) -> None:
        """Send the heartbeat, once a second, and end what waits for too long."""
        super().notify()
        self._clients.end_late_ones(stopping=not self.alive)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection to its end."""
        self._clients.enter()
        try:
            # Not the parent's, which makes the socket wait by itself.
            AsyncWorker.handle(self, listener, Connection(client, self._clients, self.cfg.keepalive), addr)
        finally:
            self._clients.leave()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request, as HTTP/1.1 if it is of a later minor version (RFC 9110 section 2.5)."""
        req.version = min(req.version, HTTP_1_1)
        sock.begin_request()
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            sock.lingers = is_unread(req.body)
            sock.end_request()


class ClosingRequest(Request):
    """A request after which the connection is closed if nobody has read its body."""

    def should_close(self) -> bool:
        """Return whether the connection ends with the answer."""
        return super().should_close() or is_unread(self.body)


class Answer(wsgi.Response):
    """An answer whose head is sent together with the first piece of its body, by one system call."""

    headers_sent: bool
    _head = b""

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Take the headers of the application: checked as Gunicorn does, but all values at once."""
        names, values = zip(*headers, strict=True) if headers else ((), ())
        length_at = _content_length_at(names)
        if length_at is None or not wsgi.HEADER_VALUE_RE.fullmatch("".join(values)):
            super().process_headers(headers)
            return
        self.headers += headers
        if length_at < len(values):
            self.response_length = int(values[length_at])

    def send_headers(self) -> None:
        """Hold the head until the next piece of the body, or until it is clear that there is none."""
        if not self.headers_sent:
            self.headers_sent = True
            lines = [*self.default_headers(), *[f"{name}: {value}\r\n" for name, value in self.headers], "\r\n"]
            self._head = "".join(lines).encode("latin-1")

    def write(self, arg: bytes) -> None:
        """Send a piece of the body, or the head alone."""
        super().write(arg)
        self._send(b"")

    def close(self) -> None:
        """Send what is left: the end of a chunked body, or a head without a body."""
        self.send_headers()
        self._send(b"0\r\n\r\n" if self.chunked else b"")

    def _emit_body(self, data: bytes) -> None:
        self._send(b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def _send(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if head and len(data) > SENT_TOGETHER_BYTES:
            self.sock.sendall(head)
            head = b""
        if head or data:
            self.sock.sendall(head + data)


@cache
def _content_length_at(names: Sequence[str]) -> int | None:
    """Return where among the headers of an answer its length is, or their number if it is not there.

    :return: None if they need a closer look: one is not a name, or is not for applications to send
    """
    lower = [name.lower() for name in names]
    if not all(map(wsgi.TOKEN_RE.fullmatch, names)) or any(map(util.is_hoppish, names)):
        return None
    return lower.index("content-length") if "content-length" in lower else len(names)


def is_unread(body: Any) -> bool:
    """Return whether more is left of a body than is read away, or perhaps more."""
    reader = body.reader
    return body.failed or (
        reader.parser is not None if isinstance(reader, ChunkedReader) else reader.length > UNREAD_BYTES
    )


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
    sock.lingers = True
    sock.sendall(head.encode() + body)


# There are no settings for these.
util.write_error = write_problem
wsgi.Response = Answer
# What every environ starts with is made once.
_base_environ = cache(wsgi.base_environ)
wsgi.base_environ = lambda cfg: _base_environ(cfg).copy()
RequestParser.mesg_class = ClosingRequest
SocketUnreader.max_body_chunk = BODY_CHUNK_BYTES
