"""Watches, which end with their client, their token and their worker; and the long poll, a GET that waits by one."""

import time
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from typing import Any, cast
from wsgiref.types import WSGIEnvironment

from flask import request
from flask.globals import request_ctx

from models.errors import KeyNotFound
from models.watching.watcher import Batch, Watcher
from resources.extensions import WATCHES
from resources.parsing.conditions import NONE_MATCH
from resources.parsing.preferences import apply_wait
from resources.responses import BytesResponse, Limiter


# How long a watch waits before it looks whether it may go on.
CHECK_SECONDS = 1.0

# Gets what is told, for how many seconds the watch has been open since the last time, and since when its client waits.
OnTold = Callable[[Batch | None, float, float], object]


class Watch:
    """What one request is told of changes; it is counted until it is closed.

    :param open_watcher: begins to watch
    :param limiter: counts those of this worker
    :param is_stopping: says whether this worker only finishes its last requests
    :param check_token: refuses to go on once the token has been revoked
    :param on_told: called each time that something may have been told
    :param environ: that of the request
    :raises TooManyWatchers: as many as allowed are there already
    :raises StoreError: the store cannot be followed
    """

    def __init__(
        self,
        open_watcher: Callable[[], Watcher],
        limiter: Limiter,
        is_stopping: Callable[[], bool],
        check_token: Callable[[], None],
        on_told: OnTold,
        environ: WSGIEnvironment,
    ) -> None:
        limiter.acquire()
        try:
            self.watcher = open_watcher()
        except BaseException:
            limiter.release()
            raise
        self._is_stopping = is_stopping
        self.check_token = check_token
        self._limiter: Limiter | None = limiter
        self._on_told = on_told
        self._seen_at = time.monotonic()
        # Granian does not hand over its connection.
        self._connection: Any = environ.get("gunicorn.socket")
        environ[WATCHES] = True

    def next(self, until: float) -> Batch | None:
        """Return what is told next; None if nothing comes within a second, or until a moment.

        :param until: by :func:`time.monotonic`
        """
        ready_at = time.monotonic()
        told = self.watcher.next(min(CHECK_SECONDS, max(0.0, until - ready_at)))
        seen_at, self._seen_at = self._seen_at, time.monotonic()
        self._on_told(told, self._seen_at - seen_at, ready_at)
        return told

    def ends_with_worker(self) -> bool:
        """Return whether this worker only finishes its last requests; then the client has to connect to another one."""
        if not self._is_stopping():
            return False
        if self._connection is not None:
            # The answer can still be sent.
            self._connection.end()
        return True

    @property
    def has_left(self) -> bool:
        """Whether the client has gone; False on servers that do not tell."""
        return self._connection is not None and self._connection.has_left

    def close(self) -> None:
        """Watch no longer, and make room for another one."""
        if self._limiter is not None:
            self._limiter.release()
            self._limiter = None
            self.watcher.close()


def long_poll(answer: Callable[[], BytesResponse], watch: Callable[[], Watch], seconds: int) -> BytesResponse:
    """Return the answer to a GET of one key once it is another one than the client knows, or after some seconds.

    It knows the value that If-None-Match names, and without that header that there is none.

    :param answer: makes the answer
    :param watch: begins to watch the key
    :raises InvalidToken: the token was revoked meanwhile
    """
    known = HTTPStatus.NOT_MODIFIED if NONE_MATCH in request.headers else HTTPStatus.NOT_FOUND
    response = _response(answer)
    if seconds and response.status_code == known:
        until = time.monotonic() + seconds
        with closing(watch()) as watching:
            # What has changed since the answer was made is among what is told first.
            while response.status_code == known and time.monotonic() < until:
                batch = watching.next(until)
                watching.check_token()
                if watching.ends_with_worker() or watching.has_left:
                    break
                if batch is not None:
                    response = _response(answer)
    apply_wait(response, seconds)
    return response


def _response(answer: Callable[[], BytesResponse]) -> BytesResponse:
    try:
        return answer()
    except KeyNotFound as error:
        return cast(BytesResponse, request_ctx.app.handle_user_exception(error))
