"""What web browsers are told with every answer: to trust nothing in it, and which pages may use the service."""

from flask import Flask, Response
from flask_cors import CORS


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    # Keys stand in URLs.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
SENT_HEADERS = ("Accept", "Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-Id")
READ_HEADERS = (
    *("ETag", "Expire-In", "Link", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    *("Retry-After", "Total-Count", "WWW-Authenticate", "X-Request-Id"),
)
MAX_AGE_SECONDS = 600


def register_security_headers(app: Flask) -> None:
    """Add the headers to every answer that has no others of its own.

    :param app: the application
    """

    @app.after_request
    def secure(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            if name not in response.headers:
                response.headers[name] = value
        return response


def register_cors(app: Flask, origins: tuple[str, ...]) -> None:
    """Let the pages of other origins use the service, with tokens in a header and never with cookies.

    :param app: the application
    :param origins: their origins; ``*`` for all
    """
    CORS(
        app,
        origins=list(origins),
        methods=METHODS,
        allow_headers=SENT_HEADERS,
        expose_headers=READ_HEADERS,
        max_age=MAX_AGE_SECONDS,
        send_wildcard=origins == ("*",),
    )
