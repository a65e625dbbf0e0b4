"""A client of one server, which also tells who has answered. Nothing is ever sent twice here."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import redis
from redis import exceptions

from models.change import tag_of
from models.valkey.pool import Limits, open_pool


Answer = TypeVar("Answer")

# What INFO says of a database.
SOME_EXPIRE = re.compile(rb"\bexpires=[1-9]")


class Survey(NamedTuple):
    """The servers that hold all keys, at one moment.

    :param epoch: 32 bits; another number means that the cursors of SCAN mean something else
    :param servers: a client for each, and the run id of its process
    """

    epoch: int
    servers: list[tuple["Client", str]]


class Client(redis.Redis):
    """One server, which holds all keys. :class:`models.valkey.cluster.Cluster` does the same where many do."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and read its answer, and no more.

        redis-py does so under a retry that is turned off here, and for metrics that nobody asks for (a GET of one key:
        3 % more CPU time). A connection that fails closes itself.
        """
        connection = self.connection_pool.get_connection()
        try:
            connection.send_command(*args)
            return self.parse_response(connection, args[0], **options)
        finally:
            self.connection_pool.release(connection)

    def together(self, names: Sequence[bytes]) -> bool:
        """Tell whether one command may name all of these.

        :param names: names of keys
        """
        del names
        return True

    def apart(
        self, names: Sequence[bytes], command: Callable[["Client", Sequence[bytes]], Answer]
    ) -> list[tuple[Sequence[bytes], Answer]]:
        """Send a command for so many names at a time as it may name.

        :param names: names of keys
        :param command: sends it to a client, for some of the names
        :return: those names each time, and what the command gave
        """
        return [(names, command(self, names))]

    def snapshot(
        self, names: Sequence[bytes], script: Callable[["Client", Sequence[bytes]], Any]
    ) -> list[tuple[Sequence[bytes], Any]]:
        """Read values and expiries of one moment: by a script only if some key of the server expires.

        Lua takes twice as long, and three times as long to ask for the expiry of each key; see
        https://redis.io/docs/latest/develop/using-commands/transactions/ for the other way.

        :param names: names of keys
        :param script: gives the values of keys, the milliseconds until each expires, and the server's clock
        :return: the names, and what the script gave, or the same with no milliseconds
        """
        commands = [("MULTI",), ("INFO", "keyspace"), ("MGET", *names), ("TIME",), ("EXEC",)]
        pool: Any = self.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_packed_command([b"".join(connection.pack_commands(commands))])
            *_, answers = [connection.read_response() for _ in commands]
        except exceptions.RedisError:
            # It may have more to say.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
        keyspace, values, clock = answers
        if not isinstance(keyspace, bytes) or SOME_EXPIRE.search(keyspace):
            return self.apart(names, script)
        if isinstance(values, exceptions.RedisError):
            raise values
        return [(names, (values, [], clock))]

    def ask(self, *command: object) -> tuple[str, Any]:
        """Send a command, and tell who has answered.

        :param command: its words
        :return: the run id of the server's process, and the answer
        """
        pool: Any = self.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command(*command)
            answer = self.parse_response(connection, command[0])
        finally:
            pool.release(connection)
        return getattr(connection, "run_id", ""), answer

    def survey(self) -> Survey:
        """Ask which servers there are."""
        # Not PING, which a server refuses that cannot write to its disk.
        run_id, _ = self.ask("TIME")
        return Survey(int(run_id[:8] or "0", 16), [(self, run_id)])


class Script:
    """A Lua script, sent by its name and with its text only to a server that does not know it yet.

    :param text: the script
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._sha = tag_of(text.encode())  # servers name scripts by their SHA-1, as we do values

    def __call__(self, client: Client, keys: Sequence[bytes], args: Sequence[Any] = ()) -> Any:
        """Run it.

        :param client: where
        :param keys: the names it may touch
        :param args: what else it gets
        """
        try:
            # Not by way of redis-py's methods of these names (a GET of one key: 3 % more CPU time).
            return client.execute_command("EVALSHA", self._sha, len(keys), *keys, *args)
        except exceptions.NoScriptError:
            return client.execute_command("EVAL", self._text, len(keys), *keys, *args)


def open_client(url: str, limits: Limits, **options: Any) -> Client:
    """Make a client for a server; the first command opens the first connection.

    :param url: ``redis://``, ``rediss://`` or ``unix://``
    :param limits: how long a command may wait
    :param options: those of :func:`models.valkey.pool.open_pool`
    """
    return cast("Client", Client.from_pool(open_pool(url, limits, **options)))
