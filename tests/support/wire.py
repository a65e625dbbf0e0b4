"""A connection on which a test says every byte itself, and sees how each answer is framed."""

import http.client
import socket
from collections.abc import Mapping
from typing import Self

from werkzeug.datastructures import Headers

from tests.support.clients import Answer


# More than the buffers between a store and a client hold.
LARGE = {f"key {number}": "v" * 16_384 for number in range(1_000)}


class Cut(Exception):
    """The connection ended in the middle of an answer."""


class Wire:
    """A connection to a service on this machine.

    :param port: where it listens
    :param receive_buffer_bytes: how much the kernel takes in for a client that reads slowly
    """

    def __init__(self, port: int, *, receive_buffer_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(30)
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self.socket.close()

    @property
    def local_port(self) -> int:
        """The port of the client's end."""
        port: int = self.socket.getsockname()[1]
        return port

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request and give its answer."""
        self.begin(method, target, {**({"Content-Length": str(len(body))} if body else {}), **(headers or {})})
        self.send(body)
        return self.answer(method)

    def begin(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send a request up to its body."""
        fields = {"Host": "localhost", **headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode())

    def finish_sending(self) -> None:
        """Send the end of the stream, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self, method: str = "GET") -> Answer:
        """Read the next answer: its body by its own framing, and nothing of what follows it.

        :raises Cut: it ended too early
        """
        status, headers = self.head()
        if method == "HEAD" or status < 200 or status == 304:
            return Answer(status, headers, b"")
        if headers.get("Transfer-Encoding") == "chunked":
            return Answer(status, headers, b"".join(iter(self.chunk, b"")))
        length = headers.get("Content-Length")
        return Answer(status, headers, self._reader.read() if length is None else self.exactly(int(length)))

    def head(self) -> tuple[int, Headers]:
        """Read the status and the headers of the next answer.

        :raises Cut: there is none
        """
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise Cut(line)
        return int(line.split()[1]), Headers(http.client.parse_headers(self._reader).items())

    def chunk(self) -> bytes:
        """Read the next chunk; the last one is empty.

        :raises Cut: there is none
        """
        try:
            size = self._reader.readline()
        except ConnectionResetError as error:
            raise Cut from error
        if not size.endswith(b"\r\n"):
            raise Cut(size)
        return self.exactly(int(size, 16) + 2)[:-2]

    def rest(self) -> bytes:
        """Read to the end of the connection."""
        return self._reader.read()

    def has_ended(self) -> bool:
        """Tell whether the service closes the connection instead of sending another byte."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True

    def exactly(self, length: int) -> bytes:
        """Read so many bytes.

        :raises Cut: there are fewer
        """
        try:
            data = self._reader.read(length)
        except ConnectionResetError as error:
            raise Cut from error
        if len(data) < length:
            raise Cut(data[-20:])
        return data
