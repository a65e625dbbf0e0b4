"""Bodies of answers: encoded once, whole when they are small and as a stream when they are not."""

import socket
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any
from wsgiref.types import WSGIEnvironment

import orjson
from flask import Response, request
from werkzeug.datastructures import Headers

from models.entry import values_to_json
from models.errors import RequestError
from resources.media_types import JSON


# A list up to this size is sent whole, with its Content-Length.
WHOLE_BYTES = 64 * 1024
# For SO_LINGER: close a connection as usual, or by a reset.
CLOSE, RESET = struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)


class BytesResponse(Response):
    """A response of ours, whose headers are complete and whose body is bytes.

    Werkzeug would copy and search the headers once more for each.
    """

    default_mimetype = None

    def __init__(
        self, body: bytes | Iterable[bytes] | None = None, status: int = 200, content_type: str | None = None
    ) -> None:
        super().__init__(status=status, direct_passthrough=True)
        if content_type is not None:
            self.headers.add("Content-Type", content_type)
        if isinstance(body, bytes):
            self.response = [body]
            self.headers.add("Content-Length", str(len(body)))
        elif body is not None:
            self.response = body

    def get_wsgi_headers(self, environ: Any) -> Headers:  # noqa: ARG002  # as its parent's
        """Return the headers as they are."""
        return self.headers


def json_response(body: Any) -> BytesResponse:
    """Return a response in JSON."""
    return BytesResponse(orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE), content_type=JSON)


class Limiter:
    """How many answers of one kind a worker may be busy with at a time: what takes long, and holds memory meanwhile.

    :param limit: how many
    :param refusal: the error for one more, made of the limit
    """

    def __init__(self, limit: int, refusal: Callable[[int], RequestError]) -> None:
        self._limit = limit
        self._refusal = refusal
        self._free = BoundedSemaphore(limit)

    def acquire(self) -> None:
        """Count one more.

        :raises RequestError: there are as many already
        """
        if not self._free.acquire(blocking=False):
            raise self._refusal(self._limit)

    def release(self) -> None:
        """Count one less."""
        self._free.release()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count one more meanwhile.

        :raises RequestError: there are as many already
        """
        self.acquire()
        try:
            yield
        finally:
            self.release()


class LimitedStream:
    """The body of a long list, which is counted until it is closed, whether it was sent or not.

    :param head: its start
    :param rest: what comes after, some at a time
    :param limiter: counts those of this worker
    :raises TooManyLists: as many as allowed are being sent already
    """

    def __init__(self, head: bytes, rest: Generator[bytes], limiter: Limiter, environ: WSGIEnvironment) -> None:
        limiter.acquire()
        self._head = head
        self._rest = rest
        self._limiter: Limiter | None = limiter
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        with reset_unless_complete(self._environ):
            head, self._head = self._head, b""
            yield head
            # Else it would be held as long as the client reads.
            del head
            yield from self._rest

    def close(self) -> None:
        """Release what the list is read from, and make room for another list."""
        if self._limiter is not None:
            self._limiter.release()
            self._limiter = None
            self._rest.close()


@contextmanager
def reset_unless_complete(environ: WSGIEnvironment) -> Iterator[None]:
    """End the connection by a reset if a stream over HTTP/1.0 breaks off, even if this process is killed.

    HTTP/1.0 has no last chunk: a stream is complete when its connection is closed.
    """
    # Granian does not hand over its connection.
    connection: socket.socket | None = environ.get("gunicorn.socket")
    if connection is None or environ["SERVER_PROTOCOL"] != "HTTP/1.0":
        yield
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    try:
        yield
    except BaseException:
        # Before Gunicorn ends it in the usual way.
        connection.close()
        raise
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE)


def list_response(chunks: Generator[bytes], media_type: str, limiter: Limiter) -> BytesResponse:
    """Return a list of any length.

    Its start is read before anything is sent, so that a store that is down gives an error and not half an answer. If it
    fails later the stream breaks off without its last chunk, or by a reset over HTTP/1.0.

    :param chunks: the body, some at a time
    :param media_type: its media type
    :param limiter: counts long lists
    :raises TooManyLists: it is long, and as many as allowed are being sent already
    """
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) > WHOLE_BYTES:
            stream = LimitedStream(bytes(head), chunks, limiter, request.environ)
            return cached(BytesResponse(stream, content_type=media_type))
    return cached(BytesResponse(bytes(head), content_type=media_type))


def cached(response: BytesResponse) -> BytesResponse:
    """Let caches ask each time, and say that the answer to a GET or HEAD depends on the header Accept."""
    # Not by assignment, which first searches for a header of the same name.
    response.headers.add("Cache-Control", "no-cache")
    response.headers.add("Vary", "Accept")
    return response


def object_chunks(batches: Iterable[dict[str, bytes | None]]) -> Generator[bytes]:
    """Return entries as the chunks of one JSON object.

    :param batches: the entries, some at a time; a value that is None becomes null
    """
    opening = b"{"
    for batch in batches:
        if batch:
            yield opening + orjson.dumps(values_to_json(batch))[1:-1]
            opening = b","
    yield b"{}\n" if opening == b"{" else b"}\n"
