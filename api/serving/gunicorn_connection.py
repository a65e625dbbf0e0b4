"""The connections of a Gunicorn worker: how long each waits for its client, which goes on next, how it is closed."""

import struct
import time
from collections.abc import Callable
from contextlib import suppress
from heapq import nsmallest
from socket import MSG_PEEK, SHUT_RD, SHUT_RDWR, SHUT_WR, SO_LINGER, SOL_SOCKET
from typing import Any

import gevent
from gevent.event import Event
from gevent.socket import socket, wait_read, wait_write


# How late a client may be with a body or with reading an answer, if it sends or reads so many bytes a second.
PATIENCE_SECONDS = 30
LEAST_BYTES_A_SECOND = 1024
# At a stop a connection that has waited for longer is ended.
PATIENCE_AT_STOP_SECONDS = 5
# What may wait in a worker for clients that read slowly; beyond that the latest of them are ended.
UNSENT_BYTES = 32 * 1024 * 1024
# How much is taken in after an answer of a body that nobody has read: a reset would hide the answer from its client.
LINGER_BYTES = 32 * 1024 * 1024
LINGER_SECONDS = 30
LINGER_IDLE_SECONDS = 2
# With one of so many places left, one of so many connections is ended.
SPARE_SHARE, ENDED_SHARE = 16, 100
# How long the loop may work before it looks whether somebody else has something to do.
ROUND_SECONDS = 0.002
# What a connection may receive after each wait before it gives way. A request counts as half of it.
FREE_BYTES = 8 * 1024
# Above 0, for which gevent goes on without that look.
NEXT_ROUND_SECONDS = 1e-9
RESET = struct.pack("ii", 1, 0)  # for SO_LINGER


class Clients:
    """The connections of one worker, and what they share.

    :param limit: how many there may be
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._waiting: set[Connection] = set()
        self._unsent_bytes = 0
        self._loop = gevent.get_hub().loop
        self._last_turn = Event()
        self._last_turn.set()

    def enter(self) -> None:
        """Count one more."""
        self._count += 1
        self._make_room()

    def leave(self) -> None:
        """Count one less."""
        self._count -= 1

    def end_late_ones(self, *, stopping: bool) -> None:
        """End those that have waited for too long; called every second."""
        now = time.monotonic()
        latest = now - PATIENCE_AT_STOP_SECONDS if stopping else 0
        for connection in list(self._waiting):
            if connection.waits_until < now or connection.waits_since < latest:
                self._end(connection)
        # A worker without any room takes no connection for which it would make some.
        self._make_room()

    def wait(self, connection: "Connection", until_ready: Callable[[int], object]) -> None:
        """Let a connection wait, and others work.

        :param until_ready: waits
        """
        self._waiting.add(connection)
        self._unsent_bytes += connection.unsent_bytes
        if self._unsent_bytes > UNSENT_BYTES:
            self._drop_unsent(connection)
        try:
            until_ready(connection.fileno())
        finally:
            self._unsent_bytes -= connection.unsent_bytes
            self._waiting.discard(connection)

    def give_way(self) -> None:
        """Let others work, if this round of the loop has taken long. Of those that give way one goes on in each."""
        if time.time() - self._loop.now() < ROUND_SECONDS:
            return
        before, mine = self._last_turn, Event()
        self._last_turn = mine
        try:
            before.wait()
            gevent.sleep(NEXT_ROUND_SECONDS)
        finally:
            mine.set()

    def _make_room(self) -> None:
        """End those that have waited for longest, if few places are left."""
        if self._count > self._limit - max(1, self._limit // SPARE_SHARE):
            for connection in nsmallest(1 + self._limit // ENDED_SHARE, self._waiting, key=_waits_since):
                self._end(connection)

    def _drop_unsent(self, newest: "Connection") -> None:
        excess = self._unsent_bytes - UNSENT_BYTES
        for connection in sorted((each for each in self._waiting if each.unsent_bytes), key=_waits_since):
            if excess > 0 and connection is not newest:
                excess -= connection.unsent_bytes
                self._end(connection)

    def _end(self, connection: "Connection") -> None:
        self._waiting.discard(connection)
        connection.end()


def _waits_since(connection: "Connection") -> float:
    return connection.waits_since


class Connection(socket):  # type: ignore[misc]  # gevent has no types for it
    """The connection to one client. It first waits for the head of a request, which has a time limit as a whole.

    :param accepted: the socket, which is taken over
    :param clients: those of the worker
    :param idle_seconds: how long a head may take to come
    """

    def __init__(self, accepted: Any, clients: Clients, idle_seconds: float) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        # What waits is `_wait`.
        self.settimeout(0)
        self._clients = clients
        self._idle_seconds = idle_seconds
        self._in_request = False
        self._free_bytes = FREE_BYTES
        self._since = time.monotonic()
        self._patience_seconds = idle_seconds
        self.waits_since = self.waits_until = 0.0
        self.unsent_bytes = 0
        self.is_ended = False
        # Whether something may still come that nobody reads.
        self.lingers = False

    def begin_request(self) -> None:
        """Expect a body from here on, and no more than one piece of work without a look at others."""
        self._in_request = True
        self._since, self._patience_seconds = time.monotonic(), PATIENCE_SECONDS
        self._give_way()
        self._free_bytes -= FREE_BYTES // 2

    def end_request(self) -> None:
        """Expect the head of another request."""
        self._in_request = False
        self._since, self._patience_seconds = time.monotonic(), self._idle_seconds

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what has come, or wait for it.

        :raises TimeoutError: a body comes too slowly
        """
        if self._in_request:
            self._give_way()
        while True:
            try:
                data: bytes = super().recv(size, flags)
            except BlockingIOError:
                self._wait(wait_read, self._since)
            else:
                break
        self._free_bytes -= len(data)
        if self._in_request:
            if not data and self.is_ended:
                raise TimeoutError
            self._since = _credited(self._since, len(data))
        return data

    def sendall(self, data: bytes, flags: int = 0) -> None:
        """Send all, and wait as long as the client goes on reading."""
        sent = self._send_now(data, flags)
        if sent == len(data):
            return
        since, rest = time.monotonic(), memoryview(data)[sent:]
        self._patience_seconds = PATIENCE_SECONDS
        while rest:
            self.unsent_bytes = len(data)
            try:
                self._wait(wait_write, since)
            finally:
                self.unsent_bytes = 0
            sent = self._send_now(rest, flags)
            since, rest = _credited(since, sent), rest[sent:]

    def send(self, data: bytes, flags: int = 0) -> int:
        """Send all: what Gunicorn sends by this is short."""
        self.sendall(data, flags)
        return len(data)

    @property
    def has_left(self) -> bool:
        """Whether the client has closed its end, or is gone."""
        try:
            return not super().recv(1, MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Close it, after a while if something may still come: the kernel would answer that with a reset."""
        if self.lingers and not self.is_ended:
            self.lingers = False
            with suppress(OSError):
                self._linger()
        super().close()

    def end(self) -> None:
        """End a wait: there is nothing more to receive, and an answer that is not read breaks off."""
        self.is_ended = True
        with suppress(OSError):
            if self.unsent_bytes:
                # The kernel would hold what it has of the answer.
                self.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
            self.shutdown(SHUT_RDWR if self.unsent_bytes else SHUT_RD)

    def _linger(self) -> None:
        self.shutdown(SHUT_WR)
        self._in_request, self._patience_seconds = False, LINGER_IDLE_SECONDS
        until, left = time.monotonic() + LINGER_SECONDS, LINGER_BYTES
        while left > 0 and (now := time.monotonic()) < until:
            self._since = now
            self._give_way()
            data = self.recv(64 * 1024)
            if not data:
                break
            left -= len(data)

    def _wait(self, until_ready: Callable[[int], object], since: float) -> None:
        self._free_bytes = FREE_BYTES
        self.waits_since, self.waits_until = since, since + self._patience_seconds
        self._clients.wait(self, until_ready)

    def _give_way(self) -> None:
        if self._free_bytes <= 0:
            self._clients.give_way()

    def _send_now(self, data: bytes | memoryview, flags: int) -> int:
        try:
            sent: int = super().send(data, flags)
        except BlockingIOError:
            return 0
        return sent


def _credited(since: float, count: int) -> float:
    """Return since when a client is late, once it has sent or read some bytes more."""
    return min(time.monotonic(), since + count / LEAST_BYTES_A_SECOND)
