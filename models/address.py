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


def is_loopback(socket_address: Any) -> bool:
    """Return whether only this machine reaches a socket.

    :param socket_address: what the socket says that its address is
    """
    return isinstance(socket_address, str) or ip_address(socket_address[0]).is_loopback
