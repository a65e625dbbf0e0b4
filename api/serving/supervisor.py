"""`flaskvstore serve`: runs Gunicorn and, where no URL is given, an embedded Valkey, and ends them in order."""

import http.client
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from api import LOGGER
from api.serving import systemd
from api.serving.embedded import EmbeddedServer
from api.serving.listener import Listener
from api.serving.subprocesses import spawn
from api.settings import Settings, StartError, variable_name
from api.startup import check
from models.address import Address, UnixAddress


ROOT = Path(__file__).parent.parent.parent
ANSWER_TIMEOUT_SECONDS = 5
MEBIBYTE = 1024 * 1024
STOPS = {signal.SIGTERM, signal.SIGINT}
SIGNALS = {*STOPS, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM}

log = logging.getLogger(f"{LOGGER}.server")


def serve(settings: Settings, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or Ctrl-C; SIGHUP starts new workers.

    :param environ: the environment that they came from, which Gunicorn gets as well
    :return: the exit status for the process
    :raises StartError: the address, the data directory or the file of tokens cannot be used
    """
    # Signals are only handled by sigwait, and never interrupt other code.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    embedded = (
        None
        if settings.redis_url
        else EmbeddedServer(
            settings.data_dir, durability=settings.durability, max_memory_bytes=settings.max_memory_bytes
        )
    )
    check(settings)
    with Listener(settings.bind, environ, to_everybody=settings.tokens_file is not None or settings.open) as listener:
        environ = {name: value for name, value in environ.items() if name not in systemd.VARIABLES}
        if settings.tokens_file is not None:
            # Gunicorn runs in another directory.
            environ = {**environ, variable_name("tokens_file"): str(settings.tokens_file.absolute())}
        server = None
        try:
            if embedded is not None:
                embedded.start()
                environ = {**environ, variable_name("redis_url"): embedded.url}
            server = spawn(
                server_command(settings.server, listener.socket.fileno()),
                cwd=ROOT,
                env=environ,
                inherit=[listener.socket.fileno()],
                # Without waiting for clients, whose requests would keep the port from the next start.
                death_signal=signal.SIGQUIT,
            )
            while server.poll() is None and not signal.sigpending() & STOPS:
                if answers(listener.address):
                    log.info(ready_line(listener.address, settings, embedded))
                    listener.tell("READY=1")
                    break
            try:
                return supervise(server, embedded, listener)
            except StartError as error:
                # It runs: its log is where this is looked for.
                log.critical("%s", error)
                return os.EX_SOFTWARE
        finally:
            if server is not None and server.poll() is None:
                server.terminate()
                server.wait()
            if embedded is not None:
                embedded.stop()


def server_command(name: str, listener: int) -> list[str]:
    """Return the command that starts a server.

    :param name: ``gunicorn`` or ``granian``
    :param listener: the file descriptor of the listening socket
    :raises StartError: it is not installed
    """
    if importlib.util.find_spec(name) is None:
        raise StartError(f"is {name}, which is not installed: it is in flaskvstore[{name}].", setting="server")
    if name == "granian":
        return [sys.executable, "-m", "api.serving.granian_server", str(listener)]
    settings = ("--config", "python:api.serving.gunicorn_settings", "--bind", f"fd://{listener}")
    return [sys.executable, "-m", "gunicorn", *settings, "wsgi:app"]


def answers(address: Address | UnixAddress) -> bool:
    """Send a request to the service, and return whether it was answered in time.

    :param address: where the service listens
    """
    connection = http.client.HTTPConnection("localhost", timeout=ANSWER_TIMEOUT_SECONDS)
    try:
        connection.sock = connected(address)
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def connected(address: Address | UnixAddress) -> socket.socket:
    """Return a connection to the service."""
    if isinstance(address, Address):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
        return socket.create_connection((host, address.port), ANSWER_TIMEOUT_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ANSWER_TIMEOUT_SECONDS)
    connection.connect(address.path)
    return connection


def ready_line(bound: Address | UnixAddress, settings: Settings, embedded: EmbeddedServer | None) -> str:
    """Return a line that says where the service listens, where its data lies, and where the documentation is.

    :param bound: the address with its real port
    :param embedded: the embedded server, if there is one
    """
    data = f"at {without_password(settings.redis_url)}"
    if embedded:
        data = f"in {embedded.data_dir} (embedded Valkey, up to {embedded.max_memory_bytes // MEBIBYTE:,} MiB)"
    where, page = (f"http://{bound}", f"http://{bound}/") if isinstance(bound, Address) else (str(bound), "/ there")
    return f"flaskvstore {version('flaskvstore')} listens on {where}, data {data}, documentation at {page}"


def without_password(url: str | None) -> str:
    """Return a URL without its user, password and options."""
    scheme, _, rest = (url or "").partition("?")[0].partition(":")
    return f"{scheme}://{rest.removeprefix('//').rpartition('@')[2]}"


def supervise(server: subprocess.Popen[bytes], embedded: EmbeddedServer | None, listener: Listener) -> int:
    """Pass signals on, look after the embedded server, and return when the server has ended.

    :param server: the process of Gunicorn or Granian
    :param embedded: the embedded server, if there is one
    :param listener: the listening socket, which Gunicorn has as well; closed when the service is to stop
    :raises StartError: the embedded server cannot be started again
    """
    stopping = False
    if embedded is not None:
        signal.setitimer(signal.ITIMER_REAL, embedded.look_after())
    while server.poll() is None:
        match signal.sigwait(SIGNALS):
            case signal.SIGHUP:
                server.send_signal(signal.SIGHUP)
            case signal.SIGTERM | signal.SIGINT:
                # The first signal lets requests in flight finish, the second does not.
                if not stopping:
                    listener.tell("STOPPING=1")
                    listener.drain()
                server.send_signal(signal.SIGQUIT if stopping else signal.SIGTERM)
                listener.close()
                stopping = True
            case signal.SIGCHLD | signal.SIGALRM if embedded is not None:
                signal.setitimer(signal.ITIMER_REAL, embedded.look_after())
    return max(server.returncode, os.EX_OK) if stopping else server.returncode or os.EX_SOFTWARE
