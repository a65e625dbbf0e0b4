"""A cluster: keys in many hash slots on several servers. The contract's suite runs on one by `make compat-scaled`."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from api.serving.embedded import EmbeddedServer
from models import errors
from models.address import Address
from models.change import ABSENT, EXISTS, Change, Transaction
from models.filter import EVERY_KEY, Filter
from models.store import Store
from models.valkey.client import Client
from models.valkey.cluster import Cluster, _address
from models.valkey.connection import connect, read, write
from models.valkey.scan import BATCH_BYTES, MAX_BATCH_BYTES
from tests.support.cases import about
from tests.support.servers.replicated import Group, Node, cluster, store_on
from tests.support.servers.services import eventually


PAIRS = {f"key {number}": str(number).encode() for number in range(500)}
# What one call may take beyond its time limit: a busy machine.
SLACK_SECONDS = 1.0


@pytest.fixture
def store(cluster_group: Group) -> Iterator[Store]:
    """A store on an empty cluster."""
    cluster_group.all_keys.flushall()
    with store_on(cluster_group) as store:
        yield store


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Group]:
    """A cluster for one test that breaks it."""
    with cluster(tmp_path) as group:
        yield group


@pytest.fixture
def own_store(own: Group) -> Iterator[Store]:
    """The store that it is."""
    with store_on(own) as store:
        yield store


def owner_of(group: Group, key: str) -> Node:
    """Give the primary that has a key."""
    address = group.all_keys.get_node_from_key(f"kv:{key}")
    assert address is not None
    return next(node for node in group.nodes if node.port == address.port)


class TestSpreading:
    def test_pairs_of_many_slots_are_written_listed_counted_exported_and_deleted(
        self, store: Store, cluster_group: Group
    ) -> None:
        assert store.put(PAIRS) == 500

        assert all(node.client.dbsize() > 100 for node in cluster_group.primaries())
        assert {key: value for batch in store.entries(EVERY_KEY) for key, value in batch.items()} == PAIRS
        assert sum(map(len, store.entries(EVERY_KEY, values=False))) == store.count(EVERY_KEY) == 500
        exported = [record for batch in store.export_records(EVERY_KEY) for record in batch]
        assert {key.decode(): value for key, value, _ in exported} == PAIRS
        assert store.delete_matching(Filter.parse("key 1$")) == 111
        assert store.delete_matching(EVERY_KEY) == 389

    def test_large_values_behind_small_ones_are_read_in_small_batches(self, store: Store, cluster_group: Group) -> None:
        store.put(PAIRS)
        order = [key for batch in store.entries(EVERY_KEY) for key in batch]
        large = bytes(1_000_000)
        for key in order[400:]:
            cluster_group.all_keys.set(f"kv:{key}", large)

        listed = [sum(len(value or b"") for value in batch.values()) for batch in store.entries(EVERY_KEY)]
        exported = [sum(len(value) for _, value, _ in batch) for batch in store.export_records(EVERY_KEY)]

        for sizes in (listed, exported):
            assert sum(sizes) == 100 * len(large) + sum(len(PAIRS[key]) for key in order[:400])
            assert max(sizes) <= MAX_BATCH_BYTES + BATCH_BYTES

    def test_an_expiry_and_an_import_reach_every_slot(self, store: Store, cluster_group: Group) -> None:
        store.put(PAIRS, expire_in=100)
        assert [cluster_group.all_keys.ttl(f"kv:{key}") for key in PAIRS] == about([100] * len(PAIRS))

        records = [(key.encode(), b"new", None) for key in PAIRS]
        skipped = store.import_records([*records, (b"key 1", b"newer", None), (b"old", b"", 1)])

        assert skipped == 1
        values = {key: value for batch in store.entries(EVERY_KEY) for key, value in batch.items()}
        assert values == {**dict.fromkeys(PAIRS, b"new"), "key 1": b"newer"}

    @pytest.mark.parametrize("limit", [1, 40, 10_000])
    def test_pages_go_through_all_primaries(self, store: Store, limit: int) -> None:
        store.put(PAIRS)
        found: dict[str, bytes | None] = {}
        cursor = -1

        while cursor:
            cursor, entries = store.page(EVERY_KEY, cursor=max(cursor, 0), limit=limit)
            for batch in entries:
                found |= batch

        assert found == PAIRS

    def test_keys_of_one_hash_tag_change_in_one_step_and_others_are_refused(self, store: Store) -> None:
        together = Transaction({"{t}a": ABSENT}, [], {"{t}a": b"1", "{t}b": b"2"}, [], None)
        apart = Transaction({}, ["a", "b"], {}, [], None)

        assert store.transact(together).stored == 2
        assert store.put({"{t}a": b"3", "{t}b": b"4"}, condition=EXISTS) == 2
        with pytest.raises(errors.KeysApart, match="hash tag"):
            store.transact(apart)
        with pytest.raises(errors.KeysApart, match="hash tag"):
            store.put({"a": b"1", "b": b"2"}, condition=ABSENT)
        assert store.count(EVERY_KEY) == 2

    def test_a_write_that_fails_on_one_server_says_how_much_is_done(self, store: Store, cluster_group: Group) -> None:
        refusing = cluster_group.primaries()[1]
        refusing.client.config_set("min-replicas-to-write", 9)
        try:
            with pytest.raises(errors.OutcomeUnknown, match=r"failed after \d+ of 500 keys") as caught:
                store.put(PAIRS)
        finally:
            refusing.client.config_set("min-replicas-to-write", 0)

        done = int(str(caught.value).split()[4])
        assert 100 < done <= store.count(EVERY_KEY) < 500
        assert refusing.client.dbsize() == 0

    def test_a_write_that_fails_everywhere_is_refused_as_on_one_server(
        self, store: Store, cluster_group: Group
    ) -> None:
        for node in cluster_group.primaries():
            node.client.config_set("min-replicas-to-write", 9)
        try:
            with pytest.raises(errors.StoreReadOnly):
                store.put(PAIRS)
        finally:
            for node in cluster_group.primaries():
                node.client.config_set("min-replicas-to-write", 0)
        assert store.count(EVERY_KEY) == 0


class TestMoving:
    def test_keys_are_found_while_their_slot_moves_and_lists_wait_for_its_end(
        self, own: Group, own_store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own_store.put({**PAIRS, "{moving}old": b"1"})
        cursor, _ = own_store.page(EVERY_KEY, cursor=0, limit=10)
        source, slot = owner_of(own, "{moving}"), key_slot(b"kv:{moving}")
        target = next(node for node in own.primaries() if node is not source)
        ids = {node: node.client.execute_command("CLUSTER MYID").decode() for node in (source, target)}
        target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])

        # Old keys are still at the source, which sends everyone to the target for new ones.
        assert own_store.get("{moving}old").content == b"1"
        own_store.put_one("{moving}new", b"2")
        assert own_store.patch("{moving}new", Change(increment=1)).content == b"3"
        with pytest.raises(errors.StoreTimeout):
            own_store.put({"{moving}old": b"5", "{moving}new": b"5"})  # TRYAGAIN: they are apart for a while
        for listing in (own_store.count, lambda each: list(own_store.entries(each))):
            with pytest.raises(errors.StoreChanged):
                listing(EVERY_KEY)

        source.client.migrate("127.0.0.1", target.port, "kv:{moving}old", 0, 1000)
        for node in (target, source):
            node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])

        # What a redirection says is known, and not only when the slot map has been asked for again.
        with monkeypatch.context() as patch:
            patch.setattr("models.valkey.cluster.REFRESH_AGAIN_SECONDS", 60)
            for _ in range(2):
                assert own_store.get("{moving}old").content == b"1"
        assert {key: value for batch in own_store.entries(EVERY_KEY) for key, value in batch.items()} == {
            **PAIRS,
            "{moving}old": b"1",
            "{moving}new": b"3",
        }
        with pytest.raises(errors.CursorExpired):
            own_store.page(EVERY_KEY, cursor=cursor, limit=10)

    def test_a_list_a_page_and_a_count_during_which_a_slot_moves_are_cut_short(
        self, own: Group, own_store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own_store.put(PAIRS)
        execute = Client.execute_with_run_id

        def execute_and_move(client: Client, *command: Any) -> tuple[str, Any]:
            answer = execute(client, *command)
            if command[0] == "SCAN":
                _move_an_empty_slot(own)
                monkeypatch.setattr(Client, "execute_with_run_id", execute)
            return answer

        calls: list[Callable[[], object]] = [
            lambda: list(own_store.entries(EVERY_KEY)),
            lambda: list(own_store.export_records(EVERY_KEY)),
            lambda: own_store.page(EVERY_KEY, cursor=0, limit=10),
            lambda: own_store.count(EVERY_KEY),
        ]
        for call in calls:
            monkeypatch.setattr(Client, "execute_with_run_id", execute_and_move)
            with pytest.raises(errors.StoreChanged):
                call()


@pytest.mark.parametrize(("named", "host"), [(b"192.0.2.1", "192.0.2.1"), (b"", "::1"), (None, "::1"), (b"?", "::1")])
def test_a_node_that_does_not_know_its_name_is_where_the_one_that_was_asked_is(named: bytes | None, host: str) -> None:
    assert _address([named, 7000, b"id"], Address("::1", 1)) == Address(host, 7000)


class TestSending:
    def test_a_connection_costs_two_commands(self, cluster_group: Group) -> None:
        node = cluster_group.primaries()[0]
        key = next(key for key in PAIRS if owner_of(cluster_group, key) is node)
        with closing(connect(cluster_group.url, timeout_seconds=2, max_connections=8)) as client:
            read(client.execute, "GET", f"kv:{key}".encode())
            assert isinstance(client, Cluster)
            client._servers.clear()  # new connections, and nothing else to learn
            node.client.config_resetstat()

            read(client.execute, "GET", f"kv:{key}".encode())

        calls = {name: entry["calls"] for name, entry in node.client.info("commandstats").items()}
        assert {name: calls[f"cmdstat_{name}"] for name in ("hello", "info", "get")} == {
            "hello": 1,
            "info": 1,
            "get": 1,
        }
        assert not any(name.startswith(("cmdstat_client", "cmdstat_cluster|slots")) for name in calls)

    def test_a_read_and_a_write_survive_that_the_servers_close_all_connections(
        self, store: Store, cluster_group: Group
    ) -> None:
        store.put(PAIRS)
        for node in cluster_group.nodes:
            node.client.client_kill_filter(_type="normal", skipme=True)

        assert store.get("key 1").content == b"1"
        assert store.put(PAIRS) == 500

    def test_a_write_whose_answer_is_lost_is_sent_once(self, cluster_group: Group) -> None:
        cluster_group.all_keys.flushall()
        node = owner_of(cluster_group, "n")
        with store_on(cluster_group, timeout_seconds=0.5) as store:
            increment = Change(increment=1)
            store.patch("n", increment)
            node.pause()
            try:
                with pytest.raises(errors.OutcomeUnknown):
                    store.patch("n", increment)
            finally:
                node.go_on()

            assert store.patch("n", increment).content == b"3"

    def test_a_server_without_a_free_connection_is_saturated_and_not_down(self, cluster_group: Group) -> None:
        with closing(connect(cluster_group.url, timeout_seconds=0.3, max_connections=1)) as client:
            read(client.execute, "GET", b"kv:a")
            assert isinstance(client, Cluster)
            (server,) = client._servers.values()
            taken = server.pool.get_connection()

            for call in (read, write):
                with pytest.raises(errors.StoreSaturated):
                    call(client.execute, "GET", b"kv:a")

            server.pool.release(taken)
            assert read(client.execute, "GET", b"kv:a") in {None, b""}

    @pytest.mark.parametrize("is_known", [True, False])
    def test_every_call_is_answered_in_time_when_the_whole_cluster_hangs(self, own: Group, is_known: bool) -> None:
        with store_on(own, timeout_seconds=1) as store:
            if is_known:
                store.put(PAIRS)
            for node in own.nodes:
                node.pause()

            for call in (
                lambda: store.get("a"),
                lambda: store.put_one("a", b""),
                lambda: store.put(PAIRS),
                lambda: store.count(EVERY_KEY),
                lambda: store.page(EVERY_KEY, cursor=0, limit=1),
                store.ping,
            ):
                started = time.monotonic()
                with pytest.raises(errors.StoreError):
                    call()
                assert time.monotonic() - started < 1 + SLACK_SECONDS

    def test_a_cluster_that_is_not_there_is_unavailable(self) -> None:
        client = connect("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout_seconds=1, max_connections=1)

        for call in (read, write):
            with pytest.raises(errors.StoreUnavailable):
                call(client.execute, "GET", b"key")

    def test_a_single_server_is_no_cluster(self, valkey_server: EmbeddedServer, tmp_path: Path) -> None:
        node = Node(tmp_path / "single")
        eventually(node.is_up)
        try:
            client = connect(f"redis+cluster://127.0.0.1:{node.port}", timeout_seconds=1, max_connections=1)
            with pytest.raises(errors.StoreFault):
                read(client.execute, "GET", b"key")
        finally:
            node.stop()

    def test_readiness_asks_whether_the_cluster_serves(self, own: Group, own_store: Store) -> None:
        own_store.ping()

        for node in own.nodes[1:3] + own.nodes[4:]:
            node.kill()  # two of three shards

        eventually(lambda: _is_not_ready(own_store))
        assert own.nodes[0].is_up()


def _is_not_ready(store: Store) -> bool:
    try:
        store.ping()
    except errors.NotReady:
        return True
    return False


def _move_an_empty_slot(group: Group) -> None:
    """Move one of the first primary's slots to the second."""
    source, target = group.nodes[:2]
    slots = source.client.execute_command("CLUSTER SLOTS")
    first, last = next((first, last) for first, last, (_, port, *_), *_ in slots if port == source.port)
    empty = next(slot for slot in range(first, last + 1) if _has_no_key(source, slot))
    target_id = target.client.execute_command("CLUSTER MYID").decode()
    for node in (target, source):
        node.client.execute_command("CLUSTER SETSLOT", empty, "NODE", target_id)


def _has_no_key(node: Node, slot: int) -> bool:
    return int(node.client.execute_command("CLUSTER COUNTKEYSINSLOT", slot)) == 0
