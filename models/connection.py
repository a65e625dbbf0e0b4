"""The only door to redis-py: the client, its time limits, the one retry, and its errors turned into ours.

What is sent is bounded in time by the client's own limits. A read that loses its connection is sent once more on a
fresh one. A write is never sent twice: if its answer is lost, the error says that the outcome is unknown.
"""

import re
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, LifoQueue
from typing import Any, ParamSpec, TypeVar

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from models.errors import (
    OutcomeUnknown,
    StoreDenied,
    StoreError,
    StoreFault,
    StoreFull,
    StoreLoading,
    StoreReadOnly,
    StoreSaturated,
    StoreTimeout,
    StoreUnavailable,
    WrongType,
)


Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
Client = redis.Redis

LOADING = "The store is still loading its data. Try again in a moment."
FULL = "The store has no memory left for writes; reading and deleting still work."
DISK = "The store takes no writes: it cannot write to its disk."
REPLICA = "The store takes no writes: the server is a replica, or too few replicas follow it."
DENIED = "The store refuses this service's credentials or one of its commands. Its operator has to mend that."
TIMEOUT = "The store did not answer in time. Try again in a moment."
UNAVAILABLE = "The store cannot be reached. Try again in a moment."
SATURATED = "All connections of this worker to the store are busy. Try again in a moment."
FAULT = "The store gave an answer that this service does not expect. Its log says more."
WRONG_TYPE = (
    "The key holds a Redis type that is not a string; another program wrote it. DELETE it or use a Redis client."
)
UNKNOWN = (
    "The store's answer to the write was lost: it may or may not have been applied. Read the key before you repeat it."
)

# Most specific first, because several of redis-py's classes are also ConnectionError or ResponseError.
_BY_CLASS: tuple[tuple[type[exceptions.RedisError], type[StoreError], str], ...] = (
    (exceptions.BusyLoadingError, StoreLoading, LOADING),
    (exceptions.OutOfMemoryError, StoreFull, FULL),
    (exceptions.ReadOnlyError, StoreReadOnly, REPLICA),
    (exceptions.AuthenticationError, StoreDenied, DENIED),
    (exceptions.AuthorizationError, StoreDenied, DENIED),
    (exceptions.AuthenticationWrongNumberOfArgsError, StoreDenied, DENIED),
    (exceptions.ExternalAuthProviderError, StoreDenied, DENIED),
    (exceptions.NoPermissionError, StoreDenied, DENIED),
    (exceptions.MaxConnectionsError, StoreSaturated, SATURATED),
    (exceptions.ClusterDownError, StoreUnavailable, UNAVAILABLE),
    (exceptions.TryAgainError, StoreUnavailable, UNAVAILABLE),
    (exceptions.TimeoutError, StoreTimeout, TIMEOUT),
    (exceptions.ConnectionError, StoreUnavailable, UNAVAILABLE),
)

# Errors for which redis-py has no class, by the word that the server's text starts with.
_BY_WORD: dict[str, tuple[type[StoreError | WrongType], str]] = {
    "WRONGTYPE": (WrongType, WRONG_TYPE),
    "OOM": (StoreFull, FULL),
    "MISCONF": (StoreReadOnly, DISK),
    "READONLY": (StoreReadOnly, REPLICA),
    "NOREPLICAS": (StoreReadOnly, REPLICA),
    "NOPERM": (StoreDenied, DENIED),
    "NOAUTH": (StoreDenied, DENIED),
    "BUSY": (StoreTimeout, TIMEOUT),
}

# Redis 6.2 puts this before the error of a command that a script has called.
_OF_A_SCRIPT = re.compile(r"^Error running script \(.*?\): @user_script: ?\d+: -?")

# A command that a script has called is refused in these words, those of Valkey and of Redis.
_DENIED_IN_A_SCRIPT = ("ACL failure in script", "The user executing the script")


class _Pool(redis.BlockingConnectionPool):
    """A pool that tells "nothing was sent yet" from "something was": its own failures are already ours."""

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_connection(*args, **kwargs)  # type: ignore[no-untyped-call]  # theirs has no types
        except exceptions.RedisError as error:
            if isinstance(error.__context__, Empty):
                raise StoreSaturated(SATURATED) from error
            raise translated(error) from error


class _TimedQueue(LifoQueue[Any]):
    """The free connections of a pool; tells how long one was waited for."""

    def __init__(self, on_wait: Callable[[float], None], maxsize: int) -> None:
        super().__init__(maxsize)
        self._on_wait = on_wait

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT002  # as its parent's
        started = time.perf_counter()
        try:
            return super().get(block, timeout)
        finally:
            self._on_wait(time.perf_counter() - started)


def connect(
    url: str, *, timeout_seconds: float, max_connections: int, on_wait: Callable[[float], None] | None = None
) -> Client:
    """Make a client for a server; the first command opens the first connection.

    :param url: ``redis://``, ``rediss://`` or ``unix://``
    :param timeout_seconds: the longest that one command may take in all
    :param max_connections: the most connections that this process keeps
    :param on_wait: told the seconds that each command has waited for a free connection
    """
    pool = _Pool.from_url(
        url,
        max_connections=max_connections,
        queue_class=LifoQueue if on_wait is None else partial(_TimedQueue, on_wait),
        # One command waits for a free connection, connects, and reads: together they fill the limit.
        timeout=timeout_seconds * 0.2,
        socket_connect_timeout=timeout_seconds * 0.4,
        socket_timeout=timeout_seconds * 0.4,
        # redis-py would repeat ten times, INCR included, for up to a minute.
        retry=Retry(NoBackoff(), 0),
        # Three commands less for every connection.
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return redis.Redis.from_pool(pool)


def read(command: Callable[Arguments, Any], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Any:
    """Send a command that changes nothing, once more if its connection turns out to be dead.

    :param command: a method of the client
    :raises StoreError: the store could not answer
    :raises WrongType: the key holds something else than a string
    """
    try:
        return command(*args, **kwargs)
    except exceptions.RedisError as error:
        # The class itself: its subclasses are answers of the server, not a lost connection.
        if type(error) is not exceptions.ConnectionError:
            raise translated(error) from error
    try:
        return command(*args, **kwargs)
    except exceptions.RedisError as error:
        raise translated(error) from error


def write(command: Callable[Arguments, Any], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Any:
    """Send a command that changes something, once and never again.

    :param command: a method of the client
    :raises OutcomeUnknown: the command was sent and no answer came
    :raises StoreError: the store could not do it
    :raises WrongType: the key holds something else than a string
    """
    try:
        return command(*args, **kwargs)
    except exceptions.RedisError as error:
        ours = translated(error)
        # A ResponseError is an answer: the server has said no, and nothing was applied. An InvalidResponse is none.
        lost = isinstance(ours, StoreUnavailable | StoreTimeout) and not isinstance(error, exceptions.ResponseError)
        if lost or isinstance(error, exceptions.InvalidResponse):
            raise OutcomeUnknown(UNKNOWN) from error
        raise ours from error


def translated(error: exceptions.RedisError) -> StoreError | WrongType:
    """Turn an exception of redis-py into ours.

    :param error: what redis-py raised
    """
    for redis_class, store_class, detail in _BY_CLASS:
        if isinstance(error, redis_class):
            return store_class(detail)
    text = _OF_A_SCRIPT.sub("", str(error))
    word = "NOPERM" if text.startswith(_DENIED_IN_A_SCRIPT) else text.partition(" ")[0]
    our_class, detail = _BY_WORD.get(word, (StoreFault, FAULT))
    return our_class(detail)
