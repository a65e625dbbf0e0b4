"""How steps are done: by a thread that waits, or by a task while others go on.

:class:`operation` and :class:`listing` make a method of both kinds from one definition.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import httpx

from .steps import Close, Pages, Pause, Read, Send, Step, Steps


P = ParamSpec("P")
T = TypeVar("T")


class Sync:
    """Does steps, and blocks meanwhile."""

    _http: httpx.Client

    def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    outcome = self._do(step)
                except BaseException as error:  # noqa: BLE001  # they clean up, and raise what they do not know
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            value: T = end.value
            return value

    def _do(self, step: Step) -> Any:
        match step:
            case Send(request=request):
                built = self._http.build_request(
                    request.method,
                    str(self._http.base_url) + request.target,
                    headers={**request.headers, "X-Request-Id": step.request_id},
                    content=request.content,
                    timeout=step.timeout,
                )
                answer = self._http.send(built, stream=request.is_stream)
                if answer.is_error:
                    answer.read()
                elif request.is_stream:
                    answer.extensions["chunks"] = answer.iter_bytes()
                return answer
            case Read(answer=answer):
                return next(answer.extensions["chunks"], b"")
            case Close(answer=answer):
                return answer.close()
            case Pause(seconds=seconds):
                return time.sleep(seconds)

    def _each(self, pages: Pages[T]) -> Generator[T, None, None]:
        place: str | None = None
        try:
            while True:
                found, place = self._run(pages.read(place))
                yield from found
                if place is None:
                    return
        finally:
            self._run(pages.close())


class Async:
    """Does steps while other tasks go on."""

    _http: httpx.AsyncClient

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    outcome = await self._do(step)
                except BaseException as error:  # noqa: BLE001  # they clean up, and raise what they do not know
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _do(self, step: Step) -> Any:
        match step:
            case Send(request=request):
                content = request.content
                built = self._http.build_request(
                    request.method,
                    str(self._http.base_url) + request.target,
                    headers={**request.headers, "X-Request-Id": step.request_id},
                    content=_chunks(content) if isinstance(content, Iterator) else content,
                    timeout=step.timeout,
                )
                answer = await self._http.send(built, stream=request.is_stream)
                if answer.is_error:
                    await answer.aread()
                elif request.is_stream:
                    answer.extensions["chunks"] = answer.aiter_bytes()
                return answer
            case Read(answer=answer):
                return await anext(answer.extensions["chunks"], b"")
            case Close(answer=answer):
                return await answer.aclose()
            case Pause(seconds=seconds):
                return await asyncio.sleep(seconds)

    async def _each(self, pages: Pages[T]) -> AsyncGenerator[T, None]:
        place: str | None = None
        try:
            while True:
                found, place = await self._run(pages.read(place))
                for each in found:
                    yield each
                if place is None:
                    return
        finally:
            await self._run(pages.close())


async def _chunks(content: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in content:
        yield chunk


class operation(Generic[P, T]):  # noqa: N801  # a decorator
    """A method that does steps. It returns their result, or is awaited for it."""

    def __init__(self, define: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.define = define

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[Concatenate[Any, P], Steps[T]]: ...
    @overload
    def __get__(self, instance: Sync, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Async, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self.define if instance is None else _bound(self.define, instance, instance._run)


class listing(Generic[P, T]):  # noqa: N801  # a decorator
    """A method that returns an iterator, which asks for one page after another."""

    def __init__(self, define: Callable[Concatenate[Any, P], Pages[T]]) -> None:
        self.define = define

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[Concatenate[Any, P], Pages[T]]: ...
    @overload
    def __get__(self, instance: Sync, owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, instance: Async, owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self.define if instance is None else _bound(self.define, instance, instance._each)


def _bound(define: Callable[..., Any], instance: object, do: Callable[[Any], Any]) -> Callable[..., Any]:
    @wraps(define)
    def call(*args: Any, **kwargs: Any) -> Any:
        return do(define(instance, *args, **kwargs))

    return call
