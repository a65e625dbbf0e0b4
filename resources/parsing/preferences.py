"""`Prefer: wait=N`: how long a client would wait for something new (RFC 7240).

A preference is a hint: what is malformed or not known means nothing.
"""

import re

from flask import Response
from flask.globals import request_ctx
from werkzeug.http import parse_list_header


PREFER = "Prefer"
APPLIED = "Preference-Applied"
MAX_WAIT_SECONDS = 300
_NAME = re.compile(r"wait\s*(?:[=;]|$)", re.IGNORECASE)
_WAIT = re.compile(r'wait\s*=\s*(?P<quote>"?)(?P<seconds>[0-9]{1,18})(?P=quote)\s*(?:;.*)?', re.IGNORECASE)


def read_wait() -> int | None:
    """Return how many seconds the current request would wait, at most as many as it may; None if it does not say."""
    header = request_ctx.request.environ.get("HTTP_PREFER")
    if header is None:
        return None
    # If it is there several times the first one counts.
    said = next(filter(_NAME.match, parse_list_header(header)), "")
    found = _WAIT.fullmatch(said)
    return min(int(found["seconds"]), MAX_WAIT_SECONDS) if found else None


def apply_wait(response: Response, seconds: int) -> None:
    """Say in an answer how long it would have waited."""
    response.headers.add(APPLIED, f"wait={seconds}")
