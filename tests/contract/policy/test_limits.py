"""How much a client may ask for: the rate limit, and long lists and watches at a time."""

import contextlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from redis import Redis

from api import parsers
from api.app import GRANIAN_WATCHERS, create_app
from api.settings import Settings
from models.store import Store
from models.tokens import SCOPES, Tokens
from models.watching import hub
from resources.errors import TooManyWatchers
from resources.extensions import WATCH_LIMITER
from tests.support.clients import AS_NDJSON, JSON, NDJSON, Ask, bearer, in_process, put_json, target_of
from tests.support.contract import Contract
from tests.support.events import AS_EVENTS
from tests.support.servers.services import eventually, serving
from tests.support.servers.stores import server_of, store_of
from tests.support.wire import LARGE, Wire


@pytest.fixture
def backend() -> str:
    return "valkey"


class TestRateLimit:
    def limited(self, store: Store, contract: Contract, rate: str, tokens_file: Path | None = None) -> Ask:
        settings = Settings(rate_limit=parsers.rate(rate), tokens_file=tokens_file, trusted_proxies=1)
        return in_process(create_app(settings, store=store), contract)

    def test_what_is_above_it_is_refused_until_the_window_ends(
        self, store: Store, client: Redis, contract: Contract
    ) -> None:
        ask = self.limited(store, contract, "3/minute")
        answers = [ask("GET", "/keys") for _ in range(5)]

        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        assert [answer.headers["RateLimit-Limit"] for answer in answers] == ["3"] * 5
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
        assert all(1 <= int(answer.headers["RateLimit-Reset"]) <= 60 for answer in answers)
        assert "Retry-After" not in answers[0].headers
        assert answers[3].code == "rate_limited"
        assert answers[3].headers["Retry-After"] == answers[3].headers["RateLimit-Reset"]
        assert answers[3].json["limit"] == 3

        # The window ends.
        [counter] = client.scan_iter("flaskvstore-hits:*")
        assert 0 < client.ttl(counter) <= 60
        client.delete(counter)
        assert ask("GET", "/keys").status == 200

    def test_the_window_does_not_start_anew_with_each_request(
        self, store: Store, client: Redis, contract: Contract
    ) -> None:
        ask = self.limited(store, contract, "9/minute")
        ask("GET", "/keys")
        [counter] = client.scan_iter("flaskvstore-hits:*")
        client.expire(counter, 20)

        answer = ask("GET", "/keys")

        assert client.ttl(counter) <= 20
        assert int(answer.headers["RateLimit-Reset"]) <= 20

    def test_services_with_other_prefixes_on_one_server_do_not_count_together(
        self, client: Redis, contract: Contract
    ) -> None:
        asks = [self.limited(store_of(client, key_prefix=prefix), contract, "9/minute") for prefix in ("a:", "b:")]

        remaining = [ask("GET", "/keys").headers["RateLimit-Remaining"] for ask in asks]

        assert remaining == ["8", "8"]

    def test_what_is_refused_changes_nothing(self, store: Store, contract: Contract) -> None:
        ask = self.limited(store, contract, "1/minute")
        ask("PUT", "/keys?a=1")

        assert ask("DELETE", "/keys").status == 429
        assert store.get("a").content == b"1"

    def test_all_resources_of_keys_and_all_methods_count_together_and_others_do_not(
        self, store: Store, contract: Contract
    ) -> None:
        ask = self.limited(store, contract, "4/hour")
        for target in ("/", "/swagger.json", "/health/live", "/health/ready", "/nothing"):
            assert "RateLimit-Limit" not in ask("GET", target).headers
        assert "RateLimit-Limit" not in ask("OPTIONS", "/keys").headers

        statuses = [
            ask(method, target).status
            for method, target in (
                *(("GET", "/keys"), ("HEAD", "/keys/a"), ("PUT", "/keys?b=1"), ("DELETE", "/keys/a")),
                *(("GET", "/keys"), ("PUT", "/keys/a")),
            )
        ]

        assert statuses == [200, 404, 200, 404, 429, 429]

    def test_each_address_has_its_own(self, store: Store, contract: Contract) -> None:
        ask = self.limited(store, contract, "1/minute")

        def of(address: str) -> int:
            return ask("GET", "/keys", b"", {"X-Forwarded-For": address}).status

        assert [of("192.0.2.1"), of("192.0.2.1"), of("192.0.2.2"), of("2001:db8::1")] == [200, 429, 200, 200]

    def test_each_token_has_its_own_wherever_it_is_used(self, store: Store, contract: Contract, tmp_path: Path) -> None:
        tokens = Tokens(tmp_path / "tokens.json")
        first, second = (tokens.create(name, namespace="ns", scopes=SCOPES) for name in ("a", "b"))
        ask = self.limited(store, contract, "1/minute", tmp_path / "tokens.json")

        def of(presented: str, address: str) -> int:
            headers: Mapping[str, str] = {**bearer(presented), "X-Forwarded-For": address}
            return ask("GET", "/keys", b"", headers).status

        assert [of(first, "192.0.2.1"), of(first, "192.0.2.2"), of(second, "192.0.2.1")] == [200, 429, 200]
        assert [of("wrong", "192.0.2.1") for _ in range(3)] == [401] * 3

    @pytest.mark.parametrize("prefix", ["", "f", "flaskvstore", "flaskvstore-hits", "flaskvstore-hits:", "{kv}"])
    def test_nothing_meets_its_counters_whatever_the_prefix_is(
        self, client: Redis, contract: Contract, prefix: str
    ) -> None:
        ask = self.limited(store_of(client, key_prefix=prefix), contract, "100/minute")
        ask("GET", "/keys")
        [counter] = client.scan_iter("flaskvstore-hits:*")

        assert (
            ask("GET", "/keys").json == ask("GET", "/keys?limit=10").json == ask("GET", "/keys?values=false").json == {}
        )
        assert ask("GET", "/keys", b"", AS_NDJSON).body == b'{"count":0}\n'
        assert ask("HEAD", "/keys").headers["Total-Count"] == "0"
        assert ask("DELETE", "/keys").json == ask("DELETE", "/keys?filter=$hits$").json == {"deleted": 0}
        if counter.decode().startswith(prefix):
            key = counter.decode().removeprefix(prefix)
            line = json.dumps({"key": key, "value": "1"}).encode()
            for answer in (
                *(ask(method, target_of(key)) for method in ("GET", "PUT", "DELETE")),
                ask("PATCH", target_of(key), b'{"increment": -9}', JSON),
                put_json(ask, {"a": "1", key: "1"}),
                ask("POST", "/keys", json.dumps({"delete": [key]}).encode(), JSON),
            ):
                assert (answer.status, answer.code) == (400, "invalid_key")
            imported = ask("PUT", "/keys", line, NDJSON)
            assert imported.status == 400 or imported.json["stored"] == 0
        assert int(client.get(counter) or 0) > 6

    def test_a_namespace_named_as_its_counters_has_none_of_them(
        self, client: Redis, contract: Contract, tmp_path: Path
    ) -> None:
        presented = Tokens(tmp_path / "tokens.json").create("a", namespace="flaskvstore-hits", scopes=SCOPES)
        ask = self.limited(store_of(client, key_prefix=""), contract, "100/minute", tmp_path / "tokens.json")

        for _ in range(2):
            assert ask("DELETE", "/keys", b"", {"Authorization": f"Bearer {presented}"}).json == {"deleted": 0}
        assert ask("GET", "/keys", b"", {"Authorization": f"Bearer {presented}"}).json == {}

    def test_no_list_shows_its_counters(self, store: Store, contract: Contract) -> None:
        ask = self.limited(store, contract, "100/minute")

        assert ask("GET", "/keys").json == {}
        assert ask("HEAD", "/keys").headers["Total-Count"] == "0"
        assert ask("DELETE", "/keys").json == {"deleted": 0}

    def test_without_the_setting_nothing_is_counted(self, store: Store, client: Redis, contract: Contract) -> None:
        ask = in_process(create_app(Settings(), store=store), contract)

        assert "RateLimit-Limit" not in ask("GET", "/keys").headers
        assert list(client.scan_iter()) == []


def test_all_workers_count_together(tmp_path: Path, contract: Contract) -> None:
    with serving(tmp_path, "--workers", "2", FLASKVSTORE_RATE_LIMIT="20/hour") as service:
        ask = service.ask(contract)
        statuses: list[int] = []

        def send() -> None:
            statuses.extend(ask("GET", "/keys/a").status for _ in range(10))

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(statuses) == [404] * 20 + [429] * 20


def test_only_so_many_long_lists_are_sent_at_a_time(tmp_path: Path, contract: Contract) -> None:
    with serving(tmp_path, FLASKVSTORE_MAX_LISTS="2") as service:
        store_of(server_of(service)).put({key: value.encode() for key, value in LARGE.items()})
        ask = service.ask(contract)
        slow = [Wire(service.port, receive_buffer_bytes=4096) for _ in range(2)]
        for wire in slow:
            wire.begin("GET", "/keys", {})
            assert wire.socket.recv(1)

        for method, headers in (("GET", {}), ("GET", AS_NDJSON), ("HEAD", {}), ("DELETE", {})):
            refused = ask(method, "/keys?filter=key$", b"", headers)
            assert refused.status == 429
            if method != "HEAD":
                assert (refused.code, refused.json["limit"]) == ("too_many_lists", 2)
            assert refused.headers["Retry-After"] == "1"
        # Short ones, short pages and single keys are not meant.
        assert ask("GET", "/keys?filter=nothing$").json == {}
        assert ask("GET", "/keys?limit=10&values=false").status == 200
        assert ask("GET", "/keys/nothing").status == 404

        # A client that goes gives its place back, and so does one that has read all.
        slow[0].__exit__()
        eventually(lambda: ask("GET", "/keys").status == 200)
        assert {ask("GET", "/keys").status for _ in range(4)} == {200}
        assert {ask("HEAD", "/keys").headers["Total-Count"] for _ in range(4)} == {"1000"}
        assert {ask("DELETE", "/keys?filter=key$").json["deleted"] for _ in range(2)} == {1_000, 0}
        slow[1].__exit__()


def test_a_list_that_is_never_sent_gives_its_place_back(store: Store, contract: Contract) -> None:
    store.put({key: value.encode() for key, value in LARGE.items()})
    app = create_app(Settings(max_lists=1), store=store)

    for _ in range(3):
        with app.test_client() as caller:
            response = caller.get("/keys", buffered=False)
            assert response.status_code == 200
            response.close()
    assert in_process(app, contract)("GET", "/keys").status == 200


def test_a_client_is_who_the_trusted_proxy_says_and_nobody_else(tmp_path: Path, contract: Contract) -> None:
    variables = {"FLASKVSTORE_RATE_LIMIT": "9/hour", "FLASKVSTORE_TRUSTED_PROXIES": "1"}
    with serving(tmp_path, **variables) as service, contextlib.closing(server_of(service)) as client:
        service.ask(contract)("GET", "/keys", b"", {"X-Forwarded-For": "192.0.2.1, 192.0.2.9"})

        [counter] = client.scan_iter("flaskvstore-hits:*")
        assert "address 192.0.2.9/" in counter.decode()


def test_a_watch_that_cannot_begin_gives_its_place_back(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "START_SECONDS", 0.1)
    ask = in_process(create_app(Settings(redis_url="redis://127.0.0.1:1", max_watchers=1)), contract)

    assert [ask("GET", "/keys", b"", AS_EVENTS).code for _ in range(2)] == ["store_unavailable"] * 2


def test_a_worker_of_granian_has_room_for_few_watchers() -> None:
    limiter = create_app(Settings(redis_url="redis://127.0.0.1:1", server="granian")).extensions[WATCH_LIMITER]
    for _ in range(GRANIAN_WATCHERS):
        limiter.acquire()

    with pytest.raises(TooManyWatchers):
        limiter.acquire()
