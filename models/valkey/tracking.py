"""A server's word which names have changed, by whomever: client-side caching in its broadcasting mode.

See https://redis.io/docs/latest/develop/reference/client-side-caching/#broadcasting-mode. Whoever follows the names can
keep what it has read from the same process, and throw it away when it is told.
"""

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

import hiredis
from redis import exceptions

from models.errors import StoreChanged, StoreDenied, StoreUnavailable
from models.valkey.backend import Round
from models.valkey.pool import Pool
from models.valkey.redis_errors import CHANGED, UNAVAILABLE, translated


DENIED = (
    "The store does not tell this service which keys change, so that none can be watched. Its operator has to give the "
    "service's user the right +client|tracking; servers from Redis 6.2 have it."
)


class Lane:
    """A single connection, in the place of a pool. It is never made anew: what is read comes from one process.

    :param pool: the pool of the server, which says how it is reached
    """

    def __init__(self, pool: "Pool | Lane") -> None:
        self.open: Callable[..., Any] = pool.open
        self.command_seconds: float = pool.command_seconds
        self._connection = pool.open()
        self._lock = Lock()
        self.run_id: str = self._connection.run_id

    def get_connection(self) -> Any:
        """Wait until the connection is free, and return it.

        :raises StoreUnavailable: it is lost
        """
        self._lock.acquire()
        if not self._connection.is_connected:
            self._lock.release()
            raise StoreUnavailable(UNAVAILABLE)
        self._connection._parser.deadline = time.monotonic() + self.command_seconds  # noqa: SLF001  # as in the pool
        return self._connection

    def release(self, _: Any) -> None:
        """Let the next one have the connection."""
        self._lock.release()

    def disconnect(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.disconnect()


class NameTeller:
    """A connection over which one server tells the names that have changed: a :class:`~models.valkey.backend.Teller`.

    :param pool: the pool of the server, which says how it is reached
    :param prefix: what the names start with
    :raises StoreDenied: the server does not tell them
    """

    def __init__(self, pool: Pool | Lane, prefix: bytes) -> None:
        self._connection = pool.open(protocol=3)
        self._round_seconds = pool.command_seconds
        # redis-py would leave each out of what it reads, and call itself for the next one.
        self._connection._parser.set_invalidation_push_handler(_itself)  # noqa: SLF001  # there is no other way
        self.run_id: str = self._connection.run_id
        try:
            self._ask("CLIENT", "TRACKING", "ON", "BCAST", *(("PREFIX", prefix) if prefix else ()))
        except exceptions.ResponseError as error:
            self.close()
            raise StoreDenied(DENIED) from error
        except exceptions.RedisError as error:
            raise translated(error) from error

    def wait(self, seconds: float) -> None:
        """Wait until something is told.

        :param seconds: for how long at most
        :raises StoreError: the connection is lost
        """
        try:
            self._connection.can_read(timeout=seconds)
        except exceptions.RedisError as error:
            raise translated(error) from error

    def round(self) -> Round:
        """Return what was told since the last round, and the server's clock behind it.

        :raises StoreError: the connection is lost
        """
        names: list[bytes] = []
        has_lost_all = False
        try:
            clock, told = self._ask("TIME")
        except exceptions.RedisError as error:
            raise translated(error) from error
        for _, some in told:
            if some is None:
                has_lost_all = True
            else:
                names += some
        return Round(names, has_lost_all=has_lost_all, clock=int(clock[0]) * 1_000_000 + int(clock[1]))

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()

    def _ask(self, *command: Any) -> tuple[Any, list[Any]]:
        """Send a command, and return its answer and what was told before it."""
        connection = self._connection
        if not connection.is_connected:
            raise exceptions.ConnectionError("The connection is lost.")
        connection._parser.deadline = time.monotonic() + self._round_seconds  # noqa: SLF001  # as in the pool
        connection.send_command(*command, check_health=False)
        told: list[Any] = []
        while True:
            answer = connection.read_response(push_request=True)
            if not isinstance(answer, hiredis.PushNotification):
                return answer, told
            told.append(answer)


def check_same(lane: Lane, teller: NameTeller) -> None:
    """Check that two connections lead to one process.

    :raises StoreChanged: another process has taken the place of the first one meanwhile
    """
    if lane.run_id != teller.run_id:
        raise StoreChanged(CHANGED)


def _itself(answer: Any) -> Any:
    return answer
