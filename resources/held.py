"""How many bytes of bodies and values a worker holds for the requests that it works on, and who may hold more."""

from threading import Lock

from flask import Flask
from flask.globals import request_ctx

from resources.errors import TooManyBytes


_LIMITER = "flaskvstore.held_bytes"
# In the WSGI environ: those of one request.
_HELD = "flaskvstore.held_bytes"


class HeldBytes:
    """The bytes that all requests of a worker hold.

    :param limit: how many they may be
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._lock = Lock()

    def acquire(self, count: int) -> None:
        """Count some bytes more.

        :raises TooManyBytes: there would be too many
        """
        with self._lock:
            if self._held + count > self._limit:
                raise TooManyBytes(self._limit)
            self._held += count

    def release(self, count: int) -> None:
        """Count some bytes less."""
        with self._lock:
            self._held -= count


def register_held_bytes(app: Flask, limit: int) -> None:
    """Limit what all requests of a worker hold.

    :param limit: how many bytes that may be
    """
    app.extensions[_LIMITER] = HeldBytes(limit)

    @app.teardown_request
    def release_all(_: BaseException | None) -> None:
        release(request_ctx.request.environ.get(_HELD, 0))


def hold(count: int) -> None:
    """Count some bytes for the current request, until it ends or releases them.

    :raises TooManyBytes: the worker holds as many as it may
    """
    request_ctx.app.extensions[_LIMITER].acquire(count)
    environ = request_ctx.request.environ
    environ[_HELD] = environ.get(_HELD, 0) + count


def release(count: int) -> None:
    """Count some bytes less for the current request."""
    if count:
        request_ctx.app.extensions[_LIMITER].release(count)
        request_ctx.request.environ[_HELD] -= count
