"""A store that adds its operations to the record of the request: how long each took, and why it failed."""

import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from api.errors import PROBLEMS
from api.telemetry.record import current_record
from models.entry import Listed
from models.errors import StoreError
from models.filter import Filter
from models.store import Store


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Item = TypeVar("Item")


def measure(
    operation: str, ask: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call an operation of the store, and record how long it took and how it failed."""
    code = None
    started = time.perf_counter()
    try:
        return ask(*args, **kwargs)
    except StoreError as error:
        code = PROBLEMS[type(error)].code
        raise
    finally:
        current_record().add_operation(operation, time.perf_counter() - started, code)


def _measured(
    method: Callable[Concatenate[Store, Arguments], Result],
) -> Callable[Concatenate[Store, Arguments], Result]:
    @wraps(method)
    def call(self: Store, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return measure(method.__name__, method, self, *args, **kwargs)

    return call


def _steps(operation: str, items: Iterator[Item]) -> Iterator[Item]:
    """Measure the time that a stream spends in the store, without the time of its reader."""
    while (item := measure(operation, next, items, None)) is not None:
        yield item


def _measured_stream(
    method: Callable[Concatenate[Store, Arguments], Iterator[Item]],
) -> Callable[Concatenate[Store, Arguments], Iterator[Item]]:
    @wraps(method)
    def call(self: Store, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Iterator[Item]:
        return _steps(method.__name__, method(self, *args, **kwargs))

    return call


class MeasuredStore(Store):
    """A store whose operations are measured."""

    get = _measured(Store.get)
    get_part = _measured(Store.get_part)
    put_one = _measured(Store.put_one)
    put = _measured(Store.put)
    patch = _measured(Store.patch)
    delete = _measured(Store.delete)
    transact = _measured(Store.transact)
    delete_matching = _measured(Store.delete_matching)
    count = _measured(Store.count)
    entries = _measured_stream(Store.entries)
    export_records = _measured_stream(Store.export_records)
    import_records = _measured(Store.import_records)
    hit = _measured(Store.hit)
    watch = _measured(Store.watch)
    ping = _measured(Store.ping)

    def page(
        self, pattern: Filter, *, cursor: int, limit: int, values: bool = True
    ) -> tuple[int, Iterator[dict[str, bytes | None]]]:
        """Measure both parts of a page: the search for its names, and the stream of its values."""
        next_cursor, entries = measure("page", super().page, pattern, cursor=cursor, limit=limit, values=values)
        return next_cursor, _steps("page", entries)

    def page_of_records(
        self, pattern: Filter, *, cursor: int, limit: int, values: bool = True
    ) -> tuple[int, Iterator[list[Listed]]]:
        """Measure both parts, as above."""
        page = super().page_of_records
        next_cursor, records = measure("page_of_records", page, pattern, cursor=cursor, limit=limit, values=values)
        return next_cursor, _steps("page_of_records", records)
