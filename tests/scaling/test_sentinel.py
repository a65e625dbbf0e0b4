"""A primary behind Sentinels. The contract's suite runs on one by `make compat-scaled`."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import exceptions

from models import errors
from models.change import Change
from models.filter import EVERY_KEY
from models.store import Store
from models.valkey.client import Client
from models.valkey.connection import connect, read, write
from tests.support.servers.proxy import Fault, Then, proxy_to
from tests.support.servers.replicated import FAILOVER_SECONDS, SERVICE, Group, sentinels, store_on
from tests.support.servers.services import eventually


PAIRS = {f"key {number}": str(number).encode() for number in range(3_000)}
SLACK_SECONDS = 1.0


@pytest.fixture
def store(sentinel_group: Group) -> Iterator[Store]:
    """An empty store behind Sentinels."""
    sentinel_group.primaries()[0].client.flushall()
    with store_on(sentinel_group) as store:
        yield store


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Group]:
    """Servers for one test that breaks them."""
    with sentinels(tmp_path) as group:
        yield group


@pytest.fixture
def own_store(own: Group) -> Iterator[Store]:
    """The store that they are."""
    with store_on(own) as store:
        yield store


def test_commands_go_to_the_primary(store: Store, sentinel_group: Group) -> None:
    store.put(PAIRS)

    (primary,) = sentinel_group.primaries()
    assert primary.client.dbsize() == 3_000
    assert store.count(EVERY_KEY) == 3_000
    store.ping()


def test_a_failover_ends_lists_and_cursors_and_nothing_else(own: Group, own_store: Store) -> None:
    own_store.put(PAIRS)
    (old,) = own.primaries()
    assert old.client.wait(2, 5_000) == 2
    listing = own_store.entries(EVERY_KEY)
    next(listing)
    cursor, _ = own_store.page(EVERY_KEY, cursor=0, limit=10)

    old.kill()
    eventually(own.primaries, FAILOVER_SECONDS)
    eventually(lambda: _can_write(own_store), FAILOVER_SECONDS)

    with pytest.raises(errors.StoreChanged):
        list(listing)
    with pytest.raises(errors.CursorExpired):
        own_store.page(EVERY_KEY, cursor=cursor, limit=10)
    assert own_store.count(EVERY_KEY) == 3_001


def test_a_primary_that_became_a_replica_is_left(own: Group) -> None:
    client = connect(own.url, timeout_seconds=2, max_connections=1)
    store = Store(client, key_prefix="kv:", max_value_bytes=100)
    store.put_one("new", b"1")
    (old,) = own.primaries()
    # By hand and without a word to the Sentinels, as it is for a moment in a failover.
    old.client.replicaof("127.0.0.1", 1)

    with pytest.raises(errors.StoreReadOnly):
        store.put_one("new", b"2")
    with pytest.raises(errors.StoreUnavailable):
        store.get("new")

    old.client.replicaof("NO", "ONE")
    store.put_one("new", b"3")
    client.close()


def test_a_write_whose_answer_is_lost_is_sent_once(sentinel_group: Group) -> None:
    (primary,) = sentinel_group.primaries()
    primary.client.flushall()
    with store_on(sentinel_group, timeout_seconds=0.5) as store:
        store.patch("n", Change(increment=1))
        primary.pause()
        try:
            with pytest.raises(errors.OutcomeUnknown):
                store.patch("n", Change(increment=1))
        finally:
            primary.go_on()

        assert store.patch("n", Change(increment=1)).content == b"3"


def test_a_read_and_a_write_survive_that_the_server_closes_all_connections(store: Store, sentinel_group: Group) -> None:
    store.put_one("a", b"1")
    sentinel_group.primaries()[0].client.client_kill_filter(_type="normal", skipme=True)

    assert store.get("a").content == b"1"
    store.put_one("a", b"2")


def test_a_pool_without_a_free_connection_is_saturated_and_not_down(sentinel_group: Group) -> None:
    with closing(connect(sentinel_group.url, timeout_seconds=0.3, max_connections=1)) as client:
        assert isinstance(client, Client)
        taken = client.pool.get_connection()

        for call in (read, write):
            with pytest.raises(errors.StoreSaturated):
                call(client.execute, "GET", b"kv:a")

        client.pool.release(taken)
        assert read(client.execute, "GET", b"kv:nothing") is None


def test_sentinels_that_hang_or_are_gone_cost_little_and_connections_go_on_without_them(
    own: Group, own_store: Store
) -> None:
    own_store.put_one("a", b"1")
    own.guides[0].pause()
    own.guides[1].kill()

    started = time.monotonic()
    with closing(connect(own.url, timeout_seconds=2, max_connections=8)) as client:
        assert read(client.execute, "GET", b"kv:a") == b"1"
    assert time.monotonic() - started < 2

    own.guides[2].kill()
    started = time.monotonic()
    with closing(connect(own.url, timeout_seconds=2, max_connections=8)) as client, pytest.raises(errors.StoreError):
        read(client.execute, "GET", b"kv:a")
    assert time.monotonic() - started < 2 + SLACK_SECONDS
    assert own_store.get("a").content == b"1"


def test_a_sentinel_that_hangs_is_asked_last_from_then_on(sentinel_group: Group) -> None:
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(proxy_to(guide.port)) for guide in sentinel_group.guides[:2])
        url = f"redis+sentinel://127.0.0.1:{first.port},127.0.0.1:{second.port}/{SERVICE}"
        client = stack.enter_context(closing(connect(url, timeout_seconds=2, max_connections=2)))
        assert isinstance(client, Client)
        hanging, answering = Fault(Then.HANG, kept_bytes=0), Fault(Then.PASS)
        with first.failing(hanging), second.failing(answering, b"GET-MASTER-ADDR-BY-NAME"):
            taken = [client.pool.get_connection() for _ in range(2)]
            for connection in taken:
                client.pool.release(connection)

    # One question more to each is that of the one who listens to it.
    assert (first.struck, second.struck) == (1 + 1, 2 + 1)


@pytest.mark.parametrize(
    "channels", [pytest.param("allchannels", id="told"), pytest.param("resetchannels", id="asked")]
)
def test_a_primary_that_was_replaced_on_purpose_is_left_at_once(own: Group, channels: str) -> None:
    for guide in own.guides:
        guide.client.execute_command("ACL SETUSER", "default", channels)
    with closing(connect(own.url, timeout_seconds=2, max_connections=2)) as client:
        assert isinstance(client, Client)
        store = Store(client, key_prefix="kv:", max_value_bytes=100)
        (old,) = own.primaries()
        busy, idle = client.pool.get_connection(), client.pool.get_connection()
        client.pool.release(idle)
        busy.send_command("SET", "kv:a", "1")

        # The old one is alive, and takes itself for a primary for some seconds more.
        own.guides[0].client.execute_command("SENTINEL FAILOVER", SERVICE)
        eventually(lambda: not idle.is_connected, FAILOVER_SECONDS)
        store.put_one("b", b"1")

        assert old.client.role()[0] == b"master", "it became a replica too soon, so this showed nothing"
        assert old.client.keys() == [b"kv:a"]
        # What was answered meanwhile will be lost.
        with pytest.raises(exceptions.ConnectionError, match="replaced"):
            busy.read_response()
        client.pool.release(busy)


def test_a_service_that_no_sentinel_knows_is_unavailable(sentinel_group: Group) -> None:
    url = sentinel_group.url.replace(f"/{SERVICE}", "/nothing")

    with closing(connect(url, timeout_seconds=2, max_connections=8)) as client, pytest.raises(errors.StoreUnavailable):
        write(client.execute, "SET", b"kv:a", b"1")


def test_sentinels_can_have_a_password_of_their_own(own: Group) -> None:
    (primary,) = own.primaries()
    for node in own.nodes:
        node.client.execute_command("ACL SETUSER", "reader", "on", ">data secret", "~*", "+@all")
    for guide in own.guides:
        rights = "on", ">sentinel secret", "-@all", "+sentinel|get-master-addr-by-name", "+subscribe", "&+switch-master"
        guide.client.execute_command("ACL SETUSER", "asker", *rights)
        guide.client.execute_command("ACL SETUSER", "default", "resetpass")
    url = own.url.replace("://", "://reader:data%20secret@")

    with closing(connect(url, timeout_seconds=2, max_connections=8)) as client, pytest.raises(errors.StoreDenied):
        read(client.execute, "GET", b"a")
    options = "?sentinel_username=asker&sentinel_password=sentinel%20secret"
    with closing(connect(url + options, timeout_seconds=2, max_connections=8)) as client:
        assert write(client.execute, "SET", b"a", b"1")
    assert primary.client.get("a") == b"1"


def _can_write(store: Store) -> bool:
    try:
        store.put_one("new", b"3")
    except errors.StoreError:
        return False
    return True
