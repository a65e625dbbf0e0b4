"""What web browsers are told with every answer: to trust nothing in it, and which pages may use the service."""

from flask import Flask, Response
from flask_cors import CORS


SECURITY_HEADERS = {
    # What an answer holds is anybody's: it is not to be guessed what it is.
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Keys stand in URLs.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# For whatever has no policy of its own.
POLICY = "Content-Security-Policy"
NOTHING = "default-src 'none'; frame-ancestors 'none'"
METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
SENT_HEADERS = ("Accept", "Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-Id")
READ_HEADERS = (
    *("ETag", "Expire-In", "Link", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    *("Retry-After", "Total-Count", "WWW-Authenticate", "X-Request-Id"),
)
MAX_AGE_SECONDS = 600


def register_security_headers(app: Flask) -> None:
    """Add the headers to every answer.

    :param app: the application
    """

    @app.after_request
    def secure(response: Response) -> Response:
        headers = response.headers
        for name, value in SECURITY_HEADERS.items():
            headers.add(name, value)
        if POLICY not in headers:
            headers.add(POLICY, NOTHING)
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
