"""Reading ahead."""

import threading
from collections.abc import Iterator

import pytest

from models.valkey.prefetch import FIRST_ITEMS, prefetch
from tests.support.servers.services import eventually


class Numbers:
    """Numbers from 0, and how many of them were asked for."""

    def __init__(self, count: int) -> None:
        self.asked = 0
        self._count = count

    def __iter__(self) -> Iterator[int]:
        for number in range(self._count):
            self.asked += 1
            yield number


@pytest.mark.parametrize("count", [0, 1, FIRST_ITEMS, FIRST_ITEMS + 1, 100])
def test_all_items_come_in_their_order(count: int) -> None:
    assert list(prefetch(iter(Numbers(count)))) == list(range(count))


def test_a_short_stream_starts_no_thread() -> None:
    before = threading.active_count()

    for _ in prefetch(iter(Numbers(FIRST_ITEMS))):
        assert threading.active_count() == before


def test_the_next_item_is_asked_for_while_one_is_used() -> None:
    numbers = Numbers(100)
    stream = prefetch(iter(numbers))

    assert [next(stream) for _ in range(FIRST_ITEMS + 1)] == list(range(FIRST_ITEMS + 1))

    eventually(lambda: numbers.asked == FIRST_ITEMS + 2)


def test_nothing_more_is_asked_for_when_nobody_reads_on() -> None:
    numbers = Numbers(100)
    stream = prefetch(iter(numbers))
    before = threading.active_count()
    for _ in range(FIRST_ITEMS + 1):
        next(stream)

    stream.close()  # type: ignore[attr-defined]  # it is a generator

    eventually(lambda: threading.active_count() == before)
    assert numbers.asked <= FIRST_ITEMS + 2


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield from range(FIRST_ITEMS + 2)
        raise OSError("the rest is lost")

    stream = prefetch(items())

    assert [next(stream) for _ in range(FIRST_ITEMS + 2)] == list(range(FIRST_ITEMS + 2))
    with pytest.raises(OSError, match="the rest is lost"):
        next(stream)
