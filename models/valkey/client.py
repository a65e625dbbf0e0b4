"""A client of one server. Nothing is ever sent twice here."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import hiredis
from redis import exceptions

from models.valkey import scripts
from models.valkey.backend import Snapshot, Topology, Tracked
from models.valkey.pool import Limits, Pool, open_pool
from models.valkey.scripts import Command
from models.valkey.tracking import Lane, NameTeller, check_same


_hiredis_packed: Callable[[Command], bytes] = hiredis.pack_command
# From so many words on it is quicker to write a command here, with what stands before a word of each length.
MANY_WORDS = 64
_BEFORE_WORD = [b"\r\n$%d\r\n" % length for length in range(2048)]

# What INFO says of a database.
SOME_EXPIRE = re.compile(rb"\bexpires=[1-9]")


class Client:
    """One server, which holds all keys: a :class:`~models.valkey.backend.Backend`.

    :param pool: its connections
    """

    def __init__(self, pool: Pool | Lane) -> None:
        self.pool = pool

    def execute(self, *command: Any) -> Any:
        """Send a command, and return the answer."""
        return self.execute_with_run_id(*command)[1]

    def execute_with_run_id(self, *command: Any) -> tuple[str, Any]:
        """Send a command, and return the run id of the server's process that has answered, and the answer.

        A script is sent by its name, and with its text only to a server that does not know it yet.
        """
        connection = self.pool.get_connection()
        try:
            connection.send_packed_command([_packed(command)])
            try:
                answer = connection.read_response()
            except exceptions.NoScriptError:
                connection.send_packed_command([_packed(scripts.with_text(command))])
                answer = connection.read_response()
        finally:
            self.pool.release(connection)
        return getattr(connection, "run_id", ""), answer

    def execute_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go, and return the answer of each, which can be an error of the server."""
        connection = self.pool.get_connection()
        try:
            connection.send_packed_command([b"".join(map(_packed, commands))])
            return [_answer(connection) for _ in commands]
        finally:
            self.pool.release(connection)

    def same_slot(self, _: Sequence[bytes]) -> bool:  # noqa: D102  # as the protocol's, and so are those below
        return True

    def by_slot(  # noqa: D102
        self, names: Sequence[bytes], command: Callable[[Sequence[bytes]], Command]
    ) -> list[tuple[Sequence[bytes], Any]]:
        return [(names, self.execute(*command(names)))]

    def snapshot(
        self, names: Sequence[bytes], max_bytes: int, *, expiries: bool
    ) -> list[tuple[Sequence[bytes], Snapshot]]:
        """Read by the script only if some key of the server expires.

        Lua takes twice as long, and three times as long to ask for the expiry of each key; see
        https://redis.io/docs/latest/develop/using-commands/transactions/ for the other way.
        """
        if not expiries:
            commands: list[Command] = [("MULTI",), ("INFO", "keyspace"), ("MGET", *names), ("TIME",), ("EXEC",)]
            *queued, answers = self.execute_many(commands)
            for answer in (*queued, *answers) if isinstance(answers, list) else (*queued, answers):
                if isinstance(answer, exceptions.RedisError):
                    raise answer
            keyspace, values, clock = answers
            if not SOME_EXPIRE.search(keyspace):
                return [(names, (values, [], clock))]
        return self.by_slot(names, partial(scripts.export, max_bytes=max_bytes))

    def topology(self) -> Topology:  # noqa: D102
        # Not PING, which a server refuses that cannot write to its disk.
        run_id, _ = self.execute_with_run_id("TIME")
        return Topology(_fingerprint(run_id), [(self, run_id)])

    def track(self, prefix: bytes) -> Tracked:  # noqa: D102
        reader, teller = self.follow(prefix)
        return Tracked(reader, [teller], _fingerprint(teller.run_id))

    def follow(self, prefix: bytes) -> "tuple[Client, NameTeller]":
        """Return a client that reads from one process only, and what that process tells.

        :param prefix: what the names start with
        """
        teller = NameTeller(self.pool, prefix)
        try:
            lane = Lane(self.pool)
            check_same(lane, teller)
        except BaseException:
            teller.close()
            raise
        return Client(lane), teller

    def ping(self) -> None:  # noqa: D102
        self.execute("PING")

    def close(self) -> None:  # noqa: D102
        self.pool.disconnect()


def open_client(url: str, limits: Limits, **options: Any) -> Client:
    """Return a client for a server; the first command opens the first connection.

    :param url: ``redis://``, ``rediss://`` or ``unix://``
    :param limits: how long a command may wait
    :param options: those of :func:`models.valkey.pool.open_pool`
    """
    return Client(open_pool(url, limits, **options))


def _fingerprint(run_id: str) -> int:
    return int(run_id[:8] or "0", 16)


def _packed(command: Command) -> bytes:
    """Return a command as it is sent (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    if len(command) < MANY_WORDS:
        return _hiredis_packed(command)
    try:
        # Nearly always all but the first one are bytes.
        return _joined([str(command[0]).encode(), *command[1:]])
    except TypeError:
        return _joined([word if isinstance(word, bytes) else str(word).encode() for word in command])


def _joined(words: Sequence[bytes]) -> bytes:
    try:
        before = [*map(_BEFORE_WORD.__getitem__, map(len, words))]
    except IndexError:
        before = [b"\r\n$%d\r\n" % len(word) for word in words]
    return b"".join([b"*%d" % len(words), *chain.from_iterable(zip(before, words, strict=True)), b"\r\n"])


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except exceptions.ResponseError as error:
        return error
