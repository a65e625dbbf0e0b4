"""The users that the documents describe: they can do everything that the service does, and nothing else.

`make compat-scaled` runs the contract's whole suite as the first of them.
"""

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from redis import Redis
from redis.crc import key_slot

from api.serving.embedded import EmbeddedServer
from models import errors
from models.change import ABSENT, EXISTS, Change, Expiry, Transaction
from models.filter import EVERY_KEY
from models.store import Store
from models.valkey.connection import connect
from tests.support.servers.acl import allow, as_user, documented
from tests.support.servers.replicated import Group


GRANTED = [word for word in documented() if word.startswith("+")]
ON_A_CLUSTER = [word for word in documented("docs/scaling.md") if word.startswith("+")]


@pytest.fixture
def url(valkey_server: EmbeddedServer, valkey_client: Redis) -> Iterator[str]:
    """The URL of an empty server, for the documented user."""
    allow(valkey_client, documented())
    valkey_client.script_flush()
    yield as_user(valkey_server.url)
    valkey_client.acl_deluser("flaskvstore")


def tour(url: str) -> None:
    """Do everything once that the service does with a store."""
    with closing(connect(url, timeout_seconds=2, max_connections=8)) as client:
        store = Store(client, key_prefix="kv:", max_value_bytes=100)
        store.ping()
        store.put_one("a", b"1")
        store.put_one("a", b"1", expire_in=100, condition=EXISTS)
        store.put({"a": b"1", "b": b"2"})
        store.put({"a": b"1", "b": b"2"}, expire_in=100)
        store.put({"{t}a": b"1", "{t}b": b"2"}, condition=ABSENT)
        store.get("a")
        store.get_part("a", 0, 0)
        store.patch("a", Change(increment=1, expiry=5))
        store.patch("a", Change(append=b"1", expiry=Expiry.NEVER))
        store.transact(Transaction({"{t}a": EXISTS}, ["{t}a"], {"{t}a": b"1", "{t}b": b"2"}, ["{t}c"], None))
        assert sum(map(len, store.entries(EVERY_KEY))) == store.count(EVERY_KEY) == 4
        store.page(EVERY_KEY, cursor=0, limit=1)
        assert sum(map(len, store.export_records(EVERY_KEY, values=False))) == 4
        records = [record for batch in store.export_records(EVERY_KEY) for record in batch]
        store.import_records([*records, (b"c", b"", 4_000_000_000)])
        with closing(store.watch(EVERY_KEY)) as watcher:
            assert watcher.next(5)
        store.delete("a", condition=EXISTS)
        store.delete("b")
        assert store.delete_matching(EVERY_KEY) == 3


def test_the_documented_user_can_do_all_that_the_service_does(url: str) -> None:
    tour(url)


def test_a_rate_limit_takes_the_keys_of_its_counters_and_no_other_command(url: str, valkey_client: Redis) -> None:
    with closing(connect(url, timeout_seconds=2, max_connections=8)) as client:
        store = Store(client, key_prefix="kv:", max_value_bytes=100)
        with pytest.raises(errors.StoreDenied):
            store.hit("counter", window_seconds=60)

        allow(valkey_client, ["flaskvstore", "~flaskvstore-hits:*"])

        assert store.hit("counter", window_seconds=60)[0] == 1


@pytest.mark.parametrize("granted", GRANTED)
def test_every_command_that_is_granted_is_needed(url: str, valkey_client: Redis, granted: str) -> None:
    allow(valkey_client, ["flaskvstore", granted.replace("+", "-", 1)])

    with pytest.raises((errors.StoreDenied, errors.NotReady)):
        tour(url)


def test_who_may_not_be_told_of_changes_is_told_which_right_is_missing(url: str, valkey_client: Redis) -> None:
    allow(valkey_client, ["flaskvstore", "-client|tracking"])

    with closing(connect(url, timeout_seconds=2, max_connections=8)) as client:
        store = Store(client, key_prefix="kv:", max_value_bytes=100)
        with pytest.raises(errors.StoreDenied, match=re.escape("+client|tracking")):
            store.watch(EVERY_KEY)


def test_the_documented_user_sees_nothing_beyond_the_prefix(url: str) -> None:
    with closing(connect(url, timeout_seconds=2, max_connections=8)) as client:
        other = Store(client, key_prefix="other:", max_value_bytes=100)

        with pytest.raises(errors.StoreDenied):
            other.get("a")
        with pytest.raises(errors.StoreDenied):
            other.put_one("a", b"")


class TestOnACluster:
    @pytest.fixture
    def url(self, cluster_group: Group) -> Iterator[str]:
        """The URL of the empty cluster, for the documented user."""
        cluster_group.all_keys.flushall()
        for node in cluster_group.nodes:
            allow(node.client, documented())
            allow(node.client, documented("docs/scaling.md"))
        yield as_user(cluster_group.url)
        for node in cluster_group.nodes:
            node.client.acl_deluser("flaskvstore")

    def test_the_documented_user_can_do_all_that_the_service_does(self, url: str) -> None:
        tour(url)

    def test_asking_is_needed_while_a_slot_moves(self, url: str, cluster_group: Group) -> None:
        source, target, *_ = cluster_group.nodes
        slot = next(n for n in range(5_000) if source.client.execute_command("CLUSTER COUNTKEYSINSLOT", n) == 0)
        key = next(key for key in map(str, range(1_000_000)) if key_slot(f"kv:{key}".encode()) == slot)
        ids = {node: node.client.execute_command("CLUSTER MYID").decode() for node in (source, target)}
        target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
        try:
            with closing(connect(url, timeout_seconds=2, max_connections=8)) as client:
                store = Store(client, key_prefix="kv:", max_value_bytes=100)
                store.put_one(key, b"1")
                store.delete(key)
                allow(target.client, ["flaskvstore", "-asking"])
                with pytest.raises(errors.StoreDenied):
                    store.put_one(key, b"1")
        finally:
            for node in (source, target):
                node.client.execute_command("CLUSTER SETSLOT", slot, "STABLE")

    @pytest.mark.parametrize("granted", [word for word in ON_A_CLUSTER if word != "+asking"])
    def test_every_command_that_is_granted_is_needed(self, url: str, cluster_group: Group, granted: str) -> None:
        for node in cluster_group.nodes:
            allow(node.client, ["flaskvstore", granted.replace("+", "-", 1)])

        with pytest.raises((errors.StoreDenied, errors.NotReady)):
            tour(url)
