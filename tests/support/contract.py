"""The OpenAPI 3.1 document as a judge of answers."""

import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from werkzeug.datastructures import Headers

from resources.media_types import EVENTS, NDJSON_TYPES
from tests.support.events import Event, events_of


JSON = "application/json"
PROBLEM = "application/problem+json"
# Which is there depends on what is asked: whether a key expires, if a page is the last, and if bytes are sent.
SOMETIMES = {"Accept-Ranges", "Expire-In", "Link", "Preference-Applied"}
OURS = {"Accept-Ranges", "Content-Range", "ETag", "Expire-In", "Link", "Retry-After", "Total-Count", "WWW-Authenticate"}
# It starts with a word, which may be the name of a parameter or of a method, and ends with a full stop.
SENTENCE = re.compile(r"(?:[A-Z]?[a-z]|[A-Z]+ [a-z]|[^A-Za-z]).*\.", re.DOTALL)


class Contract:
    """Holds answers against an OpenAPI 3.1 document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, str, int]] = set()

    @property
    def operations(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The operations, by method and path."""
        paths = self.document["paths"].items()
        return {(method.upper(), path): operation for path, item in paths for method, operation in item.items()}

    def check(self, method: str, path: str, status: int, headers: Headers, body: bytes) -> None:
        """Fail if an answer is not what the document says."""
        assert headers["X-Request-Id"], "every answer has a request id"
        if method == "HEAD":
            assert body == b""
        template = self.template(path)
        if template == "/values/{key}" and method in {"GET", "HEAD", "PATCH"} and headers.get("Content-Type") == JSON:
            # By its description this is the answer of the other URL.
            template = "/keys/{key}"
        operation = self.operations.get((method, template))
        if operation is None:
            self.check_undeclared(method, status, headers, body)
            return
        assert str(status) in operation["responses"], f"{method} {template} does not declare {status}"
        self.seen.add((method, template, status))
        response = self.resolved(operation["responses"][str(status)])
        self.check_headers(f"{method} {template} {status}", response, status, headers, body)
        if status == 304:
            assert body == b""
            return
        if method == "HEAD":
            # Its document has no content, but its headers are those of GET.
            response = self.resolved(self.operations["GET", template]["responses"][str(status)])
        media_type = headers["Content-Type"]
        assert media_type in response["content"]
        if method != "HEAD":
            self.check_body(response["content"][media_type]["schema"], media_type, body)

    def check_body(self, schema: dict[str, Any], media_type: str, body: bytes) -> None:
        """Fail if a body does not follow its schema."""
        if media_type in NDJSON_TYPES:
            for line in body.splitlines():
                self.validate(self.document["components"]["schemas"]["ListedRecords"]["contentSchema"], line)
        elif media_type == EVENTS:
            for event in events_of(body):
                self.check_event(event)
        elif media_type.endswith("json"):
            self.validate(schema, body)
            if media_type == PROBLEM:
                check_sentence(json.loads(body)["detail"])

    def check_event(self, event: Event) -> None:
        """Fail if an event of a stream is not what is promised."""
        members = dict(event.data or {})
        match event.name:
            case "put":
                assert re.fullmatch('"[0-9a-f]{40}"', members.pop("etag"))
                kind = "Record" if "value" in members else "SizedRecord"
                self.validate({"$ref": f"#/components/schemas/{kind}"}, json.dumps(members).encode())
            case "delete" | "expire":
                assert members.keys() == {"key"}
            case "end":
                assert members.keys() == {"code"}
            case name:
                assert name in {"", "reset", "synced"}
                assert members == {}

    def check_headers(self, what: str, response: dict[str, Any], status: int, headers: Headers, body: bytes) -> None:
        """Fail if a header of ours is missing, or is there and not declared."""
        declared = set(response["headers"])
        needed = declared - SOMETIMES
        if status == 500 and b'"internal_error"' in body:
            # To wait does not help.
            needed -= {"Retry-After"}
        if status == 403:
            # Another token would help, but not against a host that is not known.
            needed -= {"WWW-Authenticate"}
        if headers.get("Content-Type") == EVENTS:
            # Of a stream there is none: each event has its own.
            needed -= {"ETag"}
        if status == 206:
            # A part has it only if the request names one.
            needed -= {"ETag"}
        assert {name for name in needed if name not in headers} == set(), what
        assert {name for name in OURS - declared if name in headers} == set(), what

    def check_undeclared(self, method: str, status: int, headers: Headers, body: bytes) -> None:
        """Hold the answer to what is not documented: a problem, or a page or a document."""
        if status >= 400:
            assert headers["Content-Type"] == PROBLEM
            if method != "HEAD":
                self.validate({"$ref": "#/components/schemas/Problem"}, body)

    def template(self, path: str) -> str:
        """Give the documented form of a path."""
        return re.sub(r"^/(keys|values)/.+", r"/\1/{key}", path, flags=re.DOTALL)

    def resolved(self, response: dict[str, Any]) -> dict[str, Any]:
        """Give a response, which may be one that operations share."""
        if "$ref" not in response:
            return response
        found: dict[str, Any] = self.document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        return found

    def validate(self, schema: dict[str, Any], body: bytes) -> None:
        """Fail if a body does not follow a schema of the document."""
        full = {**schema, "components": self.document["components"]}
        Draft202012Validator(full).validate(json.loads(body))


def check_sentence(text: str) -> None:
    """Fail if an error does not say what is wrong in a sentence."""
    assert SENTENCE.fullmatch(text), text
