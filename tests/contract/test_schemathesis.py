"""Schemathesis makes requests from the OpenAPI document, right and wrong ones, and holds every answer against it.

All its checks are on. Of its phases it runs examples, coverage and fuzzing; the stateful one follows links from one
operation to the next, which the document does not have.
"""

import base64
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import schemathesis
from hypothesis.strategies import SearchStrategy, binary, fixed_dictionaries, integers, lists, text
from redis import Redis
from requests.structures import CaseInsensitiveDict
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.hooks import HookContext
from schemathesis.specs.openapi.checks import ignored_auth
from schemathesis.specs.openapi.schemas import OpenApiSchema

from api.app import create_app
from api.openapi.openapi import SECURITY_SCHEMES
from api.settings import Settings
from models.entry import MAX_KEY_BYTES
from models.tokens import SCOPES, Tokens
from resources.media_types import ANY, EVENTS, NDJSON, NDJSON_TYPES
from resources.parsing.conditions import PATTERNS
from resources.parsing.parameters import CURSOR, EXPIRE_IN, INITIAL, LIMIT, SINCE, VALUES
from resources.parsing.transaction import MAX_KEYS
from tests.support.amounts import IS_SOAK, SEED, amount
from tests.support.clients import bearer
from tests.support.servers.services import Service, serving
from tests.support.servers.stores import PREFIX


MAX_REQUEST_LINE_BYTES = 8_190

Case = schemathesis.Case[Any]
Answered = Counter[tuple[str, int | str]]
# The keys of the document's examples, which many cases are made of, and what they are to find there.
PLANTED = {"word": b"5", "world": b"bytes that are not UTF-8: \xff", "counter": b"41"}


def configured(*, max_examples: int, **phases: Mapping[str, bool]) -> SchemathesisConfig:
    """Configure a run that is the same every time, or by `make soak` the same for a seed."""
    return SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "generation": {"deterministic": not IS_SOAK, "database": "none", "max-examples": max_examples},
            "phases": {"stateful": {"enabled": False}, **phases},
            "checks": {
                # Exact, where Schemathesis by itself lets more pass, such as 401, 422, 429 and 5xx.
                "positive_data_acceptance": {"expected-statuses": [200, 304, 404, 409, 412]},
                "negative_data_rejection": {"expected-statuses": [400, 404, 405, 415]},
                # Far above what any request takes: it is there to notice one that hangs.
                "max_response_time": 10,
            },
        }
    )


def lines() -> SearchStrategy[bytes]:
    """Make records, one a line: Schemathesis does not read what the schema says of lines."""
    values = text() | binary().map(lambda value: {"base64": base64.b64encode(value).decode()})
    record = fixed_dictionaries(
        {"key": text(min_size=1, max_size=100), "value": values}, optional={"expires_at": integers(0, 2**32)}
    )
    return lists(record, min_size=1).map(
        lambda records: b"".join(json.dumps(each).encode() + b"\n" for each in records)
    )


schemathesis.openapi.media_type(NDJSON, lines(), aliases=NDJSON_TYPES[1:])


def declarable(context: HookContext, case: Case) -> bool:
    """Say whether the document can be right about a case: leave out what it cannot allow or cannot forbid."""
    return not (right_for_the_document_alone(case) if is_right(case) else wrong_for_the_document_alone(case))


def is_right(case: Case) -> bool:
    """Say whether a case is meant to be what the document allows."""
    return case.meta is not None and case.meta.generation.mode.is_positive


def drop_examples(context: HookContext, examples: list[Case]) -> None:
    """Leave out the same of the document's examples, of which each case puts all of an operation together."""
    examples[:] = [case for case in examples if declarable(context, case)]


def right_for_the_document_alone(case: Case) -> bool:
    """Say whether a case is wrong in a way that the document cannot express."""
    # maxLength counts characters, and our limit is on bytes.
    # (Lone surrogates, which it could not forbid either, are never made: Schemathesis keeps to UTF-8.)
    # A cursor is good for the servers that gave it; only the start is good for all.
    cursor = str((case.query or {}).get(CURSOR.name, 0))
    if cursor.strip("0") or not all(0 < len(key.encode()) <= MAX_KEY_BYTES for key in keys_of(case)):
        return True
    headers: dict[str, str] = dict(case.headers or {})
    # Schemathesis 4.32.5 makes no right value of a header whose pattern asks for more than letters and digits in its
    # coverage phase, and takes a wrong one for it. (In the fuzzing phase it makes them.)
    # PUT /keys/{key} takes any media type but those that wrap a value.
    has_envelope = (case.media_type or "").startswith("multipart/")
    if has_envelope or any(not re.match(pattern, headers.get(name, "*")) for name, pattern in PATTERNS.items()):
        return True
    match case.operation.label:
        case "PUT /keys":
            # A key cannot both exist and not; the pairs have to be somewhere, and no key twice. For lines see ask().
            names = keys_of(case)
            has_fault = PATTERNS.keys() <= set(headers) or not 0 < len(names) == len(set(names))
            return has_fault and case.media_type not in NDJSON_TYPES
        case "POST /keys":
            return not is_transaction(case.body)
        case "PATCH /keys/{key}" | "PATCH /values/{key}":
            return not is_change(case.body)
    return False


def is_transaction(body: Any) -> bool:
    """Say whether the members of a transaction go together."""
    names = [set(body.get(member, ())) for member in ("if", "get", "put", "delete")]
    return (
        0 < sum(map(len, names)) <= MAX_KEYS
        and names[2].isdisjoint(names[3])
        and (EXPIRE_IN.name not in body or bool(names[2]))
        and not has_float(body)
    )


def has_float(body: Any) -> bool:
    """Say whether a number is written as 60.0, which is an integer for JSON Schema and not for the service."""
    return any(type(member) is float for member in body.values())


def is_change(body: Any) -> bool:
    """Say whether the members of a change go together."""
    operations = len({"increment", "append"} & set(body))
    if has_float(body) or (body.get("keep_expiry") and body.get("expire_in") is None):
        return False
    return operations == 1 or (operations == 0 and "expire_in" in body and not body.get("keep_expiry"))


def wrong_for_the_document_alone(case: Case) -> bool:
    """Say whether a case is right in a way that the document cannot express."""
    if case.operation.label != "PUT /keys":
        return False
    # Any further name in the query string is a pair to store, and with one the body may be empty. Of lines those that
    # are wrong are reported, and the others stored.
    return bool(set(case.query or {}) - {EXPIRE_IN.name}) or case.media_type in NDJSON_TYPES


def fits_into_a_request_line(context: HookContext, case: Case) -> bool:
    """Say whether Gunicorn lets a case through: above its limit it answers by itself, as the document's text says."""
    return len(case.as_curl_command()) <= MAX_REQUEST_LINE_BYTES


def keys_of(case: Case) -> list[str]:
    """Give the keys that a request names."""
    named: list[Any] = list((case.path_parameters or {}).values())
    if case.operation.label == "PUT /keys":
        named += set(case.query or ()) - {EXPIRE_IN.name}
        named += case.body if isinstance(case.body, dict) else ()
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


def offered(operation: Mapping[str, Any]) -> list[str]:
    """Give the media types of an operation's success."""
    return list(operation["responses"]["200"].get("content", ["*/*"]))


def consumed(operation: Mapping[str, Any]) -> list[str]:
    """Give the media types of an operation's body."""
    return list(operation.get("requestBody", {}).get("content", ()))


def accepted(case: Case) -> list[str]:
    """Give the media types that an answer is to be asked for; of a wrong case's answer there is one."""
    found = offered(case.operation.definition.raw)
    return found if is_right(case) else found[:1]


def unfit_for(label: str, media_type: str) -> Sequence[str]:
    """Give the parameters that an operation does not take with a media type: the document has them for all."""
    match label, media_type == EVENTS:
        case "GET /keys" | "GET /keys/{key}", True:
            return (LIMIT.name, CURSOR.name, *PATTERNS)
        case "GET /keys", False:
            return (INITIAL.name, SINCE.name)
        case "GET /keys/{key}", False:
            return (INITIAL.name, SINCE.name, VALUES.name)
    return ()


def ask(client: Redis, case: Case, answered: Answered, base_url: str) -> None:
    """Ask for each representation of the answer, and note what was answered, and the media types of a success."""
    label = case.operation.label
    if case.media_type in NDJSON_TYPES and is_right(case):
        # Neither a condition nor an expiry is for lines, but parameters are an operation's and not a media type's.
        case.query = {}
        for name in PATTERNS:
            case.headers.pop(name, None)
    taken = consumed(case.operation.definition.raw)
    query, headers = case.query, case.headers
    for media_type in accepted(case):
        if is_right(case):
            unfit = unfit_for(label, media_type)
            case.query = {name: value for name, value in (query or {}).items() if name not in unfit}
            case.headers = CaseInsensitiveDict({name: each for name, each in headers.items() if name not in unfit})
        plant(client, case)
        # An event stream would not end, and a long poll wait.
        answer = case.call_and_validate(base_url, headers={"Accept": media_type, "Prefer": "wait=0"})
        answered[label, answer.status_code] += 1
        if answer.status_code not in {400, 415}:
            answered[label, f"takes {case.media_type if case.media_type in taken else ANY}"] += 1
        if answer.status_code == 200:
            answered[label, f"gives {answer.headers['content-type'][0]}"] += 1


def check_it_was_tried(answered: Answered) -> None:
    """Fail if an operation was not really tried: taken, with each media type too, and refused where it can be wrong."""
    [label] = {label for label, _ in answered}
    method, path = label.split()
    operation = openapi["paths"][path][method.lower()]
    expected: set[int | str] = {200, 400} if "key" in path else {200}
    expected |= {f"takes {media_type}" for media_type in consumed(operation)}
    if method != "HEAD":
        expected |= {f"gives {media_type}" for media_type in offered(operation)}
    assert expected - {seen for _, seen in answered} == set()


# Schemathesis makes one test of each operation, so the document is needed while tests are collected.
openapi = create_app(Settings(redis_url="redis://127.0.0.1:1")).test_client().get("/openapi.json").get_json()
document = schemathesis.openapi.from_dict(
    openapi, config=configured(max_examples=amount(30, 300), coverage={"generate-duplicate-query-parameters": True})
)
document.hook("filter_case")(declarable)
document.hook("filter_case")(fits_into_a_request_line)
document.hook("before_add_examples")(drop_examples)
# Its check ignored_auth takes the token away from requests, and wants them refused, whatever else they say. (What the
# coverage phase tries is made by every test process while it collects the tests, which takes a second.)
guarded_document = schemathesis.openapi.from_dict(
    {
        **openapi,
        "components": {**openapi["components"], "securitySchemes": SECURITY_SCHEMES},
        "security": [{name: []} for name in SECURITY_SCHEMES],
    },
    config=configured(max_examples=amount(5, 50), coverage={"enabled": False}),
)


@pytest.fixture(params=["gunicorn"])
def backend(request: pytest.FixtureRequest) -> str:
    """A service; as a parameter, because Schemathesis gives its tests names of their own only if they have some."""
    return str(request.param)


@pytest.fixture
def answered() -> Iterator[Answered]:
    """What the requests for one operation were answered; fails if it was not really tried."""
    counted: Answered = Counter()
    yield counted
    check_it_was_tried(counted)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """A service that wants tokens, and one with every scope."""
    directory = tmp_path_factory.mktemp("guarded")
    tokens_file = directory / "tokens.json"
    presented = Tokens(tokens_file).create("all", namespace="all", scopes=SCOPES)
    with serving(directory, "--tokens-file", str(tokens_file)) as running:
        yield running, presented


def test_the_document_is_valid_openapi() -> None:
    # Against the JSON schema of OpenAPI 3.1, which Schemathesis carries.
    document.validate()


@pytest.mark.grows
@document.parametrize()
def test_answers_are_what_the_document_says(case: Case, service: Service, client: Redis, answered: Answered) -> None:
    ask(client, case, answered, f"http://127.0.0.1:{service.port}")


@pytest.mark.grows
@guarded_document.parametrize()
def test_every_operation_that_the_document_says_wants_a_token_does(
    case: Case, guarded: tuple[Service, str], backend: str
) -> None:
    service, presented = guarded
    headers = {"Accept": accepted(case)[0], **bearer(presented)}
    case.call_and_validate(f"http://127.0.0.1:{service.port}", checks=[ignored_auth], headers=headers)


@pytest.mark.parametrize("tried", [document, guarded_document])
def test_every_operation_of_the_document_has_its_test(tried: OpenApiSchema) -> None:
    declared = {f"{method.upper()} {path}" for path, item in openapi["paths"].items() for method in item}

    assert {each.ok().label for each in tried.get_all_operations() if isinstance(each, Ok)} == declared
