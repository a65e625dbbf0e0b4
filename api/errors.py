"""The one table from exceptions to HTTP, and the one shape of errors (RFC 9457)."""

import logging
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple

import orjson
from flask import Flask, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from api import LOGGER
from models import errors
from models.errors import quoted
from resources import errors as http
from resources.extensions import REQUEST_ID
from resources.media_types import PROBLEM
from resources.responses import BytesResponse


PROBLEM_JSON = PROBLEM
RETRY_AFTER_SECONDS = 1

log = logging.getLogger(f"{LOGGER}.errors")


class Problem(NamedTuple):
    """The status, code and title of an exception, and its headers."""

    status: int
    code: str
    title: str
    headers: Mapping[str, str] = MappingProxyType({})


# RFC 6750 section 3.
CHALLENGE = 'Bearer realm="flaskvstore"'

PROBLEMS: dict[type[Exception], Problem] = {
    errors.InvalidKey: Problem(400, "invalid_key", "Invalid key"),
    errors.InvalidValue: Problem(400, "invalid_value", "Invalid value"),
    errors.InvalidExpiry: Problem(400, "invalid_expiry", "Invalid expiry"),
    http.InvalidCondition: Problem(400, "invalid_condition", "Invalid condition"),
    errors.InvalidFilter: Problem(400, "invalid_filter", "Invalid filter"),
    http.FilterRequired: Problem(400, "filter_required", "Filter required"),
    http.InvalidParameter: Problem(400, "invalid_parameter", "Invalid query parameter"),
    http.InvalidBody: Problem(400, "invalid_body", "Invalid body"),
    http.InvalidPairs: Problem(400, "invalid_pairs", "Invalid pairs"),
    http.MalformedRequest: Problem(400, "malformed_request", "Malformed request"),
    http.InvalidEncoding: Problem(400, "invalid_encoding", "Invalid percent-encoding"),
    errors.CursorExpired: Problem(400, "cursor_expired", "Cursor expired"),
    errors.KeysApart: Problem(400, "keys_apart", "Keys in different hash slots"),
    http.MissingToken: Problem(401, "missing_token", "Missing token", {"WWW-Authenticate": CHALLENGE}),
    errors.InvalidToken: Problem(
        401, "invalid_token", "Invalid token", {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'}
    ),
    http.UnknownHost: Problem(403, "unknown_host", "Unknown host"),
    http.CrossSiteRequest: Problem(403, "cross_site", "Cross-site request"),
    errors.InsufficientScope: Problem(
        403,
        "insufficient_scope",
        "Insufficient scope",
        {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope"'},
    ),
    errors.KeyNotFound: Problem(404, "key_not_found", "Key not found"),
    http.NotAcceptable: Problem(406, "not_acceptable", "Not acceptable"),
    http.BodyTimeout: Problem(408, "request_timeout", "Request timeout"),
    errors.WrongType: Problem(409, "wrong_type", "Not a string"),
    errors.NotAnInteger: Problem(409, "not_an_integer", "Not an integer"),
    errors.PreconditionFailed: Problem(412, "precondition_failed", "Precondition failed"),
    http.BodyTooLarge: Problem(413, "body_too_large", "Body too large"),
    errors.ValueTooLarge: Problem(413, "value_too_large", "Value too large"),
    errors.ValuesTooLarge: Problem(413, "values_too_large", "Values too large together"),
    errors.TooManyKeys: Problem(413, "too_many_keys", "Too many keys"),
    http.UnsupportedCoding: Problem(
        415, "unsupported_content_coding", "Unsupported content coding", {"Accept-Encoding": "identity"}
    ),
    http.UnsupportedTransferCoding: Problem(501, "unsupported_transfer_coding", "Unsupported transfer coding"),
    http.UnsupportedBody: Problem(415, "unsupported_media_type", "Unsupported media type"),
    # Its Content-Range has the size of the value.
    http.RangeNotSatisfiable: Problem(416, "range_not_satisfiable", "Range not satisfiable"),
    # Its Retry-After is the end of the window, which `api/policy/rate_limit.py` knows.
    http.RateLimited: Problem(429, "rate_limited", "Too many requests"),
    http.TooManyBytes: Problem(429, "too_many_bytes", "Too many bytes", {"Retry-After": str(RETRY_AFTER_SECONDS)}),
    http.TooManyLists: Problem(429, "too_many_lists", "Too many lists", {"Retry-After": str(RETRY_AFTER_SECONDS)}),
    http.TooManyWatchers: Problem(
        429, "too_many_watchers", "Too many watchers", {"Retry-After": str(RETRY_AFTER_SECONDS)}
    ),
    errors.StoreUnavailable: Problem(500, "store_unavailable", "Store unavailable"),
    errors.StoreTimeout: Problem(500, "store_timeout", "Store too slow"),
    errors.StoreSaturated: Problem(500, "store_saturated", "Store connections busy"),
    errors.StoreLoading: Problem(500, "store_loading", "Store loading"),
    errors.StoreFull: Problem(500, "store_full", "Store full"),
    errors.StoreReadOnly: Problem(500, "store_read_only", "Store read-only"),
    errors.StoreDenied: Problem(500, "store_denied", "Store denies access"),
    errors.StoreChanged: Problem(500, "store_changed", "Store changed"),
    errors.StoreFault: Problem(500, "store_fault", "Unexpected answer of the store"),
    errors.OutcomeUnknown: Problem(500, "outcome_unknown", "Outcome unknown"),
    errors.TokensUnusable: Problem(500, "tokens_unusable", "Tokens unusable"),
    errors.NotReady: Problem(503, "not_ready", "Not ready"),
}

# For what Flask and Werkzeug raise; others of theirs are named after their status.
NOT_FOUND = Problem(404, "not_found", "Not found")
METHOD_NOT_ALLOWED = Problem(405, "method_not_allowed", "Method not allowed")
INTERNAL = Problem(500, "internal_error", "Internal error")
FAULT = "The service has a fault. Its log says more under this request id."

# For what the server refuses before it is a request, with what is wrong.
REFUSALS = {
    400: (PROBLEMS[http.MalformedRequest], "The head or the framing of the request is malformed."),
    414: (Problem(414, "uri_too_long", "URI too long"), "The request line is too long: send large values in the body."),
    417: (Problem(417, "expectation_failed", "Expectation failed"), "Only 100-continue can be expected."),
    431: (Problem(431, "fields_too_large", "Header fields too large"), "The header fields are too many or too large."),
    501: (PROBLEMS[http.UnsupportedTransferCoding], "A body can have no transfer coding but chunked."),
}
# All of them by code, each with a sentence for an example.
KNOWN = {
    problem.code: (problem, sentence)
    for problem, sentence in [
        *((problem, (error.__doc__ or "").partition("\n")[0]) for error, problem in PROBLEMS.items()),
        (NOT_FOUND, "There is nothing at this URL."),
        (METHOD_NOT_ALLOWED, "The URL does not have this method."),
        (INTERNAL, FAULT),
        *REFUSALS.values(),
    ]
}


def register_error_handlers(app: Flask, *, unavailable_status: int) -> None:
    """Answer every exception with a problem document.

    :param unavailable_status: the status when the store cannot do what it should
    """
    app.register_error_handler(errors.RequestError, request_error)
    app.register_error_handler(http.RangeNotSatisfiable, range_not_satisfiable)
    for fault in (errors.StoreError, errors.TokensUnusable):
        app.register_error_handler(fault, partial(service_fault, unavailable_status=unavailable_status))
    app.register_error_handler(NotFound, not_found)
    app.register_error_handler(MethodNotAllowed, method_not_allowed)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, internal_error)


def request_error(error: errors.RequestError) -> BytesResponse:
    """Answer an error of the client."""
    return problem_response(PROBLEMS[type(error)], str(error), **error.members)


def range_not_satisfiable(error: http.RangeNotSatisfiable) -> BytesResponse:
    """Answer a range beyond the end of a value."""
    response = request_error(error)
    response.headers.add("Content-Range", f"bytes */{error.members['limit']}")
    return response


def service_fault(error: errors.StoreError | errors.TokensUnusable, *, unavailable_status: int) -> BytesResponse:
    """Answer a failure of the store or of the file of tokens, and log its cause."""
    problem = PROBLEMS[type(error)]
    log.error("%s: %s", problem.code, error.__cause__, extra={"fields": {"request_id": request.environ[REQUEST_ID]}})
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        problem = problem._replace(status=unavailable_status)
    response = problem_response(problem, str(error), **error.members)
    response.headers.add("Retry-After", str(RETRY_AFTER_SECONDS))
    return response


def not_found(_: NotFound) -> BytesResponse:
    """Answer a URL that has no route."""
    return problem_response(NOT_FOUND, f"There is nothing at {quoted(request.path)}. The documentation is at /docs.")


def method_not_allowed(error: MethodNotAllowed) -> BytesResponse:
    """Answer a method that a URL does not have."""
    allowed = ", ".join(sorted(error.valid_methods or ()))
    response = problem_response(METHOD_NOT_ALLOWED, f"{request.method} is not allowed here; allowed: {allowed}.")
    response.headers.add("Allow", allowed)
    return response


def http_error(error: HTTPException) -> BytesResponse:
    """Answer any other error of Flask or Werkzeug, named after its status."""
    status = HTTPStatus(error.code or INTERNAL.status)
    problem = Problem(status.value, status.name.lower(), error.name)
    return problem_response(problem, error.description or error.name)


def internal_error(error: Exception) -> BytesResponse:
    """Answer an unexpected exception, and log its stack trace."""
    log.error(INTERNAL.code, exc_info=error, extra={"fields": {"request_id": request.environ[REQUEST_ID]}})
    return problem_response(INTERNAL, FAULT)


def refusal(status: int, request_id: str) -> bytes:
    """Return the problem document for what the server refuses before it is a request.

    :param status: what the server would answer
    """
    problem, detail = REFUSALS.get(status, (INTERNAL, FAULT))
    return orjson.dumps(problem_document(problem, detail, request_id), option=orjson.OPT_APPEND_NEWLINE)


def problem_response(problem: Problem, detail: str, **members: object) -> BytesResponse:
    """Return the response for a problem.

    :param problem: status, code and title
    :param detail: what came, what was expected, what to do
    :param members: further members
    """
    document = problem_document(problem, detail, request.environ[REQUEST_ID]) | members
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    response = BytesResponse(body, problem.status, PROBLEM_JSON)
    response.headers.extend(problem.headers)
    return response


def codes_of(status: int) -> list[str]:
    """Return the codes of all problems with a status."""
    return [code for code, (problem, _) in KNOWN.items() if problem.status == status]


def example_of(status: int) -> dict[str, object]:
    """Return an example of a problem with a status."""
    problem, sentence = next(known for known in KNOWN.values() if known[0].status == status)
    return problem_document(problem, sentence, "af93b9bf0cbe0f8bd72bc3d1ae7a0a34")


def problem_document(problem: Problem, detail: str, request_id: str) -> dict[str, object]:
    """Return a problem document.

    :param problem: status, code and title
    :param detail: what came, what was expected, what to do
    :param request_id: names the request
    """
    return {
        "type": f"urn:flaskvstore:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "code": problem.code,
        "request_id": request_id,
    }
