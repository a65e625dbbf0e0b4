"""Bodies of answers: encoded once, whole when they are small and as a stream when they are not."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from flask import Response

from models.entry import value_to_json
from resources.json_body import JSON


# A list up to this size is sent whole, with its Content-Length.
WHOLE_BYTES = 64 * 1024


def json_response(body: Any) -> Response:
    """Send JSON.

    :param body: what to encode
    """
    return Response(orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE), mimetype=JSON)


def list_response(chunks: Iterator[bytes], media_type: str) -> Response:
    """Send a list of any length.

    Its start is read before anything is sent, so that a store that is down gives an error and not half an answer. If it
    fails later the stream breaks off without its last chunk.

    :param chunks: the body, some at a time
    :param media_type: what it is
    """
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) > WHOLE_BYTES:
            return cached(Response(_joined(bytes(head), chunks), content_type=media_type))
    return cached(Response(bytes(head), content_type=media_type))


def cached(response: Response) -> Response:
    """Tell caches that they have to ask each time, and that the answer depends on what the client accepts.

    :param response: an answer to GET or HEAD
    """
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Vary"] = "Accept"
    return response


def object_chunks(batches: Iterable[dict[str, bytes | None]]) -> Iterator[bytes]:
    """Write entries as one JSON object.

    :param batches: the entries, some at a time; a value that is None becomes null
    """
    opening = b"{"
    for batch in batches:
        members = {key: None if value is None else value_to_json(value) for key, value in batch.items()}
        if members:
            yield opening + orjson.dumps(members)[1:-1]
            opening = b","
    yield b"{}\n" if opening == b"{" else b"}\n"


def _joined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest
