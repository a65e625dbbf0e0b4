"""The connections to one server: how many there are, how long each wait may take, and their handshake."""

import math
import re
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import Empty, Full, SimpleQueue
from threading import Lock
from typing import Any, NamedTuple, Self

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import DefaultParser
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from models.errors import StoreSaturated
from models.valkey.redis_errors import SATURATED, translated


# With none at all a socket would not wait, which redis-py takes for something else.
MIN_WAIT_SECONDS = 0.001


class Limits(NamedTuple):
    """How long one command may wait for each of its parts, in seconds.

    :param pool: for a free connection; and as long as for a new one, if it needs not be connected
    :param connect: for a new connection, and as much again for its first words
    :param answer: for the answer
    """

    pool: float
    connect: float
    answer: float

    def times(self, seconds: float) -> Self:
        """Return these shares of a time limit in seconds."""
        return type(self)(*(share * seconds for share in self))


class Pool(redis.BlockingConnectionPool):
    """A connection pool that raises `StoreError` for failures before anything is sent: a write is known not to be done.

    Both methods leave out what redis-py does in them for forks and for its metrics: a worker makes its pool after the
    fork.
    """

    # From when a connection is asked for until its last answer is there, and until it may still be connected.
    command_seconds = connect_within_seconds = math.inf

    def get_connection(self, *_: Any, **__: Any) -> Any:  # noqa: D102  # as its parent's
        started = time.monotonic()
        try:
            connection = self.pool.get(block=True, timeout=self.timeout) or self.make_connection()
        except Empty as error:
            raise StoreSaturated(SATURATED) from error
        connection._parser.deadline = started + self.command_seconds  # noqa: SLF001  # there is no other way to it
        try:
            connection = self._connected(connection, started + self.connect_within_seconds)
        except exceptions.RedisError as error:
            raise translated(error) from error
        return connection

    def release(self, connection: Any) -> None:  # noqa: D102  # as its parent's
        self.pool.put_nowait(connection)

    def open(self, **options: Any) -> Any:
        """Return a new connection, which is not one of the pool.

        :param options: further options of redis-py
        """
        connection = self.connection_class(**{**self.connection_kwargs, **options})
        try:
            connection.connect()
        except exceptions.RedisError as error:
            raise translated(error) from error
        return connection

    def _connected(self, connection: Any, latest: float) -> Any:
        try:
            if not connection.is_connected:
                _connect(connection, latest)
            try:
                # Something to read is the rest of an answer that nobody read.
                is_clean = not connection.can_read()
            except exceptions.ConnectionError:
                is_clean = False
            if not is_clean:
                connection.disconnect()
                _connect(connection, latest)
        except BaseException:
            self.release(connection)
            raise
        return connection


class _Parser(DefaultParser):  # type: ignore[misc, valid-type]  # which one it is depends on what is installed
    """A parser with a deadline for the whole answer, however slowly it comes."""

    deadline = math.inf

    @classmethod
    def parse_error(cls, response: str) -> Any:
        """Return the exception for an error of the server, without the keys and values that it quotes.

        A server that does not know a command, or has it renamed, quotes its arguments. The text is logged.
        """
        return super().parse_error(response.partition(", with args")[0])

    def read_from_socket(self, *args: Any, **options: Any) -> Any:
        left_seconds = self.deadline - time.monotonic()
        if left_seconds < self._socket_timeout:
            return super().read_from_socket(max(left_seconds, MIN_WAIT_SECONDS))
        return super().read_from_socket(*args, **options)

    def can_read(self, timeout: float = 0) -> bool:
        """Return whether a free connection has something to read, found out by one system call.

        redis-py polls, and gevent turns each poll into several calls.
        """
        connection = self._sock
        if timeout or connection is None or hasattr(connection, "pending") or self._reader.has_data():
            # Also for TLS, where a byte on the wire is no byte of an answer.
            return bool(super().can_read(timeout))
        limit_seconds = connection.gettimeout()
        connection.settimeout(0)
        try:
            found = connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            connection.settimeout(limit_seconds)
        if not found:
            raise exceptions.ConnectionError("The server has closed the connection.")
        return True


class FairQueue:
    """The free connections of a pool: the last one used is taken first, and the first one to wait is served first.

    The queues of the standard library let a newcomer overtake those that wait, so under load some wait in vain.

    :param maxsize: the most connections
    :param on_wait: called with the seconds of each wait
    """

    def __init__(self, maxsize: int, on_wait: Callable[[float], None] | None = None) -> None:
        self.queue: list[Any] = []
        self._maxsize = maxsize
        self._on_wait = on_wait
        self._waiting: deque[SimpleQueue[Any]] = deque()
        self._lock = Lock()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT002  # as redis-py calls it
        """Take a free connection.

        :param block: whether to wait for one
        :param timeout: for how many seconds; None for ever
        :return: the connection; None for one that is still to be made
        :raises Empty: none became free in time
        """
        with self._lock:
            if self.queue:
                return self.queue.pop()
            if not block:
                raise Empty
            mine: SimpleQueue[Any] = SimpleQueue()
            self._waiting.append(mine)
        started = time.perf_counter()
        try:
            return mine.get(timeout=timeout)
        except BaseException as error:  # whatever ends the wait, no connection may be handed to it any more
            with self._lock:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                    raise
            # It came in the very last moment.
            if isinstance(error, Empty):
                return mine.get()
            self.put_nowait(mine.get())
            raise
        finally:
            if self._on_wait is not None:
                self._on_wait(time.perf_counter() - started)

    def put_nowait(self, connection: Any) -> None:
        """Hand a connection to the first one that waits, or keep it.

        :raises Full: there are as many as there may be
        """
        with self._lock:
            if self._waiting:
                self._waiting.popleft().put(connection)
            elif len(self.queue) < self._maxsize:
                self.queue.append(connection)
            else:
                raise Full


def open_pool(
    url: str, limits: Limits, *, max_connections: int, on_wait: Callable[[float], None] | None = None, **options: Any
) -> Pool:
    """Return a pool of connections to a server; the first command opens the first one.

    :param url: ``redis://``, ``rediss://`` or ``unix://``
    :param limits: how long a command may wait
    :param max_connections: the most connections that this process keeps
    :param on_wait: told the seconds that each command has waited for a free connection
    :param options: further options of redis-py
    """
    pool = Pool.from_url(
        url,
        max_connections=max_connections,
        queue_class=partial(FairQueue, on_wait=on_wait),
        # Nearly always it is connected already, and needs no time for that.
        timeout=limits.pool + limits.connect,
        socket_connect_timeout=limits.connect,
        socket_timeout=limits.answer,
        parser_class=_Parser,
        # redis-py would repeat ten times, INCR included, for up to a minute.
        retry=Retry(NoBackoff(), 0),
        # Three commands less for every connection.
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **{"redis_connect_func": _greet, **options},
    )
    pool.command_seconds, pool.connect_within_seconds = sum(limits), limits.pool
    return pool


def _connect(connection: Any, latest: float) -> None:
    """Connect a connection.

    :param latest: until when there is time for it
    :raises StoreSaturated: it is later
    """
    if time.monotonic() > latest:
        raise StoreSaturated(SATURATED)
    connection.connect()


def _greet(connection: Any) -> None:
    """Do the handshake of a new connection, and read the run id of the server's process.

    Each process orders its keys by a secret of its own: a cursor of SCAN means nothing to any other.
    """
    connection.update_current_socket_timeout(connection.socket_connect_timeout / 2)
    connection.on_connect()
    connection.send_command("INFO", "server", check_health=False)
    found = re.search(rb"\brun_id:([0-9a-f]+)", connection.read_response())
    connection.run_id = found[1].decode() if found else ""
    connection.update_current_socket_timeout(-1)
