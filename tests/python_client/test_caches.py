"""The client as a cache: for cachelib, Flask-Caching and Django, with a real service."""

import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import django.conf
import pytest
from django.core.cache import CacheHandler
from flask import Flask
from flask_caching import Cache
from redis import Redis

from client import Store
from client.cachelib import FlaskvstoreCache
from tests.python_client.test_documentation import PAGE
from tests.support.servers.services import Service, free_port


VALUES: list[Any] = ["text", b"\xff", 5, True, None, {"a": [1.5]}, timedelta(seconds=1)]


@pytest.fixture
def store(service: Service, service_connection: Redis) -> Iterator[Store]:
    service_connection.flushall()
    with Store(f"http://127.0.0.1:{service.port}") as store:
        yield store


class TestCachelib:
    @pytest.fixture
    def cache(self, store: Store) -> FlaskvstoreCache:
        return FlaskvstoreCache(store)

    @pytest.mark.parametrize("value", VALUES)
    def test_a_value_comes_back(self, cache: FlaskvstoreCache, value: object) -> None:
        assert cache.set("key", value)

        assert cache.get("key") == value
        assert cache.has("key")
        assert cache.get_dict("key", "other") == {"key": value, "other": None}

    def test_it_expires_unless_told_otherwise(self, cache: FlaskvstoreCache, store: Store) -> None:
        cache.set("default", 1)
        cache.set("long", 1, timedelta(hours=1))
        cache.set("always", 1, 0)
        cache.inc("n")

        ttls = {key: store.entry(f"cache:{key}").ttl or 0 for key in ("default", "long", "always", "n")}
        assert ttls["always"] == 0
        assert all(250 < ttls[key] <= 300 for key in ("default", "n"))
        assert ttls["long"] > 300

    def test_it_adds_deletes_and_counts(self, cache: FlaskvstoreCache) -> None:
        assert cache.add("key", 1)
        assert not cache.add("key", 2)
        assert (cache.inc("key", 5), cache.dec("key")) == (6, 5)
        assert cache.delete("key")
        assert not cache.delete("key")

    def test_it_deletes_its_own_keys_only(self, cache: FlaskvstoreCache, store: Store) -> None:
        store.put("other", "x")
        cache.set("key", 1)

        assert cache.clear()

        assert list(store) == ["other"]

    def test_without_its_service_it_is_empty(self) -> None:
        cache = FlaskvstoreCache(url=f"http://127.0.0.1:{free_port()}")

        assert cache.get("key") is None
        assert not cache.has("key")
        assert not cache.set("key", 1)
        assert not cache.add("key", 1)
        assert not cache.delete("key")
        assert not cache.clear()
        assert cache.inc("key") is None
        cache._store.close()


def example(first_line: str) -> str:
    """Return the example of the page that begins with a line."""
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return next(str(example) for example in examples if example.startswith(first_line))


def test_flask_caching_uses_it_as_the_page_shows(service: Service, store: Store) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(example("from flask ").replace(":5000", f":{service.port}"), names)  # noqa: S102  # it is ours
    app, cache, made = names["app"], names["cache"], []
    assert isinstance(app, Flask)
    assert isinstance(cache, Cache)

    @app.get("/")
    @cache.cached()
    def index() -> str:
        made.append(1)
        return "page"

    assert {app.test_client().get("/").text for _ in range(3)} == {"page"}
    assert len(made) == 1
    assert store.count("cache:$") == 1
    app.extensions["cache"][cache]._store.close()


def test_django_uses_it_as_the_page_shows(service: Service, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("kv_cache")
    exec(example("import pickle"), module.__dict__)  # noqa: S102  # it is ours
    monkeypatch.setitem(sys.modules, "kv_cache", module)
    if not django.conf.settings.configured:
        django.conf.settings.configure()
    backend = {"BACKEND": "kv_cache.KvCache", "LOCATION": f"http://127.0.0.1:{service.port}"}
    cache = CacheHandler({"default": backend})["default"]

    for value in VALUES:
        cache.set("key", value)
        assert cache.get("key", "default") == value
    assert cache.add("new", 1, timeout=None)
    assert not cache.add("new", 2)
    assert (cache.incr("new"), cache.get_or_set("made", lambda: "x")) == (2, "x")
    assert cache.touch("new", 1000)
    assert not cache.touch("nothing")
    assert store.entry("django::1:new").ttl is not None
    assert cache.delete("new")
    assert not cache.delete("new")
    assert cache.get("new", "default") == "default"
    cache.clear()
    assert store.count() == 0
    cache.kv.close()
