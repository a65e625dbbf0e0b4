"""Log lines: their fields, and what is never in them."""

import fcntl
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from api.app import create_app
from api.serving import embedded
from api.settings import Settings
from api.telemetry import logs
from api.telemetry.logs import REQUEST_FIELDS, JsonFormatter, LineHandler, TextFormatter, logging_config
from tests.support.clients import Ask, in_process, put_json
from tests.support.contract import Contract
from tests.support.servers.services import valkey
from tests.support.servers.stores import store_of


@pytest.fixture
def backend() -> str:
    return "valkey"


def record(message: str = "", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("flaskvstore.test", logging.INFO, __file__, 1, message, None, None)
    vars(made).update(extra)
    return made


def request_fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [vars(each)["fields"] for each in caplog.records if each.name == "flaskvstore.requests"]


@pytest.fixture(autouse=True)
def _from_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flaskvstore")


def test_a_json_line_has_time_level_and_the_fields() -> None:
    line = json.loads(JsonFormatter().format(record(fields={"status": 200, "route": None})))

    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "info", "status": 200, "route": None}


def test_a_json_line_is_one_line_whatever_it_says() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        formatted = JsonFormatter().format(record("c\nd", exc_info=sys.exc_info()))

    assert "\n" not in formatted
    assert json.loads(formatted)["message"] == "c\nd"
    assert "ValueError: a\nb" in json.loads(formatted)["exception"]


def test_a_text_line_leaves_out_what_is_not_there() -> None:
    line = TextFormatter().format(record(fields={"status": 200, "route": None}))

    assert line.endswith(" info status=200")


def test_a_text_line_has_no_control_characters() -> None:
    try:
        raise ValueError("\x1b[31m")
    except ValueError:
        formatted = TextFormatter().format(
            record("a\n\x1b[1mb\x7f", exc_info=sys.exc_info(), fields={"cause": "\x9bc\u2028d"})
        )

    line, *trace = formatted.split("\n")
    assert line.endswith(r" info a\n\x1b[1mb\x7f cause=\x9bc\u2028d")
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == r"ValueError: \x1b[31m"


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
def test_no_format_has_control_characters_wherever_they_come_from(formatter: JsonFormatter | TextFormatter) -> None:
    every = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))
    try:
        raise ValueError(every)
    except ValueError:
        formatted = formatter.format(record(f"said {every}", exc_info=sys.exc_info(), fields={"cause": every}))

    assert not set(formatted.replace("\n", "")) & set(every)
    if isinstance(formatter, JsonFormatter):
        assert json.loads(formatted)["message"] == f"said {every}"
        assert json.loads(formatted)["cause"] == every


def test_a_text_line_is_followed_by_the_stack_trace() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        assert "ValueError: why" in TextFormatter().format(record("it failed", exc_info=sys.exc_info()))


@pytest.mark.parametrize(
    ("format_", "formatter"), [("json", "JsonFormatter"), ("text", "TextFormatter"), ("auto", "JsonFormatter")]
)
def test_the_format_can_be_chosen(capsys: pytest.CaptureFixture[str], format_: str, formatter: str) -> None:
    assert logging_config("info", format_)["formatters"]["line"]["()"] == f"api.telemetry.logs.{formatter}"


def test_a_request_is_one_line_with_all_fields(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    put_json(ask, {"über": "secret value"})
    caplog.clear()

    answer = ask("GET", "/keys/%C3%BCber", headers={"X-Request-Id": "mine"})

    [fields] = request_fields(caplog)
    assert set(fields) == set(REQUEST_FIELDS)
    assert isinstance(fields.pop("duration_ms"), float)
    assert fields == {
        "request_id": "mine",
        "method": "GET",
        "route": "/keys/{key}",
        "status": 200,
        "bytes": len(answer.body),
        "key_bytes": len("über".encode()),
        "token": None,
    }


@pytest.mark.parametrize(
    ("method", "target", "route", "status"),
    [
        ("GET", "/keys", "/keys", 200),
        ("HEAD", "/keys/nothing", "/keys/{key}", 404),
        ("GET", "/keys/%FF", "/keys/{key}", 400),
        ("BREW", "/keys", None, 405),
        ("GET", "/secret/path", None, 404),
        ("GET", "/health/ready", "/health/ready", 200),
        ("GET", "/docs/swagger-ui.css", "/docs/{filename}", 200),
    ],
)
def test_the_route_is_the_template_and_never_the_path(
    ask: Ask, caplog: pytest.LogCaptureFixture, method: str, target: str, route: str | None, status: int
) -> None:
    ask(method, target)

    [fields] = request_fields(caplog)
    assert (fields["method"], fields["route"], fields["status"]) == (method, route, status)


def test_a_stream_is_logged_with_all_its_bytes(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    put_json(ask, {f"key {number}": "v" * 100 for number in range(3_000)})
    caplog.clear()

    answer = ask("GET", "/keys")

    [fields] = request_fields(caplog)
    assert "Content-Length" not in answer.headers
    assert fields["bytes"] == len(answer.body)


def test_neither_keys_nor_values_are_logged(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    put_json(ask, {"hidden-key": "hidden-value"}, "?hidden-name=hidden-text")
    ask("GET", "/keys")
    ask("GET", "/keys/hidden-key")
    ask("DELETE", "/keys?filter=hidden$")
    ask("GET", "/keys/hidden-key")
    put_json(ask, {"hidden-key": 5})
    ask("PUT", "/keys?hidden-key=1&hidden-key=2")

    assert len(request_fields(caplog)) == 7
    assert "hidden" not in "\n".join(JsonFormatter().format(each) for each in caplog.records)


def test_nor_are_they_if_the_server_has_disabled_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, contract: Contract
) -> None:
    # Such a server quotes the arguments of what it does not know.
    hardened = tmp_path / "valkey-server"
    disabled = "".join(f" --rename-command {name} ''" for name in ("SET", "MGET", "MSET", "SCAN", "DEL", "EVALSHA"))
    hardened.write_text(f'#!/bin/sh\nexec {embedded.find_binary()} "$@"{disabled}\n')
    hardened.chmod(0o700)
    monkeypatch.setattr(embedded, "find_binary", lambda: str(hardened))
    with valkey(tmp_path / "data") as server, Redis.from_url(server.url) as client:
        ask = in_process(create_app(Settings(), store=store_of(client)), contract)
        json_type = {"Content-Type": "application/json"}

        answers = [
            ask("PUT", "/keys/hidden-key", b"hidden-value"),
            ask("GET", "/keys/hidden-key"),
            ask("DELETE", "/keys/hidden-key"),
            ask("PATCH", "/keys/hidden-key", b'{"append": "hidden-value"}', json_type),
            ask("GET", "/keys?filter=hidden$"),
            ask("DELETE", "/keys?filter=hidden$"),
            put_json(ask, {"hidden-key": "hidden-value"}),
            ask("POST", "/keys", b'{"get": ["hidden-key"]}', json_type),
        ]

    assert {answer.code for answer in answers} == {"store_fault"}
    logged = "\n".join(JsonFormatter().format(each) for each in caplog.records)
    assert "store_fault: unknown command 'SET'\"" in logged
    assert "hidden" not in logged


class TestPipe:
    """Lines that nobody reads from a pipe are dropped and counted."""

    @pytest.fixture
    def pipe(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
        ends = os.pipe()
        monkeypatch.setattr(logs, "STANDARD_OUTPUT", ends[1])
        yield ends
        for end in ends:
            os.close(end)

    @pytest.fixture
    def handler(self, pipe: tuple[int, int]) -> Iterator[LineHandler]:
        handler = LineHandler()
        handler.setFormatter(JsonFormatter())
        yield handler
        handler.close()

    @pytest.mark.parametrize("length", [100, 4_096, 10_000])
    def test_they_are_counted_when_somebody_reads_again_and_none_is_cut(
        self, pipe: tuple[int, int], handler: LineHandler, length: int
    ) -> None:
        sent = 2 * logs.PIPE_BYTES // length
        for number in range(sent):
            handler.emit(record(f"{number}".ljust(length)))
        before = os.read(pipe[0], 2 * logs.PIPE_BYTES)

        handler.emit(record("again"))

        *first, counted, last = (before + os.read(pipe[0], 2 * logs.PIPE_BYTES)).splitlines()
        assert [int(json.loads(line)["message"]) for line in first] == list(range(len(first)))
        assert 0 < len(first) < sent
        assert json.loads(counted)["level"] == "warning"
        assert json.loads(counted)["message"] == (
            f"{sent - len(first)} lines were dropped, because nobody read the log."
        )
        assert json.loads(last)["message"] == "again"

    def test_they_are_counted_once(self, pipe: tuple[int, int], handler: LineHandler) -> None:
        for _ in range(2 * logs.PIPE_BYTES // 1_000):
            handler.emit(record("x" * 1_000))
        os.read(pipe[0], 2 * logs.PIPE_BYTES)

        for _ in range(3):
            handler.emit(record("again"))

        assert os.read(pipe[0], 2 * logs.PIPE_BYTES).count(b"dropped") == 1

    def test_the_pipe_of_others_still_waits(self, pipe: tuple[int, int], handler: LineHandler) -> None:
        handler.emit(record("line"))

        assert not fcntl.fcntl(pipe[1], fcntl.F_GETFL) & os.O_NONBLOCK

    def test_a_handler_closes_what_it_has_opened_and_goes_on(self, pipe: tuple[int, int], handler: LineHandler) -> None:
        opened = handler._output
        handler.close()

        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(opened)
        handler.emit(record("last"))
        assert b"last" in os.read(pipe[0], 1_000)

    def test_a_pipe_that_may_not_be_opened_is_written_to_as_it_is(
        self, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> int:
            raise PermissionError

        monkeypatch.setattr(os, "open", refuse)

        assert LineHandler()._output == pipe[1]
