"""The store tells what changes, whoever changes it: states first, then changes, and nothing is missed in between."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from redis import Redis, RedisError

from models.errors import InvalidKey
from models.filter import EVERY_KEY, Filter
from models.store import Store
from models.valkey.backend import Backend
from models.watching import log, watcher
from models.watching.watcher import Batch, Kind, Watcher
from tests.conftest import BACKENDS
from tests.support.amounts import SEED, amount
from tests.support.replay import ONE_KEY, WAYS, replay, watch
from tests.support.servers.services import eventually
from tests.support.servers.stores import PREFIX, store_of


QUIET_SECONDS = 0.1


@pytest.fixture(params=[each for each in BACKENDS if each != "gunicorn"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each kind of server; how it is asked is all the same here."""
    return str(request.param)


def told(watching: Watcher, seconds: float = QUIET_SECONDS) -> list[Batch]:
    """Return all that is told until nothing comes any more."""
    return list(iter(partial(watching.next, seconds), None))


def shown(batches: list[Batch]) -> list[Any]:
    """Return what is told in short: each key with its value, "deleted" or "expired", and other kinds by name."""
    found: list[Any] = []
    for batch in batches:
        if batch.kind is not Kind.STATES:
            found.append(batch.kind.value)
        for state in batch.states:
            gone = "expired" if state.has_expired else "deleted"
            found.append((state.key, gone if state.value is None else state.value))
    return found


@contextmanager
def watching(store: Store, text: str = "$", **options: Any) -> Iterator[Watcher]:
    """Watch a filter, and pass over what is there already."""
    with closing(store.watch(Filter.parse(text), **options)) as found:
        told(found)
        yield found


def last_id(batches: list[Batch]) -> str | None:
    return [batch.id for batch in batches if batch.id is not None][-1]


def test_the_state_is_told_first_and_then_each_change(store: Store) -> None:
    store.put({"a": b"1", "b": b"2"})
    with closing(store.watch(EVERY_KEY)) as found:
        start = told(found)
        store.put_one("b", b"\xff")
        changed = told(found)
        store.delete("a")

        assert (shown(start)[0], sorted(shown(start)[1:-1])) == ("reset", [(b"a", b"1"), (b"b", b"2")])
        assert (shown(start)[-1], shown(changed)) == ("synced", [(b"b", b"\xff")])
        assert shown(told(found)) == [(b"a", "deleted")]


@pytest.mark.parametrize(
    ("text", "expected"), [("wo$d", [b"word", b"wood"]), ("word", [b"word"]), ("$o", []), (r"\$", [b"$"]), ("", [])]
)
def test_what_a_filter_matches_is_told_and_nothing_else(store: Store, text: str, expected: list[bytes]) -> None:
    keys = ["word", "wood", "words", "$"]
    store.put(dict.fromkeys(keys, b"before"))
    with closing(store.watch(Filter.parse(text))) as found:
        before = told(found)
        store.put(dict.fromkeys(keys, b"after"))

        assert sorted(shown(before)[1:-1]) == sorted((key, b"before") for key in expected)
        assert sorted(shown(told(found))) == sorted((key, b"after") for key in expected)


def test_a_key_that_does_not_exist_can_be_watched(store: Store) -> None:
    with closing(store.watch(Filter.of_key("a$\\b"))) as found:
        assert shown(told(found)) == ["reset", "synced"]
        store.put({"a$\\b": b"1", "a1b": b"2"})
        assert shown(told(found)) == [(b"a$\\b", b"1")]


def test_without_the_state_there_is_a_reset_with_the_id_to_go_on_from(store: Store) -> None:
    store.put_one("a", b"1")
    with closing(store.watch(EVERY_KEY, initial=False)) as found:
        start = told(found)
    store.put_one("b", b"2")

    assert shown(start) == ["reset"]
    with closing(store.watch(EVERY_KEY, since=start[0].id)) as found:
        assert (b"b", b"2") in shown(told(found))


def test_an_id_goes_on_without_the_state_and_without_a_gap(store: Store) -> None:
    with closing(store.watch(EVERY_KEY)) as found:
        since = last_id(told(found))
    store.put({"a": b"1", "b": b"2"})
    store.delete("a")

    with closing(store.watch(EVERY_KEY, since=since)) as found:
        missed = told(found)

    # What was told just before the cut may be told again.
    assert set(shown(missed)) == {(b"a", "deleted"), (b"b", b"2")}


@pytest.mark.parametrize("since", ["", "x", "0-0", "ffffffff-ffffffffffffffff", "1", "-", "1-2-3", "1-2\n"])
def test_an_id_that_is_not_known_begins_with_the_state(store: Store, since: str) -> None:
    store.put_one("a", b"1")
    with closing(store.watch(EVERY_KEY, since=since)) as found:
        assert shown(told(found)) == ["reset", (b"a", b"1"), "synced"]


def test_an_id_from_before_what_the_log_knows_begins_with_the_state(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MAX_NAMES", 3)
    with closing(store.watch(EVERY_KEY)) as found:
        since = last_id(told(found))
        store.put({f"many{number}": b"1" for number in range(40)})
        told(found)

    with closing(store.watch(EVERY_KEY, since=since)) as found:
        assert shown(told(found))[0] == "reset"


def test_one_who_does_not_keep_up_is_told_from_the_log_and_beyond_it_the_state(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "MAX_PENDING", 4)
    monkeypatch.setattr(log, "MAX_NAMES", 20)
    with watching(store) as late, watching(store) as in_time:
        store.put({f"some{number}": b"1" for number in range(10)})
        eventually(lambda: len(shown(told(in_time))) == 0 and late._is_behind)

        assert sorted(shown(told(late))) == [(b"some%d" % number, b"1") for number in range(10)]

        store.put({f"more{number}": b"1" for number in range(100)})
        eventually(lambda: len(shown(told(in_time))) == 0 and late._is_behind)
        assert shown(told(late))[0] == "reset"


def test_changes_that_nobody_took_yet_are_told_once_with_the_newest_value(store: Store) -> None:
    with watching(store) as late, watching(store) as in_time:
        for number in range(5):
            store.put_one("a", b"%d" % number)
            eventually(lambda number=number: shown(told(in_time, 0.01))[-1:] == [(b"a", b"%d" % number)])

        assert shown(told(late)) == [(b"a", b"4")]


def test_a_key_that_expires_is_told_so_at_its_time(store: Store, client: Redis, prefix: str) -> None:
    with watching(store) as found:
        client.set(f"{prefix}soon", "1", px=400)
        client.set(f"{prefix}late", "1", px=500)
        assert sorted(shown(told(found))) == [(b"late", b"1"), (b"soon", b"1")]
        client.persist(f"{prefix}late")
        told(found)

        assert shown(told(found, 1)) == [(b"soon", "expired")]


def test_expiries_have_their_time(store: Store) -> None:
    store.put_one("a", b"1", expire_in=100)
    with closing(store.watch(EVERY_KEY)) as found:
        *_, states, _ = told(found)
        ((_, _, expires_at),) = next(store.export_records(EVERY_KEY))

        assert expires_at is not None
        assert abs((states.states[0].expires_at or 0) - expires_at) <= 1


def test_a_key_of_another_type_is_gone(store: Store, client: Redis, prefix: str) -> None:
    store.put_one("a", b"1")
    with watching(store) as found:
        client.delete(f"{prefix}a")
        client.rpush(f"{prefix}a", "1")

        assert (b"a", "deleted") in shown(told(found))


def test_a_namespace_is_told_of_its_own_keys_under_plain_names(store: Store) -> None:
    with watching(store.within("one")) as found:
        store.within("two").put_one("a", b"2")
        store.within("one").put_one("a", b"1")
        store.put_one("a", b"0")

        assert shown(told(found)) == [(b"a", b"1")]


def test_names_that_are_no_keys_are_not_told(store: Store, client: Redis, prefix: str) -> None:
    with watching(store) as found:
        client.set(prefix, "no key")
        client.set("flaskvstore-hits:1", "a counter")
        client.set(b"%s\xff" % prefix.encode(), "not text, as in an export")

        assert shown(told(found)) == [(b"\xff", b"not text, as in an export")]
        with closing(store.watch(EVERY_KEY)) as other:
            assert shown(told(other)) == ["reset", (b"\xff", b"not text, as in an export"), "synced"]


def test_a_counter_of_the_rate_limit_cannot_be_watched(reached: Callable[[str], Backend], valkey_server: Any) -> None:
    bare = Store(reached(valkey_server.url), key_prefix="", max_value_bytes=1)

    with pytest.raises(InvalidKey):
        bare.watch(Filter.of_key("flaskvstore-hits:1"))


def test_after_a_flush_the_state_is_told_again(store: Store, client: Redis, prefix: str) -> None:
    store.put_one("a", b"1")
    with watching(store) as found:
        client.flushall()
        client.set(f"{prefix}b", "2")

        assert shown(told(found))[:3] == ["reset", (b"b", b"2"), "synced"]


def test_an_id_settles_behind_everything_that_was_told(store: Store) -> None:
    with watching(store) as found:
        store.put_one("a", b"1")
        told(found)
        since = found.settle(2)

    with closing(store.watch(EVERY_KEY, since=since)) as found:
        assert told(found) == []


def test_many_watchers_of_one_key_read_it_once(store: Store) -> None:
    with watching(store, "a") as first, watching(store, "a") as second, watching(store, "$") as third:
        store.put_one("a", b"1")
        found = [told(each) for each in (first, second, third)]

    states = {id(state) for batches in found for batch in batches for state in batch.states}
    assert [shown(batches) for batches in found] == [[(b"a", b"1")]] * 3
    assert len(states) == 1


def test_values_of_any_size_are_told_in_bounded_batches(store: Store) -> None:
    with closing(store.watch(EVERY_KEY)) as found:
        told(found)
        for number in range(40):
            store.put_one(f"large{number}", b"x" * 500_000)
        batches = told(found)

    assert len({state.key for batch in batches for state in batch.states}) == 40
    assert max(sum(len(state.value or b"") for state in batch.states) for batch in batches) <= 16 * 1024 * 1024
    assert [batch.id is None for batch in batches][-1] is False


COMMANDS: dict[str, tuple[list[tuple[Any, ...]], tuple[Any, ...], bool]] = {
    # What is there before, the command, and whether it is told.
    "SET": ([], ("SET", "kv:a", "1"), True),
    "SET of the same value": ([("SET", "kv:a", "1")], ("SET", "kv:a", "1"), True),
    "SET EX": ([], ("SET", "kv:a", "1", "EX", "100"), True),
    "SET NX that fails": ([("SET", "kv:a", "1")], ("SET", "kv:a", "2", "NX"), False),
    "EXPIRE": ([("SET", "kv:a", "1")], ("EXPIRE", "kv:a", "100"), True),
    "EXPIRE in the past": ([("SET", "kv:a", "1")], ("EXPIRE", "kv:a", "-1"), True),
    "PERSIST": ([("SET", "kv:a", "1", "EX", "100")], ("PERSIST", "kv:a"), True),
    "PERSIST of nothing": ([("SET", "kv:a", "1")], ("PERSIST", "kv:a"), False),
    "GETEX": ([("SET", "kv:a", "1")], ("GETEX", "kv:a", "EX", "100"), True),
    "INCRBY": ([], ("INCRBY", "kv:a", "1"), True),
    "APPEND": ([], ("APPEND", "kv:a", "1"), True),
    "SETRANGE": ([], ("SETRANGE", "kv:a", "1", "1"), True),
    "DEL": ([("SET", "kv:a", "1")], ("DEL", "kv:a"), True),
    "DEL of nothing": ([], ("DEL", "kv:a"), False),
    "UNLINK": ([("SET", "kv:a", "1")], ("UNLINK", "kv:a"), True),
    "MSET": ([], ("MSET", "kv:a", "1"), True),
    "RENAME from elsewhere": ([("SET", "{kv:a}", "1")], ("RENAME", "{kv:a}", "kv:a"), True),
    "COPY from elsewhere": ([("SET", "{kv:a}", "1")], ("COPY", "{kv:a}", "kv:a"), True),
    "a script": ([], ("EVAL", "redis.call('SET', KEYS[1], '1')", "1", "kv:a"), True),
    "another type": ([], ("RPUSH", "kv:a", "1"), True),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_changes_a_key_is_told(store: Store, client: Any, name: str) -> None:
    before, command, is_told = COMMANDS[name]
    for each in before:
        client.execute_command(*each)
    with watching(store, "a") as found:
        client.execute_command(*command)

        assert bool(told(found)) == is_told


def test_a_change_is_told_one_round_late_at_most(store: Store, client: Redis, prefix: str) -> None:
    # All else rests on this: see docs/watch.md.
    tracked = store._backend.track(prefix.encode())
    done: list[bytes] = []
    ended = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not ended.is_set():
            name = f"{prefix}{writer}-{number}".encode()
            client.set(name, "1")
            done.append(name)
            number += 1

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    late = checked = 0
    try:
        for thread in writers:
            thread.start()
        heard: set[bytes] = set()
        due: list[bytes] = []
        for _ in range(amount(100, 5_000)):
            # Written before this round, so told in this one or the next.
            written = len(done)
            for teller in tracked.tellers:
                heard.update(teller.round().names)
            late += sum(name not in heard for name in due)
            due = [name for name in done[checked:written] if name not in heard]
            checked = written
    finally:
        ended.set()
        for thread in writers:
            thread.join()
        tracked.close()

    assert heard
    assert late == 0


@pytest.mark.grows
def test_every_view_is_what_the_store_holds_in_the_end(store: Store, backend: str, client: Redis, prefix: str) -> None:
    other = Store(store._backend, key_prefix=prefix, max_value_bytes=store.max_value_bytes)
    ways = ONE_KEY if backend == "cluster" else WAYS

    viewers = replay([partial(watch, each) for each in (store, other)], client, prefix, amount(1, 20), SEED, ways=ways)

    assert sum(viewer.events for viewer in viewers) > 100


@pytest.mark.grows
def test_no_view_goes_wrong_if_connections_are_cut_and_everything_is_deleted(valkey_client: Any) -> None:
    store = store_of(valkey_client)
    last = time.monotonic()

    def disturb() -> None:
        nonlocal last
        if time.monotonic() > last + 0.3:
            last = time.monotonic()
            with suppress(RedisError):
                if random.random() < 0.7:
                    valkey_client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                else:
                    valkey_client.flushdb()

    viewers = replay([partial(watch, store)], valkey_client, PREFIX, amount(1, 20), SEED, disturb=disturb)

    assert sum(viewer.resets for viewer in viewers) > len(viewers)
