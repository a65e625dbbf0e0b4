"""Logging to standard output, one line for each event, as JSON or plain text."""

import fcntl
import logging
import os
import re
import stat
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson

from api import LOGGER


STANDARD_OUTPUT = 1
# What may wait in a pipe for its reader, some thousand lines: the most that Linux gives by default.
PIPE_BYTES = 1_048_576
ABOUT_A_REQUEST = re.compile(r"(Invalid request from ip=\S+: [^:]*|Error handling request)")
# What a terminal would take for a command, and what ends a line somewhere.
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
requests_log = logging.getLogger(f"{LOGGER}.requests")

REQUEST_FIELDS = ("request_id", "method", "route", "status", "duration_ms", "bytes", "key_bytes", "token")


class JsonFormatter(logging.Formatter):
    """One JSON object for each line: `time` and `level`, then the event's own fields or its message."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line.

        :param record: the event; its attribute ``fields``, if any, is a dict of JSON types
        """
        fields = dict(getattr(record, "fields", {}))
        message = record.getMessage()
        if message:
            fields |= {"logger": record.name, "message": message}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        line = self.line(record.created, record.levelname, fields).decode()
        # JSON leaves those above 0x7e as they are.
        return CONTROL_CHARACTER.sub(lambda found: f"\\u{ord(found[0]):04x}", line)

    def line(self, created: float, level: str, fields: dict[str, Any]) -> bytes:
        """Write one line.

        :param created: when the event was, in seconds since 1970
        :param level: the name of its level
        :param fields: all that is said about it
        """
        time_and_level = {"time": datetime.fromtimestamp(created, UTC), "level": level.lower()}
        return orjson.dumps(time_and_level | fields, default=str)


class TextFormatter(logging.Formatter):
    """The same for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, and a stack trace below it if there is one.

        :param record: as for :class:`JsonFormatter`
        """
        fields = getattr(record, "fields", {})
        line = self.line(record.created, record.levelname, fields, record.getMessage()).decode()
        trace = self.formatException(record.exc_info).split("\n") if record.exc_info else []
        return "\n".join([line, *map(_escaped, trace)])

    def line(self, created: float, level: str, fields: dict[str, Any], message: str = "") -> bytes:
        """Write one line.

        :param created: as for :class:`JsonFormatter`
        :param level: the same
        :param fields: the same
        :param message: what stands before them
        """
        words = [f"{datetime.fromtimestamp(created).astimezone():%H:%M:%S}", level.lower()]
        words += [message] if message else []
        words += [f"{name}={value}" for name, value in fields.items() if value is not None]
        return _escaped(" ".join(words)).encode()


def _escaped(text: str) -> str:
    return CONTROL_CHARACTER.sub(lambda found: repr(found[0])[1:-1], text)


class LineHandler(logging.Handler):
    """Writes each line at once, by one system call. Drops and counts lines that nobody reads from a pipe.

    A write that waited for the reader would stop all requests of a worker.
    """

    formatter: JsonFormatter | TextFormatter

    def __init__(self) -> None:
        super().__init__()
        self._output = _open_output()
        # The rest of a line for which there was no room: only long ones are written in parts.
        self._rest = b""
        self._dropped_lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            self.write(self.format(record).encode())
        except Exception:  # noqa: BLE001  # no event may fail for its line, as in every handler of `logging`
            self.handleError(record)

    def write(self, line: bytes) -> None:
        """Write a line.

        :param line: without its end
        """
        before = self._rest + self._dropped_line() if self._dropped_lines else self._rest
        lines = before + line + b"\n"
        try:
            written = os.write(self._output, lines)
        except BlockingIOError:
            self._dropped_lines += 1
        else:
            self._rest = lines[written:]
            self._dropped_lines = 0

    def close(self) -> None:
        """Close what only this handler writes to."""
        output, self._output = self._output, STANDARD_OUTPUT
        if output != STANDARD_OUTPUT:
            os.close(output)
        super().close()

    def _dropped_line(self) -> bytes:
        text = f"{self._dropped_lines} lines were dropped, because nobody read the log."
        record = logging.LogRecord(f"{LOGGER}.log", logging.WARNING, __file__, 0, text, None, None)
        return self.format(record).encode() + b"\n"


def _open_output() -> int:
    """Return a descriptor of standard output that never waits if that is a pipe (Linux).

    A pipe is opened anew, because O_NONBLOCK on the descriptor at hand would hold for all programs that share it.
    """
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(STANDARD_OUTPUT).st_mode):
            output = os.open(f"/proc/self/fd/{STANDARD_OUTPUT}", os.O_WRONLY | os.O_NONBLOCK)
            with suppress(OSError):
                fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            return output
    return STANDARD_OUTPUT


def log_request(fields: dict[str, Any]) -> None:
    """Log that a request was answered.

    If our handler is the only one it gets the line directly, without an event of `logging`.

    :param fields: :data:`REQUEST_FIELDS`
    """
    if not requests_log.isEnabledFor(logging.INFO):
        return
    match logging.root.handlers:
        case [LineHandler() as ours]:
            try:
                ours.write(ours.formatter.line(time.time(), "INFO", fields))
            except Exception:  # noqa: BLE001  # no request may fail for its line
                ours.handleError(logging.makeLogRecord({"fields": fields}))
        case _:
            requests_log.info("", extra={"fields": fields})


class WithoutRequest(logging.Filter):
    """Removes the request from Gunicorn's own lines: it holds keys and values."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the line, but of its message only what was wrong with the request."""
        about_request = ABOUT_A_REQUEST.match(record.getMessage())
        if about_request:
            record.msg, record.args = about_request[1], None
        return True


def logging_config(level: str, format_: str) -> dict[str, Any]:
    """Return the configuration of `logging`, for `dictConfig` and Gunicorn's ``logconfig_dict``.

    :param level: the least severe level
    :param format_: ``json``, ``text``, or ``auto`` for text on a terminal
    """
    if format_ == "auto":
        format_ = "text" if sys.stdout.isatty() else "json"
    formatter = TextFormatter if format_ == "text" else JsonFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{formatter.__module__}.{formatter.__name__}"}},
        "filters": {"without request": {"()": f"{WithoutRequest.__module__}.{WithoutRequest.__name__}"}},
        "handlers": {
            "stdout": {"class": f"{LineHandler.__module__}.{LineHandler.__name__}", "formatter": "line"},
        },
        "root": {"level": "WARNING", "handlers": ["stdout"]},
        "loggers": {
            LOGGER: {"level": level.upper()},
            # Its start and stop lines say nothing that ours do not.
            "gunicorn.error": {"level": "WARNING", "filters": ["without request"]},
        },
    }
