"""The errors of redis-py as the errors of this program."""

import re

from redis import exceptions

from models.errors import (
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


LOADING = "The store is still loading its data. Try again in a moment."
FULL = "The store has no memory left for writes; reading and deleting still work."
DISK = "The store takes no writes: it cannot write to its disk."
REPLICA = "The store takes no writes: the server is a replica, or too few replicas follow it."
DENIED = "The store refuses this service's credentials or one of its commands. Its operator has to mend that."
TIMEOUT = "The store did not answer in time. Try again in a moment."
UNAVAILABLE = "The store cannot be reached. Try again in a moment."
SATURATED = "All connections of this worker to the store are busy. Try again in a moment."
FAULT = "The store gave an answer that this service does not expect. Its log says more."
CHANGED = "The store was started again or replaced while it was listed, so that keys may be missing. Start again."
MOVING = "The cluster moves keys from one server to another, so that a list could miss some. Try again later."
WRONG_TYPE = (
    "The key holds a Redis type that is not a string; another program wrote it. DELETE it or use a Redis client."
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

# How newer servers and Redis 7.0 say that a script may not do something; older ones say NOPERM.
_DENIED_TO_A_SCRIPT = ("ACL failure in script", "The user executing the script")

# Redis 6.2 puts the one before the error of a command that a script has called, and servers the other before that of
# an EXEC.
_OF_SEVERAL = re.compile(
    r"^(?:Error running script \(.*?\): @user_script: ?\d+: -?|Transaction discarded because of: )"
)


class PartialFailure(exceptions.RedisError):
    """A command for keys in several slots failed after it was done for some.

    :param first: the first failure
    :param done: for how many keys it was done
    :param total: for how many it should have been
    """

    def __init__(self, first: exceptions.RedisError | StoreError, done: int, total: int) -> None:
        super().__init__(
            f"The store failed after {done:,} of {total:,} keys, each hash slot whole or not at all; "
            "others may be done as well. Read the keys before you repeat it."
        )
        self.first = first


def translated(error: exceptions.RedisError) -> StoreError | WrongType:
    """Return the error of this program for one of redis-py."""
    if isinstance(error, PartialFailure):
        return error.first if isinstance(error.first, StoreError) else translated(error.first)
    for redis_class, store_class, detail in _BY_CLASS:
        if isinstance(error, redis_class):
            return store_class(detail)
    text = _OF_SEVERAL.sub("", str(error))
    if text.startswith(_DENIED_TO_A_SCRIPT):
        return StoreDenied(DENIED)
    our_class, detail = _BY_WORD.get(text.partition(" ")[0], (StoreFault, FAULT))
    return our_class(detail)
