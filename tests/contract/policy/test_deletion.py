"""Deleting every key only where that is meant, and the keys that clients cannot write into a path."""

import subprocess
from collections.abc import Iterator

import pytest

from api.app import create_app
from api.settings import Settings
from models.store import Store
from tests.support.clients import Ask, in_process, put_json
from tests.support.contract import Contract
from tests.support.servers.services import Service, serving


DOTS = {".": "1", "..": "2", "a/../b": "3", "./x": "4", "x/..": "5"}


@pytest.fixture
def backend() -> str:
    return "valkey"


@pytest.fixture
def careful(store: Store, contract: Contract) -> Ask:
    """Ask a service that deletes nothing without a filter."""
    return in_process(create_app(Settings(delete_all=False), store=store), contract)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("careful"), "--workers", "1", FLASKVSTORE_DELETE_ALL="false") as service:
        yield service


def test_without_a_filter_nothing_is_deleted(careful: Ask) -> None:
    put_json(careful, {"a": "1", "b": "2"})

    answer = careful("DELETE", "/keys")

    assert (answer.status, answer.code) == (400, "filter_required")
    assert "?filter=$" in answer.json["detail"]
    assert careful("GET", "/keys").json == {"a": "1", "b": "2"}


@pytest.mark.parametrize("query", ["filter=", "filters=a", "Filter=$", "filter=$&x=1", "filter=a&filter=$", "%24", "$"])
def test_a_mistake_in_the_query_deletes_nothing(careful: Ask, query: str) -> None:
    put_json(careful, {"a": "1", "b": "2"})

    assert careful("DELETE", f"/keys?{query}").status == 400
    assert careful("GET", "/keys").json == {"a": "1", "b": "2"}


def test_with_a_filter_what_it_matches_is_deleted(careful: Ask) -> None:
    put_json(careful, {"a": "1", "b": "2", "c": "3"})

    assert careful("DELETE", "/keys?filter=b").json == {"deleted": 1}
    assert careful("DELETE", "/keys?filter=$").json == {"deleted": 2}


@pytest.mark.parametrize("path", ["/keys/../keys", "/keys/x/../../keys", "/keys/.", "/keys/..", "/keys/x/.."])
def test_a_path_that_curl_tidies_up_deletes_nothing(running: Service, contract: Contract, path: str) -> None:
    ask = running.ask(contract)
    put_json(ask, {"a": "1"})

    command = ["curl", "--silent", "--output", "-", "-X", "DELETE", f"http://127.0.0.1:{running.port}{path}"]
    sent = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)

    assert '"status":40' in sent.stdout
    assert ask("GET", "/keys").json == {"a": "1"}


def test_keys_that_clients_tidy_up_are_reached_without_a_path(careful: Ask) -> None:
    json_type = {"Content-Type": "application/json"}
    assert put_json(careful, DOTS).json == {"stored": len(DOTS)}

    assert careful("POST", "/keys", b'{"get": [".", "..", "a/../b"]}', json_type).json["values"] == {
        key: DOTS[key] for key in (".", "..", "a/../b")
    }
    assert careful("GET", "/keys?filter=..").json == {"..": "2"}
    assert careful("POST", "/keys", b'{"delete": [".."]}', json_type).json["deleted"] == 1
    assert careful("DELETE", "/keys?filter=.").json == {"deleted": 1}
    assert set(careful("GET", "/keys").json) == set(DOTS) - {".", ".."}
