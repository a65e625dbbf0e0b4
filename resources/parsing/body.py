"""The bytes of a request's body: all of them, or an error."""

import sys
from collections.abc import Iterator
from typing import IO

from flask.globals import request_ctx

from models.errors import ValueTooLarge
from resources.errors import BodyTimeout, BodyTooLarge, InvalidBody
from resources.extensions import BODY_BYTES
from resources.held import hold, release


CHUNK_BYTES = 16 * 1024


class Chunks:
    """The chunks that are held of the current request's body.

    The first one is not counted: small requests go on while large ones are refused.
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._counted = 0

    def add(self, chunk: bytes) -> None:
        """Hold a chunk more.

        :raises TooManyBytes: the worker holds as many bytes as it may
        """
        if self._chunks:
            hold(len(chunk))
            self._counted += len(chunk)
        self._chunks.append(chunk)

    def joined(self) -> bytes:
        """Return all of them as one, which counts until the request ends."""
        whole = b"".join(self._chunks)
        self._chunks.clear()
        return whole

    def take(self) -> bytes:
        """Return all of them as one, and hold nothing."""
        whole = self.joined()
        release(self._counted)
        self._counted = 0
        return whole


def read_bytes() -> bytes:
    """Return the body of the current request.

    :raises BodyTooLarge: it is above the application's limit
    :raises TooManyBytes: the worker holds as many bytes as it may
    :raises BodyTimeout: it came too slowly
    :raises InvalidBody: it ended too early, or its chunks are malformed
    """
    return _read_whole(request_ctx.request.max_content_length or sys.maxsize)


def read_value(key: str, max_value_bytes: int) -> bytes:
    """Return the body of the current request, which is the value of a key.

    :param key: named in the error
    :raises ValueTooLarge: it is above the limit: known from its length before it is read, or as soon as too much came
    :raises BodyTooLarge: it is above the application's limit
    :raises TooManyBytes: the worker holds as many bytes as it may
    :raises BodyTimeout: it came too slowly
    :raises InvalidBody: it ended too early, or its chunks are malformed
    """
    max_body_bytes = request_ctx.request.max_content_length or sys.maxsize
    try:
        return _read_whole(min(max_value_bytes, max_body_bytes))
    except BodyTooLarge as error:
        if max_value_bytes >= max_body_bytes:
            raise
        raise ValueTooLarge(key, max_value_bytes, error.members.get("actual")) from None


def read_chunks(*, max_bytes: int | None = None) -> Iterator[bytes]:
    """Return the body of the current request, some bytes at a time.

    :param max_bytes: the limit; None for none
    :raises BodyTooLarge: it is above the limit
    :raises BodyTimeout: it came too slowly
    :raises InvalidBody: it ended too early, or its chunks are malformed
    """
    # Each use of Flask's `request` is a look-up of its own.
    request = request_ctx.request
    # Not Werkzeug's stream, which cuts a chunked body at its limit without a word, and hides why one breaks off.
    stream = request.environ["wsgi.input"]
    announced_bytes = request.content_length or 0
    received_bytes = 0
    if max_bytes is not None and announced_bytes > max_bytes:
        raise BodyTooLarge(max_bytes, announced_bytes)
    while chunk := _read(stream):
        received_bytes += len(chunk)
        request.environ[BODY_BYTES] = received_bytes
        if max_bytes is not None and received_bytes > max_bytes:
            raise BodyTooLarge(max_bytes)
        yield chunk
    # Gunicorn gives what came of a body whose client went away, as if it were all: a value cut short would be stored.
    if received_bytes < announced_bytes:
        raise InvalidBody(f"The body ended after {received_bytes:,} of {announced_bytes:,} bytes.")


def _read_whole(max_bytes: int) -> bytes:
    chunks = Chunks()
    for chunk in read_chunks(max_bytes=max_bytes):
        chunks.add(chunk)
    # What is made of it takes memory too.
    return chunks.joined()


def _read(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(CHUNK_BYTES)
    except TimeoutError as error:
        raise BodyTimeout from error
    except Exception as error:  # every server has exceptions of its own for this
        raise InvalidBody("The body is malformed, or its client has gone (RFC 9112 section 7.1).") from error
