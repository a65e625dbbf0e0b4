"""Stores on servers, and the servers behind services."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from redis import Redis

from models.store import Store
from models.valkey.client import Client
from models.valkey.connection import connect
from models.valkey.pool import Limits, open_pool
from tests.support.servers.services import Service


PREFIX = "kv:"
MAX_VALUE_BYTES = 1024 * 1024


def store_of(client: Redis, *, key_prefix: str = PREFIX, max_value_bytes: int = MAX_VALUE_BYTES) -> Store:
    """Return the store that a server on a unix socket is."""
    url = f"unix://{client.connection_pool.connection_kwargs['path']}"
    backend = connect(url, timeout_seconds=5, max_connections=8)
    return Store(backend, key_prefix=key_prefix, max_value_bytes=max_value_bytes)


def url_of(service: Service) -> str:
    """Return the URL of the Valkey behind a service."""
    return f"unix://{service.log.parent / 'data' / 'valkey.sock'}"


def server_of(service: Service) -> Redis:
    """Return a client of the Valkey behind a service."""
    return Redis.from_url(url_of(service))


def fill(service: Service, values: Mapping[str, str]) -> None:
    """Store values behind the back of a service."""
    with closing(server_of(service)) as client:
        client.mset({f"{PREFIX}{key}": value for key, value in values.items()})


class BrokenClient(Client):
    """A client that fails at everything."""

    def __init__(self, error: Exception) -> None:
        super().__init__(open_pool("redis://127.0.0.1:1", Limits(1, 1, 1), max_connections=1))
        self.error = error

    def execute_with_run_id(self, *_: Any) -> Any:
        raise self.error

    def execute_many(self, _: Any) -> Any:
        raise self.error


def broken_store(error: Exception) -> Store:
    """Return a store that fails at everything."""
    return Store(BrokenClient(error), key_prefix=PREFIX, max_value_bytes=1)
