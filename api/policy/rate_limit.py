"""The rate limit: Flask-Limiter, which counts in the store, so that all workers count together.

Its answers have the fields of draft-ietf-httpapi-ratelimit-headers, as three headers, which is what clients read.
"""

import math
import time
from typing import Any

from flask import Flask, Response, g, request
from flask_limiter import Limiter, RequestLimit
from limits.storage import Storage

from api.policy.access import is_about_keys
from models.store import Store
from models.tokens import Token
from resources.errors import RateLimited


class StoreCounters(Storage):
    """Counts in the store; what Flask-Limiter asks about a count afterwards is known from the counting itself.

    :param uri: ``store://``, by which Flask-Limiter finds this class
    :param store: the store
    """

    STORAGE_SCHEME = ["store"]  # noqa: RUF012  # as its parent's
    base_exceptions = ()

    def __init__(self, uri: str, *, store: Store, **options: Any) -> None:
        super().__init__(uri, **options)
        self._store = store

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:  # noqa: ARG002  # as its parent's
        """Count the current request.

        :param key: the counter
        :param expiry: after how many seconds it starts anew
        :param amount: always 1 here
        """
        g.hits, g.seconds_left = self._store.hit(key, window_seconds=expiry)
        return int(g.hits)

    def get(self, key: str) -> int:  # noqa: ARG002  # there is one counter a request
        """Give the count that includes the current request."""
        return int(g.hits)

    def get_expiry(self, key: str) -> float:  # noqa: ARG002  # the same
        """Give the time at which the counter starts anew, in seconds since 1970."""
        return time.time() + float(g.seconds_left)

    def check(self) -> bool:
        """Tell whether it works; whether the store does is for requests to find out."""
        return True

    def reset(self) -> None:
        """Forget all counts: nobody asks for that."""
        raise NotImplementedError

    def clear(self, key: str) -> None:
        """Forget one count: nobody asks for that."""
        raise NotImplementedError


def register_rate_limit(app: Flask, store: Store, rate: str) -> None:
    """Limit how many requests for keys each token may send, or each address where there are no tokens.

    :param app: the application, which knows already whose a request is
    :param store: where to count
    :param rate: such as ``100/minute``
    """
    limiter = Limiter(
        client_name,
        app=app,
        application_limits=[rate],
        application_limits_exempt_when=lambda: not is_about_keys(app),
        on_breach=refuse,
        storage_uri="store://",
        storage_options={"store": store},  # type: ignore[dict-item]  # it is handed on to the class above
    )

    @app.after_request
    def show(response: Response) -> Response:
        if limiter.current_limit is not None:
            reset_seconds = str(seconds_left())
            response.headers["RateLimit-Limit"] = str(limiter.current_limit.limit.amount)
            response.headers["RateLimit-Remaining"] = str(limiter.current_limit.remaining)
            response.headers["RateLimit-Reset"] = reset_seconds
            if limiter.current_limit.breached:
                response.headers["Retry-After"] = reset_seconds
        return response


def client_name() -> str:
    """Name whoever sent the current request: by the token, else by the address."""
    token: Token | None = g.get("token")
    return f"address {request.remote_addr}" if token is None else f"token {token.name}"


def refuse(limit: RequestLimit) -> None:
    """Refuse the current request.

    :param limit: what it would exceed
    :raises RateLimited: always
    """
    amount = limit.limit.amount
    raise RateLimited(
        f"At most {amount:,} requests in {limit.limit.get_expiry():,} seconds are allowed. "
        f"Try again in {seconds_left():,} seconds.",
        limit=amount,
    )


def seconds_left() -> int:
    """Give how long the counter of the current request goes on, in whole seconds, at least one."""
    left: float = g.seconds_left
    return max(1, math.ceil(left))
