"""The contract of `POST /keys`: several keys in one atomic step. On Valkey and through Gunicorn."""

import base64
from typing import Any

import pytest
from redis import Redis

from models import store
from models.change import tag_of as digest_of
from models.entry import value_to_json
from tests.support.cases import KEYS, VALUES, about
from tests.support.clients import AS_TEXT, JSON, Answer, Ask, ask_json
from tests.support.servers.stores import MAX_VALUE_BYTES


# One more than a transaction may name.
MANY = [str(number) for number in range(1_001)]


def post(ask: Ask, transaction: object) -> Answer:
    return ask_json(ask, "POST", "/keys", transaction)


def tag_of(ask: Ask, key: str) -> str:
    return ask("GET", f"/keys/{key}").headers["ETag"]


class TestDoing:
    @pytest.mark.one_slot
    def test_all_of_it_is_done_and_reading_comes_first(self, ask: Ask, client: Redis, prefix: str) -> None:
        client.mset({f"{prefix}a": "1", f"{prefix}b": "2", f"{prefix}c": "3"})

        answer = post(
            ask,
            {
                "if": {"a": tag_of(ask, "a"), "b": "*", "new": None},
                "get": ["a", "c", "nothing"],
                "put": {"a": "4", "new": "5"},
                "delete": ["c", "nothing"],
            },
        )

        assert answer.status == 200
        assert answer.json == {"values": {"a": "1", "c": "3", "nothing": None}, "stored": 2, "deleted": 1}
        assert ask("GET", "/keys").json == {"a": "4", "b": "2", "new": "5"}

    @pytest.mark.one_slot
    def test_the_expiry_is_for_what_is_written(self, ask: Ask, client: Redis, prefix: str) -> None:
        client.set(f"{prefix}b", "1")

        assert post(ask, {"get": ["b"], "put": {"a": "1"}, "expire_in": 60}).status == 200

        assert client.ttl(f"{prefix}a") == about(60)
        assert client.ttl(f"{prefix}b") == -1

    def test_conditions_alone_are_a_question(self, ask: Ask) -> None:
        assert post(ask, {"if": {"a": None}}).json == {"values": {}, "stored": 0, "deleted": 0}
        assert post(ask, {"if": {"a": "*"}}).status == 412

    @pytest.mark.one_slot
    @pytest.mark.parametrize("expire_in", [None, 60])
    def test_any_key_and_any_value_survive(self, ask: Ask, expire_in: int | None) -> None:
        values = {f"value {name}": {"base64": base64.b64encode(value).decode()} for name, value in VALUES.items()}
        put = {**dict.fromkeys(KEYS.values(), "1"), **values}
        expiry = {} if expire_in is None else {"expire_in": expire_in}

        assert post(ask, {"put": put, **expiry}).json["stored"] == len(put)

        read = post(ask, {"get": list(put)}).json["values"]
        assert read == {
            **dict.fromkeys(KEYS.values(), "1"),
            **{f"value {name}": value_to_json(value) for name, value in VALUES.items()},
        }
        assert post(ask, {"delete": list(put)}).json["deleted"] == len(put)
        assert ask("GET", "/keys").json == {}

    @pytest.mark.one_slot
    def test_a_thousand_keys_are_one_round_trip(self, ask: Ask, client: Redis, backend: str) -> None:
        put = {f"key {number}": str(number) for number in range(1_000)}

        assert post(ask, {"put": put}).json["stored"] == 1_000
        is_one_server = backend != "cluster"
        if is_one_server:
            client.config_resetstat()
        assert post(ask, {"get": list(put)}).json["values"] == put
        if is_one_server:
            assert client.info("commandstats")["cmdstat_mget"]["calls"] == 1

    @pytest.mark.parametrize(
        ("body", "command"),
        [({"get": ["{a}1", "{a}2"]}, "mget"), ({"put": {"{a}1": "1", "{a}2": "2"}}, "mset")],
    )
    def test_what_one_command_does_takes_no_script(
        self, ask: Ask, client: Redis, backend: str, body: dict[str, Any], command: str
    ) -> None:
        is_one_server = backend != "cluster"
        if is_one_server:
            client.config_resetstat()

        assert post(ask, body).json["stored"] == len(body.get("put", ()))

        if is_one_server:
            commands = client.info("commandstats")
            assert commands[f"cmdstat_{command}"]["calls"] == 1
            assert not {"cmdstat_evalsha", "cmdstat_eval"} & commands.keys()

    def test_a_tag_of_either_representation_is_taken(self, ask: Ask, client: Redis) -> None:
        client.set("kv:a", "1")
        json_tag, raw_tag = tag_of(ask, "a"), ask("GET", "/keys/a", headers=AS_TEXT).headers["ETag"]

        assert json_tag != raw_tag
        assert post(ask, {"if": {"a": json_tag}}).status == post(ask, {"if": {"a": raw_tag}}).status == 200

    def test_a_key_that_is_no_string_reads_as_null(self, ask: Ask, client: Redis) -> None:
        client.rpush("kv:list", "1")

        assert post(ask, {"get": ["list"]}).json["values"] == {"list": None}


class TestFailing:
    @pytest.mark.one_slot
    def test_nothing_is_done_if_a_condition_does_not_hold_and_its_keys_are_named(
        self, ask: Ask, client: Redis, prefix: str
    ) -> None:
        client.mset({f"{prefix}a": "1", f"{prefix}b": "2"})

        answer = post(
            ask,
            {
                "if": {"a": tag_of(ask, "b"), "b": None, "ü": "*", "fine": None},
                "put": {"c": "3"},
                "delete": ["a"],
            },
        )

        assert (answer.status, answer.code) == (412, "precondition_failed")
        assert answer.json["keys"] == ["a", "b", "ü"]
        assert ask("GET", "/keys").json == {"a": "1", "b": "2"}

    @pytest.mark.one_slot
    def test_a_condition_on_what_is_no_string_is_409(self, ask: Ask, client: Redis, prefix: str) -> None:
        client.rpush(f"{prefix}list", "1")

        assert post(ask, {"if": {"list": "*"}, "put": {"a": "1"}}).code == "wrong_type"
        assert client.exists(f"{prefix}a") == 0

    @pytest.mark.parametrize(
        "transaction",
        [
            {},
            [],
            {"if": {}},
            {"get": [], "put": {}, "delete": []},
            {"expire_in": 5},
            {"get": ["a"], "expire_in": 5},
            {"put": {"a": "1"}, "expire_in": 0},
            {"put": {"a": "1"}, "expire_in": None},
            {"put": {"a": "1"}, "expire_in": "5"},
            {"set": {"a": "1"}},
            {"put": {"a": "1"}, "set": {"a": "1"}},
            {"put": ["a"]},
            {"put": None},
            {"put": {"a": 1}},
            {"put": {"a": None}},
            {"put": {"": "1"}},
            {"put": {"k" * 1025: "1"}},
            {"get": "a"},
            {"get": {"a": "1"}},
            {"get": [1]},
            {"get": [None]},
            {"get": [""]},
            {"get": ["a", "a"]},
            {"delete": ["a", "a"]},
            {"put": {"a": "1"}, "delete": ["a"]},
            {"if": {"a": 1}, "put": {"b": "1"}},
            {"if": {"a": ""}, "put": {"b": "1"}},
            {"if": {"a": "abc"}, "put": {"b": "1"}},
            {"if": {"a": 'W/"356a192b7913b04c54574d18c28d46e6395428ab"'}, "put": {"b": "1"}},
            {"if": {"a": True}, "put": {"b": "1"}},
            {"if": ["a"], "put": {"b": "1"}},
            {"if": {"": "*"}},
        ],
        ids=str,
    )
    def test_what_is_no_transaction_is_refused_and_changes_nothing(
        self, ask: Ask, client: Redis, transaction: object
    ) -> None:
        client.set("kv:a", "0")

        answer = post(ask, transaction)

        assert answer.status == 400, answer.body
        assert client.get("kv:a") == b"0"
        assert len(client.keys()) == 1

    def test_a_name_twice_is_refused(self, ask: Ask, client: Redis) -> None:
        for body in (b'{"put": {"a": "1", "a": "2"}}', b'{"put": {"a": "1"}, "put": {"b": "1"}}'):
            assert ask("POST", "/keys", body, JSON).code == "invalid_body"
        assert client.keys() == []

    @pytest.mark.parametrize(
        "transaction",
        [
            {"if": dict.fromkeys(MANY)},
            {"get": MANY},
            {"put": dict.fromkeys(MANY, "1")},
            {"delete": MANY},
            {"put": dict.fromkeys(MANY[:600], "1"), "get": MANY[600:]},
        ],
        ids=" and ".join,
    )
    def test_more_than_a_thousand_keys_are_refused_with_both_numbers(
        self, ask: Ask, client: Redis, transaction: object
    ) -> None:
        answer = post(ask, transaction)

        assert (answer.status, answer.code) == (413, "too_many_keys")
        assert (answer.json["limit"], answer.json["actual"]) == (1_000, 1_001)
        assert client.keys() == []

    def test_a_value_that_is_too_large_is_refused(self, ask: Ask, client: Redis) -> None:
        assert post(ask, {"put": {"a": "1", "b": "v" * (1024 * 1024 + 1)}}).code == "value_too_large"
        assert client.keys() == []

    def test_another_media_type_is_refused(self, ask: Ask) -> None:
        assert ask("POST", "/keys", b'{"get": ["a"]}', {"Content-Type": "text/plain"}).code == "unsupported_media_type"

    def test_a_query_parameter_is_refused(self, ask: Ask, client: Redis) -> None:
        assert ask("POST", "/keys?expire_in=5", b'{"put": {"a": "1"}}', JSON).code == "invalid_parameter"
        assert client.keys() == []


@pytest.mark.one_slot
class TestBytes:
    """How many bytes of values one step reads, or compares with tags."""

    def filled(self, client: Redis, prefix: str, total_bytes: int) -> dict[str, Any]:
        """Store values of the largest size, and one byte more, and return a condition that holds for each."""
        largest = b"v" * MAX_VALUE_BYTES
        values = {f"key {number}": largest for number in range(total_bytes // MAX_VALUE_BYTES)} | {"small": b"v"}
        client.mset({f"{prefix}{key}": value for key, value in values.items()})
        return {key: f'"{digest_of(value)}"' for key, value in values.items()}

    @pytest.mark.parametrize("others", [{}, {"if": {"small": "*"}}, {"put": {"new": "1"}, "delete": ["small"]}])
    def test_more_than_one_step_may_read_is_refused_with_both_numbers_and_changes_nothing(
        self, ask: Ask, client: Redis, prefix: str, others: dict[str, Any]
    ) -> None:
        *largest, small = self.filled(client, prefix, store.MAX_READ_BYTES)

        refused = post(ask, {"get": [*largest, small], **others})
        allowed = post(ask, {"get": largest, **others})

        assert (refused.status, refused.code) == (413, "values_too_large")
        assert (refused.json["limit"], refused.json["actual"]) == (store.MAX_READ_BYTES, store.MAX_READ_BYTES + 1)
        assert [len(value) for value in allowed.json["values"].values()] == [MAX_VALUE_BYTES] * 8
        assert allowed.json["deleted"] == len(others.get("delete", ()))

    def test_beside_large_values_to_write_less_may_be_read(self, ask: Ask, client: Redis, prefix: str) -> None:
        *largest, _ = self.filled(client, prefix, store.MAX_READ_BYTES)
        put = {f"new {number}": "v" * 900_000 for number in range(12)}
        rest_bytes = store.MAX_READ_AND_WRITTEN_BYTES - 12 * 900_000

        refused = post(ask, {"get": largest, "put": put})
        allowed = post(ask, {"get": largest[:5], "put": put})

        assert (refused.code, refused.json["limit"]) == ("values_too_large", rest_bytes)
        assert allowed.json["stored"] == 12

    def test_what_it_reads_counts_until_its_answer_is_made(self, ask: Ask, client: Redis, prefix: str) -> None:
        *largest, _ = self.filled(client, prefix, store.MAX_READ_BYTES)

        # Together that is more than a worker may hold.
        assert {post(ask, {"get": largest}).status for _ in range(10)} == {200}

    def test_more_than_one_step_may_compare_is_refused_with_both_numbers_and_changes_nothing(
        self, ask: Ask, client: Redis, prefix: str
    ) -> None:
        conditions = self.filled(client, prefix, store.MAX_COMPARED_BYTES)

        refused = post(ask, {"if": conditions, "put": {"new": "1"}})
        client.delete(f"{prefix}small")
        failed = post(ask, {"if": conditions, "put": {"new": "1"}})

        assert (refused.status, refused.code) == (413, "values_too_large")
        assert (refused.json["limit"], refused.json["actual"]) == (
            store.MAX_COMPARED_BYTES,
            store.MAX_COMPARED_BYTES + 1,
        )
        assert (failed.status, failed.json["keys"]) == (412, ["small"])
        assert client.exists(f"{prefix}new") == 0

    def test_whether_keys_exist_is_asked_of_values_of_any_size(self, ask: Ask, client: Redis, prefix: str) -> None:
        conditions = self.filled(client, prefix, 2 * store.MAX_READ_BYTES)

        assert post(ask, {"if": dict.fromkeys(conditions, "*")}).status == 200
        assert post(ask, {"if": dict.fromkeys(conditions)}).json["keys"] == [*conditions]

    def test_what_is_no_string_has_no_bytes(self, ask: Ask, client: Redis, prefix: str) -> None:
        client.rpush(f"{prefix}list", "1")

        assert post(ask, {"get": [*MANY[:500], "list"]}).json["values"] == dict.fromkeys([*MANY[:500], "list"])
