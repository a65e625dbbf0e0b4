"""Many clients at once, and answers that get lost: no change is lost, and none happens twice."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from api.serving.embedded import EmbeddedServer
from tests.support.amounts import amount
from tests.support.clients import AS_TEXT, JSON, NDJSON, Ask, over_http, put_json
from tests.support.contract import Contract
from tests.support.servers.proxy import LOST, Proxy, proxy_to
from tests.support.servers.services import serving


CLIENTS = 8
INCREMENTS = amount(160, 2_000)
MOVES = amount(80, 800)


def all_at_once(count: int, work: Callable[[int], int]) -> int:
    """Let clients work until each has done its part, and add up what they give."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(work, [count // CLIENTS] * CLIENTS))


@pytest.mark.grows
def test_no_increment_by_compare_and_set_is_lost(served: Ask) -> None:
    served("PUT", "/keys/counter", b"0")

    def increment(times: int) -> int:
        lost_races = 0
        done = 0
        while done < times:
            seen = served("GET", "/keys/counter", headers=AS_TEXT)
            answer = served("PUT", "/keys/counter", b"%d" % (int(seen.body) + 1), {"If-Match": seen.headers["ETag"]})
            assert answer.status in {200, 412}
            done += answer.status == 200
            lost_races += answer.status == 412
        return lost_races

    lost_races = all_at_once(INCREMENTS, increment)

    assert served("GET", "/keys/counter").json == {"counter": str(INCREMENTS)}
    assert lost_races > 0, "the clients never met, so this showed nothing"


@pytest.mark.grows
def test_no_increment_by_transaction_is_lost(served: Ask) -> None:
    put_json(served, {"from": str(MOVES), "to": "0"})

    def move(times: int) -> int:
        done = 0
        while done < times:
            from_, to = served("GET", "/keys/from"), served("GET", "/keys/to")
            transaction = {
                "if": {"from": from_.headers["ETag"], "to": to.headers["ETag"]},
                "put": {"from": str(int(from_.json["from"]) - 1), "to": str(int(to.json["to"]) + 1)},
            }
            body = json.dumps(transaction).encode()
            done += served("POST", "/keys", body, JSON).status == 200
        return done

    assert all_at_once(MOVES, move) == MOVES
    assert served("GET", "/keys").json == {"from": "0", "to": str(MOVES)}


def test_only_one_client_creates_a_key(served: Ask) -> None:
    def create(_: int) -> int:
        return sum(served("PUT", f"/keys/{number}", b"", {"If-None-Match": "*"}).status == 200 for number in range(50))

    assert all_at_once(CLIENTS, create) == 50


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, valkey_server: EmbeddedServer) -> Iterator[tuple[Proxy, int]]:
    """A service that reaches its store through a proxy."""
    directory: Path = tmp_path_factory.mktemp("proxied")
    with (
        proxy_to(str(valkey_server.data_dir / "valkey.sock")) as proxy,
        # Enough time to connect on a busy machine, so that the answer is what is lost.
        serving(
            directory,
            *("--redis-url", f"redis://127.0.0.1:{proxy.port}"),
            FLASKVSTORE_STORE_TIMEOUT_SECONDS="10",
        ) as service,
    ):
        yield proxy, service.port


@pytest.fixture
def ask_by_proxy(proxied: tuple[Proxy, int], contract: Contract) -> Ask:
    return over_http("127.0.0.1", proxied[1], contract)


EXISTS = {"If-Match": "*"}
# For each way to send a write: the request, what is in its command, and the value afterwards; it is 1 before.
WRITES = {
    "an increment": (("PATCH", "/keys/a", b'{"increment": 1}', JSON), b"$9\r\nincrement", b"2"),
    "an append": (("PATCH", "/keys/a", b'{"append": "1"}', JSON), b"$6\r\nappend", b"11"),
    "a put": (("PUT", "/keys/a", b"2"), b"kv:a", b"2"),
    "a put on a condition": (("PUT", "/keys/a", b"2", EXISTS), b"kv:a", b"2"),
    "many puts": (("PUT", "/keys?a=2"), b"kv:a", b"2"),
    "many puts that expire": (("PUT", "/keys?a=2&expire_in=60"), b"kv:a", b"2"),
    "many puts on a condition": (("PUT", "/keys?a=2", b"", EXISTS), b"kv:a", b"2"),
    "an import": (("PUT", "/keys", b'{"key": "a", "value": "2"}', NDJSON), b"kv:a", b"2"),
    "a transaction": (("POST", "/keys", b'{"put": {"a": "2"}}', JSON), b"kv:a", b"2"),
    "a transaction on a condition": (("POST", "/keys", b'{"if": {"a": "*"}, "put": {"a": "2"}}', JSON), b"kv:a", b"2"),
    "a transaction that expires": (("POST", "/keys", b'{"put": {"a": "2"}, "expire_in": 60}', JSON), b"kv:a", b"2"),
    "a transaction that deletes": (("POST", "/keys", b'{"get": ["a"], "delete": ["a"]}', JSON), b"kv:a", None),
    "a deletion": (("DELETE", "/keys/a"), b"kv:a", None),
    "a deletion on a condition": (("DELETE", "/keys/a", b"", EXISTS), b"kv:a", None),
    "a deletion of all that match": (("DELETE", "/keys?filter=a"), b"UNLINK", None),
}


class TestLostAnswers:
    @pytest.mark.parametrize(("request_", "marker", "after"), WRITES.values(), ids=WRITES.keys())
    def test_a_write_whose_answer_is_lost_happens_once_and_says_that_it_does_not_know(
        self,
        ask_by_proxy: Ask,
        proxied: tuple[Proxy, int],
        valkey_client: Redis,
        request_: tuple[Any, ...],
        marker: bytes,
        after: bytes | None,
    ) -> None:
        proxy, _ = proxied
        valkey_client.set("kv:a", "1")
        struck_before = proxy.struck

        with proxy.failing(LOST, marker):
            answer = ask_by_proxy(*request_)

        assert (answer.status, answer.code) == (500, "outcome_unknown")
        assert answer.headers["Retry-After"]
        assert proxy.struck == struck_before + 1
        assert valkey_client.get("kv:a") == after

    def test_a_read_whose_answer_is_lost_is_repeated_once(
        self, ask_by_proxy: Ask, proxied: tuple[Proxy, int], valkey_client: Redis
    ) -> None:
        proxy, _ = proxied
        valkey_client.set("kv:a", "1")
        struck_before = proxy.struck

        with proxy.failing(LOST, b"kv:a"):
            answer = ask_by_proxy("GET", "/keys/a")

        assert (answer.status, answer.code) == (500, "store_unavailable")
        assert proxy.struck == struck_before + 2

    def test_connections_that_are_cut_between_requests_are_not_noticed(
        self, ask_by_proxy: Ask, proxied: tuple[Proxy, int], valkey_client: Redis
    ) -> None:
        proxy, _ = proxied

        for number in range(1, 31):
            proxy.cut_all()
            answer = ask_by_proxy("PATCH", "/keys/a", b'{"increment": 1}', JSON)
            assert answer.json == {"a": str(number)}
