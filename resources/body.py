"""The bytes of a request's body, and nothing less than all of them."""

from collections.abc import Iterator

from flask import request
from werkzeug.exceptions import HTTPException

from models.errors import InvalidBody


CHUNK_BYTES = 64 * 1024


def read_bytes() -> bytes:
    """Read the body of the current request.

    :raises InvalidBody: it ended too early, or its chunks are malformed
    """
    return b"".join(read_chunks())


def read_chunks() -> Iterator[bytes]:
    """Read the body of the current request, some at a time.

    :raises InvalidBody: it ended too early, or its chunks are malformed
    """
    received_bytes = 0
    while chunk := _read():
        received_bytes += len(chunk)
        yield chunk
    # Gunicorn gives what came of a body whose client went away, as if it were all: a value cut short would be stored.
    if received_bytes < (request.content_length or 0):
        raise InvalidBody(f"The body ended after {received_bytes:,} of {request.content_length:,} bytes.")


def _read() -> bytes:
    try:
        return request.stream.read(CHUNK_BYTES)
    except HTTPException:
        raise
    except Exception as error:  # every server has exceptions of its own for this
        raise InvalidBody("The body is malformed: its chunks do not follow RFC 9112 section 7.1.") from error
