"""Lets Schemathesis send and read lines of JSON, which it does not know by itself."""

from typing import Any

import schemathesis


TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


@schemathesis.serializer(*TYPES)
def to_lines(_context: Any, text: str) -> bytes:
    """Write a body: in the document it is a text."""
    return str(text).encode(errors="replace")


@schemathesis.deserializer(*TYPES)
def from_lines(_context: Any, answer: Any) -> Any:
    """Read an answer, as a text too."""
    return answer.content.decode()
