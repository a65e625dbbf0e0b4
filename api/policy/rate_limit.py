"""The rate limit, counted in the store, so that all workers count together.

Answers have the fields of draft-ietf-httpapi-ratelimit-headers, as three headers, which is what clients read.
"""

import math

from flask import Flask, Response, g, request

from api.parsers import Rate
from api.policy.access import is_about_keys
from api.policy.proxies import client_of
from models.store import Store
from resources.errors import RateLimited


def register_rate_limit(app: Flask, store: Store, rate: Rate) -> None:
    """Limit how many requests for keys each token may send, or each address where there are no tokens.

    :param app: the application, which has looked for the token already
    :param store: where to count
    :param rate: how many requests in how many seconds
    """

    @app.before_request
    def count() -> None:
        if not is_about_keys(app):
            return
        token = g.get("token")
        client = f"address {client_of(request.environ)}" if token is None else f"token {token.name}"
        # The rate is part of the name: a new setting starts new counters.
        hits, seconds_left = store.hit(f"{client}/{rate}", window_seconds=rate.window_seconds)
        g.remaining, g.reset_seconds = rate.requests - hits, max(1, math.ceil(seconds_left))
        if g.remaining < 0:
            raise RateLimited(
                f"At most {rate.requests:,} requests in {rate.window_seconds:,} seconds are allowed. "
                f"Try again in {g.reset_seconds:,} seconds.",
                limit=rate.requests,
            )

    @app.after_request
    def show(response: Response) -> Response:
        if "remaining" in g:
            response.headers["RateLimit-Limit"] = str(rate.requests)
            response.headers["RateLimit-Remaining"] = str(max(0, g.remaining))
            response.headers["RateLimit-Reset"] = str(g.reset_seconds)
            if g.remaining < 0:
                response.headers["Retry-After"] = str(g.reset_seconds)
        return response
