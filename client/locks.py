"""Locks: a key that only its holder extends and deletes."""

import time
from secrets import token_hex

from .errors import LockLost, LockTaken, NotFound, OutcomeUnknown, PreconditionFailed
from .operations import Operations
from .steps import Pause, Steps, random
from .values import Ttl


# How long to wait before a lock is asked for again.
PAUSE_SECONDS = 0.1


class LockSteps:
    """What is done with one lock.

    :param store: where its key is
    :param key: its name
    :param ttl: when it is free again if its holder is gone
    """

    def __init__(self, store: Operations, key: str, ttl: Ttl) -> None:
        self._store = store
        self.key = key
        self.ttl = ttl
        # Unlike that of any other holder, so that a lost answer leaves no doubt whose it is.
        self._holder = token_hex(16)
        self._etag = ""

    def take(self, wait_seconds: float) -> Steps[None]:
        """Take it.

        :param wait_seconds: how long to wait while another one holds it
        :raises LockTaken: another one holds it
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                self._etag = yield from self._store._put(self.key, self._holder, self.ttl, {"If-None-Match": "*"})
            except (PreconditionFailed, OutcomeUnknown):
                found = yield from self._store._entry_or_none(self.key)
                if found is not None and found.value == self._holder:
                    self._etag = found.etag
                    return
            else:
                return
            if time.monotonic() >= deadline:
                raise LockTaken(f'Another one holds the lock "{self.key}".', keys=[self.key])
            yield Pause(random.uniform(0.5, 1.0) * PAUSE_SECONDS)

    def again(self, ttl: Ttl) -> Steps[None]:
        """Extend it.

        :param ttl: when it is free again; as before if it is None
        :raises LockLost: it was free in between
        """
        try:
            yield from self._store._expire(self.key, self.ttl if ttl is None else ttl, {"If-Match": self._etag})
        except (PreconditionFailed, NotFound):
            raise self.lost() from None

    def free(self) -> Steps[None]:
        """Release it.

        :raises LockLost: it was free before
        """
        try:
            yield from self._store._delete(self.key, {"If-Match": self._etag})
        except (PreconditionFailed, NotFound):
            raise self.lost() from None
        except OutcomeUnknown:
            # It is gone, or goes when it expires.
            return

    def lost(self) -> LockLost:
        """Return the error for a lock that is free or another's."""
        return LockLost(f'The lock "{self.key}" expired before it was extended or released.', keys=[self.key])
