"""What all resources share: the application's store, and who may do what with it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from flask import Flask, current_app, g, request
from flask_restx import Resource

from models.store import Store
from models.tokens import Token
from resources.extensions import IS_STOPPING, STORE, STREAM_LIMITER
from resources.responses import StreamLimiter


class StoreResource(Resource):
    """A resource that works on the application's store.

    A subclass declares ``metric_name``, which stands for it in the names of metrics.
    """

    metric_name: ClassVar[str]

    @property
    def store(self) -> Store:
        """The one store of the current application."""
        store: Store = current_app.extensions[STORE]
        return store

    @property
    def is_stopping(self) -> bool:
        """Whether this worker finishes its last requests; a server that can tell puts the question there."""
        ask: Callable[[], bool] | None = current_app.extensions.get(IS_STOPPING)
        return ask is not None and ask()


class KeyResource(StoreResource):
    """A resource that shows or changes keys: if the service has tokens, those of the token's namespace.

    A subclass declares ``scopes``: for each of its methods, what a token must be allowed.
    """

    scopes: ClassVar[Mapping[str, Sequence[str]]]
    token: Token | None

    def dispatch_request(self, *args: Any, **kwargs: Any) -> Any:
        """Answer the request if its token may do what its method does.

        :raises InsufficientScope: it may not
        """
        # As `api/policy/access.py` has found it; None if the service has no tokens.
        self.token = g.get("token")
        if self.token is not None:
            self.token.require(self.scopes[request.method])
        return super().dispatch_request(*args, **kwargs)

    def require(self, *scopes: str) -> None:
        """Refuse what the current token may not do; without tokens everybody may do everything.

        :param scopes: what is to be done
        :raises InsufficientScope: the token lacks one of them
        """
        if self.token is not None:
            self.token.require(scopes)

    @property
    def stream_limiter(self) -> StreamLimiter:
        """How many long lists may be sent at a time."""
        limiter: StreamLimiter = current_app.extensions[STREAM_LIMITER]
        return limiter

    @property
    def store(self) -> Store:
        """The part of the store that the current token sees."""
        return super().store if self.token is None else super().store.within(self.token.namespace)


def resource_class(app: Flask, endpoint: str | None) -> type[Any]:
    """Return the class of a resource; `object` if it is none.

    :param app: the application
    :param endpoint: the name of a route, if there is one
    """
    found: type[Any] = getattr(app.view_functions.get(endpoint or ""), "view_class", object)
    return found
