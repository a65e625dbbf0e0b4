"""The host of a request: named once, and for an open service on loopback a name of its own, against DNS rebinding."""

import re

from flask import Flask
from flask.globals import request_ctx

from resources.errors import MalformedRequest, UnknownHost


# As a browser writes them, and as people type them: only this machine is ever meant.
LOOPBACK = re.compile(
    r"(?:(?:[a-z0-9_-]+\.)*localhost\.?|127(?:\.[0-9]{1,3}){1,3}\.?|\[?(?:0{0,4}:)+0{0,3}1\]?)(?::[0-9]*)?",
    re.IGNORECASE,
)
_NAME_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


def register_hosts(app: Flask, names: tuple[str, ...] | None) -> None:
    """Refuse requests without a host, and where the service listens on loopback those with another host than its own.

    A page of another site can let its own name lead to 127.0.0.1, and then reads and writes what is there; its
    browser sends that name as the host.

    :param names: the hosts beside those of loopback, in small letters; None if the service answers all
    """

    @app.before_request
    def check_host() -> None:
        environ = request_ctx.request.environ
        host = environ.get("HTTP_HOST", "")
        # RFC 9112 section 3.2. Granian joins what comes twice by a comma, which no name has.
        if (not host and environ["SERVER_PROTOCOL"] == "HTTP/1.1") or "," in host:
            raise MalformedRequest("A request must name its host once, in the header Host.")
        # Without a host it is no browser. Servers give the address of the socket as the server's name.
        if names is None or not host or LOOPBACK.fullmatch(host) or not LOOPBACK.fullmatch(environ["SERVER_NAME"]):
            return
        found = _NAME_AND_PORT.fullmatch(host)
        if not found or found[1].lower().removesuffix(".") not in names:
            raise UnknownHost
