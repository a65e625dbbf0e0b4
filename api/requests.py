"""What happens around every request: its id, the check of its URL, its log line."""

import logging
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from api.logs import LOGGER
from models.errors import InvalidEncoding
from resources.urlencoded import check_encoding


REQUEST_ID_HEADER = "X-Request-Id"
RULE_VARIABLE = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

log = logging.getLogger(f"{LOGGER}.requests")


class KeyConverter(BaseConverter):
    """The rest of a path, whatever is in it: a key may hold slashes and line breaks."""

    regex = r"[\s\S]+"
    part_isolating = False


class LoggedStream:
    """The body of an answer that is sent in chunks; the request is logged at its end, however it ends.

    :param chunks: the body
    :param line: what is known of the request
    :param started: when it came, on the performance counter
    """

    def __init__(self, chunks: Any, line: dict[str, object], started: float) -> None:
        self._chunks = chunks
        self._line = line
        self._started = started
        self._sent_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield chunk
            self._sent_bytes += len(chunk)

    def close(self) -> None:
        """Release what the body is read from: the server calls this once, also when the client has gone."""
        self._chunks.close()
        finish(self._line, self._sent_bytes, self._started)


def register_request_hooks(app: Flask) -> None:
    """Give every request an id and a line in the log, and refuse URLs that cannot be decoded.

    :param app: the application
    """

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        given = request.headers.get(REQUEST_ID_HEADER, "")
        g.request_id = given if WELL_FORMED_ID.fullmatch(given) else secrets.token_hex(16)
        check_path()

    @app.after_request
    def end(response: Response) -> Response:
        response.headers[REQUEST_ID_HEADER] = g.request_id
        line = request_line(response)
        if response.is_streamed:
            response.response = LoggedStream(response.response, line, g.started)
        else:
            finish(line, len(response.get_data()) if request.method != "HEAD" else 0, g.started)
        return response


def check_path() -> None:
    """Refuse a path that is not what it seems: Werkzeug would replace bytes that are not UTF-8 without a word.

    :raises NotFound: it starts with two slashes
    :raises InvalidEncoding: it has a fragment, or its percent-encoding is malformed or not UTF-8
    """
    if request.environ["PATH_INFO"].startswith("//"):
        # Werkzeug would take it for /keys.
        raise NotFound
    path = request.environ["RAW_URI"].partition("?")[0].encode("latin-1")
    if b"#" in path:
        raise InvalidEncoding("The path holds a #, which starts a fragment that is never sent: write %23 for it.")
    check_encoding(path)


def request_line(response: Response) -> dict[str, object]:
    """Say about the current request what is known before its answer is sent; never a key, never a value.

    :param response: its answer
    """
    key = (request.view_args or {}).get("key")
    return {
        "request_id": g.request_id,
        "method": request.method,
        "route": RULE_VARIABLE.sub(r"{\1}", request.url_rule.rule) if request.url_rule else None,
        "status": response.status_code,
        "key_bytes": None if key is None else len(key.encode(errors="surrogatepass")),
    }


def finish(line: dict[str, object], sent_bytes: int, started: float) -> None:
    """Log a request.

    :param line: what is known of it
    :param sent_bytes: the length of its body
    :param started: when it came, on the performance counter
    """
    duration_ms = round((time.perf_counter() - started) * 1000, 3)
    log.info("", extra={"fields": {**line, "duration_ms": duration_ms, "bytes": sent_bytes}})
