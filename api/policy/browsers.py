"""Web browsers: security headers on every answer, CORS, and what pages of other sites may not do."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, Response
from flask.globals import request_ctx
from flask_cors import CORS

from api.policy.access import is_about_keys
from resources.errors import CrossSiteRequest


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
SENT_HEADERS = (
    *("Accept", "Authorization", "Content-Type", "If-Match", "If-None-Match", "If-Range", "Last-Event-ID", "Prefer"),
    *("Range", "X-Request-Id"),
)
READ_HEADERS = (
    *(
        "Accept-Ranges",
        "Content-Range",
        "ETag",
        "Expire-In",
        "Link",
        "Preference-Applied",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
    ),
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

    @app.after_request
    def vary(response: Response) -> Response:
        # Flask-CORS says it only to the origins that are listed, but a cache may ask for another one first.
        if "Origin" not in response.headers.getlist("Vary"):
            response.headers.add("Vary", "Origin")
        return response

    CORS(
        app,
        origins=list(origins),
        methods=CORS_METHODS,
        allow_headers=SENT_HEADERS,
        expose_headers=READ_HEADERS,
        max_age=MAX_AGE_SECONDS,
        send_wildcard=origins == ("*",),
    )


def register_cross_site(app: Flask, origins: tuple[str, ...]) -> None:
    """Refuse what a browser sends for a page of another site; for a service without tokens.

    Such a page could not read the answer, but the store would have worked for it. A person may follow its link to the
    documentation.

    :param origins: those of pages that may use the service
    """
    allowed = {origin.lower() for origin in origins}

    @app.before_request
    def check_site() -> None:
        environ = request_ctx.request.environ
        if environ.get("HTTP_SEC_FETCH_SITE") != "cross-site" or environ.get("HTTP_ORIGIN", "").lower() in allowed:
            return
        is_link = environ.get("HTTP_SEC_FETCH_MODE") == "navigate" and environ["REQUEST_METHOD"] == "GET"
        if not is_link or is_about_keys(app):
            raise CrossSiteRequest
