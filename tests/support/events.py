"""Event streams as a client reads them: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple


AS_EVENTS = {"Accept": "text/event-stream"}
# The state, or what has changed, and then the end.
AT_ONCE = {**AS_EVENTS, "Prefer": "wait=0"}


class Event(NamedTuple):
    """One block of a stream.

    :param name: its event; empty if it has only an id or is a comment
    :param data: its data, decoded; None if it has none
    :param id: its id; None if it has none
    """

    name: str
    data: Any
    id: str | None


class Blocks:
    """Takes a stream apart, however it was cut into chunks."""

    def __init__(self) -> None:
        self._rest = b""
        self.retry_ms: int | None = None

    def feed(self, data: bytes) -> Iterator[Event]:
        """Return the events that are complete."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            fields = dict(line.partition(b":")[::2] for line in block.split(b"\n"))
            assert fields.keys() <= {b"", b"retry", b"id", b"event", b"data"}, block
            if b"retry" in fields:
                self.retry_ms = int(fields[b"retry"])
                continue
            id_, name, data_ = (fields.get(each) for each in (b"id", b"event", b"data"))
            assert (name is None) == (data_ is None), block
            yield Event(
                (name or b"").decode().strip(),
                None if data_ is None else json.loads(data_),
                None if id_ is None else id_.decode().strip(),
            )


def events_of(body: bytes) -> list[Event]:
    """Return all events of a stream that has ended."""
    return list(Blocks().feed(body))
