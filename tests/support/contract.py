"""The Swagger document as a judge of answers."""

import json
import re
from typing import Any

from jsonschema import Draft4Validator
from werkzeug.datastructures import Headers


PROBLEM = "application/problem+json"
# Which is there depends on what is asked: whether a key expires, and whether a page is the last.
SOMETIMES = {"Expire-In", "Link"}
OURS = {"ETag", "Expire-In", "Link", "Retry-After", "Total-Count", "WWW-Authenticate"}
# It starts with a word, which may be the name of a parameter or of a method, and ends with a full stop.
SENTENCE = re.compile(r"(?:[A-Z]?[a-z]|[A-Z]+ [a-z]|[^A-Za-z]).*\.", re.DOTALL)


class Contract:
    """Holds answers against a Swagger document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, str, int]] = set()

    def check(self, method: str, path: str, status: int, headers: Headers, body: bytes) -> None:
        """Fail if an answer is not what the document says."""
        assert headers["X-Request-Id"], "every answer has a request id"
        if method == "HEAD":
            assert body == b""
        template = self.template(path)
        operation = self.document["paths"].get(template, {}).get(method.lower())
        if operation is None:
            self.check_undeclared(method, status, headers, body)
            return
        assert str(status) in operation["responses"], f"{method} {template} does not declare {status}"
        self.seen.add((method, template, status))
        self.check_headers(f"{method} {template} {status}", operation, status, headers, body)
        if status == 304:
            assert body == b""
            return
        media_type = headers["Content-Type"]
        if status == 200:
            assert media_type in set(operation.get("produces", ["application/json"])) - {PROBLEM}
        else:
            assert media_type == PROBLEM
        if method != "HEAD" and media_type.endswith("json") and media_type != "application/x-ndjson":
            self.validate(operation["responses"][str(status)]["schema"], body)
            if media_type == PROBLEM:
                check_sentence(json.loads(body)["detail"])

    def check_headers(self, what: str, operation: dict[str, Any], status: int, headers: Headers, body: bytes) -> None:
        """Fail if a header of ours is missing, or is there and not declared."""
        declared = set(operation["responses"][str(status)].get("headers", {}))
        needed = declared - SOMETIMES
        if status == 500 and b'"internal_error"' in body:
            # To wait does not help.
            needed -= {"Retry-After"}
        if status == 403:
            # Another token would help, but not against a host that is not known.
            needed -= {"WWW-Authenticate"}
        assert {name for name in needed if name not in headers} == set(), what
        assert {name for name in OURS - declared if name in headers} == set(), what

    def check_undeclared(self, method: str, status: int, headers: Headers, body: bytes) -> None:
        """Hold the answer to what is not documented: a problem, or a page or a document."""
        if status >= 400:
            assert headers["Content-Type"] == PROBLEM
            if method != "HEAD":
                self.validate({"$ref": "#/definitions/Problem"}, body)

    def template(self, path: str) -> str:
        """Give the documented form of a path."""
        return "/keys/{key}" if path.startswith("/keys/") and path != "/keys/" else path

    def validate(self, schema: dict[str, Any], body: bytes) -> None:
        """Fail if a body does not follow a schema of the document."""
        full = {**schema, "definitions": self.document["definitions"]}
        Draft4Validator(full).validate(json.loads(body))


def check_sentence(text: str) -> None:
    """Fail if an error does not say what is wrong in a sentence."""
    assert SENTENCE.fullmatch(text), text
