"""Flask without what this service never uses."""

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

    def full_dispatch_request(self) -> Response:
        """Answer the request of the current context; nobody listens to Flask's signals here."""
        try:
            answer = self.preprocess_request()
            if answer is None:
                answer = self.dispatch_request()
        except Exception as error:  # noqa: BLE001  # the error handlers know what to make of it
            answer = self.handle_user_exception(error)
        return self.process_response(self.make_response(answer))

    def preprocess_request(self) -> Any:
        """Call what is to be done before each request, until something answers it; there are no blueprints."""
        for before in self.before_request_funcs.get(None, ()):
            if (answer := before()) is not None:
                return answer
        return None

    def process_response(self, response: Response) -> Response:
        """Call what is to be done after each request, the last first; blueprints and sessions have no part in it.

        :param response: the answer
        """
        for after in reversed(self.after_request_funcs.get(None, ())):
            response = after(response)
        return response

    def do_teardown_request(self, exc: BaseException | None = None) -> None:
        """Call what is to be done when the request is over, the last first.

        :param exc: what has gone wrong, if anything
        """
        for after in reversed(self.teardown_request_funcs.get(None, ())):
            after(exc)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Bind the routes to a request, whatever host it names: they are the same on each, and no URL of ours has one.

        :param request: the request
        """
        if request is None:
            return None
        return MapAdapter(
            self.url_map, "localhost", request.root_path, "", request.scheme, request.path, request.method
        )
