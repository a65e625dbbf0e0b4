"""No request keeps the store busy for long, because it answers nobody else meanwhile."""

import json
from collections.abc import Callable

import pytest
from redis import Redis

from models.change import ABSENT, EXISTS, UNCONDITIONAL, Condition, tag_of
from models.filter import EVERY_KEY, SENT_LITERAL_BYTES, Filter
from models.store import MAX_COMPARED_BYTES, MAX_PAIRS, MAX_PAIRS_BY_SCRIPT, MAX_READ_BYTES, Store
from resources.parsing.transaction import MAX_KEYS
from tests.support.clients import Ask, ask_json
from tests.support.servers.stores import MAX_VALUE_BYTES


pytestmark = pytest.mark.soak

BOUND_MS = 50


@pytest.fixture
def backend() -> str:
    return "valkey"


def busiest_ms(client: Redis, do: Callable[[], object]) -> float:
    """Return for how many milliseconds a server was busy with one command at most; of five tries the best.

    Or with all of them, in CPU time: on a machine that does other things as well, that can be less.

    :param client: the server
    :param do: makes it do something
    """
    client.config_set("slowlog-log-slower-than", 1_000)
    tries = []
    for _ in range(5):
        client.slowlog_reset()
        started_ms = cpu_ms(client)
        do()
        tries.append(cpu_ms(client) - started_ms)
        tries.append(max([entry["duration"] / 1_000 for entry in client.slowlog_get(1_000)], default=0.0))
    return min(tries)


def cpu_ms(client: Redis) -> float:
    """Return the milliseconds of CPU time that the thread of a server has used that answers commands."""
    used = client.info("cpu")
    return 1_000 * float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])


def test_a_transaction(ask: Ask, client: Redis) -> None:
    largest = "v" * MAX_VALUE_BYTES
    compared = {f"compared {number}": largest for number in range(MAX_COMPARED_BYTES // MAX_VALUE_BYTES)}
    read = {f"read {number}": largest for number in range(MAX_READ_BYTES // MAX_VALUE_BYTES)}
    client.mset({f"kv:{key}": value for key, value in (compared | read).items()})
    body = {
        "if": dict.fromkeys(compared, f'"{tag_of(largest.encode())}"'),
        "get": list(read),
        "put": {f"new {number}": "v" * 8_000 for number in range(MAX_KEYS - len(compared) - len(read))},
        "expire_in": 60,
    }

    def transact() -> None:
        assert ask_json(ask, "POST", "/keys", body).status == 200

    assert len(json.dumps(body)) > 7_500_000
    assert busiest_ms(client, transact) <= BOUND_MS


@pytest.mark.parametrize(
    "text", ["$" + "a" * 500 + "b$", ("$" + "a" * SENT_LITERAL_BYTES) * 60 + "b", "$a" * 1_000 + "b$", "b$"]
)
def test_a_filter(store: Store, client: Redis, text: str) -> None:
    store.put({f"{'a' * 1_006}{number}": b"" for number in range(3_000)})

    def search() -> None:
        assert store.count(Filter.parse(text)) == 0
        cursor, entries = store.page(Filter.parse(text), cursor=0, limit=10_000)
        assert (cursor, sum(map(len, entries))) == (0, 0)

    assert busiest_ms(client, search) <= BOUND_MS


@pytest.mark.parametrize(
    ("count", "expire_in", "condition"),
    [
        (MAX_PAIRS, None, UNCONDITIONAL),
        (MAX_PAIRS_BY_SCRIPT, 60, UNCONDITIONAL),
        (MAX_PAIRS_BY_SCRIPT, 60, EXISTS),
        (MAX_PAIRS_BY_SCRIPT, None, ABSENT),
    ],
)
def test_pairs(store: Store, client: Redis, count: int, expire_in: int | None, condition: Condition) -> None:
    pairs = {f"key {number}": b"a value" for number in range(count)}

    def put() -> None:
        if condition == ABSENT:
            client.flushall()
        store.put(pairs, expire_in=expire_in, condition=condition)

    if condition != ABSENT:
        store.put(pairs)
    assert busiest_ms(client, put) <= BOUND_MS


@pytest.mark.parametrize("expire_in", [None, 1_000])
def test_lists_and_exports_of_values_whose_sizes_are_arranged_against_them(
    store: Store, client: Redis, expire_in: int | None
) -> None:
    store.put({f"key {number}": b"" for number in range(2_000)}, expire_in=expire_in)
    order = [key for batch in store.entries(EVERY_KEY) for key in batch]
    for key in order[1_500:]:
        store.put_one(key, bytes(MAX_VALUE_BYTES))

    def read() -> None:
        for _ in store.entries(EVERY_KEY):
            pass
        for _ in store.export_records(EVERY_KEY):
            pass

    assert busiest_ms(client, read) <= BOUND_MS
