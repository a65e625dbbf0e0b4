"""Watching goes on while servers fail, are replaced and hand over their keys: every view is right in the end."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import RedisError
from redis.sentinel import Sentinel

from models.store import Store
from models.valkey.connection import connect
from tests.support.amounts import SEED
from tests.support.replay import ONE_KEY, WAYS, replay, watch
from tests.support.servers.replicated import FAILOVER_SECONDS, SERVICE, Group, cluster, sentinels
from tests.support.servers.services import eventually
from tests.support.servers.stores import PREFIX


pytestmark = pytest.mark.soak

# Writers go on for so long after a fault.
AFTER_SECONDS = 3.0
MOVED_SLOTS = 400


@contextlib.contextmanager
def two_workers(url: str) -> Iterator[list[Any]]:
    """Reach the store twice, as two workers do, to watch it."""
    with contextlib.ExitStack() as stack:
        backends = [
            stack.enter_context(contextlib.closing(connect(url, timeout_seconds=2, max_connections=4)))
            for _ in range(2)
        ]
        yield [partial(watch, Store(each, key_prefix=PREFIX, max_value_bytes=100)) for each in backends]


def client_of(group: Group) -> Any:
    """Return a client of redis-py that finds its way by itself."""
    if not group.guides:
        return group.all_keys
    guides: Any = Sentinel([("127.0.0.1", guide.port) for guide in group.guides], socket_timeout=1)  # type: ignore[no-untyped-call]
    return guides.master_for(SERVICE, socket_timeout=1)


def kill_a_primary(group: Group) -> None:
    victim = group.primaries()[0]
    victim.kill()
    eventually(lambda: any(node is not victim for node in group.primaries()) and is_well(group), FAILOVER_SECONDS)


def pause_a_primary(group: Group) -> None:
    victim = group.primaries()[0]
    victim.pause()
    try:
        time.sleep(2)
        eventually(lambda: is_well(group), FAILOVER_SECONDS)
    finally:
        victim.go_on()


def replace_a_primary(group: Group) -> None:
    victim = group.primaries()[0]
    if group.guides:
        group.guides[0].client.execute_command(f"SENTINEL FAILOVER {SERVICE}")
    else:
        replica = next(node for node in group.nodes if node.client.role()[2] == victim.port)
        replica.client.execute_command("CLUSTER FAILOVER")
    eventually(lambda: victim not in group.primaries(), 4 * FAILOVER_SECONDS)


def move_slots(group: Group) -> None:
    """Move slots from one primary to another, one by one, with their keys."""
    source, target = group.primaries()[:2]
    ids = {node: node.client.execute_command("CLUSTER MYID").decode() for node in (source, target)}
    for slot in itertools.islice(slots_of(source), MOVED_SLOTS):
        target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
        while names := source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
            source.client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)
        for node in (target, source):
            node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])


def move_slots_at_once(group: Group) -> None:
    """Move them as Valkey 9 does, all at once."""
    source, target = group.primaries()[:2]
    moved = [*itertools.islice(slots_of(source), MOVED_SLOTS)]
    target_id = target.client.execute_command("CLUSTER MYID").decode()
    source.client.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", moved[0], moved[-1], "NODE", target_id)
    eventually(lambda: moved[0] not in slots_of(source), FAILOVER_SECONDS)


def slots_of(node: Any) -> list[int]:
    """Return the slots of a primary."""
    return [
        slot
        for first, last, (_, port, *_), *_ in node.client.execute_command("CLUSTER SLOTS")
        if port == node.port
        for slot in range(first, last + 1)
    ]


def is_well(group: Group) -> bool:
    try:
        client_of(group).set("well", "1")
    except RedisError:
        return False
    return True


@pytest.mark.parametrize(
    ("start", "disturb"),
    [
        pytest.param(sentinels, kill_a_primary, id="sentinel-killed"),
        pytest.param(sentinels, pause_a_primary, id="sentinel-paused"),
        pytest.param(sentinels, replace_a_primary, id="sentinel-replaced"),
        pytest.param(cluster, kill_a_primary, id="cluster-killed"),
        pytest.param(cluster, replace_a_primary, id="cluster-replaced"),
        pytest.param(cluster, move_slots, id="cluster-slots"),
        pytest.param(cluster, move_slots_at_once, id="cluster-slots-at-once"),
    ],
)
def test_every_view_is_right_again(
    start: Callable[[Path], AbstractContextManager[Group]], disturb: Callable[[Group], None], tmp_path: Path
) -> None:
    with start(tmp_path) as group, two_workers(group.url) as opens:
        ways = WAYS if group.guides else ONE_KEY
        left = [disturb]

        def fault() -> None:
            if left:
                time.sleep(1)
                left.pop()(group)

        viewers = replay(opens, client_of(group), PREFIX, AFTER_SECONDS, SEED, ways=ways, disturb=fault)

    assert sum(viewer.resets for viewer in viewers) > len(viewers)
