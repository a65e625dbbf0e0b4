"""Who is told about which names."""

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from models.filter import Filter


Listener = TypeVar("Listener")


class Audience(Generic[Listener]):
    """Those who want to know of names, found by what the names start with.

    To find them takes a time that grows with the length of a name and the number of filters that start as it does.
    """

    def __init__(self) -> None:
        self._by_start: dict[bytes, dict[tuple[bytes, str], _Group[Listener]]] = {}
        self._lengths: list[int] = []

    def add(self, listener: Listener, prefix: bytes, pattern: Filter) -> None:
        """Add one who wants to know of what a filter matches under a prefix."""
        groups = self._by_start.setdefault(prefix + pattern.start, {})
        group = groups.setdefault((prefix, pattern.text), _Group(len(prefix), pattern, {}))
        group.listeners[listener] = None
        self._lengths = sorted({*map(len, self._by_start)})

    def remove(self, listener: Listener, prefix: bytes, pattern: Filter) -> None:
        """Remove one who was added with this filter."""
        start = prefix + pattern.start
        groups = self._by_start[start]
        listeners = groups[prefix, pattern.text].listeners
        del listeners[listener]
        if not listeners:
            del groups[prefix, pattern.text]
        if not groups:
            del self._by_start[start]
            self._lengths = sorted({*map(len, self._by_start)})

    def of(self, name: bytes) -> Iterator[Listener]:
        """Return those who want to know of a name."""
        for length in self._lengths:
            if length > len(name):
                break
            for group in self._by_start.get(name[:length], {}).values():
                # The bare prefix is the name of no key.
                if len(name) > group.key_start and group.pattern.matches(name[group.key_start :]):
                    yield from group.listeners


class _Group(NamedTuple, Generic[Listener]):
    """Those with one filter.

    :param key_start: where the key begins in a name
    """

    key_start: int
    pattern: Filter
    listeners: dict[Listener, None]
