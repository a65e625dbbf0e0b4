"""`Prefer: wait=N` on GET of one key: the answer comes when there is another one than the client knows."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from api.app import create_app
from api.settings import Settings
from resources.parsing.preferences import read_wait
from tests.support.clients import AS_BYTES, AS_TEXT, Answer, Ask
from tests.support.servers.services import SLACK_SECONDS


APP = create_app(Settings(redis_url="redis://127.0.0.1:1"))
WAIT = {"Prefer": "wait=60"}
SECOND = {"Prefer": "wait=1"}
# Enough for the answer to have been made, and for the wait to have begun; it may also begin later.
BEGUN_SECONDS = 0.05


def after(change: Callable[[], object], asking: Callable[[], Answer]) -> tuple[Answer, float]:
    """Ask, change something meanwhile, and return the answer and how many seconds after the change it came."""
    answers: list[Answer] = []
    waiting = threading.Thread(target=lambda: answers.append(asking()))
    waiting.start()
    time.sleep(BEGUN_SECONDS)
    assert not answers
    change()
    changed_at = time.monotonic()
    waiting.join(30)
    [answer] = answers
    return answer, time.monotonic() - changed_at


@pytest.mark.parametrize("target", ["/keys/a", "/values/a"])
@pytest.mark.parametrize("headers", [{"Accept": "application/json"}, AS_BYTES, AS_TEXT])
def test_a_value_is_answered_when_it_is_another_one(ask: Ask, target: str, headers: dict[str, str]) -> None:
    ask("PUT", "/keys/a", b"1")
    known = {"If-None-Match": ask("GET", target, b"", headers).headers["ETag"]}

    answer, seconds = after(
        lambda: ask("PUT", "/keys/a", b"2"), lambda: ask("GET", target, b"", {**headers, **known, **WAIT})
    )

    assert answer.status == 200
    assert answer.body in {b"2", b'{"a":"2"}\n'}
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert seconds < SLACK_SECONDS


def test_a_key_is_answered_when_it_is_there(ask: Ask) -> None:
    answer, seconds = after(lambda: ask("PUT", "/keys/a", b"1"), lambda: ask("GET", "/keys/a", b"", WAIT))

    assert (answer.status, answer.json) == (200, {"a": "1"})
    assert seconds < SLACK_SECONDS


def test_a_key_that_goes_is_another_answer_than_its_value(ask: Ask) -> None:
    ask("PUT", "/keys/a", b"1")
    known = {"If-None-Match": ask("GET", "/keys/a").headers["ETag"]}

    answer, seconds = after(lambda: ask("DELETE", "/keys/a"), lambda: ask("GET", "/keys/a", b"", {**known, **WAIT}))

    assert (answer.status, answer.code) == (404, "key_not_found")
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert seconds < SLACK_SECONDS


def test_what_is_known_already_is_answered_after_the_wait(ask: Ask) -> None:
    ask("PUT", "/keys/a", b"1")
    known = {"If-None-Match": ask("GET", "/keys/a").headers["ETag"]}

    for target, headers, status in (("/keys/a", known, 304), ("/keys/b", {}, 404)):
        started = time.monotonic()
        answer = ask("GET", target, b"", {**headers, **SECOND})
        assert (answer.status, answer.headers["Preference-Applied"]) == (status, "wait=1")
        assert time.monotonic() - started >= 1


def test_what_is_new_is_answered_at_once(ask: Ask) -> None:
    ask("PUT", "/keys/a", b"1")

    for headers, status in (
        ({}, 200),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"Range": "bytes=0-0", **AS_BYTES}, 206),
    ):
        assert ask("GET", "/keys/a", b"", {**headers, **WAIT}).status == status
    # What was known is gone.
    assert ask("GET", "/keys/b", b"", {"If-None-Match": '"x"', **WAIT}).status == 404


@pytest.mark.parametrize("prefer", ["wait=0", "respond-async", "wait", "wait=x", "wait=-1"])
def test_without_a_wait_nothing_is_waited_for(ask: Ask, prefer: str) -> None:
    answer = ask("GET", "/keys/a", b"", {"Prefer": prefer})

    assert answer.status == 404
    assert answer.headers.get("Preference-Applied") == ("wait=0" if prefer == "wait=0" else None)


def test_other_methods_and_lists_do_not_wait(ask: Ask) -> None:
    for method, target in (("HEAD", "/keys/a"), ("DELETE", "/keys/a"), ("GET", "/keys"), ("HEAD", "/keys")):
        assert "Preference-Applied" not in ask(method, target, b"", WAIT).headers


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait=10", 10),
        ("WAIT = 10", 10),
        ('wait="10"', 10),
        ("wait=10; x=y", 10),
        ("respond-async, wait=10", 10),
        ('x="a, wait=1", wait=10', 10),
        ("waiting=1, wait=10", 10),
        ("wait=10, wait=20", 10),
        ("wait=x, wait=20", None),
        ("wait=300", 300),
        ("wait=301", 300),
        ("wait=" + "9" * 18, 300),
        ("wait=00", 0),
        ("wait=1.5", None),
        ("wait=+1", None),
        ("wait=\u0661", None),
        ('wait="10', None),
        ("wait", None),
        ("wait=", None),
        ("x" * 8_000, None),
    ],
)
def test_a_preference_is_read_as_rfc_7240_says(header: str | None, seconds: int | None) -> None:
    headers: Any = {} if header is None else {"Prefer": header}
    with APP.test_request_context(headers=headers):
        assert read_wait() == seconds
