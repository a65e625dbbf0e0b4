r"""The filter language: `$` is any run of characters, `\$` and `\\` stand for themselves."""

import re
from typing import Self

from models.errors import InvalidFilter, quoted


MAX_FILTER_CHARACTERS = 2048
FILTER_PATTERN = r"^([^\\]|\\[\\$])*$"

_TOKEN = re.compile(r"\\(?P<escaped>[\\$])|(?P<wrong>\\)|(?P<wildcard>\$+)|(?P<plain>[^\\$]+)")
# Outside of brackets only these mean something in a Redis pattern (https://redis.io/docs/latest/commands/keys/).
_GLOB_SPECIAL = re.compile(rb"[*?\[\]^\\-]")


class Filter:
    """A pattern for keys, which must match a whole key."""

    def __init__(self, glob: bytes, text: str) -> None:
        self._glob = glob
        self.text = text

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
        glob = b""
        for token in _TOKEN.finditer(text):
            if token["wrong"]:
                raise InvalidFilter(
                    f"The filter {quoted(text)} has a backslash at character {token.start()} that escapes nothing: "
                    r"write \\ for a backslash and \$ for a dollar sign.",
                    position=token.start(),
                )
            # A run of wildcards is one wildcard: the same meaning, and less work for the server.
            glob += b"*" if token["wildcard"] else escaped_glob((token["escaped"] or token["plain"]).encode())
        return cls(glob, text)

    def glob(self, prefix: bytes) -> bytes:
        """Return the Redis pattern for names: a prefix, taken literally, and then what the filter says."""
        return escaped_glob(prefix) + self._glob


EVERY_KEY = Filter(b"*", "$")


def escaped_glob(literal: bytes) -> bytes:
    """Return a Redis pattern in which every byte stands for itself."""
    return _GLOB_SPECIAL.sub(rb"\\\g<0>", literal)
