"""Bodies with more values than anything takes are refused before they are taken apart, and no others are."""

import tracemalloc
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import TooManyKeys
from models.store import MAX_PAIRS
from resources.errors import InvalidBody
from resources.parsing.json_body import MAX_VALUES, parse_object
from resources.parsing.urlencoded import parse_pairs


LARGEST_BYTES = 16 * 1024 * 1024
# What may be needed to find that out.
SPARE_BYTES = 1024 * 1024


@pytest.mark.parametrize(
    ("parse", "start", "part"),
    [
        (parse_pairs, b"", b"=&"),
        (parse_pairs, b"a=1", b"&"),
        (parse_object, b"{", b'"":"",'),
        (parse_object, b'{"a":[', b"[],"),
        (parse_object, b'{"a":[', b"{},"),
        (parse_object, b'{"a":', b"["),
        (parse_object, b'{"a":', b',"'),
        (parse_object, b'{"\\",[{":[', b"1,"),
    ],
)
def test_too_many_are_refused_without_the_memory_for_them(
    parse: Callable[[bytes], object], start: bytes, part: bytes
) -> None:
    body = start + part * (LARGEST_BYTES // len(part))
    tracemalloc.start()
    try:
        with pytest.raises(TooManyKeys):
            parse(body)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < SPARE_BYTES


def test_a_value_of_percent_encoding_alone_takes_the_memory_of_its_text() -> None:
    body = b"a=" + b"%C3%BC" * (LARGEST_BYTES // 6)
    tracemalloc.start()
    try:
        [(name, value)] = parse_pairs(body)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (name, value) == ("a", "ü" * (LARGEST_BYTES // 6))
    assert peak_bytes < 4 * LARGEST_BYTES


@given(st.binary(max_size=20), st.text("=_ +&%\\\t~ü\r\n0aF", max_size=10))
def test_what_is_encoded_comes_back(encoded: bytes, text: str) -> None:
    plain = encoded.decode(errors="replace") + text

    assert parse_pairs(b"%3D=" + quote(plain, safe="=_/~").encode()) == [("=", plain)]
    assert parse_pairs(f"{quote_plus(plain)}=".encode()) == [(plain, "")]


@pytest.mark.parametrize(
    "members",
    [
        [f'"{number}":{{"base64":""}}' for number in range(MAX_PAIRS)],
        [r'"all in one":"' + r"[{,\\\"," * MAX_VALUES + '"'],
        [rf'"{number},[":"[\"{{,"' for number in range(MAX_PAIRS)],
    ],
    ids=["base64", "one string", "strings"],
)
def test_what_stands_in_strings_does_not_count(members: list[str]) -> None:
    text = "{" + ",".join(members) + "}"

    assert len(parse_object(text.encode())) == len(members)


@pytest.mark.parametrize(
    "body", [b'"' * LARGEST_BYTES, b'{"a":"' + b"," * MAX_VALUES + b'","b":"' + b'\\"' * (LARGEST_BYTES // 2)]
)
def test_strings_without_an_end_take_no_time(body: bytes) -> None:
    # To look for the end of each again would take hours.
    with pytest.raises(InvalidBody):
        parse_object(body)
