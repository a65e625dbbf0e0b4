"""The two kinds of stores."""

import copy
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from .drivers import Async, Sync, operation
from .errors import FlaskvstoreError, InvalidRequest
from .locks import LockSteps
from .operations import Operations
from .steps import Steps
from .transactions import Transaction
from .values import Ttl, Value


if TYPE_CHECKING:
    from typing_extensions import Self


URL = "http://127.0.0.1:5000"
TIMEOUT_SECONDS = 10.0


class _Common(Operations):
    """What both kinds have in common.

    :param url: the address of the service
    :param token: what lets this client in
    :param token_file: the path of the file with the token
    :param timeout_seconds: how long one call may take, with its repetitions; counts, imports and deletions of many keys
        may take longer
    :param tls: the certificates to trust, and one's own; by default the system's
    :param proxy: the URL of a proxy; by default `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` decide
    """

    def __init__(
        self,
        url: str = URL,
        *,
        token: str | None = None,
        token_file: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        super().__init__(timeout_seconds)
        self.url = _checked(url)
        if token_file is not None:
            token = Path(token_file).read_text(encoding="utf-8").strip()
        headers = {"User-Agent": f"flaskvstore/{version('flaskvstore')}"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if tls is None:
            # To read the system's certificates takes longer than many calls.
            is_plain = url.startswith("http:")
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else ssl.create_default_context()
        self._connect(base_url=url, headers=headers, verify=tls, proxy=proxy)

    @classmethod
    def from_env(cls, **options: Any) -> "Self":
        """Return a store at the address in the variable `FLASKVSTORE_URL`, with the token in `FLASKVSTORE_TOKEN`."""
        variables = {"url": os.environ.get("FLASKVSTORE_URL") or URL, "token": os.environ.get("FLASKVSTORE_TOKEN")}
        return cls(**{**variables, **options})

    def namespace(self, prefix: str) -> "Self":
        """Return a store of the keys that start with a prefix, without it in their names. It shares the connections."""
        view = copy.copy(self)
        view._prefix = self._prefix + prefix
        return view

    def _connect(self, **options: Any) -> None:
        """Make the HTTP client."""
        raise NotImplementedError


class Store(_Common, Sync):
    """The keys of a service, as a mapping from names to values. Threads may share it."""

    def _connect(self, **options: Any) -> None:
        self._http = httpx.Client(**options)

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; those of its namespaces as well."""
        self._http.close()

    def __getitem__(self, key: str) -> Value:
        return self.read(key)

    def __setitem__(self, key: str, value: Value) -> None:
        self.put(key, value)

    def __delitem__(self, key: str) -> None:
        self.delete(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.exists(key)

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        # It would count its keys.
        return True

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    @contextmanager
    def transaction(self, *, ttl: Ttl = None) -> Iterator[Transaction]:
        """Do what a block collects in one step at its end, or not at all.

        :param ttl: when the keys that it stores expire
        :raises PreconditionFailed: a condition does not hold, and nothing was done
        """
        collected = Transaction(self, ttl)
        yield collected
        self._run(collected.steps())

    @contextmanager
    def lock(self, key: str, *, ttl: Ttl = 30, wait_seconds: float = 0.0) -> Iterator["Lock"]:
        """Hold a lock during a block.

        :param ttl: when it is free again if this process dies; a longer block has to extend it
        :param wait_seconds: how long to wait while another one holds it
        :raises LockTaken: another one holds it
        :raises LockLost: it expired during the block
        """
        lock = Lock(self, key, ttl)
        self._run(lock.take(wait_seconds))
        try:
            yield lock
        except BaseException:
            with suppress(FlaskvstoreError):
                self._run(lock.free())
            raise
        self._run(lock.free())


class AsyncStore(_Common, Async):
    """The same for asyncio: each call is awaited, and iterators are asynchronous."""

    def _connect(self, **options: Any) -> None:
        self._http = httpx.AsyncClient(**options)

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; those of its namespaces as well."""
        await self._http.aclose()

    def __aiter__(self) -> AsyncIterator[str]:
        return self.keys()

    @asynccontextmanager
    async def transaction(self, *, ttl: Ttl = None) -> AsyncIterator[Transaction]:
        """Do what a block collects in one step at its end; as above."""
        collected = Transaction(self, ttl)
        yield collected
        await self._run(collected.steps())

    @asynccontextmanager
    async def lock(self, key: str, *, ttl: Ttl = 30, wait_seconds: float = 0.0) -> AsyncIterator["AsyncLock"]:
        """Hold a lock during a block; as above."""
        lock = AsyncLock(self, key, ttl)
        await self._run(lock.take(wait_seconds))
        try:
            yield lock
        except BaseException:
            with suppress(FlaskvstoreError):
                await self._run(lock.free())
            raise
        await self._run(lock.free())


class _Extended(LockSteps):
    @operation
    def extend(self, ttl: Ttl = None) -> Steps[None]:
        """Let a lock be free later.

        :param ttl: after how long; by default as when it was taken
        :raises LockLost: it expired before
        """
        return self.again(ttl)


class Lock(_Extended, Sync):
    """A lock that is held."""

    def __init__(self, store: Store, key: str, ttl: Ttl) -> None:
        super().__init__(store, key, ttl)
        self._http = store._http


class AsyncLock(_Extended, Async):
    """A lock that is held."""

    def __init__(self, store: AsyncStore, key: str, ttl: Ttl) -> None:
        super().__init__(store, key, ttl)
        self._http = store._http


def _checked(url: str) -> str:
    """Return the address of a service.

    :raises InvalidRequest: it is none
    """
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidRequest(f"{url!r} is no URL: {error}.") from None
    if parts.scheme not in {"http", "https"} or not parts.host:
        raise InvalidRequest(f"{url!r} is no address of a service, such as {URL}.")
    return url
