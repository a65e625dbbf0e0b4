"""What happens around every request: its id, the check of its URL, its log line and its metrics."""

import logging
import random
import re
import time
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import quote

from flask import Flask, Request, Response, g
from flask.globals import request_ctx
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from api.logs import LOGGER
from api.metrics import Metrics, start_measuring
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


class Report:
    """What is told of the current request when its answer has been sent.

    :param request: the request
    :param response: its answer
    :param metrics: where to send metrics, if anywhere
    """

    def __init__(self, request: Request, response: Response, metrics: Metrics | None) -> None:
        self._line = request_line(request, response)
        self._started = g.started
        self._send = None if metrics is None else metrics.observe(response.status_code)

    def finish(self, sent_bytes: int) -> None:
        """Log the request, and send its metrics.

        :param sent_bytes: the length of the answer's body
        """
        seconds = time.perf_counter() - self._started
        fields = {**self._line, "duration_ms": round(seconds * 1000, 3), "bytes": sent_bytes}
        log.info("", extra={"fields": fields})
        if self._send is not None:
            self._send(seconds, sent_bytes)


class ReportedStream:
    """The body of an answer that is sent in chunks; its request is reported at its end, however it ends.

    :param chunks: the body
    :param report: what is told of the request
    """

    def __init__(self, chunks: Any, report: Report) -> None:
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
        self._report.finish(self._sent_bytes)


def register_request_hooks(app: Flask, metrics: Metrics | None) -> None:
    """Give every request an id and a line in the log, and refuse URLs that cannot be decoded.

    :param app: the application
    :param metrics: where to send metrics, if anywhere
    """

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        if metrics is not None:
            start_measuring()
        # Each use of Flask's `request` is a look-up of its own, which costs more than most of what is looked up.
        request = request_ctx.request
        given = request.headers.get(REQUEST_ID_HEADER, "")
        # It names a request and keeps no secret: no system call for each.
        g.request_id = given if WELL_FORMED_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        check_path(request)

    @app.after_request
    def end(response: Response) -> Response:
        request = request_ctx.request
        response.headers.add(REQUEST_ID_HEADER, g.request_id)
        report = Report(request, response, metrics)
        if response.is_streamed:
            response.response = ReportedStream(response.response, report)
        else:
            report.finish(sum(map(len, response.response)) if request.method != "HEAD" else 0)
        return response


def check_path(request: Request) -> None:
    """Refuse a path that is not what it seems: Werkzeug would replace bytes that are not UTF-8 without a word.

    :param request: the request
    :raises NotFound: it starts with two slashes
    :raises InvalidEncoding: it has a fragment, or its percent-encoding is malformed or not UTF-8
    """
    if request.environ["PATH_INFO"].startswith("//"):
        # Werkzeug would take it for /keys.
        raise NotFound
    # As the client wrote it, where the server gives that; else as it can be told from what the server has decoded.
    target = request.environ.get("RAW_URI") or quote(request.environ["PATH_INFO"], encoding="latin-1")
    path = target.partition("?")[0].encode("latin-1")
    if b"#" in path:
        raise InvalidEncoding("The path holds a #, which starts a fragment that is never sent: write %23 for it.")
    check_encoding(path)


def request_line(request: Request, response: Response) -> dict[str, Any]:
    """Say about a request what is known before its answer is sent; never a key, never a value.

    :param request: the request
    :param response: its answer
    """
    key = (request.view_args or {}).get("key")
    token = g.get("token")
    return {
        "request_id": g.request_id,
        "method": request.method,
        "route": route(request.url_rule.rule) if request.url_rule else None,
        "status": response.status_code,
        "key_bytes": None if key is None else len(key.encode(errors="surrogatepass")),
        "token": token and token.name,
    }


@cache
def route(rule: str) -> str:
    """Write a rule of Werkzeug as Swagger does.

    :param rule: one of the few rules that there are
    """
    return RULE_VARIABLE.sub(r"{\1}", rule)
