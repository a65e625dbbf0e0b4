"""Filters mean on a server what they say, for any pattern and any key."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from models import filter as filters
from models.entry import MAX_KEY_BYTES
from models.filter import FILTER_PATTERN, MAX_FILTER_CHARACTERS, SENT_LITERAL_BYTES, Filter
from tests.support.amounts import amount
from tests.support.servers.stores import store_of


LETTERS = "wod*?[]^-\\$.\nü!"
ANYTHING = st.text(LETTERS, max_size=3)


@st.composite
def patterns_and_keys(draw: st.DrawFn) -> tuple[str, str, set[str]]:
    """Draw a filter, the regular expression for what it means, and keys that it matches, or that it nearly does."""
    pieces = draw(st.lists(st.sampled_from([None, *LETTERS]), max_size=8))
    keys = set(draw(st.lists(ANYTHING, max_size=3)))
    for _ in range(draw(st.integers(1, 8))):
        key = "".join(draw(ANYTHING) if piece is None else piece for piece in pieces)
        at = draw(st.integers(0, len(key)))
        keys |= {key, key[:at] + draw(st.text(LETTERS, max_size=1)) + key[at + 1 :]}
    written = "".join("$" if piece is None else f"\\{piece}" if piece in "\\$" else piece for piece in pieces)
    meaning = "".join("[\\s\\S]*" if piece is None else re.escape(piece) for piece in pieces)
    return written, meaning, keys - {""}


@pytest.fixture
def backend() -> str:
    return "valkey"


@pytest.mark.parametrize("sent", [SENT_LITERAL_BYTES, 1])
@pytest.mark.grows
@settings(max_examples=amount(100, 2_000))
@given(drawn=patterns_and_keys())
def test_a_filter_matches_what_its_regular_expression_matches(
    client: Redis, monkeypatch: pytest.MonkeyPatch, sent: int, drawn: tuple[str, str, set[str]]
) -> None:
    written, meaning, keys = drawn
    monkeypatch.setattr(filters, "SENT_LITERAL_BYTES", sent)
    pattern = Filter.parse(written)
    client.flushall()
    store = store_of(client, key_prefix="k*[v]:")
    if keys:
        store.put(dict.fromkeys(keys, b""))
    matching = {key for key in keys if re.fullmatch(meaning, key)}

    assert {key for batch in store.entries(pattern, values=False) for key in batch} == matching
    assert {key for key in keys if pattern.matches(key.encode())} == matching
    assert store.count(pattern) == len(matching)
    assert store.delete_matching(pattern) == len(matching)
    assert {key for batch in store.entries(filters.EVERY_KEY, values=False) for key in batch} == keys - matching


LONG = ["a" * SENT_LITERAL_BYTES, "a" * 300, "b" + "a" * 300, "a" * 300 + "b", "ü" * 100]


@pytest.mark.grows
@settings(max_examples=amount(100, 500))
@given(st.lists(st.sampled_from([None, "a", "b", *LONG]), max_size=5), st.lists(st.sampled_from(["", "a", *LONG])))
def test_a_long_filter_is_shortened_for_the_server_and_matches_the_same(
    client: Redis, pieces: list[str | None], others: list[str]
) -> None:
    pattern = Filter.parse("".join("$" if piece is None else piece for piece in pieces))
    meaning = "".join("[\\s\\S]*" if piece is None else re.escape(piece) for piece in pieces)
    keys = {"".join(piece or "aba" for piece in pieces), "".join(piece or "" for piece in pieces), "".join(others)}
    keys = {key for key in keys if 0 < len(key.encode()) <= MAX_KEY_BYTES}
    client.flushall()
    store = store_of(client)
    store.put(dict.fromkeys([*keys, "c"], b""))
    matching = {key for key in keys | {"c"} if re.fullmatch(meaning, key)}

    assert {key for batch in store.entries(pattern, values=False) for key in batch} == matching
    assert store.delete_matching(pattern) == len(matching)


def test_a_filter_with_more_wildcards_than_a_server_follows_matches(client: Redis) -> None:
    store = store_of(client)
    store.put({"a" * MAX_KEY_BYTES: b"", "a" * 1_000 + "b": b""})

    assert store.count(Filter.parse("$a" * (MAX_FILTER_CHARACTERS // 2))) == 1


@given(st.from_regex(FILTER_PATTERN, fullmatch=True).filter(lambda text: len(text) <= 2048))
def test_what_the_documented_pattern_allows_is_a_filter(text: str) -> None:
    assert Filter.parse(text).text == text


@pytest.mark.parametrize("text", ["$", "$$", "$$$$$$$$"])
def test_wildcards_in_a_row_are_one(text: str) -> None:
    assert Filter.parse(text).glob(b"kv:") == b"kv:*"


def test_the_prefix_is_taken_literally(valkey_client: Redis) -> None:
    store = store_of(valkey_client, key_prefix="*")
    valkey_client.set("other", "")
    store.put({"a": b""})

    assert store.count(Filter.parse("$")) == 1
