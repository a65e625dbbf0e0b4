from collections.abc import Callable

import hiredis
import pytest

from models.valkey.client import MANY_WORDS, _packed
from models.valkey.scripts import Command


packed_by_hiredis: Callable[[Command], bytes] = hiredis.pack_command


class TestPacking:
    @pytest.mark.parametrize("count", [1, MANY_WORDS - 1, MANY_WORDS, 1_000])
    @pytest.mark.parametrize("word", [b"", b"word", b"\r\n$1\r\n\x00\xff", "wörter", 0, -7, b"x" * 2_047, b"x" * 2_048])
    def test_a_command_has_the_bytes_that_hiredis_writes(self, count: int, word: bytes | str | int) -> None:
        command: Command = ("EVALSHA", *([word, b"between"] * count))[: count + 1]

        assert _packed(command) == packed_by_hiredis(command)
