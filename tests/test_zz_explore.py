"""Schemathesis makes requests from the Swagger document, right and wrong ones, and holds every answer against it.

All its checks are on. Of its phases it runs examples, coverage and fuzzing; the stateful one follows links from one
operation to the next, which Swagger 2.0 does not have.
"""

import zlib
from collections import Counter
from collections.abc import Iterator

import fakeredis
import pytest
import redis
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.hooks import HookContext
from schemathesis.specs.openapi.schemas import OpenApiSchema

from api.app import create_app
from api.settings import Settings
from models.entry import MAX_KEY_BYTES
from models.store import Store
from tests.conftest import MAX_VALUE_BYTES, PREFIX, server_of
from tests.services import Service


MAX_REQUEST_LINE_BYTES = 8_190
# What is under a key before a request for it: nothing, text, bytes that are no text, or no string at all.
PLANTED: tuple[bytes | dict[str, str] | None, ...] = (None, b"text", b"\xff", {"field": "value"})

Answered = Counter[tuple[str, int]]


def configured(*, max_examples: int) -> SchemathesisConfig:
    """Configure a run that is the same every time."""
    return SchemathesisConfig.from_dict(
        {
            "seed": 2,
            "generation": {"deterministic": False, "database": "none", "max-examples": max_examples},
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


def declarable(context: HookContext, case: schemathesis.Case) -> bool:
    """Say whether a case is free of what the document allows only because Swagger 2.0 cannot forbid it."""
    # maxLength counts characters, and our limit is on bytes; a key above both is refused as it should be.
    key = (case.path_parameters or {}).get("key")
    if isinstance(key, str) and len(key) <= MAX_KEY_BYTES < len(key.encode()):
        return False
    # The names of an object have no bounds. (Lone surrogates, which it could not exclude either, are never made:
    # Schemathesis keeps to UTF-8.)
    return not isinstance(case.body, dict) or all(0 < len(str(n).encode()) <= MAX_KEY_BYTES for n in case.body)


def fits_into_a_request_line(context: HookContext, case: schemathesis.Case) -> bool:
    """Say whether Gunicorn lets a case through: above its limit it answers by itself, as the document's text says."""
    return len(case.as_curl_command()) <= MAX_REQUEST_LINE_BYTES


def plant(client: redis.Redis, case: schemathesis.Case) -> None:
    """Put something under the key that a request names, so that not every answer is 404.

    What it is depends on nothing but the key: a request that is repeated finds the same.
    """
    key = (case.path_parameters or {}).get("key")
    if not isinstance(key, str):
        return
    name = f"{PREFIX}{key}"
    client.delete(name)
    planted = PLANTED[zlib.crc32(key.encode()) % len(PLANTED)]
    if isinstance(planted, bytes):
        client.set(name, planted)
    elif planted:
        client.hset(name, mapping=planted)


def check_all_were_tried(document: OpenApiSchema, answered: Answered) -> None:
    """Fail if an operation of the document was not really tried: taken once at least, and refused where it can be."""
    labels = {result.ok().label for result in document.get_all_operations()}
    with_parameters = {label for label in labels if "/keys" in label}
    tried = {status: {label for label, answer in answered if answer == status} for status in (200, 400)}
    assert tried == {200: labels, 400: with_parameters}


# Schemathesis makes one test of each operation, so the document is needed while tests are collected.
faked = fakeredis.FakeRedis()
app = create_app(Settings(), store=Store(faked, key_prefix=PREFIX, max_value_bytes=MAX_VALUE_BYTES))
in_process = schemathesis.openapi.from_wsgi("/swagger.json", app, config=configured(max_examples=1500))
over_http = schemathesis.openapi.from_dict(in_process.raw_schema, config=configured(max_examples=400))
in_process.hook("filter_case")(declarable)
over_http.hook("filter_case")(declarable)
over_http.hook("filter_case")(fits_into_a_request_line)


def test_the_document_is_valid() -> None:
    # Against the JSON schema of Swagger 2.0, which Schemathesis carries.
    in_process.validate()


class TestInProcess:
    answered: Answered = Counter()

    @in_process.parametrize()
    def test_answers_are_what_the_document_says(self, case: schemathesis.Case) -> None:
        plant(faked, case)
        answer = case.call_and_validate()
        self.answered[case.operation.label, answer.status_code] += 1

    def test_all_operations_were_tried_by_the_tests_above(self) -> None:
        check_all_were_tried(in_process, self.answered)


@pytest.fixture(scope="module")
def behind(service: Service) -> Iterator[redis.Redis]:
    """A client of the Valkey behind the service, which is empty before and after."""
    client = server_of(service)
    client.flushall()
    yield client
    client.flushall()
    client.close()


class TestServed:
    """A smaller run through Gunicorn, to a real Valkey."""

    answered: Answered = Counter()

    @over_http.parametrize()
    def test_answers_are_what_the_document_says(
        self, case: schemathesis.Case, service: Service, behind: redis.Redis
    ) -> None:
        plant(behind, case)
        answer = case.call_and_validate(base_url=f"http://127.0.0.1:{service.port}")
        self.answered[case.operation.label, answer.status_code] += 1

    def test_all_operations_were_tried_by_the_tests_above(self) -> None:
        check_all_were_tried(over_http, self.answered)
