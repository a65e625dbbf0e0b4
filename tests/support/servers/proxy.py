"""A proxy before a store that fails on demand: what it passes on comes late, in part, as garbage or not at all."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto


class Then(Enum):
    """What becomes of a connection after a fault."""

    PASS = auto()
    """It goes on."""
    CUT = auto()
    """Both of its ends are closed."""
    HALF_CLOSE = auto()
    """The client is told that no more comes, and may go on sending."""
    HANG = auto()
    """It stays open, and nothing comes any more."""


@dataclass(frozen=True)
class Fault:
    """What happens to one command or its answer.

    :param then: what becomes of the connection
    :param of_command: whether it happens to the command, which then does not arrive whole, and not to the answer
    :param delay_seconds: how late it comes
    :param kept_bytes: how many bytes of it come; None for all
    :param garbage: what comes instead of the rest
    :param drip_seconds: how long each byte of it takes
    """

    then: Then = Then.PASS
    of_command: bool = False
    delay_seconds: float = 0.0
    kept_bytes: int | None = None
    garbage: bytes = b""
    drip_seconds: float = 0.0


# The command is carried out, and its answer is lost with the connection.
LOST = Fault(Then.CUT, kept_bytes=0)

Choice = Callable[[bytes], Fault | None]


class Proxy:
    """Passes connections on to a server.

    :param upstream: the path of its unix socket, or its port on this machine
    """

    def __init__(self, upstream: str | int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.choose: Choice = lambda _: None
        self._open: list[socket.socket] = []
        self.struck = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    @contextlib.contextmanager
    def failing(self, fault: Fault, marker: bytes = b"") -> Iterator[None]:
        """Let a fault happen to every command that holds a marker.

        :param fault: the fault
        :param marker: part of the command
        """
        with self.choosing(lambda command: fault if marker in command else None):
            yield

    @contextlib.contextmanager
    def choosing(self, choose: Choice) -> Iterator[None]:
        """Let faults happen as a function says for each command.

        :param choose: gives the fault for a command; called by several threads
        """
        before, self.choose = self.choose, choose
        try:
            yield
        finally:
            self.choose = before

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
                self._open.append(client)
                try:
                    server = self._connect()
                except OSError:
                    _end(client)
                    continue
                self._open.append(server)
                Link(self, client, server)

    def _connect(self) -> socket.socket:
        if isinstance(self._upstream, int):
            return socket.create_connection(("127.0.0.1", self._upstream))
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._upstream)
        return server


class Link:
    """One connection through a proxy, pumped in both directions.

    A client of ours sends its next command when it has the answer, so that both come one at a time.

    :param proxy: says which fault there is, and counts them
    :param client: the end of the client
    :param server: the end of the server
    """

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._fault: Fault | None = None
        self._hangs = False
        for pump in (self._commands, self._answers):
            threading.Thread(target=pump, daemon=True).start()

    def _commands(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(65536):
                fault = self._proxy.choose(data)
                if fault is not None and fault.of_command:
                    self._strike(fault, data, self._server)
                else:
                    self._fault = fault
                    self._server.sendall(data)
        _end(self._server)

    def _answers(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(65536):
                fault, self._fault = self._fault, None
                # A script that is not known yet was not run: it comes again with its text.
                if fault is not None and not data.startswith(b"-NOSCRIPT"):
                    self._strike(fault, data, self._client)
                elif not self._hangs:
                    self._client.sendall(data)
        _end(self._client)
        _end(self._server)

    def _strike(self, fault: Fault, data: bytes, to: socket.socket) -> None:
        self._proxy.struck += 1
        time.sleep(fault.delay_seconds)
        sent = data[: fault.kept_bytes] + fault.garbage
        for part in [sent] if not fault.drip_seconds else [sent[i : i + 1] for i in range(len(sent))]:
            time.sleep(fault.drip_seconds)
            to.sendall(part)
        match fault.then:
            case Then.CUT:
                _end(self._client)
                _end(self._server)
            case Then.HALF_CLOSE:
                self._client.shutdown(socket.SHUT_WR)
            case Then.HANG:
                self._hangs = True


@contextlib.contextmanager
def proxy_to(upstream: str | int) -> Iterator[Proxy]:
    """Run a proxy.

    :param upstream: the path of a unix socket, or a port on this machine
    """
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
