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
# For answers without a policy of their own.
NOTHING = (POLICY_HEADER, "default-src 'none'; frame-ancestors 'none'")
CORS_METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
SENT_HEADERS = ("Accept", "Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-Id")
READ_HEADERS = (
    *("ETag", "Expire-In", "Link", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    *("Retry-After", "Total-Count", "WWW-Authenticate", "X-Request-Id"),
)
MAX_AGE_SECONDS = 600


def register_security_headers(app: Flask) -> None:
    """Add the security headers to every answer.

    In WSGI, where headers are a plain list, and not one by one in Werkzeug's kind of list.

    """
    inner = app.wsgi_app

    def secured(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            policy = [] if POLICY_HEADER in dict(headers) else [NOTHING]
            return start_response(status, [*headers, *SECURITY_HEADERS, *policy], *exc_info)

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
