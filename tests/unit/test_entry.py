"""The rules for keys, values and expiries, beyond what the contract's suite shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.entry import key_bytes, parse_expire_in, unique, value_from_json, value_to_json
from models.errors import InvalidExpiry, InvalidKey, quoted
from resources.errors import InvalidBody


@given(st.binary())
def test_any_value_survives_its_json_shape(value: bytes) -> None:
    assert value_from_json("key", value_to_json(value)) == value


@given(st.text(min_size=1, max_size=256))
def test_any_text_of_at_most_1024_bytes_is_a_key(key: str) -> None:
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        with pytest.raises(InvalidKey):
            key_bytes(key)
    else:
        assert key_bytes(key) == encoded


@given(st.text())
def test_an_expiry_is_read_as_python_would_write_it_or_refused(text: str) -> None:
    try:
        seconds = parse_expire_in(text)
    except InvalidExpiry:
        return
    assert str(seconds) == text
    assert 1 <= seconds <= 2147483647


def test_what_comes_twice_is_named() -> None:
    with pytest.raises(InvalidBody, match='"b" is given 3 times'):
        unique([("a", 1), ("b", 1), ("b", 2), ("c", 1), ("b", 1)], InvalidBody)


def test_quoted_text_is_cut_and_holds_no_control_characters() -> None:
    assert quoted("k" * 100) == '"' + "k" * 64 + '..."'
    assert quoted("\x00\n\x7f\u2028") == r'"\u0000\n\u007f\u2028"'
