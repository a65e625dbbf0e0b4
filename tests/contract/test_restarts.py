"""A server that is started again: its cursors mean nothing any more, so no list goes on as if nothing had happened."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from api.serving.embedded import EmbeddedServer
from models import errors
from models.filter import EVERY_KEY
from models.store import Store
from models.valkey.client import Client
from models.valkey.connection import connect
from tests.support.clients import pages, put_json
from tests.support.contract import Contract
from tests.support.servers.services import eventually, serving, valkey
from tests.support.wire import Cut, Wire


# More than the buffers on the way to a client hold, and more names than one SCAN gives.
MANY = {f"key {number}": "v" * 3_000 for number in range(4_000)}
PAIRS = {f"key {number}": str(number).encode() for number in range(5_000)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with valkey(tmp_path, durability="always") as running:
        yield running


@pytest.fixture
def store(server: EmbeddedServer) -> Iterator[Store]:
    with closing(connect(server.url, timeout_seconds=2, max_connections=8)) as client:
        reached = Store(client, key_prefix="kv:", max_value_bytes=100)
        reached.put(PAIRS)
        yield reached


def start_again(server: EmbeddedServer) -> None:
    server.stop()
    server.start()


def test_a_cursor_of_an_earlier_process_is_refused_and_a_new_start_is_complete(
    store: Store, server: EmbeddedServer
) -> None:
    cursor, _ = store.page(EVERY_KEY, cursor=0, limit=100)

    start_again(server)

    with pytest.raises(errors.CursorExpired, match="Start again"):
        store.page(EVERY_KEY, cursor=cursor, limit=100)
    found: dict[str, bytes | None] = {}
    cursor = 0
    while not found or cursor:
        cursor, entries = store.page(EVERY_KEY, cursor=cursor, limit=1_000)
        for batch in entries:
            found |= batch
    assert found == PAIRS


def test_a_cursor_is_good_for_every_worker_of_the_same_process(store: Store, server: EmbeddedServer) -> None:
    cursor, _ = store.page(EVERY_KEY, cursor=0, limit=100)

    with closing(connect(server.url, timeout_seconds=2, max_connections=8)) as client:
        other = Store(client, key_prefix="kv:", max_value_bytes=100)
        assert other.page(EVERY_KEY, cursor=cursor, limit=100)[0] > 0


@pytest.mark.parametrize("listing", [Store.entries, Store.export_records])
def test_a_list_that_goes_on_is_cut_short(
    store: Store, server: EmbeddedServer, listing: Callable[..., Iterator[object]]
) -> None:
    batches = listing(store, EVERY_KEY)
    next(batches)

    start_again(server)

    with pytest.raises(errors.StoreChanged):
        list(batches)


def test_a_count_and_a_deletion_that_go_on_fail(
    store: Store, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = Client.execute_with_run_id

    def execute_and_start_again(client: Client, *command: object) -> object:
        answer = execute(client, *command)
        if command[0] == "SCAN":
            start_again(server)
            monkeypatch.setattr(Client, "execute_with_run_id", execute)
        return answer

    monkeypatch.setattr(Client, "execute_with_run_id", execute_and_start_again)
    with pytest.raises(errors.StoreChanged):
        store.count(EVERY_KEY)
    monkeypatch.setattr(Client, "execute_with_run_id", execute_and_start_again)
    with pytest.raises(errors.OutcomeUnknown, match=r"after \d{3} keys were deleted"):
        store.delete_matching(EVERY_KEY)
    assert 4_000 < store.delete_matching(EVERY_KEY) < 4_400
    assert store.count(EVERY_KEY) == 0


def test_a_service_answers_so_when_its_embedded_server_dies(tmp_path: Path, contract: Contract) -> None:
    with serving(tmp_path, "--durability", "always") as service:
        ask = service.ask(contract)
        put_json(ask, MANY)
        first = ask("GET", "/keys?limit=100")
        with Wire(service.port, receive_buffer_bytes=4_096) as wire:
            wire.begin("GET", "/keys", {})
            wire.head()
            wire.chunk()

            os.kill(service.children()["valkey"], signal.SIGKILL)
            eventually(lambda: ask("GET", "/health/ready").status == 200)

            with pytest.raises(Cut):
                deque(iter(wire.chunk, b""), maxlen=0)

        second = ask("GET", "/keys" + first.headers["Link"][1:].partition(">")[0])
        assert (second.status, second.code) == (400, "cursor_expired")
        assert len({key for page in pages(ask, "/keys?limit=300") for key in page}) == len(MANY)
