"""How an operation says in Swagger what it answers."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask_restx import Namespace
from flask_restx.model import ModelBase

from models.schema import PROBLEM


Verb = TypeVar("Verb", bound=Callable[..., Any])

PROBLEMS = {
    400: "The request is wrong: the detail says what came and what was expected. Nothing was changed.",
    404: "There is no such key.",
    409: "The key holds a Redis type that is not a string.",
    413: "The body, a value or the number of pairs is above its limit, which the answer names. Nothing was changed.",
    415: "The body's media type is not one that is read here. Nothing was changed.",
    500: "The store cannot do it at present (Retry-After says when to try again), or the service has a fault. "
    "The status for the former is FLASKVSTORE_UNAVAILABLE_STATUS.",
    503: "The store does not answer.",
}
REQUEST_ID = {"X-Request-Id": {"description": "Names the request in the log.", "type": "string"}}


def answers(
    ns: Namespace,
    model: ModelBase | None,
    description: str,
    *problems: int,
    headers: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Verb], Verb]:
    """Declare what an operation answers.

    :param ns: the namespace of its resource
    :param model: the model of its success; None where there is no body
    :param description: what a success means
    :param problems: the status of each way to fail
    :param headers: the headers of a success, beside the request id
    """
    responses: dict[int, Any] = {200: (description, model, {"headers": {**REQUEST_ID, **(headers or {})}})}
    for status in problems:
        problem_model = PROBLEM if model is not None else None
        responses[status] = (PROBLEMS[status], problem_model, {"headers": REQUEST_ID})
    declared: Callable[[Verb], Verb] = ns.doc(responses=responses)
    return declared
