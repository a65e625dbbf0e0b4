"""Filters mean on a server what they say, for any pattern and any key."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from models.filter import FILTER_PATTERN, Filter
from tests.conftest import store_of


LETTERS = "wod*?[]^-\\$.\nü!"
# Pairs of how a piece of a filter is written and the regular expression for what it means.
PIECES = st.one_of(
    st.just(("$", "[\\s\\S]*")),
    st.sampled_from(LETTERS).map(lambda c: ("\\" + c if c in "\\$" else c, re.escape(c))),
)


@pytest.fixture
def backend() -> str:
    return "valkey"


@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, max_size=8), keys=st.sets(st.text(LETTERS, min_size=1, max_size=6), max_size=30))
def test_a_filter_matches_what_its_regular_expression_matches(
    client: Redis, pieces: list[tuple[str, str]], keys: set[str]
) -> None:
    pattern = "".join(written for written, _ in pieces)
    meaning = re.compile("".join(expression for _, expression in pieces))
    client.flushall()
    store = store_of(client, key_prefix="k*[v]:")
    if keys:
        store.put(dict.fromkeys(keys, b""))

    listed = {key for batch in store.entries(Filter.parse(pattern), values=False) for key in batch}

    assert listed == {key for key in keys if meaning.fullmatch(key)}


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
