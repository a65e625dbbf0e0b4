"""A pool and its queue: who waits for a connection gets the next one, in order."""

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, Full

import pytest

from api.serving.embedded import EmbeddedServer
from models.errors import StoreSaturated
from models.valkey.pool import FairQueue, Limits, open_pool
from tests.support.servers.services import eventually


def waiting(queue: FairQueue) -> int:
    return len(queue._waiting)


def test_the_last_connection_used_is_taken_first() -> None:
    queue = FairQueue(3)
    for connection in "abc":
        queue.put_nowait(connection)

    assert [queue.get() for _ in range(3)] == ["c", "b", "a"]


def test_there_are_never_more_than_allowed() -> None:
    queue = FairQueue(1)
    queue.put_nowait("a")

    with pytest.raises(Full):
        queue.put_nowait("b")


def test_a_wait_has_an_end_and_is_reported() -> None:
    waits: list[float] = []
    queue = FairQueue(1, waits.append)

    with pytest.raises(Empty):
        queue.get(timeout=0.01)
    with pytest.raises(Empty):
        queue.get(block=False)
    queue.put_nowait("a")

    assert queue.get() == "a"
    assert [seconds >= 0.01 for seconds in waits] == [True]


def test_who_waits_is_served_in_order_and_never_overtaken() -> None:
    queue, served = FairQueue(1), []

    def wait(number: int) -> None:
        queue.get(timeout=30)
        served.append(number)

    threads = []
    for number in range(20):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        eventually(lambda number=number: waiting(queue) == number + 1)

    for number in range(20):
        queue.put_nowait("a")
        # A newcomer finds nothing: it belongs to the one that waits.
        with pytest.raises(Empty):
            queue.get(block=False)
        eventually(lambda number=number: len(served) == number + 1)

    for thread in threads:
        thread.join()
    assert served == list(range(20))


def test_no_connection_is_lost_when_it_comes_as_the_wait_ends() -> None:
    queue = FairQueue(1)
    queue.put_nowait("a")

    def use() -> None:
        for _ in range(300):
            try:
                connection = queue.get(timeout=0.0005)
            except Empty:
                continue
            time.sleep(0.0002)
            queue.put_nowait(connection)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (queue.queue, waiting(queue)) == (["a"], 0)


class TestWaitingForLong:
    @pytest.mark.parametrize(
        ("is_connected", "raises"), [(True, nullcontext()), (False, pytest.raises(StoreSaturated))]
    )
    def test_a_connection_that_comes_late_is_used_if_it_needs_not_be_connected(
        self, valkey_server: EmbeddedServer, is_connected: bool, raises: AbstractContextManager[object]
    ) -> None:
        pool = open_pool(valkey_server.url, Limits(pool=0.05, connect=30, answer=30), max_connections=1)
        connection = pool.get_connection()

        def give_back() -> None:
            eventually(lambda: waiting(pool.pool) == 1)
            time.sleep(pool.connect_within_seconds)
            if not is_connected:
                connection.disconnect()
            pool.release(connection)

        thread = threading.Thread(target=give_back)
        thread.start()
        with raises:
            pool.release(pool.get_connection())
        thread.join()

        assert pool.pool.queue.count(connection) == 1
        pool.disconnect()
