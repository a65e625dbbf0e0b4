"""A cluster: which server has which key, as the cluster says and its redirections correct.

See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/. redis-py has a client for clusters as
well; docs/decisions.md says why it is not used.
"""

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from threading import Lock
from typing import Any, NamedTuple
from zlib import crc32

from redis import exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot

from models.address import Address
from models.errors import StoreChanged, StoreError, StoreTimeout, StoreUnavailable
from models.valkey import scripts
from models.valkey.backend import Snapshot, Topology, Tracked
from models.valkey.client import Client
from models.valkey.discovery import Discovery
from models.valkey.redis_errors import CHANGED, MOVING, TIMEOUT, UNAVAILABLE, PartialFailure, translated
from models.valkey.scripts import Command


# A server that answers TRYAGAIN is asked again after this time.
PAUSE_SECONDS = 0.05
# The slot map is asked for again after this time at the earliest, however much fails.
REFRESH_AGAIN_SECONDS = 0.2
# Answers that say "not here": nothing was done, so that even a write may go somewhere else.
_ELSEWHERE = (exceptions.AskError, exceptions.TryAgainError, exceptions.NoScriptError)
# What may mean that another server has the slot now.
_SUSPICIOUS = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    StoreUnavailable,
    StoreTimeout,
)


class Cluster:
    """All primaries of a cluster: a :class:`~models.valkey.backend.Backend`.

    :param discovery: nodes that know the slot map
    :param open_server: makes the client of one server
    :param timeout_seconds: the longest that one command may take in all
    """

    def __init__(self, discovery: Discovery, open_server: Callable[[Address], Client], timeout_seconds: float) -> None:
        self._discovery = discovery
        self._open = open_server
        self._timeout_seconds = timeout_seconds
        self._servers: dict[Address, Client] = {}
        self._slot_map: list[Address | None] = [None] * SLOTS
        self._is_stale = True
        self._refreshed_at = 0.0
        self._refreshing = Lock()

    def execute(self, *command: Any) -> Any:
        """Send a command to the server that has its first key, and follow redirections, for which nothing is done."""
        deadline = time.monotonic() + self._timeout_seconds
        slot = key_slot(command[3] if command[0] == "EVALSHA" else command[1])
        address, is_asking = self._owner(slot), False
        while True:
            server = self._server(address)
            try:
                return _after_asking(server, command) if is_asking else server.execute(*command)
            except exceptions.MovedError as error:
                address, is_asking = _target(error, address), False
                self._slot_map[slot] = address
                self._is_stale = True
                failure: exceptions.RedisError = error
            except exceptions.AskError as error:
                address, is_asking = _target(error, address), True
                failure = error
            except exceptions.TryAgainError as error:
                # Some of its keys are here and others there; the server has done nothing.
                time.sleep(PAUSE_SECONDS)
                failure = error
            except (exceptions.RedisError, StoreError) as error:
                self._mark_stale(address, error)
                raise
            if time.monotonic() > deadline:
                raise StoreTimeout(TIMEOUT) from failure

    def same_slot(self, names: Sequence[bytes]) -> bool:  # noqa: D102  # as the protocol's, and so are those below
        return len({key_slot(name) for name in names}) <= 1

    def by_slot(
        self, names: Sequence[bytes], command: Callable[[Sequence[bytes]], Command]
    ) -> list[tuple[Sequence[bytes], Any]]:
        """Send a command for the names of each slot, to each server all of its own in one go."""
        slots: dict[int, list[bytes]] = {}
        for name in names:
            slots.setdefault(key_slot(name), []).append(name)
        if len(slots) == 1:
            return [(names, self.execute(*command(names)))]
        done: list[tuple[Sequence[bytes], Any]] = []
        waiting: list[Sequence[bytes]] = list(slots.values())
        try:
            while waiting:
                elsewhere = self._send(waiting, command, done)
                # One alone follows its redirection, or brings its script along; then the others know the way.
                done += [(group, self.execute(*command(group))) for group in elsewhere[:1]]
                waiting = elsewhere[1:]
        except (exceptions.RedisError, StoreError) as error:
            if not done:
                raise
            raise PartialFailure(error, sum(len(group) for group, _ in done), len(names)) from error
        return done

    def snapshot(  # noqa: D102
        self,
        names: Sequence[bytes],
        max_bytes: int,
        *,
        expiries: bool,  # noqa: ARG002  # the script always asks for them
    ) -> list[tuple[Sequence[bytes], Snapshot]]:
        return self.by_slot(names, partial(scripts.export, max_bytes=max_bytes))

    def topology(self) -> Topology:
        """Ask every primary which slots it has."""
        parts = self._parts()
        return Topology(_fingerprint(parts), [(part.server, part.run_id) for part in parts])

    def track(self, prefix: bytes) -> Tracked:
        """Follow every primary. The reader refuses another server, of which nobody would tell what changes there."""
        parts = self._parts()
        reader = copy.copy(self)
        reader._open, reader._servers, reader._slot_map = _refuse, {}, self._slot_map[:]  # noqa: SLF001  # its own kind
        tracked = Tracked(reader, [], _fingerprint(parts))
        try:
            for part in parts:
                reader._servers[part.address], teller = part.server.follow(prefix)  # noqa: SLF001  # as above
                tracked.tellers.append(teller)
        except BaseException:
            tracked.close()
            raise
        return tracked

    def ping(self) -> None:
        """Check that some node says that the cluster is well."""
        self._discovery.ask("CLUSTER", "INFO", is_answer=lambda state: b"cluster_state:ok" in state)

    def close(self) -> None:  # noqa: D102
        for server in self._servers.values():
            server.close()

    def _send(
        self,
        groups: Iterable[Sequence[bytes]],
        command: Callable[[Sequence[bytes]], Command],
        done: list[tuple[Sequence[bytes], Any]],
    ) -> list[Sequence[bytes]]:
        """Send a command for groups of names, all that go to one server in one go.

        :param done: takes the groups that are done and their answers
        :return: the groups that have to be sent again, because a server did nothing for them
        """
        elsewhere: list[Sequence[bytes]] = []
        by_owner: dict[Address, list[Sequence[bytes]]] = {}
        for group in groups:
            by_owner.setdefault(self._owner(key_slot(group[0])), []).append(group)
        for address, of_one in by_owner.items():
            try:
                answers = self._server(address).execute_many([command(group) for group in of_one])
            except (exceptions.RedisError, StoreError) as error:
                self._mark_stale(address, error)
                raise
            failures = []
            for group, answer in zip(of_one, answers, strict=True):
                if isinstance(answer, _ELSEWHERE):
                    elsewhere.append(group)
                elif isinstance(answer, exceptions.RedisError):
                    failures.append(answer)
                else:
                    done.append((group, answer))
            if failures:
                self._mark_stale(address, failures[0])
                raise failures[0]
        return elsewhere

    def _server(self, address: Address) -> Client:
        if address not in self._servers:
            self._servers[address] = self._open(address)
        return self._servers[address]

    def _owner(self, slot: int) -> Address:
        if self._is_stale:
            self._refresh()
        owner = self._slot_map[slot]
        if owner is None:
            raise StoreUnavailable(UNAVAILABLE)
        return owner

    def _primaries(self) -> set[Address]:
        if self._is_stale:
            self._refresh()
        return {owner for owner in self._slot_map if owner is not None}

    def _mark_stale(self, address: Address, error: Exception) -> None:
        """Have the slot map asked for again, of another node, if an error may mean that it has changed."""
        if isinstance(error, _SUSPICIOUS):
            self._is_stale = True
            self._discovery.move_to_end(address)

    def _refresh(self) -> None:
        """Ask for the slot map. If no node answers the old one stays in use, until a server of it does not answer."""
        with self._refreshing:
            if not self._is_stale or time.monotonic() < self._refreshed_at + REFRESH_AGAIN_SECONDS:
                return
            try:
                asked, ranges = self._discovery.ask("CLUSTER", "SLOTS")
            except (exceptions.RedisError, StoreError) as error:
                if not any(self._slot_map):
                    raise error if isinstance(error, StoreError) else translated(error) from error
                return
            finally:
                self._refreshed_at = time.monotonic()
            slot_map: list[Address | None] = [None] * SLOTS
            nodes = {asked: None}  # in this order, each once
            for first, last, *replicated in ranges:
                addresses = [_address(node, asked) for node in replicated]
                nodes |= dict.fromkeys(addresses)
                slot_map[first : last + 1] = addresses[:1] * (last + 1 - first)
            self._slot_map = slot_map
            self._is_stale = False
            self._discovery.addresses = [*nodes, *(a for a in self._discovery.addresses if a not in nodes)]
            primaries = set(slot_map)
            self._servers = {a: server for a, server in self._servers.items() if a in primaries}

    def _parts(self) -> "list[_Part]":
        for _ in range(2):
            parts = [self._part(address) for address in sorted(self._primaries())]
            if sum(part.size for part in parts) == SLOTS:
                break
            self._is_stale = True
        else:
            raise StoreUnavailable(UNAVAILABLE)
        if any(part.is_moving for part in parts):
            raise StoreChanged(MOVING)
        # Sorted by what all workers see alike, because a cursor names a server by its place.
        parts.sort(key=lambda part: part.fingerprint)
        return parts

    def _part(self, address: Address) -> "_Part":
        server = self._server(address)
        try:
            run_id, nodes = server.execute_with_run_id("CLUSTER", "NODES")
        except (exceptions.RedisError, StoreError) as error:
            self._mark_stale(address, error)
            raise
        lines = [line.split() for line in nodes.decode().splitlines()]
        # See https://redis.io/docs/latest/commands/cluster-nodes/: flags are the third field, the epoch is the seventh,
        # and slots come after the eighth; one on its way is in brackets.
        node_id, _, _, _, _, _, epoch, _, *slots = next(line for line in lines if "myself" in line[2])
        whole = [part.partition("-") for part in slots if not part.startswith("[")]
        size = sum(int(last or first) - int(first) + 1 for first, _, last in whole)
        return _Part(address, server, run_id, f"{node_id} {epoch} {slots}", size, len(whole) < len(slots))


class _Part(NamedTuple):
    """What one primary says of itself.

    :param fingerprint: changes if other slots become its own
    :param size: how many slots it has
    :param is_moving: whether one of them is on its way
    """

    address: Address
    server: Client
    run_id: str
    fingerprint: str
    size: int
    is_moving: bool


def _fingerprint(parts: Sequence[_Part]) -> int:
    return crc32("\n".join(f"{part.fingerprint} {part.run_id}" for part in parts).encode())


def _refuse(_: Address) -> Client:
    raise StoreChanged(CHANGED)


def _address(node: Sequence[Any], asked: Address) -> Address:
    """Return where a node listens; one that does not know its own name is where the node that was asked is."""
    host = node[0].decode() if node[0] else ""
    return Address(asked.host if host in {"", "?"} else host, node[1])


def _target(error: exceptions.AskError, address: Address) -> Address:
    return Address(error.host or address.host, error.port)


def _after_asking(server: Client, command: Command) -> Any:
    """Send a command for a slot that is about to arrive at a server."""
    answers = server.execute_many([("ASKING",), command])
    if isinstance(answers[1], exceptions.NoScriptError):
        answers = server.execute_many([("ASKING",), scripts.with_text(command)])
    for answer in answers:
        if isinstance(answer, exceptions.RedisError):
            raise answer
    return answers[1]
