"""A stream that prefetches: while one item is used the next is on its way."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar


Item = TypeVar("Item")

# What is shorter is not worth a thread: the names of one SCAN.
FIRST_ITEMS = 2


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Return the items of an iterator, each of them asked for while the one before is used.

    :param items: waits for each item, of which none is None
    """

    def ask() -> Item | None:
        return next(items, None)

    for _ in range(FIRST_ITEMS):
        item = ask()
        if item is None:
            return
        yield item
    # Under Gunicorn it is a greenlet, and starts when this one waits.
    thread = ThreadPoolExecutor(max_workers=1)
    try:
        upcoming = thread.submit(copy_context().run, ask)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(copy_context().run, ask)
            time.sleep(0)
            yield item
    finally:
        # Whoever stops reading does not wait for what is on its way.
        thread.shutdown(wait=False)
