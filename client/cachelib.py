"""A cache for cachelib and Flask-Caching, which bring along what this module imports."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from cachelib import BaseCache
from cachelib.serializers import RedisSerializer

from .errors import NotFound, OutcomeUnknown, PreconditionFailed, RateLimited, Unavailable
from .stores import Store


# What does not stop a program that can do without its cache.
FAILURES = (OutcomeUnknown, RateLimited, Unavailable)


class FlaskvstoreCache(BaseCache):
    """A cache in a service. Where the service fails, nothing is found and nothing is stored.

    :param store: the store with the cache; by default the one of the environment variables
    :param namespace: the start of the names of its keys, which nothing else may have
    :param options: what :class:`Store` takes, if none is given
    """

    #: Values are pickled: whoever may write to the cache can run programs where it is read.
    serializer = RedisSerializer()

    def __init__(
        self,
        store: Store | None = None,
        *,
        namespace: str = "cache:",
        default_timeout: int | timedelta = 300,
        ignore_delete_many_errors: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(default_timeout, ignore_delete_many_errors)
        self._store = (store or Store.from_env(**options)).namespace(namespace)

    def get(self, key: str) -> Any:
        """Return the value of a key; None if there is none."""
        with suppress(NotFound, *FAILURES):
            return self.serializer.loads(self._store.entry(key).content)
        return None

    def has(self, key: str) -> bool:
        """Tell whether there is a value."""
        with suppress(*FAILURES):
            return self._store.exists(key)
        return False

    def set(self, key: str, value: Any, timeout: int | timedelta | None = None) -> bool:
        """Store a value, and tell whether that was done."""
        return self._put(key, value, timeout, only_if_absent=False)

    def add(self, key: str, value: Any, timeout: int | timedelta | None = None) -> bool:
        """Store a value if there is none, and tell whether that was done."""
        return self._put(key, value, timeout, only_if_absent=True)

    def delete(self, key: str) -> bool:
        """Delete a value, and tell whether there was one."""
        with suppress(NotFound, *FAILURES):
            self._store.delete(key)
            return True
        return False

    def clear(self) -> bool:
        """Delete all values, and tell whether that was done."""
        with suppress(*FAILURES):
            self._store.clear()
            return True
        return False

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Add to a number, and return it."""
        with suppress(*FAILURES):
            return self._store.increment(key, delta, ttl=self.default_timeout or None, keep_ttl=True)
        return None

    def dec(self, key: str, delta: int = 1) -> int | None:
        """Subtract from a number, and return it."""
        return self.inc(key, -delta)

    def _put(self, key: str, value: Any, timeout: int | timedelta | None, *, only_if_absent: bool) -> bool:
        with suppress(PreconditionFailed, *FAILURES):
            ttl = self._normalize_timeout(timeout) or None
            self._store.put(key, self.serializer.dumps(value), ttl=ttl, only_if_absent=only_if_absent)
            return True
        return False
