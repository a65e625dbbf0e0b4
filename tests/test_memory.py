"""Heavy proofs: a million keys."""

import http.client
import json
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import server_of
from tests.contract import Contract
from tests.services import serving


KEYS = 1_000_000
MAX_GROWTH_BYTES = 32 * 1024 * 1024


@pytest.mark.soak
def test_a_list_of_a_million_keys_does_not_grow_a_worker(tmp_path: Path, contract: Contract) -> None:
    with serving(tmp_path, "--workers", "1") as service:
        client = server_of(service)
        for first in range(0, KEYS, 10_000):
            client.mset({f"kv:key {n}": f"value {n}" for n in range(first, first + 10_000)})
        client.close()
        ask = service.ask(contract)
        for _ in range(20):
            assert ask("GET", "/keys?limit=1000").status == 200
        worker = psutil.Process(service.children()["gunicorn"]).children()[0]
        before_bytes = peak_bytes(worker)

        assert ask("HEAD", "/keys").headers["Total-Count"] == str(KEYS)
        names = listed(service.port, "/keys?values=false")
        values = listed(service.port, "/keys")
        assert ask("DELETE", "/keys").json == {"deleted": KEYS}

        assert names == values == KEYS
        grown_bytes = peak_bytes(worker) - before_bytes
        assert grown_bytes <= MAX_GROWTH_BYTES, f"it grew by {grown_bytes:,} bytes"


def peak_bytes(process: psutil.Process) -> int:
    """Give the most memory that a process ever had: what a stream took for a moment counts as well."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def listed(port: int, target: str) -> int:
    """Read a stream at leisure, and give how many members its object has."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", target)
    response = connection.getresponse()
    body = bytearray()
    while chunk := response.read(1024 * 1024):
        body += chunk
        time.sleep(0.01)
    connection.close()
    return len(json.loads(body))
