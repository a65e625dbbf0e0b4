"""A cluster: which server has which key, learned from the cluster and corrected by its redirections.

See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/. redis-py has a client for clusters as
well; docs/decisions.md says why it is not used.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, NamedTuple

from redis import exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot

from models.address import Address
from models.change import tag_of
from models.errors import StoreChanged, StoreError, StoreTimeout, StoreUnavailable
from models.valkey.client import Answer, Client, Survey
from models.valkey.discovery import Guides
from models.valkey.redis_errors import MOVING, TIMEOUT, UNAVAILABLE, PartlyDone, translated


# A server that answers TRYAGAIN is asked again after this time.
PAUSE_SECONDS = 0.05
# The map of the slots is asked for again after this time at the earliest, however much fails.
LEARN_AGAIN_SECONDS = 0.2
_SCRIPTS = {"EVALSHA", "EVAL"}
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


class Cluster(Client):
    """All primaries of a cluster.

    :param guides: who knows the map of the slots
    :param open_server: makes the client of one server
    :param timeout_seconds: the longest that one command may take in all
    """

    def __init__(self, guides: Guides, open_server: Callable[[Address], Client], timeout_seconds: float) -> None:
        # The pool only lends its encoder: no command goes through it.
        super().__init__(connection_pool=open_server(guides.addresses[0]).connection_pool)
        self._guides = guides
        self._open = open_server
        self._timeout_seconds = timeout_seconds
        self._servers: dict[Address, Client] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self._is_stale = True
        self._learned_at = 0.0
        self._learning = Lock()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the server that has its first key, and follow redirections, for which nothing is done."""
        deadline = time.monotonic() + self._timeout_seconds
        slot = key_slot(args[3] if args[0] in _SCRIPTS else args[1])
        address, is_asking = self._owner(slot), False
        while True:
            server = self._server(address)
            try:
                return _after_asking(server, args, options) if is_asking else server.execute_command(*args, **options)
            except exceptions.MovedError as error:
                address, is_asking = _target(error, address), False
                self._owners[slot] = address
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
                self._note(address, error)
                raise
            if time.monotonic() > deadline:
                raise StoreTimeout(TIMEOUT) from failure

    def together(self, names: Sequence[bytes]) -> bool:
        """Tell whether all names are in one slot."""
        return len({key_slot(name) for name in names}) <= 1

    def apart(
        self, names: Sequence[bytes], command: Callable[[Client, Sequence[bytes]], Answer]
    ) -> list[tuple[Sequence[bytes], Answer]]:
        """Send a command for the names of each slot, to each server all of its own at once.

        :raises PartlyDone: a part of it was done before it failed
        """
        slots: dict[int, list[bytes]] = {}
        for name in names:
            slots.setdefault(key_slot(name), []).append(name)
        if len(slots) == 1:
            return [(names, command(self, names))]
        done: list[tuple[Sequence[bytes], Answer]] = []
        waiting: list[Sequence[bytes]] = list(slots.values())
        try:
            while waiting:
                elsewhere = self._send_together(waiting, command, done)
                # One alone follows its redirection, or brings its script along; then the others know the way.
                done += [(group, command(self, group)) for group in elsewhere[:1]]
                waiting = elsewhere[1:]
        except (exceptions.RedisError, StoreError) as error:
            if not done:
                raise
            raise PartlyDone(error, sum(len(group) for group, _ in done), len(names)) from error
        return done

    def snapshot(
        self, names: Sequence[bytes], script: Callable[[Client, Sequence[bytes]], Any]
    ) -> list[tuple[Sequence[bytes], Any]]:
        """Read values and expiries, those of each slot of one moment."""
        return self.apart(names, script)

    def survey(self) -> Survey:
        """Ask every primary which slots it has.

        :raises StoreChanged: some slots are on their way from one server to another
        :raises StoreUnavailable: some slots are nowhere
        """
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
        parts.sort(key=lambda part: part.mark)
        mark = "\n".join(f"{part.mark} {part.run_id}" for part in parts)
        return Survey(int(tag_of(mark.encode())[:8], 16), [(part.server, part.run_id) for part in parts])

    def ping(self, **_: Any) -> bool:
        """Make sure that the cluster serves requests.

        :raises redis.RedisError: no node says so
        """
        self._guides.ask("CLUSTER INFO", is_answer=lambda state: state["cluster_state"] == "ok")
        return True

    def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            server.close()

    def _send_together(
        self,
        groups: Iterable[Sequence[bytes]],
        command: Callable[[Client, Sequence[bytes]], Answer],
        done: list[tuple[Sequence[bytes], Answer]],
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
            answers = self._answers(address, of_one, command)
            failures = []
            for group, answer in zip(of_one, answers, strict=True):
                if isinstance(answer, _ELSEWHERE):
                    elsewhere.append(group)
                elif isinstance(answer, exceptions.RedisError):
                    failures.append(answer)
                else:
                    done.append((group, answer))
            if failures:
                self._note(address, failures[0])
                raise failures[0]
        return elsewhere

    def _answers(
        self, address: Address, groups: Iterable[Sequence[bytes]], command: Callable[[Client, Sequence[bytes]], object]
    ) -> list[Any]:
        """Send a command for each group to one server in one go, and give their answers and errors."""
        pipeline: Any = self._server(address).pipeline(transaction=False)
        for group in groups:
            command(pipeline, group)
        try:
            answers: list[Any] = pipeline.execute(raise_on_error=False)
        except (exceptions.RedisError, StoreError) as error:
            self._note(address, error)
            raise
        return answers

    def _server(self, address: Address) -> Client:
        if address not in self._servers:
            self._servers[address] = self._open(address)
        return self._servers[address]

    def _owner(self, slot: int) -> Address:
        if self._is_stale:
            self._learn()
        owner = self._owners[slot]
        if owner is None:
            raise StoreUnavailable(UNAVAILABLE)
        return owner

    def _primaries(self) -> set[Address]:
        if self._is_stale:
            self._learn()
        return {owner for owner in self._owners if owner is not None}

    def _note(self, address: Address, error: Exception) -> None:
        """Learn the map anew, and from somebody else, if an error may mean that it has changed."""
        if isinstance(error, _SUSPICIOUS):
            self._is_stale = True
            self._guides.ask_last(address)

    def _learn(self) -> None:
        """Ask for the map. If nobody answers the old one goes on to be used, until a server of it does not answer."""
        with self._learning:
            if not self._is_stale or time.monotonic() < self._learned_at + LEARN_AGAIN_SECONDS:
                return
            try:
                guide, ranges = self._guides.ask("CLUSTER SLOTS")
            except (exceptions.RedisError, StoreError) as error:
                if not any(self._owners):
                    raise error if isinstance(error, StoreError) else translated(error) from error
                return
            finally:
                self._learned_at = time.monotonic()
            owners: list[Address | None] = [None] * SLOTS
            nodes = {guide: None}  # in this order, each once
            for first, last, *replicated in ranges:
                addresses = [_address(node, guide) for node in replicated]
                nodes |= dict.fromkeys(addresses)
                owners[first : last + 1] = addresses[:1] * (last + 1 - first)
            self._owners = owners
            self._is_stale = False
            self._guides.addresses = [*nodes, *(a for a in self._guides.addresses if a not in nodes)]
            primaries = set(owners)
            self._servers = {a: server for a, server in self._servers.items() if a in primaries}

    def _part(self, address: Address) -> "_Part":
        server = self._server(address)
        try:
            run_id, nodes = server.ask("CLUSTER NODES")
        except (exceptions.RedisError, StoreError) as error:
            self._note(address, error)
            raise
        own = next(node for node in nodes.values() if "myself" in node["flags"])
        size = sum(int(slots[-1]) - int(slots[0]) + 1 for slots in own["slots"])
        return _Part(server, run_id, f"{own['node_id']} {own['epoch']} {own['slots']}", size, bool(own["migrations"]))


class _Part(NamedTuple):
    """What one primary says of itself.

    :param mark: changes if other slots become its own
    :param size: how many slots it has
    :param is_moving: whether one of them is on its way
    """

    server: Client
    run_id: str
    mark: str
    size: int
    is_moving: bool


def _address(node: Sequence[Any], guide: Address) -> Address:
    """Read where a node listens; one that does not know its own name is where the guide is."""
    host = node[0].decode() if node[0] else ""
    return Address(guide.host if host in {"", "?"} else host, node[1])


def _target(error: exceptions.AskError, address: Address) -> Address:
    return Address(error.host or address.host, error.port)


def _after_asking(server: Client, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Send a command for a slot that is about to arrive at a server."""
    pipeline: Any = server.pipeline(transaction=False)
    pipeline.execute_command("ASKING")
    pipeline.execute_command(*args, **options)
    asked, answer = pipeline.execute(raise_on_error=False)
    for each in (asked, answer):
        if isinstance(each, exceptions.RedisError):
            raise each
    return answer
