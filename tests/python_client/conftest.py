"""Stores of both kinds on a real service, as one kind: a test does not see which."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import Any, cast

import pytest

from client import AsyncStore, Store, steps
from tests.support.servers.services import Service


Make = Callable[..., Store]


class Awaited:
    """An asynchronous object as a synchronous one: whatever it returns is awaited, iterated or entered.

    :param inner: the object
    :param run: runs a coroutine
    """

    def __init__(self, inner: Any, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._inner = inner
        self._run = run

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        returned = method(*args, **kwargs)
        if isinstance(returned, Coroutine):
            return self._run(returned)
        if isinstance(returned, AsyncStore):
            return Awaited(returned, self._run)
        if isinstance(returned, AsyncGenerator):
            return self._each(returned)
        if isinstance(returned, AbstractAsyncContextManager):
            return self._entered(returned)
        return returned

    def _each(self, iterator: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            while True:
                yield self._run(anext(iterator))
        except StopAsyncIteration:
            return
        finally:
            self._run(iterator.aclose())

    @contextmanager
    def _entered(self, manager: AbstractAsyncContextManager[Any]) -> Iterator[Any]:
        inner = self._run(manager.__aenter__())
        try:
            yield Awaited(inner, self._run)
        except BaseException as error:
            if not self._run(manager.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self._run(manager.__aexit__(None, None, None))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less than callers do before something is sent again."""
    monkeypatch.setattr(steps, "PAUSES_SECONDS", (0.01, 0.01, 0.01))


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Make a store of each kind."""
    with asyncio.Runner() as runner:
        made: list[Any] = []

        def make(*args: Any, **kwargs: Any) -> Store:
            is_sync = request.param == "sync"
            made.append(Store(*args, **kwargs) if is_sync else Awaited(AsyncStore(*args, **kwargs), runner.run))
            return cast("Store", made[-1])

        yield make
        for each in made:
            each.close()


@pytest.fixture
def kv(make: Make, service: Service, service_connection: Any) -> Store:
    """A store of each kind that is empty."""
    service_connection.flushall()
    return make(f"http://127.0.0.1:{service.port}")
