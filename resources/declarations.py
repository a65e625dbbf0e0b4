"""How an operation declares its bodies and answers, for both documents."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from flask_restx import Namespace, SchemaModel

from models.schema import BYTES_OF_A_VALUE, PROBLEM, ref
from resources.media_types import JSON
from resources.parsing.conditions import MATCH, NONE_MATCH, PATTERNS


Verb = TypeVar("Verb", bound=Callable[..., Any])
# The schema of a body in each of its media types; the first one is that of Swagger 2.0, which knows one only.
Content = Mapping[str, SchemaModel | Mapping[str, Any]]
Headers = dict[str, dict[str, Any]]

NOT_MODIFIED = "The client has this value already: If-None-Match names it."
PARTIAL = "The bytes that the header Range asks for. An ETag only if the request names one."
STATUS_DESCRIPTIONS = {
    400: "The request is wrong: the detail says what came and what was expected. Nothing was changed.",
    401: "The service has tokens, and the request has none, or one that is not known.",
    403: "The token may not do this, or the service has no tokens and is asked under a name that is not its own, or "
    "for a page of another site.",
    404: "There is no such key.",
    406: "Accept names no media type that is offered.",
    408: "The body came too slowly.",
    409: "The key holds a Redis type that is not a string, or a value that is to be incremented and is no integer.",
    412: "The value does not match the condition. Nothing was changed.",
    413: "The body, a value, several values together or the number of keys is above its limit, which the answer names. "
    "Nothing was changed.",
    414: "The request line is above 8,190 bytes. Nothing was changed.",
    415: "The body's media type or its Content-Encoding is not one that is read here. Nothing was changed.",
    416: "The range begins beyond the end of the value.",
    429: "The client has sent too many requests, or the worker has as many long lists, watchers or bytes as it may.",
    431: "The header fields are too many or too large. Nothing was changed.",
    500: "The store cannot do it at present (Retry-After says when to try again), or the service has a fault. "
    "The status for the former is FLASKVSTORE_UNAVAILABLE_STATUS.",
    501: "The body has another transfer coding than chunked. Nothing was changed.",
    503: "The store does not answer.",
}
CONDITIONS = {
    name: {
        "in": "header",
        "description": f"{meaning} An ETag, a list of them, or `*` for any value (RFC 9110). A write takes the ETag of "
        "any representation, GET and HEAD that of the one that they would send.",
        "type": "string",
        "pattern": PATTERNS[name],
        # Not x-example, which Swagger UI would fill in and send.
        "x-examples": {"any value": {"value": "*"}},
    }
    for name, meaning in ((MATCH, "Go on only if the value is this one."), (NONE_MATCH, "Go on only if it is not."))
}
CONDITIONS_FOR_ALL = {
    name: {
        **parameter,
        "description": f"`*`: go on only if {which} of the keys exist{ending}.",
        "enum": ["*"],
    }
    for (name, parameter), (which, ending) in zip(CONDITIONS.items(), (("all", ""), ("none", "s")), strict=True)
}
# Both are hints: whatever they say is taken.
ANY_TEXT = {"in": "header", "type": "string", "pattern": "^.*$"}
PREFER = {
    "Prefer": {
        **ANY_TEXT,
        "description": "`wait=N` (RFC 7240): wait up to N seconds, 300 at most, for something that is new: for another "
        "answer than 304, or without If-None-Match than 404. An event stream then ends after the next changes, or with "
        "`wait=0` after the state.",
        # Pages send it, so that their event streams end.
        "x-example": "wait=0",
    }
}
LAST_EVENT_ID = {
    "Last-Event-ID": {
        **ANY_TEXT,
        "description": "Only for an event stream: the id from which it goes on, as an EventSource sends it.",
        "x-examples": {"nowhere": {"value": "0-0"}},
    }
}
PREFERENCE_APPLIED: Headers = {
    "Preference-Applied": {"description": "`wait=N`, if Prefer has it (RFC 7240).", "type": "string"}
}
RETRY_AFTER: Headers = {
    "Retry-After": {"description": "Seconds, if it helps to wait.", "type": "integer", "minimum": 1}
}
CHALLENGE: Headers = {"WWW-Authenticate": {"description": "What is wrong with the token (RFC 6750).", "type": "string"}}
CONTENT_RANGE: Headers = {
    "Content-Range": {"description": "Which bytes of how many there are (RFC 9110 section 14.4).", "type": "string"}
}
REQUEST_ID: Headers = {"X-Request-Id": {"description": "Names the request in the log.", "type": "string"}}


def body(model: SchemaModel, description: str, *, required: bool = True) -> dict[str, Any]:
    """Return the Swagger description of an operation's body."""
    return {
        "in": "body",
        "required": required,
        "description": description,
        "schema": {"$ref": f"#/definitions/{model.name}"},
    }


def content_of(content: Content) -> dict[str, Any]:
    """Return a body's media types as OpenAPI 3.1 describes them."""
    return {
        media_type: {"schema": ref(schema) if isinstance(schema, SchemaModel) else schema}
        for media_type, schema in content.items()
    }


def answers(
    ns: Namespace,
    content: Content,
    description: str,
    *problems: int,
    headers: Headers | None = None,
) -> Callable[[Verb], Verb]:
    """Declare what an operation answers.

    :param ns: the namespace of its resource
    :param content: the body of its success; empty if there is none
    :param description: what a success means
    :param problems: the status of each way to fail, 206 and 304
    :param headers: the headers of a success, beside the request id
    """
    model = next(iter(content.values()), None)
    of_success = {"headers": {**REQUEST_ID, **(headers or {})}}
    responses: dict[int, Any] = {200: (description, model, of_success)}
    for status in sorted(problems):
        if status == HTTPStatus.NOT_MODIFIED:
            responses[status] = (NOT_MODIFIED, None, of_success)
        elif status == HTTPStatus.PARTIAL_CONTENT:
            of_part = {**of_success["headers"], **CONTENT_RANGE}
            responses[status] = (PARTIAL, BYTES_OF_A_VALUE, {"headers": of_part})
        else:
            problem = PROBLEM if content else None
            responses[status] = (STATUS_DESCRIPTIONS[status], problem, {"headers": problem_headers(status)})
    produces = {} if set(content) <= {JSON} else {"produces": list(content)}
    declared: Callable[[Verb], Verb] = ns.doc(responses=responses, content=content_of(content), **produces)
    return declared


def key_answers(
    ns: Namespace,
    content: Content,
    description: str,
    *problems: int,
    headers: Headers | None = None,
) -> Callable[[Verb], Verb]:
    """Declare what an operation on keys answers: each can be wrong, refused for its token or its rate, or fail.

    :param ns: as for :func:`answers`, and so are the others
    :param content: the body of its success
    :param description: what a success means
    :param problems: the status of each way to fail that not all of them have
    :param headers: the headers of a success
    """
    return answers(ns, content, description, 400, 401, 403, 414, 429, 431, 500, *problems, headers=headers)


def problem_headers(status: int) -> Headers:
    """Return the headers of an error, by its status."""
    is_passing = status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return {
        **REQUEST_ID,
        **(CHALLENGE if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} else {}),
        **(CONTENT_RANGE if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE else {}),
        **(RETRY_AFTER if is_passing else {}),
    }
