"""Fixtures: a store, an application around it, and ways to ask it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from redis import Redis

from api.app import create_app
from api.serving import embedded
from api.serving.embedded import EmbeddedServer
from api.settings import Settings
from models.store import Store
from models.valkey.backend import Backend
from models.valkey.connection import connect
from resources.extensions import STORE
from tests.support.amounts import IS_SOAK
from tests.support.clients import Ask, in_process
from tests.support.contract import Contract
from tests.support.servers import acl
from tests.support.servers.replicated import Group, cluster, sentinels
from tests.support.servers.services import WSGI_SERVER, Service, serving, valkey
from tests.support.servers.stores import MAX_VALUE_BYTES, PREFIX, server_of, url_of


# What tests run on; `make compat-scaled` names others.
BACKENDS = os.environ.get("TEST_BACKENDS", "valkey gunicorn").split()
# Fixtures are not made anew for each example: a test empties its store by itself. Nor is an example ever late.
settings.register_profile(
    "flaskvstore",
    derandomize=not IS_SOAK,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("flaskvstore")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out on Granian what it cannot do; docs/performance.md says the same."""
    for item in items:
        marker = item.get_closest_marker("gunicorn")
        if marker is not None and WSGI_SERVER != "gunicorn":
            item.add_marker(pytest.mark.skip(reason=marker.args[0]))


@pytest.fixture(scope="session")
def contract() -> Contract:
    """The OpenAPI 3.1 document that every answer is held against."""
    app = create_app(Settings(redis_url="redis://127.0.0.1:1"))
    return Contract(app.test_client().get("/openapi.json").get_json())


@pytest.fixture(scope="session", autouse=True)
def server_binary() -> Iterator[None]:
    """The server that ``TEST_SERVER`` names instead of the Valkey that is embedded."""
    with pytest.MonkeyPatch.context() as patch:
        if binary := os.environ.get("TEST_SERVER"):
            patch.setattr(embedded, "find_binary", lambda: binary)
        yield


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A real Valkey, shared by all tests."""
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A real service with two Gunicorn workers and its embedded Valkey, shared by all tests."""
    with serving(tmp_path_factory.mktemp("service"), "--workers", "2") as running:
        yield running


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that tests may disturb; each leaves it well."""
    with serving(tmp_path_factory.mktemp("disturbed"), "--workers", "2") as running:
        yield running


@pytest.fixture(scope="session")
def valkey_connection(valkey_server: EmbeddedServer) -> Iterator[Redis]:
    """A client of it, made once."""
    with Redis.from_url(valkey_server.url) as client:
        yield client


@pytest.fixture
def valkey_client(valkey_connection: Redis) -> Any:
    """An empty real Valkey."""
    return emptied(valkey_connection)


@pytest.fixture(scope="session")
def service_connection(service: Service) -> Iterator[Redis]:
    """A client of the Valkey behind the service, made once."""
    with server_of(service) as client:
        yield client


@pytest.fixture(scope="session")
def cluster_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """A real cluster, shared by all tests that leave it as it is."""
    with cluster(tmp_path_factory.mktemp("cluster")) as group:
        yield group


@pytest.fixture(scope="session")
def sentinel_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """A real primary behind Sentinels, shared by all tests that leave it as it is."""
    with sentinels(tmp_path_factory.mktemp("sentinels")) as group:
        yield group


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """What a test runs on: an application in this process on a real server, or a whole service with one."""
    return str(request.param)


@pytest.fixture
def client(request: pytest.FixtureRequest, backend: str) -> Any:
    """An empty server of each kind."""
    match backend:
        case "valkey" | "acl":
            return request.getfixturevalue("valkey_client")
        case "cluster":
            return emptied(request.getfixturevalue("cluster_group").all_keys)
        case "sentinel":
            return emptied(request.getfixturevalue("sentinel_group").primaries()[0].client)
        case _:
            return emptied(request.getfixturevalue("service_connection"))


@pytest.fixture
def prefix(request: pytest.FixtureRequest, backend: str) -> str:
    """What the name of every key starts with: a hash tag on a cluster, for tests of several keys at once."""
    return "{kv:}" if backend == "cluster" and request.node.get_closest_marker("one_slot") else PREFIX


@pytest.fixture(scope="session")
def reached() -> Iterator[Callable[[str], Backend]]:
    """What reaches the servers of a URL, made once for each."""
    with ExitStack() as stack:
        yield cache(lambda url: stack.enter_context(closing(connect(url, timeout_seconds=5, max_connections=8))))


@pytest.fixture
def store(
    request: pytest.FixtureRequest, reached: Callable[[str], Backend], backend: str, client: Redis, prefix: str
) -> Store:
    """A store on each kind of server."""
    match backend:
        case "cluster" | "sentinel":
            url = request.getfixturevalue(f"{backend}_group").url
        case "acl":
            acl.allow(client, acl.documented())
            url = acl.as_user(request.getfixturevalue("valkey_server").url)
        case "valkey":
            url = request.getfixturevalue("valkey_server").url
        case _:
            url = url_of(request.getfixturevalue("service"))
    return Store(reached(url), key_prefix=prefix, max_value_bytes=MAX_VALUE_BYTES)


@pytest.fixture(scope="session")
def made_once() -> Callable[..., Flask]:
    """An application without a store, made once for each settings: it takes longer to make than most tests."""
    return cache(lambda **settings: create_app(Settings(redis_url="redis://127.0.0.1:1", **settings)))


@pytest.fixture
def app_with(made_once: Callable[..., Flask], store: Store) -> Callable[..., Flask]:
    """An application with some settings on each kind of server."""

    def with_store(**settings: Any) -> Flask:
        app = made_once(**settings)
        app.extensions[STORE] = store
        return app

    return with_store


@pytest.fixture
def app(app_with: Callable[..., Flask]) -> Flask:
    """An application on each kind of server."""
    return app_with()


@pytest.fixture
def ask(request: pytest.FixtureRequest, backend: str, client: Redis, contract: Contract) -> Ask:
    """Ask on each kind of server: an application in this process, or the service over HTTP."""
    if backend == "gunicorn":
        service: Service = request.getfixturevalue("service")
        return service.ask(contract)
    return in_process(request.getfixturevalue("app"), contract)


@pytest.fixture
def served(service: Service, service_connection: Redis, contract: Contract) -> Ask:
    """Ask a real service with an empty store."""
    emptied(service_connection)
    return service.ask(contract)


def emptied(server: Any) -> Any:
    """Empty a server."""
    server.flushall()
    return server
