from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName
from gunicorn.http.wsgi import Response

from api.serving.gunicorn_worker import SENT_TOGETHER_BYTES, Answer


TYPE = ("Content-Type", "text/plain")
VERSIONS = ((1, 1), (1, 0))
LENGTHS: list[list[tuple[str, str]]] = [[], [("Content-Length", "6")], [("content-length", "4")]]
BODIES: list[list[bytes]] = [[], [b""], [b"one", b"two"], [b"one", b"", b"two"]]


def request(method: str, version: tuple[int, int]) -> Any:
    return SimpleNamespace(method=method, version=version, should_close=lambda: False)


def sent(
    kind: type[Response],
    headers: list[tuple[str, str]],
    body: list[bytes],
    *,
    status: str = "200 OK",
    method: str = "GET",
    version: tuple[int, int] = (1, 1),
) -> list[bytes]:
    """Return what each call has sent."""
    calls: list[bytes] = []
    answer = kind(request(method, version), SimpleNamespace(sendall=calls.append), Config())
    answer.start_response(status, headers)
    for piece in body:
        answer.write(piece)
    answer.close()
    return calls


class TestAnswers:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("status", ["200 OK", "204 NO CONTENT", "304 NOT MODIFIED"])
    @pytest.mark.parametrize("others", [[], [TYPE, ("Upgrade", "x"), ("Connection", "close")], [("X", "")]])
    def test_they_have_the_bytes_of_gunicorns_own(
        self, method: str, status: str, others: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gunicorn.util.http_date", lambda: "now")

        for version, length, body in product(VERSIONS, LENGTHS, BODIES):
            ours, gunicorns = (
                b"".join(sent(kind, [*others, *length], body, status=status, method=method, version=version))
                for kind in (Answer, Response)
            )

            assert ours == gunicorns

    def test_head_and_body_are_sent_by_one_call(self) -> None:
        assert len(sent(Answer, [TYPE, ("Content-Length", "6")], [b"answer"])) == 1

    @pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 NOT MODIFIED")])
    def test_a_head_alone_is_sent_by_one_call(self, method: str, status: str) -> None:
        assert len(sent(Answer, [TYPE], [], method=method, status=status)) == 1

    def test_the_head_does_not_wait_for_the_next_piece(self) -> None:
        head, first, *_ = sent(Answer, [TYPE], [b"", b"first"])

        assert head.endswith(b"\r\n\r\n")
        assert first == b"5\r\nfirst\r\n"

    def test_a_long_body_is_not_copied(self) -> None:
        value = b"x" * (SENT_TOGETHER_BYTES + 1)

        head, body = sent(Answer, [TYPE, ("Content-Length", str(len(value)))], [value])

        assert head.endswith(b"\r\n\r\n")
        assert body == value

    @pytest.mark.parametrize("header", [("X", "a\r\nY: b"), ("X", "a\nb"), ("X\r\n", "a"), ("X Y", "a"), ("X", "\x00")])
    def test_a_header_that_would_be_another_one_is_refused(self, header: tuple[str, str]) -> None:
        with pytest.raises((InvalidResponseHeader, InvalidResponseHeaderName)):
            sent(Answer, [TYPE, header], [])
