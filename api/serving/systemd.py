"""The protocol of systemd: a socket that it gives (`LISTEN_FDS`), and what it is told (`NOTIFY_SOCKET`).

See https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html and sd_notify.html there.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from api.settings import StartError


FIRST_FD = 3
NOTIFY_SOCKET = "NOTIFY_SOCKET"
# For this process only: Gunicorn would say that it is ready as well, and too early.
VARIABLES = {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", NOTIFY_SOCKET}


def given_socket(environ: Mapping[str, str]) -> socket.socket | None:
    """Return the listening socket that systemd gives; None if it gives none.

    :raises StartError: it gives several, or one that cannot be listened on
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if environ.get("LISTEN_FDS") != "1":
        raise StartError("systemd gives several sockets: name one ListenStream in the socket unit.")
    given = socket.socket(fileno=FIRST_FD)
    if given.type != socket.SOCK_STREAM or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise StartError("systemd gives a socket that does not listen: use ListenStream and Accept=no.")
    return given


def notify(environ: Mapping[str, str], state: str) -> None:
    """Tell systemd a state, if it wants to know.

    :param state: such as ``READY=1``
    """
    address = environ.get(NOTIFY_SOCKET)
    if address:
        # A service that serves does not end because nobody listens to its news.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # An @ is the zero byte of an abstract address.
            sender.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
