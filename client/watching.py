"""Changes as they come, read from an event stream that is opened again when it ends."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import urlencode

import httpx

from .errors import RateLimited, Unavailable
from .steps import Again, Close, Pause, Read, Request, Steps, exchange, random
from .values import Value, from_json


Kind = Literal["reset", "put", "delete", "expire", "synced"]

# The service says something after 15 seconds at the latest.
SILENCE_SECONDS = 40.0
# How long to wait before it is asked again.
PAUSE_SECONDS = (1.0, 3.0)


@dataclass(frozen=True)
class Change:
    """What has become of a key.

    :param kind: `put`, `delete` or `expire`; `reset` if the whole state follows, and `synced` when it is complete
    :param key: its name; empty for `reset` and `synced`
    :param value: the value that it has now, if any; None if only its size was asked for
    :param value_bytes: the size of the value, if that was asked for
    :param etag: stands for the value in conditions
    :param expires_at: seconds since 1970; None if the key does not expire
    :param id: where to go on from, if nothing is left to tell at this moment; else empty
    """

    kind: Kind
    key: str = ""
    value: Value | None = None
    value_bytes: int | None = None
    etag: str = ""
    expires_at: int | None = None
    id: str = ""


class Watch:
    """An event stream, opened again and again.

    :param pattern: the filter
    :param prefix: what is left out of the names of keys
    :param since: the id to go on from
    :param initial: whether to begin with the state
    :param values: False for sizes
    :param timeout_seconds: how long the service may take to answer
    """

    def __init__(
        self,
        pattern: str | None,
        prefix: str,
        *,
        since: str | None,
        initial: bool,
        values: bool,
        timeout_seconds: float,
    ) -> None:
        query = {"filter": pattern, "initial": None if initial else "false", "values": None if values else "false"}
        given = {name: text for name, text in query.items() if text is not None}
        self._target = "/keys" + ("?" + urlencode(given) if given else "")
        self._prefix = prefix
        self._id = since or ""
        self._timeout_seconds = timeout_seconds
        self._answer: httpx.Response | None = None
        self._was_open = False
        self._text = b""

    def read(self, _place: str | None) -> Steps[tuple[Sequence[Change], str | None]]:
        """Return the changes that come next."""
        while True:
            if self._answer is None:
                yield from self._open()
            more = yield from self._read()
            if not more:
                yield from self.close()
                continue
            *blocks, self._text = (self._text + more).split(b"\n\n")
            if found := [change for block in blocks if (change := self._change(block)) is not None]:
                # There is always more.
                return found, ""

    def close(self) -> Steps[None]:
        """Close the stream."""
        answer, self._answer, self._text = self._answer, None, b""
        if answer is not None:
            yield Close(answer)

    def _open(self) -> Steps[None]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self._id} if self._id else {})}
        request = Request("GET", self._target, headers, None, Again.ALWAYS, is_stream=True)
        request.silence_seconds = SILENCE_SECONDS
        while True:
            try:
                self._answer = yield from exchange(request, self._timeout_seconds)
            except (RateLimited, Unavailable):
                if not self._was_open:
                    raise
                yield Pause(random.uniform(*PAUSE_SECONDS))
            else:
                self._was_open = True
                return

    def _read(self) -> Steps[bytes]:
        try:
            more: bytes = yield Read(cast("httpx.Response", self._answer))
        except httpx.TransportError:
            return b""
        return more

    def _change(self, block: bytes) -> Change | None:
        """Return what a block tells, if it tells a change."""
        lines = (line.partition(":") for line in block.decode().split("\n"))
        fields = {name: text.removeprefix(" ") for name, _, text in lines}
        told = fields.get("id")
        if told is not None:
            self._id = told
        kind = fields.get("event")
        if kind not in {"reset", "put", "delete", "expire", "synced"}:
            # A heartbeat, or the end: it is opened again when it comes.
            return None
        data: dict[str, Any] = json.loads(fields["data"])
        return Change(
            cast("Kind", kind),
            data.get("key", self._prefix)[len(self._prefix) :],
            from_json(data["value"]) if "value" in data else None,
            data.get("value_bytes"),
            data.get("etag", ""),
            data.get("expires_at"),
            told or "",
        )
