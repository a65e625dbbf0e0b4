"""Event streams: what a watch is told, as text for EventSource and curl.

https://html.spec.whatwg.org/multipage/server-sent-events.html has the format. No event is named `error`, `open` or
`message`: EventSource has events of its own with these names.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson
from flask import request

from models.entry import value_to_json
from models.errors import InvalidToken, TokensUnusable
from models.filter import Filter
from models.watching.states import State
from models.watching.watcher import Batch, Kind
from resources.media_types import EVENTS
from resources.parsing.conditions import entity_tag, refuse_selection
from resources.parsing.preferences import apply_wait, read_wait
from resources.responses import BytesResponse
from resources.watching import Watch


LAST_EVENT_ID = "Last-Event-ID"
# How long a client waits before it connects again; random, so that those of a worker that ends come one by one.
RETRY_MS = 1_000, 3_000
HEARTBEAT_SECONDS = 15
CHUNK_BYTES = 128 * 1024
# How long the end of a stream waits for an id that covers all that was told.
SETTLE_SECONDS = 1.0
# The id behind a `reset` that the state follows: nothing can be resumed from there. Without an id an EventSource would
# go on from the `since` of its URL.
NOWHERE = "0-0"


class EventStream:
    """The body of an event stream.

    :param watch: tells what is sent
    :param values: whether values are sent, or their sizes
    :param wait: ends the stream after the next changes or after so many seconds; None for no end
    """

    def __init__(self, watch: Watch, *, values: bool, wait: int | None) -> None:
        self._watch = watch
        self._values = values
        self._ends_with_changes = wait is not None
        self._until = math.inf if wait is None else time.monotonic() + wait
        self._beats_at = time.monotonic() + HEARTBEAT_SECONDS
        # Within a state, and within some changes, there is no id to go on from.
        self._is_resumable = True
        self._has_told_changes = False

    def __iter__(self) -> Iterator[bytes]:
        """Return the text, some at a time."""
        yield b"retry: %d\n\n" % random.randint(*RETRY_MS)  # noqa: S311  # it is no secret
        while True:
            batch = self._watch.next(self._until if self._is_resumable else math.inf)
            if (code := self._reason_to_end()) is not None:
                yield _event("end", {"code": code})
                return
            if batch is not None:
                yield from _chunks(_texts(batch, values=self._values))
                self._note(batch)
            elif self._watch.has_left:
                return
            elif time.monotonic() >= self._beats_at:
                yield _heartbeat(self._watch.watcher.position)
                self._beats_at = time.monotonic() + HEARTBEAT_SECONDS
            if self._is_over:
                yield from self._last_id()
                return

    def close(self) -> None:
        """Watch no longer."""
        self._watch.close()

    def _note(self, told: Batch) -> None:
        self._beats_at = time.monotonic() + HEARTBEAT_SECONDS
        self._is_resumable = bool(told.id)
        self._has_told_changes = self._is_resumable and told.kind is Kind.STATES

    @property
    def _is_over(self) -> bool:
        has_waited = time.monotonic() >= self._until or (self._ends_with_changes and self._has_told_changes)
        return self._is_resumable and has_waited

    def _last_id(self) -> Iterator[bytes]:
        watcher = self._watch.watcher
        # With another id the client would be told the changes again.
        position = watcher.settle(SETTLE_SECONDS) if self._has_told_changes else watcher.position
        if position is not None:
            yield _heartbeat(position)

    def _reason_to_end(self) -> str | None:
        """Return the code of what ends the stream; None if it may go on."""
        if self._watch.ends_with_worker():
            return "stopping"
        try:
            self._watch.check_token()
        except InvalidToken:
            return "invalid_token"
        except TokensUnusable:
            return "tokens_unusable"
        return None


def event_stream(
    watch: Callable[..., Watch], pattern: Filter, *, values: bool, initial: bool, since: str | None
) -> BytesResponse:
    """Return what happens to the keys that a filter matches.

    :param watch: begins to watch them
    :param values: whether values are sent, or their sizes
    :param initial: whether their state comes first, if there is nothing to go on from
    :param since: the id to go on from; that of the header Last-Event-ID counts more
    :raises InvalidCondition: a header of the current request selects a value
    """
    refuse_selection()
    wait = read_wait()
    watching = watch(pattern, since=request.headers.get(LAST_EVENT_ID, since), initial=initial)
    response = BytesResponse(EventStream(watching, values=values, wait=wait), content_type=EVENTS)
    response.headers.add("Vary", "Accept")
    # Else nginx would hold events until it has some kilobytes.
    response.headers.add("X-Accel-Buffering", "no")
    if wait is not None:
        apply_wait(response, wait)
    return response


def _heartbeat(position: str | None) -> bytes:
    """Return what moves the client's id on, without an event; a comment if there is no id."""
    return b":\n\n" if position is None else b"id: %b\n\n" % position.encode()


def _texts(batch: Batch, *, values: bool) -> Sequence[bytes]:
    """Return the events of a batch; the last one has its id."""
    if batch.kind is Kind.STATES:
        texts = [state.texts.get(values) or _state_text(state, values=values) for state in batch.states]
    else:
        texts = [_event(batch.kind.value, {})]
    if batch.id is not None:
        texts[-1] = b"id: %b\n%b" % (batch.id.encode(), texts[-1])
    return texts if batch.id != "" else [*texts, _heartbeat(NOWHERE)]


def _state_text(state: State, *, values: bool) -> bytes:
    """Return the event for a state, which is encoded once for all who watch it."""
    data: dict[str, Any] = {"key": value_to_json(state.key)}
    if state.value is None or state.tag is None:
        name = "expire" if state.has_expired else "delete"
    else:
        name = "put"
        data |= {"value": value_to_json(state.value)} if values else {"value_bytes": len(state.value)}
        data["etag"] = entity_tag(state.tag, json=False)
        if state.expires_at is not None:
            data["expires_at"] = state.expires_at
    text = state.texts[values] = _event(name, data)
    return text


def _event(name: str, data: dict[str, Any]) -> bytes:
    # In JSON there is no line break, which would end the data.
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


def _chunks(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Join events to chunks; what is longer than one is sent in parts."""
    held: list[bytes] = []
    held_bytes = 0
    for text in texts:
        if held and held_bytes + len(text) > CHUNK_BYTES:
            yield b"".join(held)
            held, held_bytes = [], 0
        if len(text) > CHUNK_BYTES:
            yield from (text[at : at + CHUNK_BYTES] for at in range(0, len(text), CHUNK_BYTES))
        else:
            held.append(text)
            held_bytes += len(text)
    if held:
        yield b"".join(held)
