"""A program that uses the Python client, as type checkers see it; it is checked and never run."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, assert_type

from client import AsyncStore, Change, Entry, Lock, Record, Store, Value


def use(kv: Store) -> None:
    assert_type(kv["key"], str | bytes)
    assert_type(kv.get("key"), Value | None)
    assert_type(kv.entry("key"), Entry)
    assert_type(kv.put("key", b"value", ttl=60), str)
    assert_type(kv.increment("key"), int)
    assert_type(kv.keys("a$"), Generator[str, None, None])
    assert_type(kv.scan(), Generator[Record, None, None])
    assert_type(kv.token(), dict[str, Any])
    assert_type(kv.namespace("a:"), Store)
    assert_type(Store.from_env(), Store)
    with kv.lock("job") as lock, kv.transaction() as tx:
        assert_type(lock, Lock)
        assert_type(lock.extend(), None)
        assert_type(tx.get("key").value, Value | None)


async def use_async(kv: AsyncStore) -> None:
    assert_type(await kv.get("key", "default"), Value | None)
    assert_type(await kv.put("key", "value", if_match=await kv.entry("key")), str)
    assert_type(kv.items(), AsyncGenerator[tuple[str, str | bytes], None])
    assert_type([change async for change in kv.watch()], list[Change])
    async with kv.lock("job") as lock:
        assert_type(await lock.extend(), None)
