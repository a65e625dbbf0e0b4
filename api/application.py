"""Flask without what this service never uses."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.routing import MapAdapter, Rule

from resources.parsing.path import ANY_KEY


class NoSessions(SessionInterface):
    """No cookies: all requests share one empty session that cannot be written."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002  # as its parent's
        """Return the empty session."""
        return self._none

    def is_null_session(self, obj: object) -> bool:  # noqa: ARG002  # as its parent's
        """Return True: there is nothing to save."""
        return True

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Save nothing."""


class Application(Flask):
    """The WSGI application."""

    session_interface = NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a view or a hook as it is: none of ours is a coroutine."""
        return func

    def full_dispatch_request(self) -> Response:
        """Answer the request of the current context; Flask's signals are not sent."""
        try:
            answer = self.preprocess_request()
            if answer is None:
                answer = self.dispatch_request()
        except Exception as error:  # noqa: BLE001  # the error handlers answer it
            answer = self.handle_user_exception(error)
        return self.process_response(self.make_response(answer))

    def preprocess_request(self) -> Any:
        """Call the hooks before a request, until one answers it; there are no blueprints."""
        for before in self.before_request_funcs.get(None, ()):
            if (answer := before()) is not None:
                return answer
        return None

    def process_response(self, response: Response) -> Response:
        """Call the hooks after a request, the last first; there are no blueprints and no sessions."""
        for after in reversed(self.after_request_funcs.get(None, ())):
            response = after(response)
        return response

    def do_teardown_request(self, exc: BaseException | None = None) -> None:
        """Call the hooks for the end of a request, the last first."""
        for after in reversed(self.teardown_request_funcs.get(None, ())):
            after(exc)

    @cached_property
    def _key_rules(self) -> dict[str, Rule]:
        """The routes that end with a key, by what stands before it."""
        return {rule.rule.removesuffix(ANY_KEY): rule for rule in self.url_map.iter_rules() if ANY_KEY in rule.rule}

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Bind the routes to a request, unless one of a key matches it: most do, and nothing is searched for these.

        They are the same for every host, and no URL of ours names one.
        """
        if request is None:
            return None
        before, _, key = request.path[1:].partition("/")
        rule = self._key_rules.get(f"/{before}/")
        # Flask itself answers OPTIONS, and asks the adapter for the methods of the URL.
        if key and rule is not None and request.method in (rule.methods or ()) and request.method != "OPTIONS":
            request.url_rule, request.view_args = rule, {"key": key}
            return None
        return MapAdapter(
            self.url_map, "localhost", request.root_path, "", request.scheme, request.path, request.method
        )
