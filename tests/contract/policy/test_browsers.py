"""What browsers are told: CORS. The security headers are in tests/contract/policy/test_owasp.py."""

from collections.abc import Callable

import pytest

from api.app import create_app
from api.settings import Settings
from models.store import Store
from tests.support.clients import Ask, in_process
from tests.support.contract import Contract


ORIGIN = "https://app.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization,content-type,if-match,x-other",
}


@pytest.fixture
def backend() -> str:
    return "valkey"


@pytest.fixture
def asking(store: Store, contract: Contract) -> Callable[..., Ask]:
    """Ask a service with origins."""
    return lambda *origins: in_process(create_app(Settings(cors_origins=origins), store=store), contract)


def test_a_page_of_a_named_origin_may_ask(asking: Callable[..., Ask]) -> None:
    answer = asking("https://other.example", ORIGIN)("GET", "/keys", b"", {"Origin": ORIGIN})

    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert set(answer.headers.getlist("Vary")) == {"Accept", "Origin"}
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_page_may_read_and_send_every_header_of_the_document(asking: Callable[..., Ask], contract: Contract) -> None:
    operations = [each for path in contract.document["paths"].values() for each in path.values() if "responses" in each]
    answered = {name for each in operations for status in each["responses"].values() for name in status["headers"]}
    parameters = [each for operation in operations for each in operation.get("parameters", ())]
    sent = {each["name"] for each in parameters if each["in"] == "header"}
    # What no single operation has: the token, and the negotiation of its answer.
    sent |= {"Authorization", "Accept", "Content-Type", "X-Request-Id"}
    limits = {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}

    read = asking(ORIGIN)("GET", "/keys", b"", {"Origin": ORIGIN})
    asked = {"Access-Control-Request-Headers": ",".join(sent)}
    preflight = asking(ORIGIN)("OPTIONS", "/keys", b"", {**PREFLIGHT, **asked})

    assert set(read.headers["Access-Control-Expose-Headers"].split(", ")) == answered | limits
    assert set(preflight.headers["Access-Control-Allow-Headers"].split(", ")) == sent


def test_an_error_can_be_read_there_as_well(asking: Callable[..., Ask]) -> None:
    for target in ("/keys/nothing", "/nothing", "/keys?x=1"):
        answer = asking(ORIGIN)("GET", target, b"", {"Origin": ORIGIN})
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_a_preflight_names_what_may_be_sent(asking: Callable[..., Ask]) -> None:
    answer = asking(ORIGIN)("OPTIONS", "/keys/a", b"", PREFLIGHT)

    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) == {
        *("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
    }
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type, if-match"
    assert answer.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example", "https://app.example.evil", "https://xapp.example", "null"]
)
def test_a_page_of_another_origin_may_not(asking: Callable[..., Ask], origin: str) -> None:
    ask = asking(ORIGIN)

    for answer in (
        ask("GET", "/keys", b"", {"Origin": origin}),
        ask("OPTIONS", "/keys", b"", {**PREFLIGHT, "Origin": origin}),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_star_lets_every_page_ask_without_cookies(asking: Callable[..., Ask]) -> None:
    answer = asking("*")("GET", "/keys", b"", {"Origin": ORIGIN})

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
