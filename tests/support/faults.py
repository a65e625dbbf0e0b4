"""What can go wrong with a store: how a test makes it happen to a real one, and what is answered meanwhile.

`docs/failures.md` has the same table for people; `tests/service/faults/test_faults.py` tries each row and holds each
against it.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.serving.embedded import find_binary
from tests.support.servers.proxy import LOST, Fault, Proxy, Then
from tests.support.servers.services import Service, eventually, free_port, stopped
from tests.support.wire import Wire


# What is asked while something is wrong. The key holds 1 before.
READS = {
    "GET": ("GET", "/keys/a", b""),
    "LIST": ("GET", "/keys", b""),
}
WRITES = {
    "PUT": ("PUT", "/keys/a", b"2"),
    "PATCH": ("PATCH", "/keys/a", b'{"increment": 1}'),
    "DELETE": ("DELETE", "/keys/a", b""),
    "PUT /keys": ("PUT", "/keys?a=2", b""),
    "POST": ("POST", "/keys", b'{"put": {"a": "2"}}'),
}
LOAD_KEYS = 1_000
# The time limit of the services, which most rows wait for; a store on this machine needs a thousandth of it.
TIMEOUT_SECONDS = 0.5
TIMEOUT_SETTING = "FLASKVSTORE_STORE_TIMEOUT_SECONDS"
ADMIN = "admin"

DENIED = "store_denied"
FAULT = "store_fault"
FULL = "store_full"
LOADING = "store_loading"
READ_ONLY = "store_read_only"
SATURATED = "store_saturated"
TIMEOUT = "store_timeout"
UNAVAILABLE = "store_unavailable"
UNKNOWN = "outcome_unknown"
WRONG_TYPE = "wrong_type"
SILENCE = Fault(Then.HANG, kept_bytes=0)


class Server:
    """A real server on a port of this machine, which may be killed, frozen and misconfigured.

    :param directory: where its data lies
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        # A user of its own, so that the rights of the services' user can be taken away.
        self.admin = redis.Redis(port=self.port, username=ADMIN, password=ADMIN, retry=Retry(NoBackoff(), 0))
        self.process = self.start()

    @property
    def url(self) -> str:
        """The URL under which it is reached."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start it, and wait until it says something.

        :param options: more of its options
        """
        self.process = subprocess.Popen(
            [
                *(find_binary(), "--port", str(self.port), "--dir", str(self.directory), "--save", ""),
                *("--user", ADMIN, "on", "nopass", "~*", "&*", "+@all", *options),
            ],
            stdout=subprocess.DEVNULL,
        )
        eventually(self._replies)
        return self.process

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def _replies(self) -> bool:
        try:
            return bool(self.admin.ping())
        except redis.BusyLoadingError:
            return True
        except redis.ConnectionError:
            return False


@dataclass(frozen=True)
class Scene:
    """A real server, a proxy before it, and services with one worker each.

    :param direct: a service on the server
    :param proxied: one on the proxy
    :param narrow: one on the proxy, with a single connection and a longer time limit
    """

    server: Server
    proxy: Proxy
    direct: Service
    proxied: Service
    narrow: Service


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What is answered while something is wrong; several that are possible are joined by ``or``.

    :param read: what reads are answered: a code, or ``200``
    :param write: what writes are answered
    :param ready: the status of ``/health/ready``
    :param but: calls that are answered otherwise
    """

    read: str
    write: str
    ready: str
    but: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row(Answers):
    """One thing that can go wrong.

    :param make: makes it happen, and ends it
    :param service: the service of the scene that it happens to
    :param at_once: whether all calls are made at the same time, because it does not last
    """

    make: Callable[[Scene], AbstractContextManager[None]]
    service: str = "direct"
    at_once: bool = False


@dataclass(frozen=True, kw_only=True)
class DiskRow(Answers):
    """A full disk below an embedded Valkey.

    :param durability: when it writes
    """

    durability: str


@contextlib.contextmanager
def killed(scene: Scene) -> Iterator[None]:
    scene.server.kill()
    yield
    scene.server.start()


@contextlib.contextmanager
def hung_before_connecting(scene: Scene) -> Iterator[None]:
    scene.server.admin.client_kill_filter(_type="normal", skipme=True)
    with stopped(scene.server.process.pid):
        yield


@contextlib.contextmanager
def loading(scene: Scene) -> Iterator[None]:
    admin = scene.server.admin
    # Of bytes that cannot be compressed, so that there is an event to process for each.
    admin.mset({f"kv:{number}": os.urandom(1024) for number in range(LOAD_KEYS)})
    admin.save()
    scene.server.kill()
    # A hundredth of a second for each key, and a look at clients after each.
    scene.server.start("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
    yield
    admin.config_set("key-load-delay", 0)


@contextlib.contextmanager
def configured(scene: Scene, option: str, value: str | int) -> Iterator[None]:
    """Run the server with another option for a while."""
    before = scene.server.admin.config_get(option)[option] or ""
    scene.server.admin.config_set(option, value)
    yield
    scene.server.admin.config_set(option, before)


@contextlib.contextmanager
def a_replica(scene: Scene) -> Iterator[None]:
    scene.server.admin.replicaof("127.0.0.1", 1)
    yield
    scene.server.admin.replicaof("NO", "ONE")


@contextlib.contextmanager
def a_replica_without_its_primary(scene: Scene) -> Iterator[None]:
    with configured(scene, "replica-serve-stale-data", "no"), a_replica(scene):
        yield


@contextlib.contextmanager
def snapshots_failing(scene: Scene) -> Iterator[None]:
    admin = scene.server.admin
    with configured(scene, "save", "3600 1"):
        folder = scene.server.directory / "dump.rdb"
        folder.unlink(missing_ok=True)
        folder.mkdir()
        admin.bgsave()
        eventually(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
        yield
        folder.rmdir()
        admin.bgsave()
        eventually(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "ok")


def refusing(*rights: str) -> Callable[[Scene], AbstractContextManager[None]]:
    """Take rights from the user that the service connects as."""

    @contextlib.contextmanager
    def refuse(scene: Scene) -> Iterator[None]:
        admin = scene.server.admin
        admin.acl_setuser("default", enabled=True, categories=[f"-{right}" for right in rights])
        yield
        admin.acl_setuser("default", enabled=True, categories=["+@all"])

    return refuse


@contextlib.contextmanager
def another_password(scene: Scene) -> Iterator[None]:
    admin = scene.server.admin
    with configured(scene, "requirepass", "other"):
        # The services have to connect anew; this connection stays what it is.
        admin.client_kill_filter(_type="normal", skipme=True)
        yield


@contextlib.contextmanager
def another_type(scene: Scene) -> Iterator[None]:
    scene.server.admin.delete("kv:a")
    scene.server.admin.rpush("kv:a", "a list")
    yield


@contextlib.contextmanager
def too_many_clients(scene: Scene) -> Iterator[None]:
    admin = scene.server.admin
    with configured(scene, "maxclients", 1):
        admin.client_kill_filter(_type="normal", skipme=True)
        yield


@contextlib.contextmanager
def a_script_that_does_not_end(scene: Scene) -> Iterator[None]:
    admin = scene.server.admin
    with (
        configured(scene, "busy-reply-threshold", 1),
        redis.Redis(port=scene.server.port) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(other.eval, "while true do end", 0)
        eventually(lambda: is_busy(admin))
        yield
        admin.script_kill()
        assert isinstance(running.exception(), redis.ResponseError)


def is_busy(admin: redis.Redis) -> bool:
    try:
        admin.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


@contextlib.contextmanager
def all_connections_busy(scene: Scene) -> Iterator[None]:
    """Let the one connection wait for an answer that does not come, for longer than others wait for it."""
    with scene.proxy.failing(SILENCE, b"kv:held"), Wire(scene.narrow.port) as holder:
        before = scene.proxy.struck
        holder.begin("GET", "/keys/held", {})
        eventually(lambda: scene.proxy.struck > before)
        yield
        assert holder.answer().code == TIMEOUT


def at_the_server(
    make: Callable[[Scene], AbstractContextManager[None]], read: str, write: str, ready: str, **but: str
) -> Row:
    """Make a row of something that is wrong with the server itself."""
    return Row(make=make, read=read, write=write, ready=ready, but=but)


def on_the_way(fault: Fault, read: str, write: str) -> Row:
    """Make a row in which every command that names a key fails between the service and the server."""
    return Row(
        make=lambda scene: scene.proxy.failing(fault, b"kv:"), read=read, write=write, ready="200", service="proxied"
    )


ROWS = {
    "down": at_the_server(killed, UNAVAILABLE, UNAVAILABLE, "503"),
    "hung": at_the_server(lambda scene: stopped(scene.server.process.pid), TIMEOUT, UNKNOWN, "503"),
    "hung before a connection is made": at_the_server(hung_before_connecting, TIMEOUT, TIMEOUT, "503"),
    "all connections busy": Row(
        make=all_connections_busy, read=SATURATED, write=SATURATED, ready="503", service="narrow", at_once=True
    ),
    "too many clients": at_the_server(too_many_clients, UNAVAILABLE, UNAVAILABLE, "503"),
    "loading its data": at_the_server(loading, LOADING, LOADING, "503"),
    "out of memory": at_the_server(lambda scene: configured(scene, "maxmemory", 1), "200", FULL, "200", DELETE="200"),
    "a replica": at_the_server(a_replica, "200", READ_ONLY, "200"),
    "a replica without its primary": at_the_server(
        a_replica_without_its_primary, UNAVAILABLE, READ_ONLY, "503", PATCH=UNAVAILABLE
    ),
    "too few replicas": at_the_server(
        lambda scene: configured(scene, "min-replicas-to-write", 1), "200", READ_ONLY, "200"
    ),
    # The server answers a PING with that as well.
    "snapshots that fail": at_the_server(snapshots_failing, "200", READ_ONLY, "503"),
    "no right to write": at_the_server(refusing("@write"), "200", DENIED, "200"),
    "no right to anything": at_the_server(refusing("@all"), DENIED, DENIED, "503"),
    "a wrong password": at_the_server(another_password, DENIED, DENIED, "503"),
    "a key of another type": at_the_server(another_type, WRONG_TYPE, "200", "200", LIST="200", PATCH=WRONG_TYPE),
    "a script that does not end": at_the_server(a_script_that_does_not_end, TIMEOUT, TIMEOUT, "503"),
    "an answer that is late": on_the_way(Fault(delay_seconds=0.1 * TIMEOUT_SECONDS), "200", "200"),
    # Never silent for as long as one answer is waited for, and yet too slow in all.
    "an answer that drips": on_the_way(Fault(drip_seconds=0.3 * TIMEOUT_SECONDS), TIMEOUT, UNKNOWN),
    "an answer that does not come": on_the_way(SILENCE, TIMEOUT, UNKNOWN),
    "an answer that is lost with its connection": on_the_way(LOST, UNAVAILABLE, UNKNOWN),
    "an answer that is cut off": on_the_way(Fault(Then.CUT, kept_bytes=3), UNAVAILABLE, UNKNOWN),
    "a half-closed connection": on_the_way(Fault(Then.HALF_CLOSE, kept_bytes=0), UNAVAILABLE, UNKNOWN),
    "an answer that is garbage": on_the_way(Fault(kept_bytes=0, garbage=b"<html>\r\n"), FAULT, UNKNOWN),
    "a command that is cut off": on_the_way(Fault(Then.CUT, of_command=True, kept_bytes=9), UNAVAILABLE, UNKNOWN),
}

DISK_ROWS = {
    "a full disk": DiskRow(durability="everysec", read="200", write=READ_ONLY, ready="503"),
    # Valkey ends itself rather than to acknowledge what is not on the disk, and is started again.
    "a full disk, with `--durability always`": DiskRow(
        durability="always",
        read=f"200 or {UNAVAILABLE}",
        write=f"{UNKNOWN} or {UNAVAILABLE}",
        ready="200 or 503",
    ),
}
