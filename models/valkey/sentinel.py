"""The primary behind Sentinels: asked for each time that a connection is made, and left as soon as it is replaced.

A primary that was replaced on purpose takes writes for about ten seconds more, and they are lost when it becomes a
replica. So each Sentinel is listened to as well. See
https://redis.io/docs/latest/develop/reference/sentinel-clients/ and
https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#pubsub-messages.
"""

import time
from collections.abc import Callable
from contextlib import closing
from threading import Event, Lock, Thread
from typing import Any

import redis
from redis import exceptions

from models.address import Address
from models.errors import StoreError
from models.valkey.client import Client
from models.valkey.discovery import Discovery
from models.valkey.pool import Limits, open_pool


SWITCH = "+switch-master"
# How often a Sentinel is asked that cannot be listened to, and how soon a listener ends.
PAUSE_SECONDS = 1.0
# A connection that is silent is made anew after this time: it may be dead without a sign.
LISTEN_SECONDS = 10.0
# For so long a Sentinel that names a primary that was left has only not heard yet: they tell each other every two
# seconds, and make the old one a replica after about ten.
LEFT_SECONDS = 30.0


class Primary:
    """Where the primary of a service is.

    :param sentinels: the Sentinels that watch it
    :param service: the name that they know it by

    ``latest`` is the one that was heard of last, and ``on_change`` is called when it is another than before.
    """

    def __init__(self, sentinels: Discovery, service: str) -> None:
        self._sentinels = sentinels
        self._service = service
        self._left: tuple[Address | None, float] = (None, 0.0)
        self._lock = Lock()
        self._is_closed = Event()
        self._listeners: list[Thread] = []
        self.latest: Address | None = None
        self.on_change: Callable[[], None] = lambda: None

    def address(self) -> Address:
        """Return where the primary is.

        :raises redis.RedisError: no Sentinel has answered
        """
        self._listen()
        _, answer = self._sentinels.ask(*self._question, is_answer=self._is_news)
        return self._learn(_address(*answer))

    def close(self) -> None:
        """Listen no longer."""
        self._is_closed.set()

    @property
    def _question(self) -> tuple[str, str, str]:
        return "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service

    def _is_news(self, answer: Any) -> bool:
        left, left_at = self._left
        return answer is not None and (_address(*answer) != left or time.monotonic() > left_at + LEFT_SECONDS)

    def _learn(self, found: Address) -> Address:
        with self._lock:
            before, self.latest = self.latest, found
            if before is not None and before != found:
                self._left = before, time.monotonic()
                self.on_change()
        return found

    def _listen(self) -> None:
        """Listen to each Sentinel, from the first connection on."""
        with self._lock:
            if not self._listeners:
                self._listeners = [
                    Thread(target=self._listen_to, args=(address,), daemon=True)
                    for address in self._sentinels.addresses
                ]
                for listener in self._listeners:
                    listener.start()

    def _listen_to(self, address: Address) -> None:
        """Learn of a new primary what one Sentinel says, until this is closed."""
        while not self._is_closed.is_set():
            try:
                with closing(self._sentinels.open(address)) as sentinel:
                    self._follow(sentinel.pool.get_connection())
            except (exceptions.RedisError, StoreError):
                self._is_closed.wait(PAUSE_SECONDS)

    def _follow(self, connection: Any) -> None:
        connection.send_command(*self._question)
        answer = connection.read_response()
        if self._is_news(answer):
            self._learn(_address(*answer))
        connection.send_command("SUBSCRIBE", SWITCH)
        until = time.monotonic() + LISTEN_SECONDS
        while not self._is_closed.is_set() and time.monotonic() < until:
            if connection.can_read(timeout=PAUSE_SECONDS):
                kind, _, said = connection.read_response()
                # The name of the service, and host and port of the old primary and of the new one.
                if kind == b"message" and (words := said.split())[0] == self._service.encode():
                    self._learn(_address(*words[3:]))


class PrimaryConnection(redis.Connection):
    """A connection to whatever is the primary when it is made.

    :param primary: where it is
    """

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        super().__init__(**options)
        self._primary = primary

    def on_connect(self) -> None:  # noqa: D102  # as its parent's
        super().on_connect()
        role = dict[Any, Any](self.handshake_metadata)[b"role"]
        if role != b"master":
            raise exceptions.ConnectionError(f"{self.host}:{self.port} is no primary yet, or no longer: {role!r}.")

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next answer, unless the server is no primary any more: what it has written is lost then."""
        try:
            answer = super().read_response(*args, **kwargs)
        except exceptions.ReadOnlyError:
            # It was a primary once. The next command finds the new one.
            self.disconnect()
            raise
        if (self.host, self.port) != self._primary.latest:
            self.disconnect()
            raise exceptions.ConnectionError(f"{self.host}:{self.port} was replaced while it answered.")
        return answer

    def _connect(self) -> Any:
        self.host, self.port = self._primary.address()
        return super()._connect()


class PrimaryClient(Client):
    """A client of whatever is the primary.

    :param primary: where it is
    :param url: how it is reached, whatever its host
    :param limits: how long a command may wait
    :param options: those of :func:`models.valkey.pool.open_pool`
    """

    def __init__(self, primary: Primary, url: str, limits: Limits, **options: Any) -> None:
        pool = open_pool(url, limits, connection_class=PrimaryConnection, primary=primary, **options)
        super().__init__(pool)
        self._primary = primary
        primary.on_change = lambda: pool.disconnect(inuse_connections=False)

    def close(self) -> None:  # noqa: D102  # as its parent's
        self._primary.close()
        super().close()


def _address(host: bytes, port: bytes) -> Address:
    return Address(host.decode(), int(port))
