"""What all resources share: the application's store, and who may do what with it."""

from collections.abc import Callable
from typing import Any

from flask import current_app, g, request
from flask_restx import Resource

from models.store import Store
from models.tokens import DELETE, READ, WRITE, Token
from resources.extensions import IS_STOPPING, SLOTS, STORE
from resources.responses import Slots


# What each method takes of a token. PATCH shows the value that it makes; POST says in its body what it is about.
SCOPES = {
    "GET": (READ,),
    "HEAD": (READ,),
    "PUT": (WRITE,),
    "PATCH": (READ, WRITE),
    "POST": (),
    "DELETE": (DELETE,),
}


class StoreResource(Resource):
    """A resource that works on the application's store."""

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
    """A resource that shows or changes keys: where the service has tokens, those of the token's namespace."""

    token: Token | None

    def dispatch_request(self, *args: Any, **kwargs: Any) -> Any:
        """Answer the request if its token may do what its method does.

        :raises InsufficientScope: it may not
        """
        # As `api/policy/access.py` has found it; None if the service has no tokens.
        self.token = g.get("token")
        if self.token is not None:
            self.token.require(SCOPES[request.method])
        return super().dispatch_request(*args, **kwargs)

    def require(self, *scopes: str) -> None:
        """Refuse what the current token may not do; without tokens everybody may do everything.

        :param scopes: what is to be done
        :raises InsufficientScope: the token lacks one of them
        """
        if self.token is not None:
            self.token.require(scopes)

    @property
    def slots(self) -> Slots:
        """How many long lists may be sent at a time."""
        slots: Slots = current_app.extensions[SLOTS]
        return slots

    @property
    def store(self) -> Store:
        """The part of the store that the current token sees."""
        return super().store if self.token is None else super().store.within(self.token.namespace)
