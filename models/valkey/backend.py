"""What a store needs of the servers behind it: one server, or a cluster of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from models.valkey.scripts import Command


class Server(Protocol):
    """One of the servers behind a backend."""

    def execute_with_run_id(self, *command: Any) -> tuple[str, Any]:
        """Send a command, and return the run id of the server's process that has answered, and the answer."""


class Topology(NamedTuple):
    """The servers that hold all keys, at one moment.

    :param fingerprint: 32 bits; another number means that the cursors of SCAN mean something else
    :param servers: each of them, and the run id of its process
    """

    fingerprint: int
    servers: Sequence[tuple[Server, str]]


# What a read of many keys found: their values, the milliseconds until each expires (below 0 for never; empty where no
# key of the server expires), and the server's clock; or only how many bytes were read when these were too many.
Snapshot = tuple[Sequence[bytes | None], Sequence[int], Sequence[bytes]] | tuple[int]


class Round(NamedTuple):
    """What a server has told since the round before.

    A server tells names behind the answers of the same turn of its loop. So a change from before the clock of a round
    may come in the next round only, and never later.

    :param names: the names that have changed
    :param has_lost_all: whether all keys of some database are gone
    :param clock: the server's clock behind it, in microseconds since 1970
    """

    names: Sequence[bytes]
    has_lost_all: bool
    clock: int


class Teller(Protocol):
    """Tells which names change in one server. Its methods may raise any :class:`~models.errors.StoreError`."""

    def wait(self, seconds: float) -> None:
        """Wait until something is told."""

    def round(self) -> Round:
        """Return what was told since the last round."""

    def close(self) -> None:
        """Close the connection."""


class Tracked(NamedTuple):
    """The processes that hold all keys, followed from one moment on.

    :param reader: reads from these processes, one command at a time, and fails once one of them is lost
    :param tellers: tell which names change, one for each server
    :param fingerprint: that of the topology
    """

    reader: "Backend"
    tellers: list[Teller]
    fingerprint: int

    def close(self) -> None:
        """Close all connections."""
        for teller in self.tellers:
            teller.close()
        self.reader.close()


class Backend(Protocol):
    """Sends commands. Nothing is ever sent twice here; see :mod:`models.valkey.connection` for what is."""

    def execute(self, *command: Any) -> Any:
        """Send a command to the server that has its first key, and return the answer."""

    def same_slot(self, names: Sequence[bytes]) -> bool:
        """Return whether all names share a hash slot, so that one command may name them all."""

    def by_slot(
        self, names: Sequence[bytes], command: Callable[[Sequence[bytes]], Command]
    ) -> list[tuple[Sequence[bytes], Any]]:
        """Send a command for the names of each hash slot, and return those names and the answer each time.

        :param names: names of keys, at least one
        :param command: writes the command for some of the names
        :raises PartialFailure: it failed after a part of it was done
        """

    def snapshot(
        self, names: Sequence[bytes], max_bytes: int, *, expiries: bool
    ) -> list[tuple[Sequence[bytes], Snapshot]]:
        """Read the values and the expiries that the keys of each server, or hash slot, have at one moment.

        :param names: names of keys, at least one
        :param max_bytes: how many bytes a script may read of several of them
        :param expiries: whether some key is known to expire; looks by itself if not
        """

    def topology(self) -> Topology:
        """Ask which servers there are.

        :raises StoreChanged: some slots are on their way from one server to another
        :raises StoreUnavailable: some slots are nowhere
        """

    def track(self, prefix: bytes) -> Tracked:
        """Follow which names change.

        :param prefix: what the names start with
        :raises StoreError: the servers cannot be reached, or do not tell it
        """

    def ping(self) -> None:
        """Check that requests are served.

        :raises redis.RedisError: they are not
        """

    def close(self) -> None:
        """Close all connections."""
