"""What trusted proxies say about a request, and whom it counts for."""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix


ORIGINAL = "werkzeug.proxy_fix.orig"
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
_PLAIN_PATH = re.compile(r"((?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)*)/?")
# A household or a machine has so much of IPv6, and can change the rest for each request.
NETWORK_BITS = 64


def register_proxies(app: Flask, count: int) -> None:
    """Read `X-Forwarded-For` and `X-Forwarded-Prefix` as so many proxies in front have written them."""
    inner = app.wsgi_app

    def behind(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # The prefix may be the client's own if a proxy passes it on: what is no plain path is ignored.
        path = _PLAIN_PATH.fullmatch(environ.get("SCRIPT_NAME", ""))
        environ["SCRIPT_NAME"] = path[1] if path else ""
        return inner(environ, start_response)

    app.wsgi_app = ProxyFix(behind, x_for=count, x_proto=0, x_prefix=count)  # type: ignore[method-assign]  # as Flask documents it


def client_of(environ: WSGIEnvironment) -> str:
    """Return the client that a request counts for, however its address is written.

    It is an IPv4 address, a network of IPv6, or, if the proxies give no address, that of the last of them.
    """
    own = environ.get(ORIGINAL, environ).get("REMOTE_ADDR") or ""
    return _client(environ.get("REMOTE_ADDR", "")) or _client(own) or "local"


def _client(text: str) -> str | None:
    with_port = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((with_port[1] or with_port[2]) if with_port else text)
    except ValueError:
        return None
    if not isinstance(address, IPv6Address):
        return str(address)
    rest = 128 - NETWORK_BITS
    return str(address.ipv4_mapped or f"{IPv6Address(int(address) >> rest << rest)}/{NETWORK_BITS}")
