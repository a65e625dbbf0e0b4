"""The strings of a Redis or Valkey, read key by key while it runs."""

import math
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit


SCHEMES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
TIMEOUT_SECONDS = 10.0
NAMES_OF_A_STEP = 1_000


class Connection:
    """A connection to a server, which commands are sent on one after another.

    :param url: where it is: `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS
    :raises ValueError: the URL cannot be used
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or parts.query:
            raise ValueError(f"a URL begins with one of {', '.join(SCHEMES)} and has no options")
        self._socket = socket.create_connection((parts.hostname or "localhost", parts.port or 6379), TIMEOUT_SECONDS)
        if SCHEMES[parts.scheme]:
            self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=parts.hostname)
        self._file = self._socket.makefile("rb")
        self._parts = parts

    def begin(self) -> None:
        """Say who asks, and for which database."""
        if self._parts.password is not None:
            user = filter(None, [unquote(self._parts.username or "")])
            self.ask(["AUTH", *user, unquote(self._parts.password)])
        if database := self._parts.path.strip("/"):
            self.ask(["SELECT", database])

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._socket.close()

    def ask(self, *commands: Sequence[str | bytes]) -> list[Any]:
        """Send commands together, and return their answers.

        :raises ValueError: one of them is refused
        """
        self._socket.sendall(b"".join(map(_packed, commands)))
        return [self._answer() for _ in commands]

    def _answer(self) -> Any:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("The server has closed the connection.")
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b":":
                return int(rest)
            case b"$":
                size = int(rest)
                return None if size < 0 else self._file.read(size + 2)[:-2]
            case b"*":
                return [self._answer() for _ in range(int(rest))]
            case _:
                raise ValueError(rest.decode("utf-8", "replace"))


def read_server(url: str, left_out: "Counter[str]") -> Iterator[tuple[bytes, bytes, int | None]]:
    """Return the keys of a server with values and expiries; a key can come twice if others write meanwhile.

    :param left_out: counts the keys of other types
    """
    connection = Connection(url)
    try:
        connection.begin()
        place = b"0"
        while True:
            [[place, names]] = connection.ask(["SCAN", place, "COUNT", str(NAMES_OF_A_STEP)])
            types = connection.ask(*(["TYPE", name] for name in names))
            strings = [name for name, kind in zip(names, types, strict=True) if kind == b"string"]
            left_out.update(kind.decode() for kind in types if kind not in {b"string", b"none"})
            # A transaction each, so that value and expiry are those of one moment.
            for name in strings:
                *_, [content, left] = connection.ask(["MULTI"], ["GET", name], ["PTTL", name], ["EXEC"])
                if content is not None:
                    yield name, content, None if left < 0 else math.ceil(time.time() + left / 1000)
            if place == b"0":
                return
    finally:
        connection.close()


def _packed(command: Sequence[str | bytes]) -> bytes:
    words = [word if isinstance(word, bytes) else word.encode() for word in command]
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)])
