"""A proxy before a store that can lose an answer: the command arrives, and its reply does not."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class Proxy:
    """Passes connections on to a unix socket.

    :param upstream: the path of the socket
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._marker: bytes | None = None
        self._open: list[socket.socket] = []
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def lose_answers_to(self, marker: bytes | None) -> None:
        """Cut a connection when the answer to a command comes back that holds a marker.

        :param marker: part of the command; None for none
        """
        self._marker = marker

    def cut_all(self) -> None:
        """Cut all connections there are."""
        for each in self._open:
            _end(each)
        self._open.clear()

    def close(self) -> None:
        """Stop."""
        _end(self._listener)
        self.cut_all()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._upstream)
                self._open += [client, server]
                doomed = threading.Event()
                for pump in (self._commands, self._answers):
                    threading.Thread(target=pump, args=(client, server, doomed), daemon=True).start()

    def _commands(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._marker is not None and self._marker in data:
                    doomed.set()
                server.sendall(data)
        _end(server)

    def _answers(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if data.startswith(b"-NOSCRIPT"):
                    doomed.clear()  # nothing was done yet: the command comes again with its script
                elif doomed.is_set():
                    self.lost += 1
                    break
                client.sendall(data)
        _end(client)
        _end(server)


@contextlib.contextmanager
def proxy_to(upstream: str) -> Iterator[Proxy]:
    """Run a proxy."""
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
