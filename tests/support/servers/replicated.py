"""Servers that replicate: a cluster, and a service behind Sentinels, on loopback and gone with this process."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import redis

from api.serving import embedded
from api.serving.subprocesses import spawn
from models.store import Store
from models.valkey.connection import connect
from tests.support.servers.services import eventually, free_port


SERVICE = "shop"
SLOTS = 16_384
# How long a server has to be silent before the others replace it.
NODE_TIMEOUT_MS = 1_000
# What the servers themselves take at most to replace a primary on a busy machine: to notice, to agree, to elect.
FAILOVER_SECONDS = 40.0


class Node:
    """A server of its own process.

    :param directory: where its files lie; made if it is missing
    :param options: its configuration
    :param sentinel: whether it is a Sentinel
    """

    def __init__(self, directory: Path, *options: tuple[str, str], sentinel: bool = False) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        self._config = directory / "server.conf"
        lines = [("port", str(self.port)), ("bind", "127.0.0.1"), ("dir", str(directory)), *options]
        self._config.write_text("".join(f"{name} {value}\n" for name, value in lines))
        binary = embedded.find_binary()
        self._command = [binary, str(self._config), *(["--sentinel"] if sentinel else [])]
        self.client: Any = redis.Redis(port=self.port, protocol=2)
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Start it, the first time or again."""
        with (self._directory / "log").open("ab") as log:
            self.process = spawn(self._command, cwd=self._directory, output=log)

    def is_up(self) -> bool:
        """Tell whether it answers."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """End it without a chance to say so."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Let it hang: the machine takes connections for it, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, however it is."""
        self.client.close()
        if self.process.poll() is None:
            self.kill()


class _AllKeys(redis.RedisCluster):
    """Does on all primaries what a test does on one server."""

    def keys(self, pattern: Any = "*", **_: Any) -> Any:
        return super().keys(pattern, target_nodes=self.PRIMARIES)

    def mset(self, mapping: Any) -> Any:
        return self.mset_nonatomic(mapping)

    def mget(self, keys: Any, *args: Any) -> Any:
        return self.mget_nonatomic(keys, *args)


class Group:
    """Servers that belong together.

    :param nodes: the servers
    :param url: the URL of the store that they are
    :param guides: its Sentinels, if it has any
    """

    def __init__(self, nodes: list[Node], url: str, guides: Sequence[Node] = ()) -> None:
        self.nodes = nodes
        self.url = url
        self.guides = guides

    @cached_property
    def all_keys(self) -> Any:
        """The client for clusters that redis-py has, to see what ours does."""
        return _AllKeys(host="127.0.0.1", port=self.nodes[0].port)

    def primaries(self) -> list[Node]:
        """Give those that take writes."""
        return [node for node in self.nodes if node.is_up() and node.client.role()[0] == b"master"]


@contextlib.contextmanager
def cluster(directory: Path, *options: tuple[str, str]) -> Iterator[Group]:
    """Run a cluster of three primaries with a replica each."""
    with _running() as nodes:
        for number in range(6):
            files = (
                ("cluster-enabled", "yes"),
                ("cluster-port", str(free_port())),
                ("cluster-config-file", "nodes.conf"),
            )
            timing = ("cluster-node-timeout", str(NODE_TIMEOUT_MS)), ("repl-diskless-sync-delay", "0")
            nodes.append(Node(directory / str(number), *files, *timing, ("save", '""'), *options))
        eventually(lambda: all(node.is_up() for node in nodes))
        ids = [str(node.client.execute_command("CLUSTER MYID").decode()) for node in nodes]
        third = SLOTS // 3
        bounds = [(0, third - 1), (third, 2 * third - 1), (2 * third, SLOTS - 1)]
        for number, node in enumerate(nodes):
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number < 3:
                node.client.execute_command("CLUSTER ADDSLOTSRANGE", *bounds[number])
            bus = node.client.config_get("cluster-port")["cluster-port"]
            nodes[0].client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, bus)
        eventually(lambda: all(len(_known(node)) == 6 for node in nodes))
        for number, node in enumerate(nodes[3:]):
            eventually(lambda node=node, number=number: _follows(node, ids[number]))
        eventually(lambda: all(_is_settled(node) for node in nodes), 20)
        yield Group(nodes, "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes[:3]))


@contextlib.contextmanager
def sentinels(directory: Path) -> Iterator[Group]:
    """Run a primary with two replicas, watched by three Sentinels."""
    with _running() as nodes, _running() as watchers:
        fast = ("repl-diskless-sync-delay", "0"), ("save", '""'), ("repl-ping-replica-period", "1")
        nodes.append(Node(directory / "0", *fast))
        nodes += [Node(directory / str(n), *fast, ("replicaof", f"127.0.0.1 {nodes[0].port}")) for n in (1, 2)]
        eventually(lambda: all(node.is_up() for node in nodes))
        eventually(lambda: nodes[0].client.info("replication")["connected_slaves"] == 2, 20)
        for number in range(3):
            watching = (
                ("sentinel", f"monitor {SERVICE} 127.0.0.1 {nodes[0].port} 2"),
                ("sentinel", f"down-after-milliseconds {SERVICE} {NODE_TIMEOUT_MS}"),
                ("sentinel", f"failover-timeout {SERVICE} 4000"),
            )
            watchers.append(Node(directory / f"sentinel{number}", *watching, sentinel=True))
        eventually(lambda: all(_sees_all(watcher) for watcher in watchers), 20)
        hosts = ",".join(f"127.0.0.1:{watcher.port}" for watcher in watchers)
        yield Group(nodes, f"redis+sentinel://{hosts}/{SERVICE}", watchers)


@contextlib.contextmanager
def store_on(group: Group, *, timeout_seconds: float = 2) -> Iterator[Store]:
    """Reach the store that servers are.

    :param timeout_seconds: the longest that one command may take
    """
    with contextlib.closing(connect(group.url, timeout_seconds=timeout_seconds, max_connections=8)) as client:
        yield Store(client, key_prefix="kv:", max_value_bytes=100)


@contextlib.contextmanager
def _running() -> Iterator[list[Node]]:
    nodes: list[Node] = []
    try:
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def _known(node: Node) -> list[Any]:
    nodes: dict[str, Any] = node.client.execute_command("CLUSTER NODES")
    return [each for each in nodes.values() if "handshake" not in each["flags"]]


def _follows(node: Node, primary_id: str) -> bool:
    try:
        return bool(node.client.execute_command("CLUSTER REPLICATE", primary_id))
    except redis.ResponseError:
        return False


def _is_settled(node: Node) -> bool:
    state: dict[str, Any] = node.client.execute_command("CLUSTER INFO")
    role = node.client.role()
    return state["cluster_state"] == "ok" and ((role[0] == b"master" and bool(role[2])) or role[3:4] == [b"connected"])


def _sees_all(watcher: Node) -> bool:
    try:
        state = watcher.client.execute_command("SENTINEL MASTER", SERVICE)
    except redis.RedisError:
        return False
    facts = dict(zip(state[::2], state[1::2], strict=True)) if isinstance(state, list) else state
    return int(facts["num-slaves"]) == 2 and int(facts["num-other-sentinels"]) == 2
