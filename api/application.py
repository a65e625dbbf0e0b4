"""Flask without what this service never uses; with Flask itself a GET of one key costs a tenth more CPU time."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.routing import MapAdapter


class NoSessions(SessionInterface):
    """No cookies: one empty session that nothing can be put into is enough for all requests."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002  # as its parent's
        """Give the empty session."""
        return self._none

    def is_null_session(self, obj: object) -> bool:  # noqa: ARG002  # as its parent's
        """Tell Flask that there is nothing to save."""
        return True

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Save nothing."""


class Application(Flask):
    """The WSGI application."""

    session_interface = NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Take a function as it is: none of ours is a coroutine.

        :param func: a view or a hook
        """
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Bind the routes to a request, whatever host it names: they are the same on each, and no URL of ours has one.

        :param request: the request
        """
        if request is None:
            return None
        return MapAdapter(
            self.url_map, "localhost", request.root_path, "", request.scheme, request.path, request.method
        )
