"""The listening socket of `serve`: opened here or given by systemd, and closed without losing a request."""

import ctypes
import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from api.serving import systemd
from api.settings import StartError
from models.address import Address, UnixAddress, is_loopback


BACKLOG_CONNECTIONS = 2048
DRAIN_TIMEOUT_SECONDS = 1.0
# For workers to accept what waits on a unix socket, which does not tell.
UNIX_DRAIN_SECONDS = 0.1
POLL_SECONDS = 0.005

_SO_ATTACH_FILTER = 26  # socket(7)
_OFFSET_OF_TCPI_UNACKED = 24  # tcp(7); of a listening socket it is how many connections wait
# See bpf(2) for the classic language: the 14th byte of a TCP header has its flags, and what is SYN without ACK asks for
# a new connection.
_NO_NEW_CONNECTION = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte
        (0x54, 0, 0, 0x12),  # and it with SYN and ACK
        (0x15, 0, 1, 0x02),  # skip one instruction unless it is SYN alone
        (0x06, 0, 0, 0),  # drop the segment
        (0x06, 0, 0, 0xFFFFFFFF),  # let it pass
    )
)


class Listener:
    """The listening socket, opened here so that a used port is known before anything else is started.

    :param wanted: where to listen; port 0 for any free one
    :param environ: the environment, which says whether systemd gives a socket instead
    :param to_everybody: whether other machines may reach it
    :raises StartError: it is in use, not ours, or not to be resolved, or other machines would reach it
    """

    def __init__(self, wanted: Address | UnixAddress, environ: Mapping[str, str], *, to_everybody: bool) -> None:
        self._environ = environ
        given = systemd.given_socket(environ)
        self._is_given = given is not None
        self.socket = given or _opened(wanted, to_everybody=to_everybody)
        name = self.socket.getsockname()
        self.address = UnixAddress(name, 0) if isinstance(name, str) else Address(*name[:2])
        if not to_everybody:
            _require_loopback(self.address, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self, state: str) -> None:
        """Tell systemd a state, if it wants to know."""
        systemd.notify(self._environ, state)

    def drain(self) -> None:
        """Let no new connection in, and wait until other processes have accepted those that wait.

        The kernel resets connections that nobody has accepted when a listening socket is closed, together with the
        requests that were sent on them. The packets of a new client are dropped; it tries again after a second, and is
        refused then. On a socket that systemd keeps they wait for the next start.
        """
        if self._is_given:
            return
        if isinstance(self.address, UnixAddress):
            Path(self.address.path).unlink(missing_ok=True)
            time.sleep(UNIX_DRAIN_SECONDS)
        elif sys.platform == "linux":
            program = ctypes.create_string_buffer(_NO_NEW_CONNECTION, len(_NO_NEW_CONNECTION))
            header = struct.pack("HP", len(_NO_NEW_CONNECTION) // 8, ctypes.addressof(program))
            # Some containers forbid it. Then a client that comes in the last moment can be reset.
            with suppress(PermissionError):
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
            deadline = time.monotonic() + DRAIN_TIMEOUT_SECONDS
            while waiting(self.socket) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Close it, and remove the file of a unix socket."""
        if isinstance(self.address, UnixAddress) and not self._is_given and self.socket.fileno() >= 0:
            Path(self.address.path).unlink(missing_ok=True)
        self.socket.close()


def _require_loopback(shown: Address | UnixAddress, socket_address: Any) -> None:
    if not is_loopback(socket_address):
        raise StartError(
            f"Will not listen on {shown}: without tokens everybody who reaches it may read, change and delete "
            "everything. Name a tokens file with --tokens-file, or add --open if that is meant."
        )


def _opened(wanted: Address | UnixAddress, *, to_everybody: bool) -> socket.socket:
    try:
        if isinstance(wanted, UnixAddress):
            return _opened_unix(wanted)
        family, *_, resolved = socket.getaddrinfo(*wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if not to_everybody:
            _require_loopback(wanted, resolved)
        # `[::]` is all addresses, those of IPv4 included.
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(resolved[:2], family=family, backlog=BACKLOG_CONNECTIONS, dualstack_ipv6=both)
    except UnicodeError as error:
        raise StartError(f"Cannot listen on {wanted}: this is no host name. Choose another with --bind.") from error
    except OSError as error:
        raise StartError(
            f"Cannot listen on {wanted}: {error.strerror or error}. Stop what listens there, or choose another with "
            "--bind."
        ) from error


def _opened_unix(wanted: UnixAddress) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        # A service that was killed leaves its socket behind; one that lives answers there.
        with socket.socket(socket.AF_UNIX) as other, suppress(FileNotFoundError):
            if other.connect_ex(wanted.path) == errno.ECONNREFUSED and Path(wanted.path).is_socket():
                Path(wanted.path).unlink()
        before = os.umask(0o777 & ~wanted.mode)
        try:
            listener.bind(wanted.path)
        finally:
            os.umask(before)
        listener.listen(BACKLOG_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener


def waiting(listener: socket.socket) -> int:
    """Return how many connections of a listening socket wait to be accepted."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)
    count: int = struct.unpack_from("I", info, _OFFSET_OF_TCPI_UNACKED)[0]
    return count
