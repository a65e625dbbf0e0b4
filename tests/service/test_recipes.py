"""The programs of `docs/recipes/`, beside real services that lose their workers."""

import contextlib
import importlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.amounts import SEED
from tests.support.clients import AS_NDJSON, Ask, put_json
from tests.support.contract import Contract
from tests.support.servers.services import Service, eventually, kill, serving, workers


RECIPES = Path(__file__).parent.parent.parent / "docs" / "recipes"
STEPS = 150


def change(ask: Ask, chance: random.Random) -> None:
    """Change some keys, in one of many ways."""
    keys = [f"key {chance.randrange(20)}" for _ in range(3)]
    match chance.randrange(12):
        case 0:
            ask("DELETE", "/keys?filter=key 1$")
        case 1 | 2:
            ask("POST", "/keys", b'{"delete": ["%b"]}' % keys[0].encode(), {"Content-Type": "application/json"})
        case 3:
            put_json(ask, {keys[0]: {"base64": "/w=="}}, f"?expire_in={chance.choice([1, 1_000])}")
        case _:
            put_json(ask, dict.fromkeys(keys, str(chance.random())))


def exported(ask: Ask) -> list[bytes]:
    """Return all records, in one order."""
    return sorted(ask("GET", "/keys", b"", AS_NDJSON).body.splitlines())


def test_a_mirror_becomes_the_same_and_stays_so(tmp_path: Path, disturbed: Service, contract: Contract) -> None:
    chance, source = random.Random(SEED), disturbed.ask(contract)
    with serving(tmp_path) as second, contextlib.ExitStack() as stack:
        target = second.ask(contract)
        source("DELETE", "/keys")
        put_json(source, {f"key {number}": "1" for number in range(20)})
        put_json(target, {"not there": "1"})
        urls = [f"http://127.0.0.1:{service.port}" for service in (disturbed, second)]
        process = stack.enter_context(subprocess.Popen([sys.executable, RECIPES / "mirror.py", *urls]))
        stack.callback(process.terminate)
        eventually(lambda: exported(source) == exported(target))

        for step in range(STEPS):
            change(source, chance)
            if step == STEPS // 2:
                os.kill(workers(disturbed)[0], signal.SIGKILL)
                eventually(lambda: len(workers(disturbed)) == 2)

        eventually(lambda: exported(source) == exported(target), 20)
        assert process.poll() is None


def test_a_cache_has_what_the_service_has(
    disturbed: Service, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(RECIPES))
    module: Any = importlib.import_module("cache")
    ask = disturbed.ask(contract)
    ask("DELETE", "/keys")
    put_json(ask, {"page:1": "old", "page:2": "1", "page:$\\": "2", "other": "3"})

    cache = module.Cache(f"http://127.0.0.1:{disturbed.port}", "page:$")

    # Before the state is there, and after.
    assert (cache.get("page:1"), cache.get("page:$\\"), cache.get("page:0")) == ("old", "2", None)
    assert cache.is_synced.wait(10)
    assert (cache.get("page:1"), cache.get("page:$\\"), cache.get("page:0")) == ("old", "2", None)
    ask("PUT", "/keys/page:1", b"new")
    ask("DELETE", "/keys/page:2")
    eventually(lambda: (cache.get("page:1"), cache.get("page:2")) == ("new", None))

    for worker in workers(disturbed):
        kill(worker)
    eventually(lambda: not cache.is_synced.is_set())
    eventually(lambda: len(workers(disturbed)) == 2)
    ask("PUT", "/keys/page:1", b"newer")
    assert cache.get("page:1") == "newer"
    assert cache.is_synced.wait(10)
    assert cache.get("page:1") == "newer"
