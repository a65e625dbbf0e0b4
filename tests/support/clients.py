"""Ways to send a request: to the application in this process, or to a running service over a socket.

Both take the request target as it would stand on the wire, and hold every answer against the OpenAPI document.
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import quote, unquote_to_bytes, urljoin
from wsgiref.types import WSGIApplication

from werkzeug.datastructures import Headers
from werkzeug.test import create_environ, run_wsgi_app

from tests.support.contract import Contract


# What a body is.
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
MERGE = {"Content-Type": "application/merge-patch+json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
# What is wanted for an answer.
AS_BYTES = {"Accept": "application/octet-stream"}
AS_NDJSON = {"Accept": "application/x-ndjson"}
AS_TEXT = {"Accept": "text/plain"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Headers
    body: bytes

    @cached_property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem document."""
        assert self.headers["Content-Type"] == "application/problem+json"
        return str(self.json["code"])


class Ask(Protocol):
    """Send a request and give its answer."""

    def __call__(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer: ...


def in_process(app: WSGIApplication, contract: Contract) -> Ask:
    """Make a way to ask the application without a server."""

    def ask(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        path, _, query = target.partition("?")
        environ = create_environ(method=method, query_string=query, data=body, headers=dict(headers or {}))
        environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = target
        chunks, status, answered = run_wsgi_app(app, environ, buffered=True)
        answer = Answer(int(status.split()[0]), Headers(answered), b"".join(chunks))
        contract.check(method, path, answer.status, answer.headers, answer.body)
        return answer

    return ask


def over_http(host: str, port: int, contract: Contract) -> Ask:
    """Make a way to ask a running service, with a connection for each request."""

    def ask(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection(host, port, timeout=30)
        # http.client refuses what we want to see refused by the service.
        connection._validate_path = lambda url: None  # type: ignore[attr-defined]  # private there
        try:
            connection.request(method, target, body=body or None, headers=dict(headers or {}))
            response = connection.getresponse()
            answer = Answer(response.status, Headers(response.getheaders()), response.read())
        finally:
            connection.close()
        contract.check(method, target.partition("?")[0], answer.status, answer.headers, answer.body)
        return answer

    return ask


def target_of(key: str) -> str:
    """Give the URL of a key, everything encoded that may be."""
    return "/keys/" + quote(key, safe="")


def bearer(token: str) -> dict[str, str]:
    """Return the header for a token."""
    return {"Authorization": f"Bearer {token}"}


def with_token(ask: Ask, token: str) -> Ask:
    """Make a way to ask with a token."""

    def asked(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        return ask(method, target, body, {**bearer(token), **(headers or {})})

    return asked


def ask_json(ask: Ask, method: str, target: str, body: object, headers: Mapping[str, str] | None = None) -> Answer:
    """Send a JSON body."""
    return ask(method, target, json.dumps(body).encode(), {**JSON, **(headers or {})})


def put_json(ask: Ask, entries: object, query: str = "") -> Answer:
    """Store entries by a JSON body."""
    return ask_json(ask, "PUT", f"/keys{query}", entries)


def pages(ask: Ask, target: str) -> Iterator[dict[str, Any]]:
    """Follow the links from a first page to the last."""
    following: str | None = target
    while following:
        answer = ask("GET", following)
        assert answer.status == 200, answer.body
        yield answer.json
        link = answer.headers.get("Link")
        following = urljoin(following, link[1 : link.index(">")]) if link else None
