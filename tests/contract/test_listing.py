"""Listings while keys come and go: what is there throughout is never missed."""

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from api.serving.embedded import EmbeddedServer
from models.errors import StoreDenied
from models.filter import EVERY_KEY, Filter
from models.store import Store
from models.valkey import scan
from models.valkey.connection import connect
from tests.support.amounts import amount
from tests.support.clients import Ask, put_json
from tests.support.servers import acl
from tests.support.servers.stores import store_of
from tests.support.ways import Listing, every_listing


STEADY = {f"steady {number}": str(number).encode() for number in range(300)}

# What happens between two steps of a listing: so many keys are added (or removed, if negative).
CHANGES = st.lists(st.integers(-3_000, 3_000), min_size=1, max_size=6)


@pytest.fixture
def valkey_store(valkey_client: Redis) -> Store:
    return store_of(valkey_client, max_value_bytes=100)


def listed_whole(store: Store) -> Iterable[dict[str, bytes | None]]:
    return store.entries(EVERY_KEY)


def listed_in_pages(store: Store) -> Iterable[dict[str, bytes | None]]:
    cursor, entries = store.page(EVERY_KEY, cursor=0, limit=20)
    yield from entries
    while cursor:
        cursor, entries = store.page(EVERY_KEY, cursor=cursor, limit=20)
        yield from entries


def listed_alone(store: Store) -> Iterable[dict[str, bytes | None]]:
    return ({key: STEADY.get(key) for key in batch} for batch in store.entries(EVERY_KEY, values=False))


def exported(store: Store) -> Iterable[dict[str, bytes | None]]:
    return ({key.decode(): value for key, value, _ in batch} for batch in store.export_records(EVERY_KEY))


@pytest.mark.parametrize("listing", [listed_whole, listed_in_pages, listed_alone, exported])
@pytest.mark.grows
@settings(max_examples=amount(6, 50))
@given(changes=CHANGES)
def test_what_is_there_throughout_is_never_missed(
    valkey_store: Store,
    valkey_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
    listing: Callable[[Store], Iterable[dict[str, bytes | None]]],
    changes: list[int],
) -> None:
    # Small steps, so that the table grows and shrinks in the middle of the listing.
    monkeypatch.setattr(scan, "SCAN_COUNT", 20)
    valkey_client.flushall()
    valkey_store.put(STEADY)
    passing = iter(range(1_000_000))
    present: list[str] = []
    seen: dict[str, bytes | None] = {}

    for step, batch in enumerate(listing(valkey_store)):
        seen |= batch
        change = changes[step % len(changes)] if step < 60 else 0
        if change > 0:
            added = [f"passing {number}" for number in islice(passing, change)]
            valkey_store.put(dict.fromkeys(added, b""))
            present += added
        elif change < 0 and present:
            gone, present = present[:-change], present[-change:]
            valkey_client.unlink(*(f"kv:{key}" for key in gone))

    assert {key: value for key, value in seen.items() if key.startswith("steady")} == STEADY


def test_an_export_knows_of_a_key_that_begins_to_expire_meanwhile(
    valkey_store: Store, valkey_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SCAN_COUNT", 20)
    valkey_store.put(STEADY)
    exported = valkey_store.export_records(EVERY_KEY)
    seen = {key.decode(): expires_at for key, _, expires_at in next(exported)}
    rest = STEADY.keys() - seen.keys()

    for key in rest:
        valkey_client.expire(f"kv:{key}", 1_000)
    for records in exported:
        seen |= {key.decode(): expires_at for key, _, expires_at in records}

    assert seen.keys() == STEADY.keys()
    assert {key for key, expires_at in seen.items() if expires_at is not None} == rest


def test_an_export_that_is_denied_a_command_leaves_no_answer_behind(
    valkey_store: Store, valkey_client: Redis, valkey_server: EmbeddedServer
) -> None:
    valkey_store.put(STEADY)
    acl.allow(valkey_client, [*acl.documented(), "-mget"])
    client = connect(acl.as_user(valkey_server.url), timeout_seconds=5, max_connections=1)
    limited = Store(client, key_prefix="kv:", max_value_bytes=100)

    with pytest.raises(StoreDenied):
        list(limited.export_records(EVERY_KEY))

    assert limited.get("steady 7").content == b"7"
    client.close()


@pytest.mark.parametrize("parameters", ["", "filter=steady$"])
@every_listing
def test_a_served_listing_misses_nothing_while_others_write(served: Ask, listing: Listing, parameters: str) -> None:
    steady = {f"steady {number}" for number in range(3_000)}
    put_json(served, dict.fromkeys(steady, "value"))
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            put_json(served, {f"passing {number}": "" for number in range(4_000)})
            served("DELETE", "/keys?filter=passing$")

    others = threading.Thread(target=come_and_go)
    others.start()
    try:
        for _ in range(3):
            assert steady <= listing(served, parameters).keys()
    finally:
        ended.set()
        others.join()


def test_a_filter_that_matches_little_gives_short_pages_and_an_end(valkey_store: Store) -> None:
    valkey_store.put({f"other {number}": b"" for number in range(5_000)} | {"wanted": b"1"})
    found: dict[str, bytes | None] = {}
    cursor, steps = 0, 0

    while steps == 0 or cursor:
        cursor, entries = valkey_store.page(Filter.parse("wanted"), cursor=cursor, limit=10)
        steps += 1
        for batch in entries:
            found |= batch

    assert found == {"wanted": b"1"}
    assert steps > 1


def sizes_of_a_list(store: Store) -> Iterator[int]:
    return (sum(len(value or b"") for value in batch.values()) for batch in store.entries(EVERY_KEY))


def sizes_of_an_export(store: Store) -> Iterator[int]:
    return (sum(len(value) for _, value, _ in batch) for batch in store.export_records(EVERY_KEY))


@pytest.mark.parametrize("sizes_of", [sizes_of_a_list, sizes_of_an_export])
@pytest.mark.parametrize(("count", "value_bytes"), [(60, 200_000), (20, scan.BATCH_BYTES + 1)])
@pytest.mark.parametrize("expire_in", [None, 1_000])
def test_values_are_read_in_batches_that_fit_in_memory(
    valkey_client: Redis,
    sizes_of: Callable[[Store], Iterator[int]],
    count: int,
    value_bytes: int,
    expire_in: int | None,
) -> None:
    store = store_of(valkey_client, max_value_bytes=value_bytes)
    for number in range(count):
        store.put_one(f"large {number}", bytes(value_bytes), expire_in=expire_in)

    # A batch of no value at all would come again and again.
    sizes = list(islice(sizes_of(store), 1_000))

    assert sum(sizes) == count * value_bytes
    assert max(sizes) <= scan.MAX_BATCH_BYTES + scan.BATCH_BYTES
    assert sorted(sizes)[len(sizes) // 2] <= 2 * max(scan.BATCH_BYTES, value_bytes)


@pytest.mark.parametrize("sizes_of", [sizes_of_a_list, sizes_of_an_export])
@pytest.mark.parametrize("expire_in", [None, 1_000])
def test_sizes_that_are_arranged_against_the_order_of_a_list_bring_no_large_batch(
    valkey_client: Redis, sizes_of: Callable[[Store], Iterator[int]], expire_in: int | None
) -> None:
    store = store_of(valkey_client)
    store.put({f"key {number}": b"" for number in range(600)}, expire_in=expire_in)
    order = [key for batch in store.entries(EVERY_KEY) for key in batch]
    large = bytes(4 * scan.MAX_BATCH_BYTES // scan.SAMPLE_KEYS)
    for key in order[300:]:
        store.put_one(key, large)

    sizes = list(sizes_of(store))

    assert sum(sizes) == 300 * len(large)
    assert max(sizes) <= scan.MAX_BATCH_BYTES + scan.BATCH_BYTES
