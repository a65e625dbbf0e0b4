"""Closing a listening socket without losing a request."""

import ctypes
import socket
import struct
import sys
import time


DRAIN_TIMEOUT_SECONDS = 1.0
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


def drain(listener: socket.socket) -> None:
    """Let no new connection in, and wait until other processes have accepted those that wait.

    The kernel resets connections that nobody has accepted when a listening socket is closed, together with the requests
    that were sent on them. The packets of a new client are dropped; it tries again after a second, and is refused then.

    :param listener: a listening socket that other processes accept from
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_NO_NEW_CONNECTION, len(_NO_NEW_CONNECTION))
    header = struct.pack("HP", len(_NO_NEW_CONNECTION) // 8, ctypes.addressof(program))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
    deadline = time.monotonic() + DRAIN_TIMEOUT_SECONDS
    while waiting(listener) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def waiting(listener: socket.socket) -> int:
    """Return how many connections of a listening socket wait to be accepted."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)
    count: int = struct.unpack_from("I", info, _OFFSET_OF_TCPI_UNACKED)[0]
    return count
