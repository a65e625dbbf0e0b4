"""All calls, in any order, against a plain Python model of what they should do."""

import json
import re
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from models.change import tag_of
from models.entry import value_from_json, value_to_json
from tests.support.amounts import amount
from tests.support.clients import AS_NDJSON, JSON, NDJSON, Answer, Ask, pages, put_json, target_of


KEYS = ["a", "b", "a/b", "ü ", "*?\\$", "\n"]
keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"0", b"7", b"text", "ü".encode(), b"\xff\x00"])
expiries = st.sampled_from([None, 1_000, 2_000_000_000])
entries = st.dictionaries(keys, values, min_size=1, max_size=4)
# As the server reads integers: without leading zeros.
INTEGER = re.compile(rb"0|-?[1-9][0-9]*")


class Model(RuleBasedStateMachine):
    """What the service should hold: for each key its value, and whether it expires."""

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self.ask = ask
        self.held: dict[str, tuple[bytes, bool]] = {}

    @initialize()
    def start_empty(self) -> None:
        self.ask("DELETE", "/keys")

    # What is told to the service, and to the model.

    @rule(pairs=entries, expire_in=expiries, way=st.sampled_from(["json", "form", "query", "one by one"]))
    def put(self, pairs: dict[str, bytes], expire_in: int | None, way: str) -> None:
        query = "" if expire_in is None else f"?expire_in={expire_in}"
        is_text = all(isinstance(value_to_json(value), str) for value in pairs.values())
        encoded = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in pairs.items())
        if way == "one by one":
            for key, value in pairs.items():
                assert self.ask("PUT", target_of(key) + query, value).json == {"stored": 1}
        elif way == "form" and is_text:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            assert self.ask("PUT", "/keys" + query, encoded.encode(), form).json == {"stored": len(pairs)}
        elif way == "query" and is_text:
            assert self.ask("PUT", "/keys" + (query or "?") + "&" + encoded).json == {"stored": len(pairs)}
        else:
            shown = {key: value_to_json(value) for key, value in pairs.items()}
            assert put_json(self.ask, shown, query).json == {"stored": len(pairs)}
        self.store(pairs, expires=expire_in is not None)

    @rule(pairs=entries, exists=st.booleans())
    def put_if_all(self, pairs: dict[str, bytes], exists: bool) -> None:
        header = {"If-Match" if exists else "If-None-Match": "*", **JSON}
        body = json.dumps({key: value_to_json(value) for key, value in pairs.items()}).encode()
        failed = [key for key in pairs if (key in self.held) != exists]

        answer = self.ask("PUT", "/keys", body, header)

        if failed:
            assert (answer.status, answer.json["keys"]) == (412, failed)
        else:
            assert answer.json == {"stored": len(pairs)}
            self.store(pairs, expires=False)

    @rule(key=keys, value=values, seen=values, none_match=st.booleans())
    def compare_and_set(self, key: str, value: bytes, seen: bytes, none_match: bool) -> None:
        held = self.held.get(key)
        matches = held is not None and held[0] == seen
        header = "If-None-Match" if none_match else "If-Match"

        answer = self.ask("PUT", target_of(key), value, {header: f'"{tag_of(seen)}"'})

        assert answer.status == (200 if matches != none_match else 412)
        if answer.status == 200:
            self.store({key: value}, expires=False)

    @rule(key=keys, number=st.integers(-5, 5), expire_in=expiries, keep=st.booleans())
    def increment(self, key: str, number: int, expire_in: int | None, keep: bool) -> None:
        value, expires = self.held.get(key, (b"0", False))
        answer = self.patch(key, {"increment": number}, expire_in, keep)

        if INTEGER.fullmatch(value) and abs(int(value)) < 2**63:
            self.check_entry(answer, key, b"%d" % (int(value) + number), expires or expire_in is not None)
        else:
            assert answer.code == "not_an_integer"

    @rule(key=keys, text=values, expire_in=expiries, keep=st.booleans())
    def append(self, key: str, text: bytes, expire_in: int | None, keep: bool) -> None:
        value, expires = self.held.get(key, (b"", False))
        answer = self.patch(key, {"append": value_to_json(text)}, expire_in, keep)

        self.check_entry(answer, key, value + text, expires or expire_in is not None)

    @rule(key=keys, expire_in=expiries)
    def change_expiry(self, key: str, expire_in: int | None) -> None:
        answer = self.patch(key, {}, expire_in, keep=False, always=True)

        if key in self.held:
            self.check_entry(answer, key, self.held[key][0], expire_in is not None)
        else:
            assert answer.code == "key_not_found"

    @rule(key=keys)
    def delete(self, key: str) -> None:
        answer = self.ask("DELETE", target_of(key))

        assert answer.status == (200 if self.held.pop(key, None) else 404)

    @rule(letter=st.sampled_from(["a", "b", "ü"]))
    def delete_some(self, letter: str) -> None:
        gone = [key for key in self.held if key.startswith(letter)]

        assert self.ask("DELETE", f"/keys?filter={quote_plus(letter)}$").json == {"deleted": len(gone)}
        for key in gone:
            del self.held[key]

    @rule(
        wanted=st.dictionaries(keys, st.one_of(st.just("*"), st.none(), values), max_size=2),
        get=st.lists(keys, unique=True, max_size=3),
        put=st.dictionaries(keys, values, max_size=3),
        delete=st.lists(keys, unique=True, max_size=3),
    )
    def transact(self, wanted: dict[str, Any], get: list[str], put: dict[str, bytes], delete: list[str]) -> None:
        delete = [key for key in delete if key not in put]
        if not (wanted or get or put or delete):
            return
        failed = [key for key, want in wanted.items() if not self.fulfils(key, want)]
        tags = {key: f'"{tag_of(want)}"' if isinstance(want, bytes) else want for key, want in wanted.items()}
        shown = {key: value_to_json(value) for key, value in put.items()}
        body = json.dumps({"if": tags, "get": get, "put": shown, "delete": delete}).encode()
        read = {key: value_to_json(self.held[key][0]) if key in self.held else None for key in get}

        answer = self.ask("POST", "/keys", body, JSON)

        if failed:
            assert (answer.status, answer.json["keys"]) == (412, failed)
            return
        gone = [key for key in delete if key in self.held]
        assert answer.json == {"values": read, "stored": len(put), "deleted": len(gone)}
        self.store(put, expires=False)
        for key in gone:
            del self.held[key]

    @rule()
    def move_by_export_and_import(self) -> None:
        exported = self.ask("GET", "/keys", headers=AS_NDJSON).body
        self.ask("DELETE", "/keys")

        answer = self.ask("PUT", "/keys", exported, NDJSON)

        assert answer.json == {"stored": len(self.held), "skipped": 0, "failed": 0, "errors": []}

    # What the service says, and the model knows.

    @rule(key=keys, raw=st.booleans())
    def get(self, key: str, raw: bool) -> None:
        answer = self.ask("GET", target_of(key), headers={"Accept": "text/plain" if raw else "application/json"})

        if key not in self.held:
            assert answer.code == "key_not_found"
            return
        value, expires = self.held[key]
        assert answer.body == value if raw else answer.json == {key: value_to_json(value)}
        assert ("Expire-In" in answer.headers) == expires

    @rule()
    def list_in_pages(self) -> None:
        found = {key: value for page in pages(self.ask, "/keys?limit=2") for key, value in page.items()}

        assert found == self.shown()

    @rule()
    def count(self) -> None:
        assert self.ask("HEAD", "/keys").headers["Total-Count"] == str(len(self.held))

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        assert self.ask("GET", "/keys").json == self.shown()

    # How it is written down.

    def shown(self) -> dict[str, Any]:
        return {key: value_to_json(value) for key, (value, _) in self.held.items()}

    def store(self, pairs: dict[str, bytes], *, expires: bool) -> None:
        self.held |= {key: (value, expires) for key, value in pairs.items()}

    def fulfils(self, key: str, want: bytes | str | None) -> bool:
        if want is None:
            return key not in self.held
        return key in self.held and want in {"*", self.held[key][0]}

    def patch(
        self, key: str, change: dict[str, Any], expire_in: int | None, keep: bool, *, always: bool = False
    ) -> Answer:
        if expire_in is not None or always:
            change |= {"expire_in": expire_in}
        if expire_in is not None and keep:
            change |= {"keep_expiry": True}
        return self.ask("PATCH", target_of(key), json.dumps(change).encode(), JSON)

    def check_entry(self, answer: Answer, key: str, value: bytes, expires: bool) -> None:
        assert answer.status == 200, answer.body
        assert {name: value_from_json(name, shown) for name, shown in answer.json.items()} == {key: value}
        assert ("Expire-In" in answer.headers) == expires
        self.store({key: value}, expires=expires)


@pytest.fixture
def backend() -> str:
    return "valkey"


@pytest.mark.grows
def test_the_service_does_what_its_model_does(ask: Ask) -> None:
    run_state_machine_as_test(
        lambda: Model(ask),  # type: ignore[arg-type]  # it takes whatever makes a machine
        settings=settings(max_examples=amount(20, 300), stateful_step_count=40),
    )
