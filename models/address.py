"""Where a server listens."""

from ipaddress import ip_address
from typing import Any, NamedTuple


MAX_PORT = 65_535


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(NamedTuple):
    """Where a server listens on a unix socket.

    :param path: that of the socket
    :param mode: who may connect, as the mode of a file
    """

    path: str
    mode: int

    def __str__(self) -> str:
        return f"unix:{self.path}"


def is_loopback(socket_address: Any) -> bool:
    """Return whether only this machine reaches a socket.

    :param socket_address: what the socket says that its address is
    """
    return isinstance(socket_address, str) or ip_address(socket_address[0]).is_loopback
