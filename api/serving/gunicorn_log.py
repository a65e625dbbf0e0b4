"""Gunicorn's own log and metrics, without work for lines that are not written; and gevent's, as lines of the log."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from gunicorn.instrument.statsd import Statsd

from api import LOGGER
from resources.extensions import WATCHES


log = logging.getLogger(f"{LOGGER}.server")


class ServerLog(Statsd):
    """Its log, and its metrics if a statsd server is set, by our setting or by Gunicorn's own option."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.send: Callable[[Callable[[], str]], None] = lambda lines: self._sock_send(lines().rstrip())

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Send what Gunicorn measures of a request: at once, not in three datagrams.

        With settings for `logging` Gunicorn takes its access log to be wanted, and gathers a hundred variables for a
        line that nobody writes. If its option for an access log is set the line is written.
        """
        if self.cfg.accesslog or self.dogstatsd_tags:
            super().access(resp, req, environ, request_time)
        elif self.sock is not None:
            prefix, status, duration_ms = self.prefix, resp.status_code, request_time.total_seconds() * 1000
            # That of a watch is up to its client.
            duration = "" if WATCHES in environ else f"{prefix}gunicorn.request.duration:{duration_ms:.3f}|ms\n"
            self.send(
                lambda: f"{duration}{prefix}gunicorn.requests:1|c\n{prefix}gunicorn.request.status.{status}:1|c\n"
            )


def log_exception(_context: object, kind: Any, error: Any, trace: Any) -> None:
    """Log an exception that nobody has caught, in the place of gevent's hub.

    It would write to standard error, many lines each time.
    """
    log.error("An exception was not caught.", exc_info=(kind, error, trace))
