"""What a client can learn about its own token."""

import time
from pathlib import Path

import pytest

from api.app import create_app
from api.settings import Settings
from models.store import Store
from models.tokens import SCOPES, Tokens
from tests.support.clients import Ask, in_process, with_token
from tests.support.contract import Contract


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens.json")


@pytest.fixture
def anyone(store: Store, tokens: Tokens, tmp_path: Path, contract: Contract) -> Ask:
    """Ask a service with tokens."""
    tokens.create("unused", namespace="unused", scopes=["read"])
    return in_process(create_app(Settings(tokens_file=tmp_path / "tokens.json"), store=store), contract)


@pytest.fixture
def backend() -> str:
    return "valkey"


def test_a_token_is_told_what_it_may_do(anyone: Ask, tokens: Tokens) -> None:
    presented = tokens.create("report", namespace="shop", scopes=["delete", "read"])

    answer = with_token(anyone, presented)("GET", "/token")

    assert answer.json == {"required": True, "name": "report", "namespace": "shop", "scopes": ["read", "delete"]}
    assert answer.headers["Cache-Control"] == "no-store"
    assert presented.encode() not in answer.body


def test_a_token_is_told_when_it_expires(anyone: Ask, tokens: Tokens) -> None:
    presented = tokens.create("report", namespace="shop", scopes=SCOPES, expires_in_seconds=60)

    answer = with_token(anyone, presented)("GET", "/token")

    assert 50 < answer.json["expires_at"] - time.time() <= 60


def test_it_is_checked_without_a_body(anyone: Ask, tokens: Tokens) -> None:
    ask = with_token(anyone, tokens.create("report", namespace="shop", scopes=["write"]))
    sent = {"X-Request-Id": "same"}

    head = ask("HEAD", "/token", headers=sent)

    assert (head.status, head.headers) == (200, ask("GET", "/token", headers=sent).headers)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_token_and_a_wrong_one_are_refused(anyone: Ask, method: str) -> None:
    assert anyone(method, "/token").status == 401
    assert with_token(anyone, "fkv_unused_wrong")(method, "/token").status == 401


def test_where_no_token_is_needed_everything_may_be_done(ask: Ask) -> None:
    answer = ask("GET", "/token")

    assert answer.json == {"required": False, "scopes": [*SCOPES]}
    assert answer.headers["Cache-Control"] == "no-store"
