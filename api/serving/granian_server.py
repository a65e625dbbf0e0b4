"""How Granian runs the service: `python -m api.serving.granian_server FD`, with the number of a listening socket.

Started by `serve` in the place of Gunicorn; needs the extra `flaskvstore[granian]`.
"""

import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from granian._granian import SocketHolder
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.mp import MPServer

from api.serving.subprocesses import end_with_parent
from api.startup import settings_for_wsgi_server
from api.telemetry.logs import logging_config


# Each request holds a thread until its last byte is sent, so this is the limit of clients that read slowly.
THREADS_A_WORKER = 64
# How long a worker may finish its requests at a stop. It would wait without end for half a body or a slow reader.
STOP_SECONDS = 30
# The old worker serves until the new one is ready.
RESPAWN_SECONDS = 2.0
LOGGER = "_granian"


class Server(MPServer):
    """Granian on a socket that is open already."""

    listener: socket.socket

    def _init_shared_socket(self) -> None:
        """Take the listening socket instead of opening one for each worker."""
        self._sso: Any = self.listener
        self._sfd: Any = self.listener.fileno()
        is_unix = self.listener.family == socket.AF_UNIX
        self.bind_uds = Path(self.listener.getsockname()) if is_unix else None
        self._shd: Any = SocketHolder(self._sfd, uds=is_unix, backlog=self.backlog)  # type: ignore[call-arg]  # its types lag

    def _unlink_pidfile(self) -> None:
        """Leave the file of a unix socket to `serve`; there is no other."""


def load(_target: str) -> Callable[..., Any]:
    """Load the application, in a worker.

    :param _target: its name for Granian
    """
    end_with_parent()
    # The handler inherited from the parent would lose the signal until the worker has its own.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from wsgi import app  # noqa: PLC0415  # a worker has its own

    return app


def main(listener: socket.socket) -> None:
    """Serve until SIGTERM; SIGHUP starts new workers.

    :param listener: where to listen
    """
    settings = settings_for_wsgi_server()
    config = logging_config(settings.log_level, settings.log_format)
    # Its start and stop lines say nothing that ours do not.
    config["loggers"][LOGGER] = {"level": logging.ERROR}
    server = Server(
        "wsgi:app",
        interface=Interfaces.WSGI,
        workers=settings.workers,
        blocking_threads=THREADS_A_WORKER,
        respawn_failed_workers=True,
        respawn_interval=RESPAWN_SECONDS,
        workers_kill_timeout=STOP_SECONDS,
        log_level=LogLevels.error,
        log_dictconfig=config,
    )
    server.listener = listener
    server.serve(target_loader=load)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
