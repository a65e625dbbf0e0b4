"""Heavy proofs: a million keys."""

import http.client
import json
import subprocess
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


@pytest.mark.soak
def test_an_export_and_an_import_of_a_million_records_do_not_grow_a_worker(tmp_path: Path, contract: Contract) -> None:
    with serving(tmp_path, "--workers", "1") as service:
        client = server_of(service)
        for first in range(0, KEYS, 10_000):
            client.mset({f"kv:key {n}": f"value {n}" for n in range(first, first + 10_000)})
        client.expire("kv:key 5", 1_000_000)
        ask = service.ask(contract)
        record = b'{"key": "key 5", "value": "value 5"}\n'
        for _ in range(20):
            assert ask("PUT", "/keys", record * 3_000, {"Content-Type": "application/x-ndjson"}).json["stored"] == 3_000
        worker = psutil.Process(service.children()["gunicorn"]).children()[0]
        before_bytes = peak_bytes(worker)

        export = tmp_path / "export.ndjson"
        curl(service.port, "--header", "Accept: application/x-ndjson", "--output", str(export))
        client.flushall()
        report = curl(service.port, "--header", "Content-Type: application/x-ndjson", "--upload-file", str(export))

        grown_bytes = peak_bytes(worker) - before_bytes
        assert json.loads(report) == {"stored": KEYS, "skipped": 0, "errors": []}
        assert client.dbsize() == KEYS
        assert client.get("kv:key 999999") == b"value 999999"
        client.close()
        assert grown_bytes <= MAX_GROWTH_BYTES, f"it grew by {grown_bytes:,} bytes"


def curl(port: int, *options: str) -> bytes:
    """Call `/keys` with curl, which neither holds an upload in memory nor a download."""
    command = ["curl", "--silent", "--show-error", "--fail-with-body", f"http://127.0.0.1:{port}/keys", *options]
    return subprocess.run(command, capture_output=True, check=True, timeout=300).stdout


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
