"""Schemathesis makes requests from the Swagger document, right and wrong ones, and holds every answer against it.

All its checks are on. Of its phases it runs examples, coverage and fuzzing; the stateful one follows links from one
operation to the next, which Swagger 2.0 does not have.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.hooks import HookContext
from schemathesis.specs.openapi.schemas import OpenApiSchema

from api.app import create_app
from api.settings import Settings
from models.connection import Client
from models.entry import MAX_KEY_BYTES
from models.store import Store
from resources.parameters import EXPIRE_IN
from tests.conftest import MAX_VALUE_BYTES, PREFIX, faked, server_of
from tests.services import Service


MAX_REQUEST_LINE_BYTES = 8_190

Case = schemathesis.Case[Any]
Answered = Counter[tuple[str, int]]


def configured(*, max_examples: int) -> SchemathesisConfig:
    """Configure a run that is the same every time."""
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "generation": {"deterministic": True, "database": "none", "max-examples": max_examples},
            "phases": {"coverage": {"generate-duplicate-query-parameters": True}, "stateful": {"enabled": False}},
            "checks": {
                # Exact, where Schemathesis by itself lets more pass, such as 401, 422, 429 and 5xx.
                "positive_data_acceptance": {"expected-statuses": [200, 404, 409]},
                "negative_data_rejection": {"expected-statuses": [400, 404, 405, 415]},
                # Far above what any request takes: it is there to notice one that hangs.
                "max_response_time": 10,
            },
        }
    )


def declarable(context: HookContext, case: Case) -> bool:
    """Say whether the document can be right about a case: leave out what Swagger 2.0 cannot allow or cannot forbid."""
    # maxLength counts characters, and our limit is on bytes; a key above both is refused as it should be.
    key = (case.path_parameters or {}).get("key")
    if isinstance(key, str) and len(key) <= MAX_KEY_BYTES < len(key.encode()):
        return False
    # Any further name in the query string of PUT /keys is a pair to store, and with one the body may be empty.
    if case.operation.label == "PUT /keys" and set(case.query or {}) - {EXPIRE_IN.name}:
        return False
    # The names of an object have no bounds. (Lone surrogates, which it could not forbid either, are never made:
    # Schemathesis keeps to UTF-8.)
    return not isinstance(case.body, dict) or all(0 < len(str(n).encode()) <= MAX_KEY_BYTES for n in case.body)


def fits_into_a_request_line(context: HookContext, case: Case) -> bool:
    """Say whether Gunicorn lets a case through: above its limit it answers by itself, as the document's text says."""
    return len(case.as_curl_command()) <= MAX_REQUEST_LINE_BYTES


def plant(client: Client, case: Case) -> None:
    """Put something under the key that a request names, so that not every answer is 404.

    What it is depends on nothing but the key: a request that is repeated finds the same.
    """
    key = (case.path_parameters or {}).get("key")
    if not isinstance(key, str):
        return
    name = f"{PREFIX}{key}"
    client.delete(name)
    kind = zlib.crc32(key.encode()) % 4
    if kind == 1:
        client.set(name, "text")
    elif kind == 2:
        client.set(name, b"bytes that are not UTF-8: \xff")
    elif kind == 3:
        client.rpush(name, "a list")


def check_all_were_tried(document: OpenApiSchema, answered: Answered) -> None:
    """Fail if an operation of the document was not really tried: taken, and refused where it takes parameters."""
    methods = {path: set(item) - {"parameters"} for path, item in document.raw_schema["paths"].items()}
    labels = {f"{method.upper()} {path}" for path, names in methods.items() for method in names}
    tried = {status: {label for label, answer in answered if answer == status} for status in (200, 400)}
    assert tried == {200: labels, 400: {label for label in labels if "/keys" in label}}


# Schemathesis makes one test of each operation, so the document is needed while tests are collected.
redis = faked()
app = create_app(Settings(), store=Store(redis, key_prefix=PREFIX, max_value_bytes=MAX_VALUE_BYTES))
in_process = schemathesis.openapi.from_wsgi("/swagger.json", app, config=configured(max_examples=150))
over_http = schemathesis.openapi.from_dict(in_process.raw_schema, config=configured(max_examples=25))
in_process.hook("filter_case")(declarable)
over_http.hook("filter_case")(declarable)
over_http.hook("filter_case")(fits_into_a_request_line)

answered_in_process: Answered = Counter()
answered_over_http: Answered = Counter()


@pytest.fixture(scope="module")
def behind(service: Service) -> Iterator[Client]:
    """A client of the Valkey behind the service, which is empty before and after."""
    with server_of(service) as client:
        client.flushall()
        yield client
        client.flushall()


def test_the_document_is_valid_swagger() -> None:
    # Against the JSON schema of Swagger 2.0, which Schemathesis carries.
    in_process.validate()


@in_process.parametrize()
def test_answers_are_what_the_document_says(case: Case) -> None:
    plant(redis, case)
    answer = case.call_and_validate()
    answered_in_process[case.operation.label, answer.status_code] += 1


def test_every_operation_was_tried_by_the_tests_above() -> None:
    check_all_were_tried(in_process, answered_in_process)


@over_http.parametrize()
def test_answers_of_a_served_application_are_what_the_document_says(
    case: Case, service: Service, behind: Client
) -> None:
    plant(behind, case)
    answer = case.call_and_validate(base_url=f"http://127.0.0.1:{service.port}")
    answered_over_http[case.operation.label, answer.status_code] += 1


def test_every_operation_was_tried_on_a_served_application() -> None:
    check_all_were_tried(over_http, answered_over_http)
