"""What happens around every request: its id, the check of its URL, its log line and its metrics."""

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any
from urllib.parse import quote
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, Request, g
from flask.globals import request_ctx
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from api.telemetry.logs import log_request
from api.telemetry.metrics import Metrics, start_measuring
from resources.errors import InvalidEncoding
from resources.extensions import REQUEST_ID
from resources.parsing.urlencoded import check_encoding


REQUEST_ID_HEADER = "X-Request-Id"
RULE_VARIABLE = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class KeyConverter(BaseConverter):
    """The rest of a path, whatever is in it: a key may hold slashes and line breaks."""

    regex = r"[\s\S]+"
    part_isolating = False


class ReportedStream:
    """The body of an answer that is sent in chunks; its request is reported at its end, however it ends.

    :param chunks: the body
    :param report: told the length of the body
    """

    def __init__(self, chunks: Any, report: Callable[[int], None]) -> None:
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
        self._report(self._sent_bytes)


def register_requests(app: Flask, metrics: Metrics | None) -> None:
    """Give every request an id and a line in the log, and refuse URLs that cannot be decoded.

    :param app: the application
    :param metrics: where to send metrics, if anywhere
    """
    inner = app.wsgi_app

    def reported(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = time.perf_counter()
        if metrics is not None:
            start_measuring()
        request_id = environ[REQUEST_ID] = id_of(environ)
        reports: list[Callable[[int], None]] = []

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            # Here, because Flask forgets the request before its answer is sent.
            reports.append(report_of(request_ctx.request, int(status[:3]), started, metrics))
            return start_response(status, [*headers, (REQUEST_ID_HEADER, request_id)], *exc_info)

        body = inner(environ, start)
        [report] = reports
        if isinstance(body, list):
            report(sum(map(len, body)))
            return body
        return ReportedStream(body, report)

    app.wsgi_app = reported  # type: ignore[method-assign]  # as Flask documents it
    app.before_request(lambda: check_path(request_ctx.request))


def id_of(environ: WSGIEnvironment) -> str:
    """Give the id of a request: that of its client, if it is well formed.

    :param environ: the request
    """
    given: str | None = environ.get("HTTP_X_REQUEST_ID")
    if given is not None and WELL_FORMED_ID.fullmatch(given):
        return given
    # It names a request and keeps no secret: no system call for each.
    return f"{random.getrandbits(128):032x}"


def report_of(request: Request, status: int, started: float, metrics: Metrics | None) -> Callable[[int], None]:
    """Take down what is told of a request when its answer has been sent: never a key, never a value.

    :param request: the request
    :param status: the status of its answer
    :param started: when it came, by the clock that :func:`time.perf_counter` reads
    :param metrics: where to send metrics, if anywhere
    :return: logs the request and sends its metrics, given the length of the answer's body
    """
    key = (request.view_args or {}).get("key")
    token = g.get("token")
    rule = request.url_rule
    key_bytes = None if key is None else len(key.encode(errors="surrogatepass"))
    send = None if metrics is None else metrics.observe(request, status)

    def report(sent_bytes: int) -> None:
        seconds = time.perf_counter() - started
        log_request(
            {
                "request_id": request.environ[REQUEST_ID],
                "method": request.method,
                "route": None if rule is None else route(rule.rule),
                "status": status,
                "duration_ms": round(seconds * 1000, 3),
                "bytes": sent_bytes,
                "key_bytes": key_bytes,
                "token": token and token.name,
            }
        )
        if send is not None:
            send(seconds, sent_bytes)

    return report


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


@cache
def route(rule: str) -> str:
    """Write a rule of Werkzeug as Swagger does.

    :param rule: one of the few rules that there are
    """
    return RULE_VARIABLE.sub(r"{\1}", rule)
