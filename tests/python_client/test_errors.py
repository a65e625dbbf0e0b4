"""What the Python client makes of failures: which class it raises, and what it sends again."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.errors import KNOWN
from client import OutcomeUnknown, RateLimited, ServiceFault, Store, Unavailable
from client.errors import BY_CODE
from tests.support.servers.services import free_port


@pytest.fixture
def kv() -> Iterator[Store]:
    with Store("http://service") as store:
        yield store


def answering(kv: Store, *answers: httpx.Response) -> list[httpx.Request]:
    """Let a store get these answers, and return what it sends."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return answers[len(sent) - 1]

    kv._http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    return sent


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    headers = {"Content-Type": "application/problem+json", **headers}
    return httpx.Response(status, json={"code": code, "detail": f"It is {code}."}, headers=headers)


STORED = httpx.Response(200, json={"stored": 1}, headers={"ETag": '"tag"'})
AGAIN = {"Retry-After": "0"}


def test_every_code_of_the_service_has_a_class_and_no_other() -> None:
    assert set(BY_CODE) == set(KNOWN)


@pytest.mark.parametrize("code", BY_CODE)
def test_an_answer_is_raised_as_the_class_of_its_code(kv: Store, code: str) -> None:
    answering(kv, problem(KNOWN[code][0].status, code))

    with pytest.raises(BY_CODE[code], match=f"It is {code}") as raised:
        kv.put("key", "value")

    assert type(raised.value) is BY_CODE[code]
    assert (raised.value.code, raised.value.status) == (code, KNOWN[code][0].status)


@pytest.mark.parametrize("code", ["rate_limited", "store_unavailable", "not_ready"])
def test_what_was_not_done_is_sent_again_when_the_service_says(kv: Store, code: str) -> None:
    sent = answering(kv, problem(503, code, **AGAIN), STORED)

    assert kv.put("key", "value") == '"tag"'

    # In the log of the service both are one request.
    assert len({request.headers["X-Request-Id"] for request in sent}) == 1
    assert [request.content for request in sent] == [b"value", b"value"]


def test_it_is_sent_again_only_a_few_times(kv: Store) -> None:
    sent = answering(kv, *[problem(429, "rate_limited", **AGAIN)] * 9)

    with pytest.raises(RateLimited) as raised:
        kv.increment("n")

    assert len(sent) == 4
    assert raised.value.retry_after == 0


@pytest.mark.parametrize(
    "answer",
    [problem(500, "outcome_unknown", **AGAIN), problem(429, "rate_limited", **{"Retry-After": "60"})],
    ids=["an unknown outcome", "a wait that is longer than the call may take"],
)
def test_it_is_not_sent_again_after(kv: Store, answer: httpx.Response) -> None:
    sent = answering(kv, answer)

    with pytest.raises((OutcomeUnknown, RateLimited)):
        kv.put("key", "value", only_if_absent=True)

    assert len(sent) == 1


class TestProxies:
    """What a proxy in front answers itself."""

    def test_a_write_that_it_lost_is_unknown(self, kv: Store) -> None:
        sent = answering(kv, httpx.Response(502, text="<h1>Bad Gateway</h1>", headers=AGAIN))

        with pytest.raises(OutcomeUnknown):
            kv.put("key", "value")

        assert len(sent) == 1

    def test_a_read_that_it_lost_is_sent_again(self, kv: Store) -> None:
        answering(kv, httpx.Response(504), httpx.Response(200, text="value", headers={"ETag": 'W/"tag"'}))

        assert kv.entry("key").etag == '"tag"'

    def test_a_condition_that_no_longer_holds_after_it_is_unknown(self, kv: Store) -> None:
        answering(kv, httpx.Response(502), problem(412, "precondition_failed"))

        with pytest.raises(OutcomeUnknown):
            kv.put("key", "value", only_if_absent=True)

    def test_its_refusal_says_that_it_is_no_flaskvstore(self, kv: Store) -> None:
        answering(kv, httpx.Response(413, text="<h1>Too large</h1>"))

        with pytest.raises(ServiceFault, match="proxy"):
            kv.put("key", "value")


def test_a_service_that_is_not_there_is_asked_a_few_times() -> None:
    with Store(f"http://127.0.0.1:{free_port()}", timeout_seconds=1) as kv, pytest.raises(Unavailable):
        kv.put("key", "value")


class TestToken:
    def test_it_is_sent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "token").write_text("fkv_of_a_file\n")
        monkeypatch.setenv("FLASKVSTORE_URL", "https://kv.example.com/prefix")
        monkeypatch.setenv("FLASKVSTORE_TOKEN", "fkv_of_a_variable")

        given = Store("http://127.0.0.1:5000", token="fkv_given")  # noqa: S106  # of nobody
        of_a_file = Store(token_file=str(tmp_path / "token"))
        of_a_variable = Store.from_env()

        assert given._http.headers["Authorization"] == "Bearer fkv_given"
        assert of_a_file._http.headers["Authorization"] == "Bearer fkv_of_a_file"
        assert of_a_variable._http.headers["Authorization"] == "Bearer fkv_of_a_variable"
        assert str(of_a_variable._http.base_url) == "https://kv.example.com/prefix/"

    def test_none_is_sent_where_none_is_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FLASKVSTORE_TOKEN", raising=False)

        assert "Authorization" not in Store.from_env()._http.headers
