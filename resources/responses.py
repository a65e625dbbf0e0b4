"""Bodies of answers: encoded once, whole when they are small and as a stream when they are not."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from flask import Response

from models.entry import value_to_json


JSON = "application/json"
# A list up to this size is sent whole, with its Content-Length.
WHOLE_BYTES = 64 * 1024


def json_response(body: Any) -> Response:
    """Send JSON.

    :param body: what to encode
    """
    return Response(orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE), mimetype=JSON)


def entries_response(batches: Iterable[dict[str, bytes | None]]) -> Response:
    """Send entries as one JSON object.

    The first of them are read before anything is sent, so that a store that is down gives an error and not half an
    answer. If it fails later the stream breaks off without its last chunk.

    :param batches: the entries, some at a time; a value that is None becomes null
    """
    chunks = _object_chunks(batches)
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) > WHOLE_BYTES:
            return Response(_joined(bytes(head), chunks), mimetype=JSON)
    return Response(bytes(head), mimetype=JSON)


def _object_chunks(batches: Iterable[dict[str, bytes | None]]) -> Iterator[bytes]:
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
