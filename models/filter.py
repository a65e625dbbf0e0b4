r"""The filter language: `$` is any run of characters, `\$` and `\\` stand for themselves."""

import re
from functools import cached_property
from typing import Self

from models.entry import key_bytes
from models.errors import InvalidFilter, quoted


MAX_FILTER_CHARACTERS = 2048
FILTER_PATTERN = r"^([^\\]|\\[\\$])*$"

# How much of a literal behind a wildcard a server looks for. It tries at each byte of a name, so that a long literal
# costs it the product of both lengths.
SENT_LITERAL_BYTES = 16
# A server gives up a pattern with a thousand wildcards, and takes it to match nothing.
SENT_LITERALS = 100

_TOKEN = re.compile(r"\\(?P<escaped>[\\$])|(?P<wrong>\\)|(?P<wildcard>\$+)|(?P<plain>[^\\$]+)")
# Outside of brackets only these mean something in a Redis pattern (https://redis.io/docs/latest/commands/keys/).
_GLOB_SPECIAL = re.compile(rb"[*?\[\]^\\-]")


def escaped_glob(literal: bytes) -> bytes:
    """Return a Redis pattern in which every byte stands for itself."""
    return _GLOB_SPECIAL.sub(rb"\\\g<0>", literal)


class Filter:
    """A pattern for keys, which must match a whole key.

    :param literals: what stands before, between and behind its wildcards; one without a wildcard has one
    :param text: as a client writes it
    """

    def __init__(self, literals: list[bytes], text: str) -> None:
        self.text = text
        self._literals = literals
        start, *behind = literals
        between = [literal[:SENT_LITERAL_BYTES] for literal in behind[:-1][:SENT_LITERALS]]
        sent = [start, *between, *(literal[-SENT_LITERAL_BYTES:] for literal in behind[-1:])]
        self._glob = b"*".join(map(escaped_glob, sent))
        #: Whether a server looks for less than this, so that some of the names that it finds do not match.
        self.is_shortened = sent != literals

    @classmethod
    def parse(cls, text: str) -> Self:
        r"""Return the filter that a client has written.

        :param text: `$` for any run of characters, none included; `\$` and `\\` for themselves
        :raises InvalidFilter: it is too long, or has a backslash before something else
        """
        if len(text) > MAX_FILTER_CHARACTERS:
            raise InvalidFilter(
                f"The filter has {len(text):,} characters: at most {MAX_FILTER_CHARACTERS:,} are allowed.",
                limit=MAX_FILTER_CHARACTERS,
                actual=len(text),
            )
        literals = [b""]
        for token in _TOKEN.finditer(text):
            if token["wrong"]:
                raise InvalidFilter(
                    f"The filter {quoted(text)} has a backslash at character {token.start()} that escapes nothing: "
                    r"write \\ for a backslash and \$ for a dollar sign.",
                    position=token.start(),
                )
            # A run of wildcards is one wildcard: the same meaning, and less work for the server.
            if token["wildcard"]:
                literals.append(b"")
            else:
                literals[-1] += (token["escaped"] or token["plain"]).encode()
        return cls(literals, text)

    @classmethod
    def of_key(cls, key: str) -> Self:
        """Return the filter that matches one key.

        :raises InvalidKey: it cannot be a key
        """
        return cls([key_bytes(key)], re.sub(r"[\\$]", r"\\\g<0>", key))

    @property
    def start(self) -> bytes:
        """What every key that it matches starts with."""
        return self._literals[0]

    @property
    def key(self) -> bytes | None:
        """The one key that it matches; None if it has a wildcard."""
        return self._literals[0] if len(self._literals) == 1 else None

    def glob(self, prefix: bytes) -> bytes:
        """Return the Redis pattern for names: a prefix, taken literally, and then what the filter says, or less."""
        return escaped_glob(prefix) + self._glob

    def matches(self, key: bytes) -> bool:
        """Return whether a key matches, in a time that grows with its length only."""
        start, end = self._literals[0], self._literals[-1]
        if len(self._literals) == 1:
            return key == start
        at, stop = len(start), len(key) - len(end)
        for literal in self._literals[1:-1]:
            if len(literal) <= SENT_LITERAL_BYTES:
                at = key.find(literal, at, stop)
            else:
                found = self._long_literals[literal].search(key, at, stop)
                at = -1 if found is None else found.start()
            if at < 0:
                return False
            at += len(literal)
        return at <= stop and key.startswith(start) and key.endswith(end)

    @cached_property
    def _long_literals(self) -> dict[bytes, re.Pattern[bytes]]:
        """The long literals between wildcards: such an expression is found in linear time, which bytes.find is not."""
        between = self._literals[1:-1]
        return {literal: re.compile(re.escape(literal)) for literal in between if len(literal) > SENT_LITERAL_BYTES}


EVERY_KEY = Filter([b"", b""], "$")
