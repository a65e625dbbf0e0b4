"""Under which names an open service on loopback is asked: a page of another site must not reach it by DNS rebinding."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

import pytest
from flask import Flask
from redis import Redis

from models.store import Store
from models.tokens import Tokens
from tests.contract.policy.test_access import CALLS, OPEN, everything
from tests.support.clients import Answer, Ask, in_process
from tests.support.contract import Contract


LOOPBACK_NAMES = [
    *("localhost", "LocalHost", "localhost.", "localhost:5000", "localhost.:1", "a.b.localhost", "kv.localhost:80"),
    *(
        "127.0.0.1",
        "127.0.0.1:5000",
        "127.9.8.7",
        "127.1:5000",
        "127.0.0.1.",
        "[::1]",
        "[::1]:5000",
        "[0:0:0:0:0:0:0:1]",
    ),
    "localhost:",
]
OTHER_NAMES = [
    *("evil.example", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example", "evil-localhost"),
    *("notlocalhost", "128.0.0.1", "0.0.0.0:5000", "[::]", "[::2]:80", "localhost:5000@evil.example", "localhost evil"),
    *("[::1].evil.example", "evil.example/localhost", "127.0.0.1:x", ".localhost", "\xe9"),
]


@pytest.fixture
def backend() -> str:
    return "valkey"


@pytest.fixture
def asking(app_with: Callable[..., Flask], contract: Contract) -> Callable[..., Ask]:
    """Ask a service with some settings, on a socket with some address."""

    def make(server_name: str = "127.0.0.1", **settings: Any) -> Ask:
        return in_process(on(app_with(**settings), server_name), contract)

    return make


def on(app: Flask, server_name: str) -> WSGIApplication:
    """Let an application see that it listens on some address, as servers tell it."""
    return lambda environ, start_response: app({**environ, "SERVER_NAME": server_name}, start_response)


def asked_as(host: str, ask: Ask, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    return ask(method, target, body, {**headers, "Host": host})


@pytest.mark.parametrize("call", CALLS)
def test_no_call_is_done_under_the_name_of_another_site(
    asking: Callable[..., Ask], store: Store, client: Redis, call: str
) -> None:
    method, target, body, headers, _ = CALLS[call]
    store.put({"a": b"1", "b": b"2"})
    before = everything(client)

    answer = asked_as("evil.example:5000", asking(), method, target, body, headers)

    assert answer.status == 403
    if method != "HEAD":
        assert answer.code == "unknown_host"
        assert "FLASKVSTORE_HOSTS" in answer.json["detail"]
    assert everything(client) == before


@pytest.mark.parametrize("target", [*OPEN, "/nothing", "/keys/%zz", "//"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "TRACE"])
def test_neither_is_anything_else(asking: Callable[..., Ask], method: str, target: str) -> None:
    answer = asking()(method, target, b"", {"Host": "evil.example"})

    assert (answer.status, answer.code) == (403, "unknown_host")


@pytest.mark.parametrize("server_name", ["127.0.0.1", "::1", "127.0.0.53"])
@pytest.mark.parametrize("host", LOOPBACK_NAMES)
def test_the_names_of_this_machine_are_answered(asking: Callable[..., Ask], server_name: str, host: str) -> None:
    assert asking(server_name)("GET", "/keys", b"", {"Host": host}).status == 200


@pytest.mark.parametrize("server_name", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("host", OTHER_NAMES)
def test_other_names_are_refused(asking: Callable[..., Ask], server_name: str, host: str) -> None:
    assert asking(server_name)("GET", "/keys", b"", {"Host": host}).status == 403


@pytest.mark.parametrize("host", ["kv.example", "KV.example:5000", "kv.example.", "[fd00::1]:80", "10.0.0.1"])
def test_names_of_the_setting_are_answered_beside_them(asking: Callable[..., Ask], host: str) -> None:
    ask = asking(hosts=("kv.example", "10.0.0.1", "[fd00::1]"))

    assert ask("GET", "/keys", b"", {"Host": host}).status == 200
    assert ask("GET", "/keys", b"", {"Host": "localhost"}).status == 200
    assert ask("GET", "/keys", b"", {"Host": "evil." + host}).status == 403


def test_no_other_header_says_what_the_host_is(asking: Callable[..., Ask]) -> None:
    for settings in ({}, {"trusted_proxies": 1}):
        for name in ("X-Forwarded-Host", "X-Host", "Forwarded", "X-Forwarded-Server", "X-Forwarded-For"):
            answer = asking(**settings)("GET", "/keys", b"", {"Host": "evil.example", name: "localhost"})
            assert answer.status == 403


@pytest.mark.parametrize("said_by", ["hosts", "open", "tokens", "the address", "a unix socket"])
def test_any_name_is_answered_where_that_is_meant(asking: Callable[..., Ask], tmp_path: Path, said_by: str) -> None:
    Tokens(tmp_path / "tokens.json").create("a", namespace="ns", scopes=["read"])
    ask = {
        "hosts": asking(hosts=("*",)),
        "open": asking(open=True),
        "tokens": asking(tokens_file=tmp_path / "tokens.json"),
        "the address": asking("192.0.2.1"),
        # There Gunicorn takes the server's name from the header.
        "a unix socket": asking("evil.example"),
    }[said_by]

    answer = ask("GET", "/keys", b"", {"Host": "evil.example"})

    assert answer.status == (401 if said_by == "tokens" else 200)
