"""The primary behind Sentinels: asked for each time that a connection is made.

See https://redis.io/docs/latest/develop/reference/sentinel-clients/.
"""

from collections.abc import Callable
from typing import Any

import redis
from redis import exceptions

from models.valkey.client import Client
from models.valkey.discovery import Discovery


class Primary:
    """Where the primary of a service is.

    :param sentinels: the Sentinels that watch it
    :param service: the name that they know it by
    """

    def __init__(self, sentinels: Discovery, service: str) -> None:
        self._sentinels = sentinels
        self._service = service
        self._latest: object = None
        self._drop_idle: Callable[[], None] = lambda: None

    def connections_of(self, client: Client) -> None:
        """Close the idle connections of a client whenever the primary changes."""
        self._drop_idle = lambda: client.pool.disconnect(inuse_connections=False)

    def address(self) -> tuple[str, int]:
        """Return host and port of the primary.

        :raises redis.RedisError: no Sentinel has answered
        """
        _, (host, port) = self._sentinels.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        found = host.decode(), int(port)
        if found != self._latest:
            self._latest = found
            self._drop_idle()
        return found


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

    def read_response(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102  # as its parent's
        try:
            return super().read_response(*args, **kwargs)
        except exceptions.ReadOnlyError:
            # It was a primary once. The next command finds the new one.
            self.disconnect()
            raise

    def _connect(self) -> Any:
        self.host, self.port = self._primary.address()
        return super()._connect()
