"""What browsers are told, and what they may ask for pages of other sites.

The security headers are in tests/contract/policy/test_owasp.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis

from models.store import Store
from models.tokens import Tokens
from tests.contract.policy.test_access import CALLS, OPEN, everything
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
def asking(app_with: Callable[..., Flask], contract: Contract) -> Callable[..., Ask]:
    """Ask a service with origins."""
    return lambda *origins: in_process(app_with(cors_origins=origins), contract)


def test_a_page_of_a_named_origin_may_ask(asking: Callable[..., Ask]) -> None:
    answer = asking("https://other.example", ORIGIN)("GET", "/keys", b"", {"Origin": ORIGIN})

    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert set(answer.headers.getlist("Vary")) == {"Accept", "Origin"}
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_page_may_read_and_send_every_header_of_the_document(asking: Callable[..., Ask], contract: Contract) -> None:
    operations = contract.operations.values()
    responses = [contract.resolved(response) for each in operations for response in each["responses"].values()]
    answered = {name for response in responses for name in response["headers"]}
    parameters = [each for operation in operations for each in operation["parameters"]]
    sent = {each["name"] for each in parameters if each["in"] == "header"}
    # What no single operation has: the token, and which representation and which part of it is wanted.
    sent |= {"Authorization", "Accept", "Content-Type", "If-Range", "Range", "X-Request-Id"}
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
        ask("GET", "/nothing", b"", {"Origin": origin}),
        ask("GET", "/keys"),
    ):
        assert answer.headers.get("Access-Control-Allow-Origin") != origin
        # A cache must not give it to a page that may.
        assert "Origin" in answer.headers.getlist("Vary")


def test_a_star_lets_every_page_ask_without_cookies(asking: Callable[..., Ask]) -> None:
    answer = asking("*")("GET", "/keys", b"", {"Origin": ORIGIN})

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class TestPagesOfOtherSites:
    @pytest.fixture
    def asking(self, app_with: Callable[..., Flask], contract: Contract) -> Callable[..., Ask]:
        """Ask a service with some settings."""
        return lambda **settings: in_process(app_with(**settings), contract)

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("fetched", [CROSS_SITE, LINK], ids=["fetched", "link"])
    def test_no_call_is_done_for_one(
        self, asking: Callable[..., Ask], store: Store, client: Redis, call: str, fetched: dict[str, str]
    ) -> None:
        method, target, body, headers, _ = CALLS[call]
        store.put({"a": b"1", "b": b"2"})
        before = everything(client)

        for settings in ({}, {"open": True}, {"cors_origins": ("https://app.example",)}):
            answer = asking(**settings)(method, target, body, {**headers, **fetched, "Origin": "https://evil.example"})

            assert answer.status == 403
            if method != "HEAD":
                assert answer.code == "cross_site"
                assert "FLASKVSTORE_CORS_ORIGINS" in answer.json["detail"]
        assert everything(client) == before

    @pytest.mark.parametrize("target", [*OPEN, "/nothing"])
    def test_only_a_link_leads_to_what_is_no_key(self, asking: Callable[..., Ask], target: str) -> None:
        assert asking()("GET", target, b"", LINK).status == (404 if target == "/nothing" else 200)
        assert asking()("GET", target, b"", CROSS_SITE).status == 403
        assert asking()("POST", target, b"", LINK).status == 403
        assert asking()("OPTIONS", target, b"", CROSS_SITE).status == 403

    def test_a_page_of_an_origin_that_is_named_may_ask(self, asking: Callable[..., Ask]) -> None:
        ask = asking(cors_origins=("https://App.example",))

        for origin, status in ((ORIGIN, 200), ("https://evil.example", 403), ("null", 403)):
            for method, headers in (("PUT", {}), ("OPTIONS", PREFLIGHT)):
                answer = ask(method, "/keys/a", b"", {**CROSS_SITE, **headers, "Origin": origin})
                assert answer.status == status
        assert ask("GET", "/keys", b"", CROSS_SITE).status == 403

    @pytest.mark.parametrize("site", ["same-origin", "same-site", "none", ""])
    def test_others_may(self, asking: Callable[..., Ask], site: str) -> None:
        assert asking()("PUT", "/keys/a", b"1", {**CROSS_SITE, "Sec-Fetch-Site": site}).status == 200

    def test_every_page_may_if_that_is_meant(self, asking: Callable[..., Ask]) -> None:
        assert asking(open=True, cors_origins=("*",))("PUT", "/keys/a", b"1", CROSS_SITE).status == 200

    def test_with_tokens_the_token_decides(self, asking: Callable[..., Ask], tmp_path: Path) -> None:
        Tokens(tmp_path / "tokens.json").create("a", namespace="ns", scopes=["read"])
        ask = asking(tokens_file=tmp_path / "tokens.json")

        assert ask("GET", "/keys", b"", CROSS_SITE).status == 401
        assert ask("GET", "/swagger.json", b"", CROSS_SITE).status == 200
