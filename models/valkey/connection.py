"""How a store is reached: a backend for its URL, and the two ways to send a command: :func:`read` and :func:`write`.

What is sent is bounded in time by the client's own limits. A read that loses its connection is sent once more on a
fresh one. A write is never sent twice: if its answer is lost, the error says that the outcome is unknown.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec

from redis import exceptions

from models.address import Address
from models.errors import OutcomeUnknown, StoreTimeout, StoreUnavailable
from models.valkey.backend import Backend
from models.valkey.client import Client, open_client
from models.valkey.cluster import Cluster
from models.valkey.discovery import ALL_QUESTIONS, ONE_QUESTION, Discovery
from models.valkey.pool import Limits
from models.valkey.redis_errors import PartialFailure, translated
from models.valkey.sentinel import Primary, PrimaryClient
from models.valkey.url import StoreUrl


Arguments = ParamSpec("Arguments")

# Together they are the time of one command: nine tenths of the limit that was set, because a read may have to begin
# anew. Where the server has to be asked for first, a quarter is for that.
ALONE = Limits(pool=0.2, connect=0.3, answer=0.4)
AMONG_MANY = Limits(pool=0.1, connect=0.2, answer=0.35)
# A connection that is lost later than this takes no second try, which would go past the time limit.
SECOND_TRY_SECONDS = 0.2
UNKNOWN = (
    "The store's answer to the write was lost: it may or may not have been applied. Read the key before you repeat it."
)


def connect(
    url: str, *, timeout_seconds: float, max_connections: int, on_wait: Callable[[float], None] | None = None
) -> Backend:
    """Return a backend for a store; the first command opens the first connection.

    :param url: one that :class:`models.valkey.url.StoreUrl` takes
    :param timeout_seconds: the longest that one command may take in all
    :param max_connections: the most connections that this process keeps to one server
    :param on_wait: told the seconds that each command has waited for a free connection
    """
    parsed = StoreUrl.parse(url)
    open_one = partial(open_client, max_connections=max_connections, on_wait=on_wait)
    if not parsed.kind:
        return open_one(parsed.text, ALONE.times(timeout_seconds))
    limits = AMONG_MANY.times(timeout_seconds)
    open_asked = partial(_open_asked, parsed, timeout_seconds)
    discovery = Discovery(parsed.hosts, open_asked, ALL_QUESTIONS * timeout_seconds)
    if parsed.kind == "cluster":
        return Cluster(discovery, lambda address: open_one(parsed.of_server(address), limits), timeout_seconds)
    url = parsed.of_server(parsed.hosts[0])  # its host is replaced by that of the primary
    return PrimaryClient(
        Primary(discovery, parsed.service), url, limits, max_connections=max_connections, on_wait=on_wait
    )


def _open_asked(url: StoreUrl, timeout_seconds: float, address: Address) -> Client:
    limits = ONE_QUESTION.times(timeout_seconds)
    return open_client(url.of_discovery(address), limits, max_connections=1, redis_connect_func=None)


def read(command: Callable[Arguments, Any], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Any:
    """Send a command that changes nothing, once more if its connection turns out to be dead at once.

    :param command: sends it through a client
    :raises StoreError: the store could not answer
    :raises WrongType: the key holds something else than a string
    """
    started = time.monotonic()
    try:
        return command(*args, **kwargs)
    except exceptions.RedisError as error:
        first = error.first if isinstance(error, PartialFailure) else error
        # The class itself: its subclasses are answers of the server, not a lost connection.
        is_lost = type(first) is exceptions.ConnectionError
        if not is_lost or time.monotonic() > started + SECOND_TRY_SECONDS:
            raise translated(error) from error
    try:
        return command(*args, **kwargs)
    except exceptions.RedisError as error:
        raise translated(error) from error


def write(command: Callable[Arguments, Any], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Any:
    """Send a command that changes something, once and never again.

    :param command: sends it through a client
    :raises OutcomeUnknown: the command was sent and no answer came, or only a part of it was done
    :raises StoreError: the store could not do it
    :raises WrongType: the key holds something else than a string
    """
    try:
        return command(*args, **kwargs)
    except PartialFailure as error:
        raise OutcomeUnknown(str(error)) from error.__cause__
    except exceptions.RedisError as error:
        ours = translated(error)
        # A ResponseError is an answer: the server has said no, and nothing was applied. An InvalidResponse is none.
        lost = isinstance(ours, StoreUnavailable | StoreTimeout) and not isinstance(error, exceptions.ResponseError)
        if lost or isinstance(error, exceptions.InvalidResponse):
            raise OutcomeUnknown(UNKNOWN) from error
        raise ours from error
