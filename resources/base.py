"""What all resources share: the application's store, and who may do what with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from flask import Flask, current_app, g, request
from flask_restx import Resource

from models.filter import Filter
from models.store import Store
from models.tokens import Token
from resources.declarations import Content
from resources.extensions import DELETE_ALL, IS_STOPPING, LIST_LIMITER, ON_TOLD, STORE, WATCH_LIMITER
from resources.parsing.parts import check_parts
from resources.responses import Limiter
from resources.watching import Watch


Item = TypeVar("Item")


class StoreResource(Resource):
    """A resource that works on the application's store.

    A subclass declares ``metric_name``, which stands for it in the names of metrics, and ``bodies``: for each of its
    methods that takes a body, the schema in each media type.
    """

    metric_name: ClassVar[str]
    bodies: ClassVar[Mapping[str, Content]] = {}

    @property
    def store(self) -> Store:
        """The one store of the current application."""
        store: Store = current_app.extensions[STORE]
        return store

    @property
    def is_stopping(self) -> bool:
        """Whether this worker only finishes its last requests; False on servers that do not tell."""
        ask: Callable[[], bool] | None = current_app.extensions.get(IS_STOPPING)
        return ask is not None and ask()


class KeyResource(StoreResource):
    """A resource that wants a token if the service has tokens, and sees the keys of the token's namespace only.

    A subclass declares ``scopes``: for each of its methods, what a token must be allowed.
    """

    scopes: ClassVar[Mapping[str, Sequence[str]]]
    token: Token | None
    # Refuses to go on with a request that takes long once its token has been revoked; None without tokens.
    check_token: Callable[[], None] | None

    def dispatch_request(self, *args: Any, **kwargs: Any) -> Any:
        """Answer the request if its token has the scopes of the method.

        :raises InsufficientScope: the token lacks one of them
        """
        # Set by `api/policy/access.py`; None if the service has no tokens.
        self.token, self.check_token = g.get("token"), None
        if self.token is not None:
            self.check_token = g.check_token
            self.token.require(self.scopes[request.method])
        return super().dispatch_request(*args, **kwargs)

    def require(self, *scopes: str) -> None:
        """Check that the current token has some scopes; if the service has no tokens everything is allowed.

        :raises InsufficientScope: the token lacks one of them
        """
        if self.token is not None:
            self.token.require(scopes)

    def while_valid(self, items: Iterator[Item]) -> Iterator[Item]:
        """Return the parts of a long answer, as long as the current token is valid.

        :raises InvalidToken: it is no longer
        """
        for item in items:
            if self.check_token is not None:
                self.check_token()
            yield item

    def watch(self, pattern: Filter, *, since: str | None = None, initial: bool) -> Watch:
        """Begin to watch the keys that a filter matches.

        :param since: the id to go on from
        :param initial: whether their state is told first, if there is nothing to go on from
        :raises TooManyWatchers: the worker has as many watches as it may
        """
        return Watch(
            partial(self.store.watch, pattern, since=since, initial=initial),
            current_app.extensions[WATCH_LIMITER],
            current_app.extensions.get(IS_STOPPING, bool),
            self.check_token or (lambda: None),
            current_app.extensions[ON_TOLD],
            request.environ,
        )

    @property
    def list_limiter(self) -> Limiter:
        """How many long lists may be sent at a time: each has the store look at every name."""
        limiter: Limiter = current_app.extensions[LIST_LIMITER]
        return limiter

    @property
    def may_delete_all(self) -> bool:
        """Whether a deletion needs no filter."""
        allowed: bool = current_app.extensions[DELETE_ALL]
        return allowed

    @property
    def store(self) -> Store:
        """The part of the store that the current token sees."""
        return super().store if self.token is None else super().store.within(self.token.namespace)


def check_operation(app: Flask) -> None:
    """Refuse the parts of the current request that its operation does not read.

    :raises RequestError: see :func:`resources.parsing.parts.check_parts`
    """
    if request.url_rule is not None:
        bodies = getattr(resource_class(app, request.endpoint), "bodies", {})
        check_parts(bodies.get(request.method, ()))


def resource_class(app: Flask, endpoint: str | None) -> type[Any]:
    """Return the class of the resource behind an endpoint; `object` if there is none."""
    found: type[Any] = getattr(app.view_functions.get(endpoint or ""), "view_class", object)
    return found
