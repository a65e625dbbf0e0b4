"""The bytes of a request's body: all of them, or an error."""

import sys
from collections.abc import Iterator

from flask import Request
from flask.globals import request_ctx

from models.errors import ValueTooLarge
from resources.errors import BodyTooLarge, InvalidBody
from resources.extensions import BODY_BYTES


CHUNK_BYTES = 64 * 1024


def read_bytes() -> bytes:
    """Return the body of the current request.

    :raises BodyTooLarge: it is above the application's limit
    :raises InvalidBody: it ended too early, or its chunks are malformed
    """
    return b"".join(read_chunks(max_bytes=request_ctx.request.max_content_length))


def read_value(key: str, max_value_bytes: int) -> bytes:
    """Return the body of the current request, which is the value of a key.

    :param key: named in the error
    :raises ValueTooLarge: it is above the limit: known from its length before it is read, or as soon as too much came
    :raises BodyTooLarge: it is above the application's limit
    :raises InvalidBody: it ended too early, or its chunks are malformed
    """
    max_body_bytes = request_ctx.request.max_content_length or sys.maxsize
    try:
        return b"".join(read_chunks(max_bytes=min(max_value_bytes, max_body_bytes)))
    except BodyTooLarge as error:
        if max_value_bytes >= max_body_bytes:
            raise
        raise ValueTooLarge(key, max_value_bytes, error.members.get("actual")) from None


def read_chunks(*, max_bytes: int | None = None) -> Iterator[bytes]:
    """Return the body of the current request, some bytes at a time.

    :param max_bytes: the limit; None for none
    :raises BodyTooLarge: it is above the limit
    :raises InvalidBody: it ended too early, or its chunks are malformed
    """
    # Each use of Flask's `request` is a look-up of its own.
    request = request_ctx.request
    # Werkzeug's own limit would cut a chunked body without a word.
    request.max_content_length = sys.maxsize
    announced_bytes = request.content_length or 0
    received_bytes = 0
    if max_bytes is not None and announced_bytes > max_bytes:
        raise BodyTooLarge(max_bytes, announced_bytes)
    while chunk := _read(request):
        received_bytes += len(chunk)
        request.environ[BODY_BYTES] = received_bytes
        if max_bytes is not None and received_bytes > max_bytes:
            raise BodyTooLarge(max_bytes)
        yield chunk
    # Gunicorn gives what came of a body whose client went away, as if it were all: a value cut short would be stored.
    if received_bytes < announced_bytes:
        raise InvalidBody(f"The body ended after {received_bytes:,} of {announced_bytes:,} bytes.")


def _read(request: Request) -> bytes:
    try:
        return request.stream.read(CHUNK_BYTES)
    except Exception as error:  # every server has exceptions of its own for this
        raise InvalidBody("The body is malformed, or its client has gone (RFC 9112 section 7.1).") from error
