"""The names under which an open service on loopback may be asked, against DNS rebinding."""

import re

from flask import Flask
from flask.globals import request_ctx

from resources.errors import UnknownHost


# As a browser writes them, and as people type them: only this machine is ever meant.
LOOPBACK = re.compile(
    r"(?:(?:[a-z0-9_-]+\.)*localhost\.?|127(?:\.[0-9]{1,3}){1,3}\.?|\[?(?:0{0,4}:)+0{0,3}1\]?)(?::[0-9]*)?",
    re.IGNORECASE,
)
_NAME_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


def register_hosts(app: Flask, names: tuple[str, ...]) -> None:
    """Answer only loopback names, and some others, where the service listens on loopback.

    A page of another site can let its own name lead to 127.0.0.1, and then reads and writes what is there; its
    browser sends that name as the host.

    :param names: the others, in small letters
    """

    @app.before_request
    def check_host() -> None:
        environ = request_ctx.request.environ
        host = environ.get("HTTP_HOST")
        # Without a host it is no browser. Servers give the address of the socket as the server's name.
        if not host or LOOPBACK.fullmatch(host) or not LOOPBACK.fullmatch(environ["SERVER_NAME"]):
            return
        found = _NAME_AND_PORT.fullmatch(host)
        if not found or found[1].lower().removesuffix(".") not in names:
            raise UnknownHost
