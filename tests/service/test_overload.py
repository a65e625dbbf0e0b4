"""Whatever a few clients send, with or without a token, the others are served."""

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import psutil
import pytest
from redis import Redis

from models.tokens import SCOPES, Tokens
from tests.service.test_memory import peak_bytes
from tests.support.overload import LARGE_BYTES, LARGE_KEYS, LONG_KEYS, WITH_TOKEN, WITHOUT_TOKEN, Attack, attacked
from tests.support.servers.services import Service, serving, workers
from tests.support.servers.stores import PREFIX, server_of


SECONDS = 3
# As docs/limits.md says.
MAX_WORKER_BYTES = 640 * 1024 * 1024
STORE_MS = 50


class Scene(NamedTuple):
    """A service that is attacked."""

    service: Service
    store: Redis
    attacker: str
    honest: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A service with two workers, and with the attackers' data in its store."""
    directory = tmp_path_factory.mktemp("attacked")
    file = directory / "tokens.json"
    tokens = Tokens(file)
    attacker = tokens.create("attacker", namespace="attackers", scopes=SCOPES)
    honest = tokens.create("honest", namespace="honest", scopes=SCOPES)
    with (
        serving(directory, "--workers", "2", "--tokens-file", str(file)) as service,
        closing(server_of(service)) as store,
    ):
        for key in LARGE_KEYS:
            store.set(f"{PREFIX}attackers:{key}", b"v" * LARGE_BYTES)
        store.mset(dict.fromkeys([f"{PREFIX}attackers:{key}" for key in LONG_KEYS], b""))
        store.config_set("slowlog-log-slower-than", STORE_MS * 1000)
        yield Scene(service, store, attacker, honest)


@pytest.mark.soak
@pytest.mark.gunicorn("Granian is for clients that are trusted.")
@pytest.mark.parametrize("connections", [1, 64])
@pytest.mark.parametrize(
    ("attack", "has_token"),
    [
        *(pytest.param(attack, False, id=f"{attack.__name__} without a token") for attack in WITHOUT_TOKEN),
        *(pytest.param(attack, True, id=attack.__name__) for attack in WITH_TOKEN),
    ],
)
def test_an_attack_does_not_stop_honest_clients(
    scene: Scene, attack: Attack, has_token: bool, connections: int, capsys: pytest.CaptureFixture[str]
) -> None:
    service, store, attacker, honest = scene
    before = sorted(workers(service))
    store.slowlog_reset()

    noticed = attacked(service.port, attack, connections, SECONDS, token=attacker if has_token else "", honest=honest)

    slow = [(entry["duration"] // 1000, entry["command"][:60]) for entry in store.slowlog_get()]
    peak = max(peak_bytes(psutil.Process(pid)) for pid in workers(service))
    with capsys.disabled():
        times = "  ".join(f"{noticed.quantile_ms(part):6.0f}" for part in (0.5, 0.99, 1))
        longest = max((ms for ms, _ in slow), default=0)
        sys.stdout.write(f"\n{len(noticed.seconds):5} requests, ms: {times}; store {longest} ms; {peak >> 20} MiB ")
    assert sorted(workers(service)) == before
    assert noticed.failures == []
    assert slow == []
    assert peak <= MAX_WORKER_BYTES
