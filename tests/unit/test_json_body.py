import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.errors import RequestError
from resources.parsing import json_body
from resources.parsing.json_body import QUICK_PARTS, Repeated, parse_object


STRINGS = st.text(alphabet='ab":,[{\\ é\u2028😀\x7f', max_size=4)
NUMBERS = st.sampled_from(
    ("0", "-0", "7", "-9223372036854775808", "18446744073709551616", "1.0", "1e3", "1e999", "NaN")
)
BLANKS = st.sampled_from(("", "", "", " ", "\n", "\t "))


@st.composite
def json_texts(draw: st.DrawFn, depth: int = 3) -> str:
    """Return JSON, or nearly: names may come twice, and blanks may be anywhere between its parts."""

    def string() -> str:
        return json.dumps(draw(STRINGS), ensure_ascii=draw(st.booleans()))

    def blank() -> str:
        return draw(BLANKS)

    kind = draw(st.sampled_from(("object", "array", "string", "string", "number", "word"))) if depth < 3 else "object"
    if kind == "string":
        return string()
    if kind in {"number", "word"}:
        return draw(NUMBERS) if kind == "number" else draw(st.sampled_from(("null", "true", "false")))
    values = [draw(json_texts(depth - 1)) for _ in range(draw(st.integers(0, 4)) if depth else 0)]
    if kind == "array":
        return "[" + ",".join(blank() + value + blank() for value in values) + "]"
    return "{" + ",".join(f"{blank()}{string()}{blank()}:{blank()}{value}{blank()}" for value in values) + "}"


def outcome(text: bytes) -> tuple[type, Any]:
    try:
        found = parse_object(text)
    except RequestError as error:
        return type(error), str(error)
    # A float that is not a number equals nothing, and -0.0 equals 0.
    return type(found) if isinstance(found, Repeated) else list, repr(list(found))


class TestTheQuickParser:
    @given(json_texts())
    @example('{"a":1,"a" :2}')
    @example('{"a":{"b":1,"b":2}}')
    @example('{"a":18446744073709551616}')
    @example('{"a":1e999}')
    def test_it_finds_what_the_strict_one_finds(self, text: str) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(json_body, "_quickly_parsed", lambda _: None)
            expected = outcome(text.encode())

        assert outcome(text.encode()) == expected

    @pytest.mark.parametrize("text", [b'{"a":"b"}', b' {"a" : "b:", "get":["a", "a"], "n": null, "t": true, "i": -7} '])
    def test_it_is_used_for_what_programs_write(self, text: bytes) -> None:
        assert json_body._quickly_parsed(text) == json.loads(text)

    @pytest.mark.parametrize(
        "text",
        [
            b'{"a":1,"a":2}',
            b'{"a":1,"a" :2}',
            b'{"a":[{"b":"","b":""}]}',
            b'{"a":"\\n"}',
            b'{"a":1.5}',
            b'{"a":[1e400]}',
            b'{"a":18446744073709551616}',
            b"\xef\xbb\xbf{}",
            b'{"a":NaN}',
            b'{"a":"\xff"}',
            b'["a"]',
            b"{",
            b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}",
            b'{"a":[' + b"[]," * QUICK_PARTS + b"[]]}",
        ],
    )
    def test_the_strict_one_reads_the_rest(self, text: bytes) -> None:
        assert json_body._quickly_parsed(text) is None
