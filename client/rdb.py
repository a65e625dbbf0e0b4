"""The strings in a dump.rdb of Redis or Valkey; what else is in it is passed over and counted."""

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path


MAGIC = (b"REDIS", b"VALKEY")
EXPIRES_SECONDS, EXPIRES_MILLISECONDS, SELECT, END = 0xFD, 0xFC, 0xFE, 0xFF
# What stands between keys, and what follows each: s is a string, n a number, a digit that many bytes.
OTHER_OPCODES = {0xFA: "ss", 0xFB: "nn", 0xF9: "1", 0xF8: "n", 0xF5: "s", 0xF4: "nnn"}
STRING = 0
# How a string is encoded that is no whole number of 1, 2 or 4 bytes.
COMPRESSED = 3
# In LZF smaller controls begin literals, and the longest references have a byte more.
REFERENCE, LONGEST = 32, 7
# What the types of keys are called, and what follows: n[...] is a number, and as often what is in the brackets.
TYPES = {
    1: ("list", "n[s]"),
    2: ("set", "n[s]"),
    4: ("hash", "n[ss]"),
    5: ("zset", "n[s8]"),
    9: ("hash", "s"),
    10: ("list", "s"),
    11: ("set", "s"),
    12: ("zset", "s"),
    13: ("hash", "s"),
    14: ("list", "n[s]"),
    15: ("stream", "n[ss]nnnn[snnn[q8n]n[s8n[q]]]"),
    16: ("hash", "s"),
    17: ("zset", "s"),
    18: ("list", "n[ns]"),
    19: ("stream", "n[ss]nnnnnnnnn[snnnn[q8n]n[s8n[q]]]"),
    20: ("set", "s"),
    21: ("stream", "n[ss]nnnnnnnnn[snnnn[q8n]n[s88n[q]]]"),
    24: ("hash", "8n[nss]"),
    25: ("hash", "8s"),
}
# Valkey's hash whose fields expire.
TYPES_OF_VALKEY = {**TYPES, 22: ("hash", "n[ss8]")}


def read_rdb(path: str, left_out: "Counter[str]") -> Iterator[tuple[bytes, bytes, int | None]]:
    """Return the keys of database 0 with values and expiries.

    :param left_out: counts the keys of other types and databases
    :raises ValueError: it is no such file, or holds something that is not known
    """
    with Path(path).open("rb") as file:
        yield from _Reader(file.read).keys(left_out)


class _Reader:
    """Reads a file from its start to its end.

    :param read: returns the next bytes, as many as are asked for
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read_some = read
        magic = self._read(9)
        if not magic.startswith(MAGIC):
            raise ValueError("it does not begin as a dump.rdb does")
        self._types = TYPES_OF_VALKEY if magic.startswith(b"VALKEY") else TYPES

    def keys(self, left_out: "Counter[str]") -> Iterator[tuple[bytes, bytes, int | None]]:
        database, expires_at = 0, None
        while (opcode := self._read(1)[0]) != END:
            if opcode == EXPIRES_SECONDS:
                [expires_at] = struct.unpack("<i", self._read(4))
            elif opcode == EXPIRES_MILLISECONDS:
                [milliseconds] = struct.unpack("<q", self._read(8))
                expires_at = -(-milliseconds // 1000)
            elif opcode == SELECT:
                database, _ = self._number()
            elif opcode in OTHER_OPCODES:
                self._pass(OTHER_OPCODES[opcode])
            else:
                key = self._string()
                if opcode == STRING and not database:
                    yield key, self._string(), expires_at
                else:
                    left_out[self._pass_value(opcode, database)] += 1
                expires_at = None

    def _pass_value(self, kind: int, database: int) -> str:
        """Pass over the value of a key, and return what it is."""
        name, form = ("string", "s") if kind == STRING else self._types.get(kind, ("", ""))
        if not form:
            raise ValueError(f"it has a key of the unknown type {kind}; read it from the server instead")
        self._pass(form)
        return f"{name} in database {database}" if database else name

    def _pass(self, form: str) -> None:
        place = 0
        while place < len(form):
            what = form[place]
            if what == "s":
                self._string()
            elif what == "q":
                self._read(16)
            elif what.isdigit():
                self._read(int(what))
            else:
                count, _ = self._number()
                if form[place + 1 : place + 2] == "[":
                    end = _closing(form, place + 1)
                    for _ in range(count):
                        self._pass(form[place + 2 : end])
                    place = end
            place += 1

    def _number(self) -> tuple[int, bool]:
        """Return a number, and whether it stands for how a string is encoded."""
        [first] = self._read(1)
        match first >> 6:
            case 0:
                return first & 63, False
            case 1:
                return (first & 63) << 8 | self._read(1)[0], False
            case 2:
                return int.from_bytes(self._read(8 if first & 1 else 4), "big"), False
            case _:
                return first & 63, True

    def _string(self) -> bytes:
        size, is_encoded = self._number()
        if not is_encoded:
            return self._read(size)
        if size != COMPRESSED:
            return b"%d" % int.from_bytes(self._read(1 << size), "little", signed=True)
        packed, _ = self._number()
        self._number()
        return _unpacked(self._read(packed))

    def _read(self, size: int) -> bytes:
        found = self._read_some(size)
        if len(found) < size:
            raise ValueError("it is cut off")
        return found


def _closing(form: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(form)):
        depth += {"[": 1, "]": -1}.get(form[place], 0)
        if not depth:
            return place
    raise ValueError(form)


def _unpacked(packed: bytes) -> bytes:
    """Return what LZF has compressed: literals, and references to what came before."""
    found, place = bytearray(), 0
    while place < len(packed):
        control = packed[place]
        place += 1
        if control < REFERENCE:
            found += packed[place : place + control + 1]
            place += control + 1
            continue
        size = control >> 5
        if size == LONGEST:
            size += packed[place]
            place += 1
        begin = len(found) - ((control & 31) << 8 | packed[place]) - 1
        place += 1
        for offset in range(size + 2):
            # It may refer to what it writes itself.
            found.append(found[begin + offset])
    return bytes(found)
