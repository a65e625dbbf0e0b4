"""All calls of the Python client, in any order, against a dict."""

import io
import re

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from client import Conflict, NotFound, PreconditionFailed, Store, escape
from tests.support.amounts import amount


Value = str | bytes

keys = st.sampled_from(["a", "b", "a/b", "ü ", "*?\\$", "\n"])
values = st.sampled_from(["", "0", "7", "text", "ü", b"\xff\x00"])
ttls = st.sampled_from([None, 1_000])
pairs = st.dictionaries(keys, values, min_size=1, max_size=4)
pages = st.sampled_from([1, 2, 1_000])


class Model(RuleBasedStateMachine):
    """What the store should hold: for each key its value, and whether it expires."""

    def __init__(self, kv: Store) -> None:
        super().__init__()
        self.kv = kv
        self.held: dict[str, tuple[Value, bool]] = {}

    @initialize()
    def start_empty(self) -> None:
        self.kv.clear()

    @rule(key=keys, value=values, ttl=ttls)
    def put(self, key: str, value: Value, ttl: int | None) -> None:
        self.kv.put(key, value, ttl=ttl)
        self.held[key] = value, ttl is not None

    @rule(key=keys, value=values, absent=st.booleans())
    def put_if(self, key: str, value: Value, absent: bool) -> None:
        if (key in self.held) == absent:
            with pytest.raises(PreconditionFailed):
                self.kv.put(key, value, only_if_absent=absent, only_if_present=not absent)
        else:
            self.kv.put(key, value, only_if_absent=absent, only_if_present=not absent)
            self.held[key] = value, False

    @rule(pairs=pairs, ttl=ttls)
    def update(self, pairs: dict[str, Value], ttl: int | None) -> None:
        self.kv.update(pairs, ttl=ttl)
        self.held |= {key: (value, ttl is not None) for key, value in pairs.items()}

    @rule(key=keys)
    def delete(self, key: str) -> None:
        if self.held.pop(key, None) is None:
            with pytest.raises(NotFound):
                self.kv.delete(key)
        else:
            self.kv.delete(key)

    @rule(start=keys)
    def delete_some(self, start: str) -> None:
        gone = [key for key in self.held if key.startswith(start)]

        assert self.kv.delete_matching(escape(start) + "$") == len(gone)
        for key in gone:
            del self.held[key]

    @rule(key=keys, by=st.integers(-5, 5))
    def increment(self, key: str, by: int) -> None:
        value, expires = self.held.get(key, ("0", False))
        if isinstance(value, str) and re.fullmatch("0|-?[1-9][0-9]*", value):
            assert self.kv.increment(key, by) == int(value) + by
            self.held[key] = str(int(value) + by), expires
        else:
            with pytest.raises(Conflict):
                self.kv.increment(key, by)

    @rule(key=keys, more=values)
    def append(self, key: str, more: Value) -> None:
        value, expires = self.held.get(key, ("", False))
        joined = as_bytes(value) + as_bytes(more)

        appended = self.kv.append(key, more)

        assert as_bytes(appended) == joined
        self.held[key] = appended, expires

    @rule(key=keys, default=st.sampled_from([None, "new"]))
    def modify(self, key: str, default: str | None) -> None:
        found = self.held.get(key, (default, False))
        if found[0] is None:
            with pytest.raises(NotFound):
                self.kv.modify(key, lambda value: value)
        else:
            self.held[key] = self.kv.modify(key, lambda _: "modified", default=default), found[1]

    @rule(key=keys, ttl=ttls)
    def expire(self, key: str, ttl: int | None) -> None:
        if key in self.held:
            self.kv.expire(key, ttl)
            self.held[key] = self.held[key][0], ttl is not None
        else:
            with pytest.raises(NotFound):
                self.kv.expire(key, ttl)

    @rule(required=keys, put=pairs, gone=keys)
    def transact(self, required: str, put: dict[str, Value], gone: str) -> None:
        put.pop(gone, None)

        def do() -> Value | None:
            with self.kv.transaction() as tx:
                tx.exists(required)
                seen = tx.get(gone)
                tx.delete(gone)
                for key, value in put.items():
                    tx.put(key, value)
            return seen.value

        if required in self.held:
            assert do() == self.held.pop(gone, (None,))[0]
            self.held |= {key: (value, False) for key, value in put.items()}
        else:
            with pytest.raises(PreconditionFailed):
                do()

    @rule()
    def move_by_a_file(self) -> None:
        file = io.BytesIO()
        assert self.kv.export_to(file) == len(self.held)
        self.kv.clear()
        file.seek(0)

        assert self.kv.import_from(file).stored == len(self.held)

    @rule(page=pages)
    def list_everything(self, page: int) -> None:
        assert set(self.kv.keys(page=page)) == set(self.held)
        assert {each.key: (each.value, each.expires_at is not None) for each in self.kv.scan(page=page)} == self.held

    @rule(key=keys)
    def read(self, key: str) -> None:
        assert self.kv.exists(key) == (key in self.held)
        assert self.kv.get(key) == self.held.get(key, (None,))[0]

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        assert dict(self.kv.items()) == {key: value for key, (value, _) in self.held.items()}


def as_bytes(value: Value) -> bytes:
    return value.encode() if isinstance(value, str) else value


@pytest.mark.grows
def test_a_store_does_what_a_dict_does(kv: Store) -> None:
    run_state_machine_as_test(
        lambda: Model(kv),  # type: ignore[arg-type]  # it takes whatever makes a machine
        settings=settings(max_examples=amount(5, 100), stateful_step_count=30),
    )
