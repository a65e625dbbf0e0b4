"""Schemathesis makes requests from the Swagger document, right and wrong ones, and holds every answer against it.

All its checks are on. Of its phases it runs examples, coverage and fuzzing; the stateful one follows links from one
operation to the next, which Swagger 2.0 does not have.
"""

import json
import re
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from redis import Redis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.hooks import HookContext
from schemathesis.openapi.checks import MissingContentType
from schemathesis.specs.openapi.checks import ignored_auth
from schemathesis.specs.openapi.schemas import OpenApiSchema

from api.app import create_app
from api.errors import PROBLEM_JSON
from api.serving.embedded import EmbeddedServer
from api.settings import Settings
from models.entry import MAX_KEY_BYTES
from models.tokens import SCOPES, Tokens
from resources.media_types import NDJSON
from resources.parsing.conditions import PATTERNS
from resources.parsing.parameters import CURSOR, EXPIRE_IN, FILTER
from resources.parsing.transaction import MAX_KEYS
from tests.conftest import PREFIX, server_of
from tests.support.services import Service


MAX_REQUEST_LINE_BYTES = 8_190

Case = schemathesis.Case[Any]
Answered = Counter[tuple[str, int | str]]
# The keys of the document's examples, which many cases are made of, and what they are to find there.
PLANTED = {"word": b"5", "world": b"bytes that are not UTF-8: \xff", "counter": b"41"}


def configured(*, max_examples: int) -> SchemathesisConfig:
    """Configure a run that is the same every time."""
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "generation": {"deterministic": True, "database": "none", "max-examples": max_examples},
            "phases": {"coverage": {"generate-duplicate-query-parameters": True}, "stateful": {"enabled": False}},
            "checks": {
                # Exact, where Schemathesis by itself lets more pass, such as 401, 422, 429 and 5xx.
                "positive_data_acceptance": {"expected-statuses": [200, 304, 404, 409, 412]},
                "negative_data_rejection": {"expected-statuses": [400, 404, 405, 415]},
                # Far above what any request takes: it is there to notice one that hangs.
                "max_response_time": 10,
            },
        }
    )


@schemathesis.serializer(NDJSON)
def to_lines(context: schemathesis.SerializationContext, body: Any) -> bytes:
    """Write pairs as records: the one body schema that Swagger 2.0 allows an operation is that of its other types."""
    pairs = body.items() if isinstance(body, dict) else []
    return b"".join(json.dumps({"key": key, "value": value}).encode() + b"\n" for key, value in pairs)


def declarable(context: HookContext, case: Case) -> bool:
    """Say whether the document can be right about a case: leave out what Swagger 2.0 cannot allow or cannot forbid."""
    return not (right_for_the_document_alone(case) if is_right(case) else wrong_for_the_document_alone(case))


def is_right(case: Case) -> bool:
    """Say whether a case is meant to be what the document allows."""
    return case.meta is not None and case.meta.generation.mode.is_positive


def drop_examples(context: HookContext, examples: list[Case]) -> None:
    """Leave out the same of the document's examples, of which each case puts all of an operation together."""
    examples[:] = [case for case in examples if declarable(context, case)]


def right_for_the_document_alone(case: Case) -> bool:
    """Say whether a case is wrong in a way that Swagger 2.0 cannot express."""
    # maxLength counts characters, and our limit is on bytes; the names of an object have no bounds at all.
    # (Lone surrogates, which it could not forbid either, are never made: Schemathesis keeps to UTF-8.)
    # A cursor is good for the servers that gave it; only the start is good for all.
    cursor = str((case.query or {}).get(CURSOR.name, 0))
    if cursor.strip("0") or not all(0 < len(key.encode()) <= MAX_KEY_BYTES for key in keys_of(case)):
        return True
    headers: dict[str, str] = dict(case.headers or {})
    # Schemathesis 4.32.5 makes no right value of a header whose pattern asks for more than letters and digits in its
    # coverage phase, and takes a wrong one for it. (In the fuzzing phase it makes them.)
    if any(not re.match(pattern, headers.get(name, "*")) for name, pattern in PATTERNS.items()):
        return True
    match case.operation.label:
        case "PUT /keys":
            # A key cannot both exist and not.
            return case.media_type != NDJSON and PATTERNS.keys() <= set(headers)
        case "POST /keys":
            return not is_transaction(case.body)
        case "PATCH /keys/{key}":
            return not is_change(case.body)
    return False


def is_transaction(body: Any) -> bool:
    """Say whether the members of a transaction go together."""
    names = [set(body.get(member, ())) for member in ("if", "get", "put", "delete")]
    return (
        0 < sum(map(len, names)) <= MAX_KEYS
        and names[2].isdisjoint(names[3])
        and (EXPIRE_IN.name not in body or bool(names[2]))
    )


def is_change(body: Any) -> bool:
    """Say whether the members of a change go together."""
    operations = len({"increment", "append"} & set(body))
    if body.get("keep_expiry") and body.get("expire_in") is None:
        return False
    return operations == 1 or (operations == 0 and "expire_in" in body and not body.get("keep_expiry"))


def wrong_for_the_document_alone(case: Case) -> bool:
    """Say whether a case is right in a way that Swagger 2.0 cannot express."""
    if case.operation.label != "PUT /keys":
        return False
    # Any further name in the query string is a pair to store, and with one the body may be empty. Of lines those that
    # are wrong are reported, and the others stored.
    return bool(set(case.query or {}) - {EXPIRE_IN.name}) or case.media_type == NDJSON


def fits_into_a_request_line(context: HookContext, case: Case) -> bool:
    """Say whether Gunicorn lets a case through: above its limit it answers by itself, as the document's text says."""
    return len(case.as_curl_command()) <= MAX_REQUEST_LINE_BYTES


def has_a_type(context: HookContext, failure: Failure, case: Case, answer: schemathesis.Response) -> bool:
    """Say whether a failure is one: the media types of Swagger 2.0 are for all statuses, and a 304 has no body."""
    return not (isinstance(failure, MissingContentType) and answer.status_code == 304)


def keys_of(case: Case) -> list[str]:
    """Give the keys that a request names."""
    named: list[Any] = list((case.path_parameters or {}).values())
    if isinstance(case.body, dict) and case.operation.label == "PUT /keys":
        named += case.body
    if isinstance(case.body, dict) and case.operation.label == "POST /keys":
        for member in ("if", "get", "put", "delete"):
            keys = case.body.get(member)
            named += keys if isinstance(keys, dict | list) else []
    return [key for key in named if isinstance(key, str)]


def plant(client: Redis, case: Case) -> None:
    """Put something under the keys that a request names, so that not every answer is 404.

    What it is depends on nothing but the key: a request that is repeated finds the same.
    """
    client.flushall()
    for key in [*PLANTED, *keys_of(case)]:
        name = f"{PREFIX}{key}"
        match PLANTED.get(key, zlib.crc32(key.encode()) % 5):
            case bytes(value):
                client.set(name, value)
            case 1:
                client.set(name, "text")
            case 2:
                client.set(name, "41", ex=1_000)
            case 3:
                client.set(name, b"bytes that are not UTF-8: \xff")
            case 4:
                client.delete(name)
                client.rpush(name, "a list")


def accepted(case: Case) -> list[str]:
    """Give the media types that an answer is to be asked for; of a wrong case's answer there is one."""
    produced = case.operation.definition.raw.get("produces", ["*/*"])
    # An export takes no other parameter than a filter, but parameters belong to an operation and not to a media type.
    refused = {PROBLEM_JSON, NDJSON if set(case.query or {}) - {FILTER.name} else ""}
    offered = [media_type for media_type in produced if media_type not in refused]
    return offered if is_right(case) else offered[:1]


def ask(client: Redis, case: Case, answered: Answered, base_url: str | None = None) -> None:
    """Ask for each representation of the answer, and note what was answered, and the media types of a success."""
    label = case.operation.label
    if case.media_type == NDJSON and is_right(case):
        # Neither a condition nor an expiry is for lines, but parameters belong to an operation and not to a media type.
        case.query = {}
        for name in PATTERNS:
            case.headers.pop(name, None)
    for media_type in accepted(case):
        plant(client, case)
        answer = case.call_and_validate(base_url, headers={"Accept": media_type})
        answered[label, answer.status_code] += 1
        if answer.status_code == 200:
            answered[label, f"takes {case.media_type}"] += 1
            answered[label, f"gives {answer.headers['content-type'][0]}"] += 1


def check_all_were_tried(document: OpenApiSchema, answered: Answered, *, media_types: bool) -> None:
    """Fail if an operation was not really tried: taken, with each media type too, and refused where it can be wrong."""
    expected: set[tuple[str, int | str]] = set()
    for path, item in document.raw_schema["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            label = f"{method.upper()} {path}"
            expected |= {(label, 200)} | ({(label, 400)} if path.startswith("/keys") else set())
            if not media_types:
                continue
            expected |= {(label, f"takes {media_type}") for media_type in operation.get("consumes", [])}
            expected |= {(label, f"gives {each}") for each in operation.get("produces", []) if each != PROBLEM_JSON}
    assert expected - set(answered) == set()


# Schemathesis makes one test of each operation, so the document is needed while tests are collected.
folder = tempfile.TemporaryDirectory()
server = EmbeddedServer(Path(folder.name) / "valkey", durability="everysec")
redis = Redis.from_url(server.url)
app = create_app(Settings(redis_url=server.url))
in_process = schemathesis.openapi.from_wsgi("/swagger.json", app, config=configured(max_examples=100))
over_http = schemathesis.openapi.from_dict(in_process.raw_schema, config=configured(max_examples=25))
# Its check ignored_auth takes the token away from requests, and wants them refused.
tokens_file = Path(folder.name) / "tokens.json"
bearer = {"Authorization": "Bearer " + Tokens(tokens_file).create("all", namespace="all", scopes=SCOPES)}
guarded_app = create_app(Settings(redis_url=server.url, tokens_file=tokens_file))
guarded = schemathesis.openapi.from_wsgi("/swagger.json", guarded_app, config=configured(max_examples=10))
for document in (in_process, over_http):
    document.hook("filter_case")(declarable)
    document.hook("before_add_examples")(drop_examples)
    document.hook("filter_failure")(has_a_type)
over_http.hook("filter_case")(fits_into_a_request_line)

answered_in_process: Answered = Counter()
answered_over_http: Answered = Counter()


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[None]:
    """Run the server of the applications in this process."""
    server.start()
    yield
    server.stop()


@pytest.fixture(scope="module")
def behind(service: Service) -> Iterator[Redis]:
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
    ask(redis, case, answered_in_process)


def test_every_operation_was_tried_by_the_tests_above() -> None:
    check_all_were_tried(in_process, answered_in_process, media_types=True)


@over_http.parametrize()
def test_answers_of_a_served_application_are_what_the_document_says(
    case: Case, service: Service, behind: Redis
) -> None:
    ask(behind, case, answered_over_http, f"http://127.0.0.1:{service.port}")


def test_every_operation_was_tried_on_a_served_application() -> None:
    # Which media types a few examples have is a matter of luck.
    check_all_were_tried(over_http, answered_over_http, media_types=False)


@guarded.parametrize()
def test_every_operation_that_the_document_says_wants_a_token_does(case: Case) -> None:
    case.call_and_validate(checks=[ignored_auth], headers={"Accept": accepted(case)[0], **bearer})
