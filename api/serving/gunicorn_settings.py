"""How Gunicorn runs the service; read by its parent process before the workers exist.

See https://docs.gunicorn.org/en/stable/settings.html for each name.
"""

import gc
import logging
import resource
import signal
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from api import LOGGER
from api.serving.gunicorn_log import ServerLog, log_exception
from api.serving.subprocesses import end_with_parent
from api.settings import variable_name
from api.startup import settings_for_wsgi_server
from api.telemetry.logs import logging_config
from models.address import UnixAddress, is_loopback
from resources.extensions import IS_STOPPING, METRICS


# Open files of a worker beside its connections, with some to spare.
OTHER_FILES = 256

_settings = settings_for_wsgi_server()

bind = [str(_settings.bind)]
if isinstance(_settings.bind, UnixAddress):
    umask = 0o777 & ~_settings.bind.mode
workers = _settings.workers

# Idle connections, slow clients and long streams cost a greenlet, not a thread: two half-sent request heads would
# block a worker with two threads for good.
worker_class = "api.serving.gunicorn_worker.Worker"
keepalive = _settings.keep_alive_seconds
# With Gunicorn's 1,000 as many half-sent heads kept others waiting for seconds; each costs about 10 kB.
worker_connections = 4_000

# Gunicorn would believe every client on this machine and on a unix socket, and fail on SCRIPT_NAME. What proxies say
# is read where FLASKVSTORE_TRUSTED_PROXIES is known.
forwarder_headers = ""
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}

# The kernel's way to send files waits for slow readers without a limit.
sendfile = False

# The most that Gunicorn allows: PUT /keys takes values in the query string.
limit_request_line = 8190

# The workers' heartbeat must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
# No socket in the home directory: two instances and read-only containers have no use for it.
control_socket_disable = True

logger_class = ServerLog
if _settings.statsd_host is not None:
    statsd_host = str(_settings.statsd_host)
    statsd_prefix = _settings.statsd_prefix

logconfig_dict = logging_config(_settings.log_level, _settings.log_format)
# Gunicorn's logger does not propagate by default; the root's handler is the one that writes lines.
logconfig_dict["loggers"]["gunicorn.error"]["propagate"] = True


class SignalQueue(SimpleQueue[int]):
    """The signals that Gunicorn's parent has still to handle, with one SIGHUP at most: a stop waits behind each."""

    has_reload = False

    def put_nowait(self, item: int) -> None:
        """Add a signal."""
        if item == signal.SIGHUP:
            if self.has_reload:
                return
            self.has_reload = True
        super().put_nowait(item)


def on_reload(arbiter: Any) -> None:
    """Take the next SIGHUP.

    :param arbiter: Gunicorn's parent, which has read its settings anew
    """
    arbiter.SIG_QUEUE.has_reload = False


def on_starting(arbiter: Any) -> None:
    """Allow as many open files as there may be connections.

    :param arbiter: Gunicorn's parent, which handles no signals yet
    """
    arbiter.SIG_QUEUE = SignalQueue()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = worker_connections + _settings.store_connections + OTHER_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def when_ready(arbiter: Any) -> None:
    """Leave a socket of `serve` to `serve`, and warn if the service is open to other machines by accident.

    :param arbiter: Gunicorn's parent, which listens already
    """
    # Else Gunicorn would remove the file of a unix socket at its end, also where systemd goes on listening.
    arbiter.systemd = arbiter.systemd or any(isinstance(address, int) for address in arbiter.cfg.address)
    to_others = not all(is_loopback(listener.getsockname()) for listener in arbiter.LISTENERS)
    if _settings.tokens_file is None and not _settings.open and to_others:
        logging.getLogger(f"{LOGGER}.server").warning(
            "There are no tokens: everybody who reaches this service may read, change and delete everything. "
            "Name a file of tokens in %s, or set %s=true if that is meant.",
            variable_name("tokens_file"),
            variable_name("open"),
        )


def post_worker_init(worker: Any) -> None:
    """Connect a worker and its application.

    :param worker: a worker that has loaded the application
    """
    # What it has loaded is there to stay, and is not looked through again: neither while it serves nor at its end.
    gc.freeze()
    gc.enable()
    # Gunicorn's parent reads this module too, and must not read it.
    from gevent import get_hub  # noqa: PLC0415

    get_hub().print_exception = log_exception
    extensions = worker.wsgi.extensions
    # For readiness: once this is true the worker takes requests for at most one more second.
    extensions[IS_STOPPING] = lambda: not worker.alive
    metrics = extensions.get(METRICS)
    if metrics is not None and worker.cfg.statsd_host == _settings.statsd_host:
        # Gunicorn's own are sent together with ours.
        worker.log.send = metrics.send


def post_fork(_arbiter: object, _worker: object) -> None:
    """Let SIGTERM end a worker that is still starting, and the end of its parent every worker; and start it fast.

    The handlers inherited from Gunicorn's parent would lose the signal until the worker has its own: a stop or a reload
    in that moment would wait half a minute for the worker.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Without its parent it would hold the port for another second.
    end_with_parent(signal.SIGKILL)
    # Nothing of what it loads now is garbage; to look for some would take a fifth of the start.
    gc.disable()
