"""Every call of the Python client, by both kinds of stores, on a real service."""

import asyncio
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest
from redis import Redis

from client import (
    AsyncStore,
    Conflict,
    CutOff,
    Imported,
    InvalidRequest,
    LockLost,
    LockTaken,
    NotFound,
    PreconditionFailed,
    Store,
    TooLarge,
    escape,
    watching,
)
from tests.python_client.conftest import Make
from tests.support.cases import KEYS
from tests.support.servers.proxy import LOST, proxy_to
from tests.support.servers.services import Service


HOUR = timedelta(hours=1)
PAIRS: dict[str, str | bytes] = {"a": "1", "ü\n": b"\xff\x00", "b": ""}


class TestOneKey:
    @pytest.mark.parametrize("value", ["text", "", "Grüße\n", b"\xff\x00", "1"])
    def test_a_value_comes_back_as_it_was(self, kv: Store, value: str | bytes) -> None:
        kv.put("key", value)

        assert kv.read("key") == kv.get("key") == kv.entry("key").value == value

    @pytest.mark.parametrize("key", [key for key in KEYS.values() if key not in {".", ".."}])
    def test_any_key_is_itself(self, kv: Store, key: str) -> None:
        kv.put(key, "value")

        assert list(kv.keys()) == [key]
        assert kv.exists(key)
        kv.delete(key)
        assert kv.count() == 0

    @pytest.mark.parametrize("key", ["", ".", ".."])
    def test_a_key_that_a_url_cannot_hold_is_refused_before_it_is_sent(self, kv: Store, key: str) -> None:
        kv.put("other", "value")

        with pytest.raises(InvalidRequest, match="cannot be in a URL"):
            kv.delete(key)

        assert kv.count() == 1

    def test_dots_can_be_stored_and_read_by_many_at_a_time(self, kv: Store) -> None:
        kv.update({".": "a", "..": "b"})

        with kv.transaction() as tx:
            one = tx.get(".")
            tx.delete("..")

        assert one.value == "a"
        assert dict(kv.items()) == {".": "a"}

    def test_what_is_not_there_is_a_key_error_with_a_sentence(self, kv: Store) -> None:
        with pytest.raises(KeyError) as raised:
            kv.read("nothing")

        assert isinstance(raised.value, NotFound)
        assert str(raised.value) == 'There is no key "nothing".'
        assert (raised.value.code, raised.value.status) == ("key_not_found", 404)
        assert raised.value.request_id
        assert kv.get("nothing") is None
        assert kv.get("nothing", "default") == "default"
        assert not kv.exists("nothing")

    def test_an_entry_has_the_value_its_etag_and_its_expiry(self, kv: Store) -> None:
        etag = kv.put("key", '{"a": 1}', ttl=HOUR)
        entry = kv.entry("key")

        assert (entry.content, entry.text, entry.json(), entry.etag) == (b'{"a": 1}', '{"a": 1}', {"a": 1}, etag)
        assert entry.ttl is not None
        assert 3590 <= entry.ttl <= 3600

    def test_parts_of_a_second_are_a_second(self, kv: Store) -> None:
        kv.put("key", "value", ttl=timedelta(seconds=99.5))

        assert kv.entry("key").ttl == 100

    def test_an_expiry_is_set_and_removed(self, kv: Store) -> None:
        kv.put("key", "value")

        kv.expire("key", HOUR)
        assert kv.entry("key").ttl is not None
        kv.persist("key")
        assert kv.entry("key").ttl is None
        kv.expire("key", 60)
        kv.expire("key", None)
        assert kv.entry("key").ttl is None
        with pytest.raises(NotFound):
            kv.expire("nothing", 60)

    def test_a_write_can_have_a_condition(self, kv: Store) -> None:
        with pytest.raises(PreconditionFailed):
            kv.put("key", "one", only_if_present=True)
        kv.put("key", "one", only_if_absent=True)
        with pytest.raises(Conflict) as raised:
            kv.put("key", "two", only_if_absent=True)
        assert raised.value.keys == ["key"]

        seen = kv.entry("key")
        kv.put("key", "two", if_match=seen)
        for write in (
            lambda: kv.put("key", "three", if_match=seen),
            lambda: kv.put("key", "three", if_match=seen.etag),
            lambda: kv.expire("key", 60, if_match=seen),
            lambda: kv.delete("key", if_match=seen),
        ):
            with pytest.raises(PreconditionFailed):
                write()
        assert kv.read("key") == "two"
        kv.delete("key", if_match=kv.entry("key"))
        with pytest.raises(NotFound):
            kv.delete("key")

    def test_two_conditions_are_refused(self, kv: Store) -> None:
        with pytest.raises(ValueError, match="takes one of"):
            kv.put("key", "value", if_match="*", only_if_absent=True)

    def test_a_value_that_is_neither_text_nor_bytes_is_refused(self, kv: Store) -> None:
        with pytest.raises(TypeError, match="not int"):
            kv.put("key", 5)  # type: ignore[arg-type]  # on purpose

        assert not kv.exists("key")

    def test_a_number_is_incremented(self, kv: Store) -> None:
        assert kv.increment("n") == 1
        assert kv.increment("n", 5, ttl=HOUR, keep_ttl=True) == 6
        assert kv.increment("n", -10, ttl=60, keep_ttl=True) == -4
        assert (kv.entry("n").ttl or 0) > 60
        kv.put("n", "text")
        with pytest.raises(Conflict) as raised:
            kv.increment("n")
        assert raised.value.code == "not_an_integer"

    def test_a_value_is_appended_to(self, kv: Store) -> None:
        assert kv.append("log", "a", ttl=60) == "a"
        assert kv.append("log", b"\xff") == b"a\xff"
        assert kv.entry("log").ttl is not None

    def test_a_value_that_is_too_large_is_named(self, kv: Store) -> None:
        with pytest.raises(TooLarge) as raised:
            kv.put("key", "v" * (1024 * 1024 + 1))

        assert raised.value.document["limit"] == 1024 * 1024


class TestModify:
    def test_it_writes_what_it_makes_of_the_value_and_keeps_the_expiry(self, kv: Store) -> None:
        kv.put("basket", "apple", ttl=HOUR)

        assert kv.modify("basket", lambda value: f"{value!s}, pear") == "apple, pear"
        assert (kv.entry("basket").ttl or 0) > 3500

    def test_it_starts_from_a_default(self, kv: Store) -> None:
        with pytest.raises(NotFound):
            kv.modify("basket", lambda value: value)

        assert kv.modify("basket", lambda value: f"{value!s}pear", default="") == "pear"

    def test_it_starts_again_if_another_one_was_faster(self, kv: Store, service_connection: Redis) -> None:
        kv.put("basket", "apple")
        seen: list[str | bytes] = []

        def change(value: str | bytes) -> str:
            if not seen:
                service_connection.set("kv:basket", "plum")
            seen.append(value)
            return f"{value!s}, pear"

        assert kv.modify("basket", change) == "plum, pear"
        assert seen == ["apple", "plum"]

    def test_it_gives_up_if_others_are_always_faster(self, kv: Store, service_connection: Redis) -> None:
        kv.put("n", "0")

        def change(value: str | bytes) -> str:
            service_connection.incr("kv:n")
            return f"{value!s}!"

        with pytest.raises(Conflict, match="each of 3 attempts"):
            kv.modify("n", change, attempts=3)
        assert kv.read("n") == "3"


class TestManyKeys:
    def test_they_are_stored_in_one_step(self, kv: Store) -> None:
        kv.update({})
        kv.update({"a": "1", "b": b"\xff"}, ttl=60)

        assert dict(kv.items()) == {"a": "1", "b": b"\xff"}
        assert kv.entry("b").ttl is not None

    def test_a_condition_holds_for_all_of_them(self, kv: Store) -> None:
        kv.put("b", "2")

        with pytest.raises(PreconditionFailed) as raised:
            kv.update({"a": "1", "b": "1"}, only_if_absent=True)
        assert raised.value.keys == ["b"]
        with pytest.raises(PreconditionFailed) as raised:
            kv.update({"a": "1", "b": "1"}, only_if_present=True)
        assert raised.value.keys == ["a"]
        assert dict(kv.items()) == {"b": "2"}

    @pytest.mark.parametrize("page", [1, 2, 1000])
    def test_lists_ask_for_page_after_page(self, kv: Store, page: int) -> None:
        pairs = {f"k{number}": str(number) for number in range(5)}
        kv.update({**pairs, "other": "x"}, ttl=60)

        assert set(kv.keys("k$", page=page)) == set(pairs)
        assert dict(kv.items("k$", page=page)) == pairs
        records = {record.key: record for record in kv.scan("k$", page=page)}
        assert {key: record.value for key, record in records.items()} == pairs
        assert all(record.expires_at and record.value_bytes == 1 for record in records.values())
        assert {record.value for record in kv.scan("k$", page=page, values=False)} == {None}
        assert kv.count("k$") == 5

    def test_the_keys_that_match_are_deleted(self, kv: Store) -> None:
        kv.update({"tmp:a": "1", "tmp:b": "2", "a$b": "3"})

        assert kv.delete_matching("tmp:$") == 2
        assert kv.delete_matching(escape("a$b")) == 1
        with pytest.raises(InvalidRequest):
            kv.delete_matching("")

    def test_all_keys_are_deleted_only_by_a_name_of_its_own(self, kv: Store) -> None:
        kv.update({"a": "1", "b": "2"})

        assert kv.clear() == 2
        assert list(kv.keys()) == []


class TestWatch:
    def test_the_state_comes_first_and_then_each_change(self, kv: Store) -> None:
        kv.update({"a": "1", "other": "x"})
        watched = kv.watch("a$")

        assert [next(watched).kind for _ in range(3)] == ["reset", "put", "synced"]
        etag = kv.put("ab", b"\xff", ttl=1000)
        # A state may be told twice.
        put = next(change for change in watched if change.key == "ab")
        assert (put.kind, put.value, put.etag) == ("put", b"\xff", etag)
        assert put.expires_at
        kv.delete("a")
        assert next(change for change in watched if change.kind == "delete").key == "a"
        watched.close()

    def test_it_begins_where_it_is_told(self, kv: Store) -> None:
        kv.put("a", "1")
        seen = list(islice(kv.watch(), 3))
        kv.put("b", "2")

        with closing(kv.watch(since=seen[-1].id)) as watched:
            # Another worker may begin with the state again.
            assert next(change for change in watched if change.key == "b").value == "2"
        with closing(kv.watch(since="no id")) as watched:
            assert next(watched).kind == "reset"
        with closing(kv.watch(initial=False)) as watched:
            assert next(watched).kind == "reset"
            kv.put("c", "3")
            assert next(change for change in watched if change.key == "c").value == "3"

    def test_it_sees_the_keys_of_a_namespace_and_sizes_only(self, kv: Store) -> None:
        kv.update({"flag:a": "123", "b": "2"})

        with closing(kv.namespace("flag:").watch(values=False)) as watched:
            put = list(islice(watched, 3))[1]

        assert (put.key, put.value, put.value_bytes) == ("a", None, 3)

    def test_it_goes_on_after_a_connection_has_ended(self, kv: Store, make: Make, service: Service) -> None:
        kv.put("a", "1")
        with (
            proxy_to(service.port) as proxy,
            closing(make(f"http://127.0.0.1:{proxy.port}").watch()) as watched,
        ):
            before = list(islice(watched, 3))
            proxy.cut_all()
            kv.put("b", "2")

            assert [change.kind for change in before] == ["reset", "put", "synced"]
            # Another worker may begin with the state again.
            assert next(change for change in watched if change.key == "b").value == "2"

    def test_it_goes_on_after_the_service_was_away(
        self, kv: Store, make: Make, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watching, "PAUSE_SECONDS", (0.01, 0.02))
        failures = iter(range(10))
        kv.put("a", "1")
        with (
            proxy_to(service.port) as proxy,
            closing(make(f"http://127.0.0.1:{proxy.port}").watch()) as watched,
        ):
            assert len(list(islice(watched, 3))) == 3
            with proxy.choosing(lambda _: LOST if next(failures, None) is not None else None):
                proxy.cut_all()
                kv.put("b", "2")

                assert next(change for change in watched if change.key == "b").value == "2"
        assert next(failures, None) is None

    def test_what_cannot_be_watched_is_an_error(self, kv: Store) -> None:
        with pytest.raises(InvalidRequest):
            next(kv.watch("\\"))
        with pytest.raises(InvalidRequest):
            kv.export_to(io.BytesIO(), "\\")


class TestNamespace:
    def test_it_sees_its_own_keys_without_the_start_of_their_names(self, kv: Store) -> None:
        # Signs of the filter language, so that a start that is not escaped is found.
        flags = kv.namespace("$\\:")
        kv.update({"other": "x", "$": "y"})
        flags.update({"a": "1"})
        flags.put("b", "2")

        assert dict(flags.items()) == {"a": "1", "b": "2"}
        assert {record.key for record in flags.scan("a$")} == {"a"}
        assert set(kv.keys()) == {"other", "$", "$\\:a", "$\\:b"}
        assert flags.namespace("a").read("") == "1"
        assert flags.delete_matching("a$") == 1
        assert flags.clear() == 1
        assert set(kv.keys()) == {"other", "$"}

    def test_errors_name_its_keys_as_it_does(self, kv: Store) -> None:
        with pytest.raises(PreconditionFailed) as raised:
            kv.namespace("flag:").put("a", "1", only_if_present=True)

        assert raised.value.keys == ["a"]


class TestTransaction:
    def test_it_is_done_at_the_end_of_its_block(self, kv: Store) -> None:
        etag = kv.put("balance", "100")
        kv.put("draft", "x")

        with kv.transaction(ttl=60) as tx:
            tx.require("balance", etag)
            tx.exists("draft")
            tx.absent("log")
            before, nothing = tx.get("balance"), tx.get("nothing")
            tx.put("balance", "90")
            tx.put("log", b"\xff")
            tx.delete("draft")
            assert kv.read("balance") == "100"
            with pytest.raises(RuntimeError):
                _ = before.value

        assert (before.value, nothing.value, tx.stored, tx.deleted) == ("100", None, 2, 1)
        assert dict(kv.items()) == {"balance": "90", "log": b"\xff"}
        assert kv.entry("log").ttl is not None

    def test_nothing_is_done_if_a_condition_does_not_hold(self, kv: Store) -> None:
        def transact() -> None:
            with kv.namespace("n:").transaction() as tx:
                tx.exists("a")
                tx.put("b", "1")

        with pytest.raises(PreconditionFailed) as raised:
            transact()

        assert raised.value.keys == ["a"]
        assert kv.count() == 0

    def test_nothing_is_done_if_its_block_fails(self, kv: Store) -> None:
        def transact() -> None:
            with kv.transaction() as tx:
                tx.put("a", "1")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            transact()

        assert kv.count() == 0

    def test_an_empty_one_does_nothing(self, kv: Store) -> None:
        with kv.transaction(ttl=60) as tx:
            pass

        assert (tx.stored, tx.deleted) == (0, 0)


class TestLock:
    def test_it_is_held_during_its_block(self, kv: Store) -> None:
        with kv.lock("job", ttl=60) as lock:
            with pytest.raises(LockTaken), kv.lock("job", wait_seconds=0.15):
                pass
            lock.extend(HOUR)
            assert (kv.entry("job").ttl or 0) > 3000
            lock.extend()
            assert (kv.entry("job").ttl or 3600) <= 60

        assert not kv.exists("job")

    def test_it_is_waited_for(self, kv: Store, service_connection: Redis) -> None:
        service_connection.set("kv:job", "of another one", px=100)

        with kv.lock("job", wait_seconds=5):
            assert kv.read("job") != "of another one"

    def test_that_of_another_one_is_neither_extended_nor_released(self, kv: Store) -> None:
        def work() -> None:
            with kv.lock("job") as lock:
                kv.put("job", "of another one")
                with pytest.raises(LockLost):
                    lock.extend()

        with pytest.raises(LockLost):
            work()

        assert kv.read("job") == "of another one"

    def test_it_is_released_if_its_block_fails(self, kv: Store) -> None:
        with pytest.raises(ZeroDivisionError), kv.lock("job"):
            raise ZeroDivisionError

        assert not kv.exists("job")


class TestFiles:
    @pytest.mark.parametrize("as_path", [True, False])
    def test_what_is_exported_can_be_imported(self, kv: Store, tmp_path: Path, as_path: bool) -> None:
        kv.update(PAIRS, ttl=60)
        kv.put("other", "x")
        path = tmp_path / "export.ndjson"
        seen: list[int] = []

        if as_path:
            assert kv.export_to(str(path), "$", progress=seen.append) == 4
        else:
            with path.open("wb") as file:
                assert kv.export_to(file, "$", progress=seen.append) == 4
        kv.clear()
        imported = kv.import_from(str(path) if as_path else io.BytesIO(path.read_bytes()), progress=seen.append)

        assert imported == Imported(stored=4, skipped=0, failed=0, errors=[])
        assert dict(kv.items()) == {**PAIRS, "other": "x"}
        assert kv.entry("b").ttl is not None
        assert sum(seen) == 4 + 4
        assert list(tmp_path.iterdir()) == [path]

    def test_an_export_of_a_namespace_has_its_keys_only(self, kv: Store) -> None:
        kv.update({"flag:a": "1", "b": "2"})
        file = io.BytesIO()

        assert kv.namespace("flag:").export_to(file) == 1
        assert json.loads(file.getvalue().splitlines()[0])["key"] == "flag:a"

    def test_a_file_that_was_cut_off_is_refused_before_anything_is_stored(self, kv: Store, tmp_path: Path) -> None:
        path = tmp_path / "cut.ndjson"
        path.write_text('{"key": "a", "value": "1"}\n')

        with pytest.raises(CutOff):
            kv.import_from(str(path))
        assert kv.count() == 0
        with pytest.raises(CutOff), path.open("rb") as file:
            kv.import_from(file)
        assert kv.import_from(str(path), complete=False).stored == 1

    def test_wrong_lines_are_reported(self, kv: Store) -> None:
        imported = kv.import_from(io.BytesIO(b'{"key": "a", "value": "1"}\n{}\n{"count": 2}\n'))

        assert (imported.stored, imported.failed, imported.errors[0]["line"]) == (1, 1, 2)

    def test_an_export_that_cannot_be_written_leaves_what_was_there(self, kv: Store, tmp_path: Path) -> None:
        path = tmp_path / "export.ndjson"
        path.write_text("before")

        def stop(_: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            kv.export_to(str(path), progress=stop)

        assert path.read_text() == "before"
        assert list(tmp_path.iterdir()) == [path]


class TestMapping:
    """What only a synchronous store can be."""

    @pytest.fixture
    def mapping(self, service: Service, service_connection: Redis) -> Iterator[Store]:
        service_connection.flushall()
        with Store(f"http://127.0.0.1:{service.port}") as store:
            yield store

    def test_it_is_read_and_written_as_a_dict(self, mapping: Store) -> None:
        mapping["a"] = "1"
        mapping["b"] = b"\xff"

        assert mapping["a"] == "1"
        assert "a" in mapping
        assert "c" not in mapping
        assert 5 not in mapping
        assert len(mapping) == 2
        assert set(mapping) == {"a", "b"}
        del mapping["a"]
        with pytest.raises(KeyError):
            mapping["a"]
        with pytest.raises(KeyError):
            del mapping["a"]

    def test_threads_may_share_it(self, mapping: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            counted = list(pool.map(lambda _: mapping.increment("n"), range(100)))

        assert sorted(counted) == list(range(1, 101))

    def test_it_is_true_without_counting_its_keys(self, mapping: Store) -> None:
        assert mapping


def test_an_asynchronous_iteration_gives_the_keys(kv: Store, service: Service) -> None:
    kv.update({"a": "1", "b": "2"})

    async def keys() -> set[str]:
        async with AsyncStore(f"http://127.0.0.1:{service.port}") as store:
            return {key async for key in store}

    assert asyncio.run(keys()) == {"a", "b"}


def test_tasks_may_share_an_asynchronous_store(service: Service, service_connection: Redis) -> None:
    service_connection.flushall()

    async def count() -> list[int]:
        async with AsyncStore(f"http://127.0.0.1:{service.port}") as store:
            return await asyncio.gather(*(store.increment("n") for _ in range(100)))

    assert sorted(asyncio.run(count())) == list(range(1, 101))


def test_both_kinds_have_the_same_calls() -> None:
    def calls(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert calls(Store) == calls(AsyncStore)
