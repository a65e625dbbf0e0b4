"""Headers for web browsers: security headers on every answer, and CORS."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask
from flask_cors import CORS


SECURITY_HEADERS = [
    # Values are untrusted: forbid content sniffing.
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # URLs hold keys, which no other site should see.
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]
POLICY_HEADER = "Content-Security-Policy"
# For answers that do not have these headers already.
DEFAULTS = {
    POLICY_HEADER: "default-src 'none'; frame-ancestors 'none'",
    # A cache would otherwise choose itself how long it keeps a health check or a 404.
    "Cache-Control": "no-store",
}
CORS_METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
SENT_HEADERS = ("Accept", "Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-Id")
READ_HEADERS = (
    *("ETag", "Expire-In", "Link", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    *("Retry-After", "Total-Count", "WWW-Authenticate", "X-Request-Id"),
)
MAX_AGE_SECONDS = 600


def register_security_headers(app: Flask) -> None:
    """Add the security headers to every answer, and forbid caches to keep it if it says nothing of them.

    In WSGI, where headers are a plain list, and not one by one in Werkzeug's kind of list.
    """
    inner = app.wsgi_app

    def secured(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            given = dict(headers)
            defaults = [default for default in DEFAULTS.items() if default[0] not in given]
            return start_response(status, [*headers, *SECURITY_HEADERS, *defaults], *exc_info)

        return inner(environ, start)

    app.wsgi_app = secured  # type: ignore[method-assign]  # as Flask documents it


def register_cors(app: Flask, origins: tuple[str, ...]) -> None:
    """Let pages of other origins use the service (CORS), with tokens in a header and never with cookies.

    :param origins: their origins; ``*`` for all
    """
    CORS(
        app,
        origins=list(origins),
        methods=CORS_METHODS,
        allow_headers=SENT_HEADERS,
        expose_headers=READ_HEADERS,
        max_age=MAX_AGE_SECONDS,
        send_wildcard=origins == ("*",),
    )
