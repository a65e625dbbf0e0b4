"""Event streams: the state and then each change, at `/keys` and `/keys/{key}`."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis

from resources import events, watching
from tests.support.cases import every_key, every_value
from tests.support.clients import Answer, Ask, ask_json, put_json, target_of
from tests.support.events import AS_EVENTS, AT_ONCE, Event, events_of
from tests.support.servers.services import eventually


ID = re.compile(r"[0-9a-f]+-[0-9a-f]+")
NOWHERE = "0-0"


def told(answer: Answer) -> list[tuple[str, Any]]:
    """Return the events of a stream, without ids; a heartbeat has no event."""
    assert answer.status == 200, answer.body
    return [(event.name, event.data) for event in events_of(answer.body) if event.name]


def keys_in(answer: Answer) -> dict[str, Any]:
    """Return the keys and values of all that a stream puts."""
    return {data["key"]: data.get("value") for name, data in told(answer) if name == "put"}


def last_id(answer: Answer) -> str:
    """Return the id to go on from."""
    return [event.id for event in events_of(answer.body) if event.id is not None][-1]


def follow(ask: Ask, target: str, until: str) -> list[tuple[str, Any]]:
    """Return what is told, by one long poll after the other, up to an event with a name."""
    found: list[tuple[str, Any]] = []
    headers = {**AS_EVENTS, "Prefer": "wait=60"}
    while until not in dict(found):
        answer = ask("GET", target, b"", headers)
        found += told(answer)
        headers["Last-Event-ID"] = last_id(answer)
    return found


@contextmanager
def meanwhile(ask: Ask, *args: Any) -> Iterator[list[Answer]]:
    """Ask in a thread of its own; the list has the answer in the end."""
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(ask(*args)))
    asking.start()
    yield answers
    asking.join(30)
    assert answers


class TestState:
    def test_it_comes_between_reset_and_synced(self, ask: Ask) -> None:
        put_json(ask, {"a": "1", "b": {"base64": "/w=="}})

        answer = ask("GET", "/keys", b"", AT_ONCE)

        (first, *puts, last) = told(answer)
        assert (first, last) == (("reset", {}), ("synced", {}))
        assert sorted((name, data["key"], data["value"]) for name, data in puts) == [
            ("put", "a", "1"),
            ("put", "b", {"base64": "/w=="}),
        ]

    def test_it_begins_with_the_time_after_which_to_come_back(self, ask: Ask) -> None:
        found = re.match(rb"retry: ([0-9]+)\n\n", ask("GET", "/keys", b"", AT_ONCE).body)

        assert found
        assert 1_000 <= int(found[1]) <= 3_000

    def test_ids_are_where_nothing_is_left_to_tell(self, ask: Ask) -> None:
        put_json(ask, {"a": "1", "b": "2"})

        reset, nowhere, *puts, synced = events_of(ask("GET", "/keys", b"", AT_ONCE).body)[:5]

        assert (reset.id, nowhere.name, nowhere.id) == ("", "", NOWHERE)
        assert [event.id for event in puts] == [None, None]
        assert ID.fullmatch(synced.id or "")

    def test_a_record_has_what_an_export_has_and_the_etag_that_writes_take(self, ask: Ask) -> None:
        ask("PUT", "/keys/a?expire_in=1000", b"1")

        [_, (_, record), _] = told(ask("GET", "/keys", b"", AT_ONCE))
        [exported, _] = ask("GET", "/keys", b"", {"Accept": "application/x-ndjson"}).body.splitlines()

        assert record.keys() == {"key", "value", "etag", "expires_at"}
        assert f'"expires_at":{record["expires_at"]}' in exported.decode()
        transaction = {"if": {"a": record["etag"]}, "put": {"a": "2"}}
        assert ask_json(ask, "POST", "/keys", transaction).status == 200
        assert ask("PUT", "/keys/a", b"3", {"If-Match": record["etag"]}).status == 412

    def test_without_values_there_are_sizes(self, ask: Ask) -> None:
        ask("PUT", "/keys/a", b"12345")

        [_, (_, record), _] = told(ask("GET", "/keys?values=false", b"", AT_ONCE))

        assert (record["key"], record["value_bytes"], "value" in record) == ("a", 5, False)

    def test_a_filter_says_which_keys(self, ask: Ask) -> None:
        put_json(ask, {"word": "1", "world": "2", "wood": "3"})

        assert keys_in(ask("GET", "/keys?filter=wor$", b"", AT_ONCE)) == {"word": "1", "world": "2"}

    def test_a_key_that_does_not_exist_can_be_watched(self, ask: Ask) -> None:
        assert told(ask("GET", "/keys/nothing", b"", AT_ONCE)) == [("reset", {}), ("synced", {})]

    @every_key
    def test_any_key_can_be_watched(self, ask: Ask, key: str) -> None:
        put_json(ask, {key: "1", "another": "2"})

        assert keys_in(ask("GET", target_of(key), b"", AT_ONCE)) == {key: "1"}

    @every_value
    def test_any_value_can_be_told(self, ask: Ask, value: bytes) -> None:
        ask("PUT", "/keys/a", value)

        [_, (_, record), _] = told(ask("GET", "/keys/a", b"", AT_ONCE))

        assert ask("GET", "/keys/a").json == {"a": record["value"]}

    def test_a_long_state_comes_in_chunks(self, ask: Ask) -> None:
        values = {f"key {number}": "v" * 50_000 for number in range(20)} | {"large": "\x00" * 300_000}
        put_json(ask, values)

        assert keys_in(ask("GET", "/keys", b"", AT_ONCE)) == values

    def test_a_key_of_another_program_is_told_as_an_export_does(self, ask: Ask, client: Redis, prefix: str) -> None:
        client.set(prefix.encode() + b"\xff", "1")
        client.rpush(f"{prefix}list", "1")

        assert [data["key"] for name, data in told(ask("GET", "/keys", b"", AT_ONCE)) if name == "put"] == [
            {"base64": "/w=="}
        ]


class TestChanges:
    """What one worker tells; that others go on from its ids is shown in `tests/service/test_watch.py`."""

    @pytest.fixture
    def backend(self) -> str:
        return "valkey"

    def test_they_are_told_from_an_id_on(self, ask: Ask) -> None:
        put_json(ask, {"a": "1", "b": "1"})
        since = last_id(ask("GET", "/keys", b"", AT_ONCE))
        ask("PUT", "/keys/a", b"2")
        ask("DELETE", "/keys/b")

        def missed() -> list[tuple[str, Any]]:
            return told(ask("GET", f"/keys?since={since}&values=false", b"", AT_ONCE))

        eventually(lambda: len(missed()) >= 2)
        assert [(name, data["key"]) for name, data in sorted(missed(), key=str)] == [("delete", "b"), ("put", "a")]

    def test_the_header_of_an_eventsource_counts_more_than_the_parameter(self, ask: Ask) -> None:
        since = last_id(ask("GET", "/keys", b"", AT_ONCE))

        from_the_header = told(ask("GET", f"/keys?since={NOWHERE}", b"", {**AT_ONCE, "Last-Event-ID": since}))
        from_the_parameter = told(ask("GET", f"/keys?since={since}", b"", {**AT_ONCE, "Last-Event-ID": NOWHERE}))

        assert "reset" not in dict(from_the_header)
        assert "reset" in dict(from_the_parameter)

    @pytest.mark.parametrize("id_", ["", "x", "1-1", "-", "\xe4", "0-0", "a" * 1_000, "1-1\t"])
    def test_an_id_that_nobody_knows_begins_anew(self, ask: Ask, id_: str) -> None:
        names = dict(told(ask("GET", "/keys", b"", {**AT_ONCE, "Last-Event-ID": id_})))

        assert names == {"reset": {}, "synced": {}}

    def test_without_the_state_there_is_an_id_to_go_on_from(self, ask: Ask) -> None:
        put_json(ask, {"a": "1"})
        start = ask("GET", "/keys?initial=false", b"", AT_ONCE)
        ask("PUT", "/keys/b", b"1")

        assert told(start) == [("reset", {})]
        eventually(lambda: "b" in keys_in(ask("GET", f"/keys?since={last_id(start)}", b"", AT_ONCE)))

    def test_a_stream_with_a_wait_ends_after_the_next_changes(self, ask: Ask) -> None:
        since = last_id(ask("GET", "/keys", b"", AT_ONCE))
        ask("PUT", "/keys/a", b"1")

        answer = ask("GET", f"/keys?since={since}", b"", {**AS_EVENTS, "Prefer": "wait=60"})

        assert answer.headers["Preference-Applied"] == "wait=60"
        assert keys_in(answer) == {"a": "1"}
        assert [name for name, _ in told(answer)][-1] == "put"
        # The id of the end covers what was told, so that nothing is told twice.
        again = ask("GET", f"/keys?since={last_id(answer)}", b"", AT_ONCE)
        assert told(again) == []

    def test_a_stream_with_a_wait_ends_after_it_and_in_silence_its_id_moves_on(
        self, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0)
        monkeypatch.setattr(watching, "CHECK_SECONDS", 0.1)
        since = last_id(ask("GET", "/keys", b"", AT_ONCE))

        answer = ask("GET", f"/keys?since={since}", b"", {**AS_EVENTS, "Prefer": "wait=2"})

        beats = events_of(answer.body)
        assert all((beat.name, beat.data) == ("", None) and ID.fullmatch(str(beat.id)) for beat in beats)
        assert len(beats) > 2
        assert str(beats[0].id) < str(beats[-1].id)

    def test_an_expiry_is_told_as_one(self, ask: Ask) -> None:
        ask("PUT", "/keys/a?expire_in=1", b"1")

        assert [name for name, _ in follow(ask, "/keys/a", "expire")][:3] == ["reset", "put", "synced"]


class TestHeaders:
    def test_they_are_those_of_a_stream(self, ask: Ask) -> None:
        headers = ask("GET", "/keys", b"", AT_ONCE).headers

        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Vary"] == "Accept"
        assert "Content-Length" not in headers

    @pytest.mark.parametrize("target", ["/keys", "/keys/a"])
    @pytest.mark.parametrize(
        "accept",
        ["*/*", "text/*", "text/*, */*;q=0.1", "text/event-stream;q=0, */*", "application/json, text/event-stream"],
    )
    def test_a_stream_is_for_those_who_name_it(self, ask: Ask, target: str, accept: str) -> None:
        ask("PUT", "/keys/a", b"1")

        answer = ask("GET", target, b"", {"Accept": accept})

        assert answer.headers["Content-Type"] != "text/event-stream"
        assert answer.status == (406 if accept == "text/*" and target == "/keys" else 200)

    @pytest.mark.parametrize("accept", ["Text/Event-Stream", "text/event-stream;charset=utf-8, */*;q=0.1"])
    def test_the_name_is_read_as_http_says(self, ask: Ask, accept: str) -> None:
        assert told(ask("GET", "/keys", b"", {**AT_ONCE, "Accept": accept}))[0] == ("reset", {})


class TestRefusals:
    @pytest.mark.parametrize(("method", "target"), [("HEAD", "/keys"), ("HEAD", "/keys/a"), ("GET", "/values/a")])
    def test_there_is_no_stream_of_what_has_no_body_or_is_bytes(self, ask: Ask, method: str, target: str) -> None:
        ask("PUT", "/keys/a", b"1")

        assert ask(method, target, b"", AS_EVENTS).status == 406

    @pytest.mark.parametrize("target", ["/keys", "/keys/a"])
    @pytest.mark.parametrize(
        "query", ["limit=1", "cursor=0", "since=", "since=x", "since=1", "initial=1", "initial=", "values=no"]
    )
    def test_parameters_of_a_list_and_wrong_ones_are_refused(self, ask: Ask, target: str, query: str) -> None:
        answer = ask("GET", f"{target}?{query}", b"", AT_ONCE)

        assert (answer.status, answer.code) == (400, "invalid_parameter")
        assert query.partition("=")[0] in answer.json["detail"]

    def test_one_key_has_no_filter(self, ask: Ask) -> None:
        assert ask("GET", "/keys/a?filter=b", b"", AT_ONCE).code == "invalid_parameter"

    @pytest.mark.parametrize("target", ["/keys", "/keys/a", "/values/a"])
    @pytest.mark.parametrize("query", ["initial=false", "since=1-1"])
    def test_parameters_of_a_stream_are_refused_elsewhere(self, ask: Ask, target: str, query: str) -> None:
        answer = ask("GET", f"{target}?{query}")

        assert (answer.status, answer.code) == (400, "invalid_parameter")
        assert "Accept: text/event-stream" in answer.json["detail"]

    @pytest.mark.parametrize("target", ["/keys", "/keys/a"])
    @pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "Range"])
    def test_what_selects_a_value_is_refused(self, ask: Ask, target: str, name: str) -> None:
        answer = ask("GET", target, b"", {**AT_ONCE, name: '"x"'})

        assert (answer.status, answer.code) == (400, "invalid_condition")
        assert name in answer.json["detail"]

    def test_a_key_that_cannot_be_one_is_refused(self, ask: Ask) -> None:
        assert ask("GET", target_of("k" * 1_025), b"", AT_ONCE).code == "invalid_key"


def test_events_are_told_apart_however_a_stream_is_cut() -> None:
    body = b'retry: 1\n\nid: 1-1\nevent: put\ndata: {"key": "a"}\n\nid: 1-2\n\n:\n\n'

    assert events_of(body) == [Event("put", {"key": "a"}, "1-1"), Event("", None, "1-2"), Event("", None, None)]
