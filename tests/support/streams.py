"""An open event stream of a service, as a client reads it."""

from collections.abc import Iterator, Mapping
from typing import Self

from tests.support.events import AS_EVENTS, Blocks, Event
from tests.support.wire import Cut, Wire


class Stream:
    """An open event stream of a service.

    :param port: where it listens
    :param target: what is watched
    :param headers: beside Accept
    :param receive_buffer_bytes: see :class:`Wire`
    """

    def __init__(
        self,
        port: int,
        target: str,
        headers: Mapping[str, str] | None = None,
        *,
        receive_buffer_bytes: int | None = None,
    ) -> None:
        self.wire = Wire(port, receive_buffer_bytes=receive_buffer_bytes)
        self.wire.begin("GET", target, {**AS_EVENTS, **(headers or {})})
        self.status, self.headers = self.wire.head()
        self.id: str | None = None
        self._blocks = Blocks()
        self._events = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.__exit__()

    def next(self) -> Event:
        """Return the next event; heartbeats only move the id.

        :raises StopIteration: the stream has ended
        """
        while True:
            event = next(self._events)
            if event.id is not None:
                self.id = event.id
            if event.name:
                return event

    def until(self, name: str) -> list[Event]:
        """Return the events up to the first one with a name."""
        found = [self.next()]
        while found[-1].name != name:
            found.append(self.next())
        return found

    def _read(self) -> Iterator[Event]:
        try:
            for chunk in iter(self.wire.chunk, b""):
                yield from self._blocks.feed(chunk)
        except Cut:
            return
