"""Heavy proofs: a million keys, and hundreds of thousands of requests."""

import http.client
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.support.clients import JSON
from tests.support.contract import Contract
from tests.support.servers.services import serving, workers
from tests.support.servers.stores import MAX_VALUE_BYTES, server_of
from tests.support.wire import Wire


KEYS = 1_000_000
MAX_GROWTH_BYTES = 32 * 1024 * 1024

# 64 values of the largest size are read at once, and thrown away; the rest is what is held of each.
MAX_GROWTH_BY_LARGE_VALUES_BYTES = 96 * 1024 * 1024

REQUESTS = 200_000
WARM_UP_REQUESTS = 20_000
CLIENTS = 4
MAX_GROWTH_BY_REQUESTS_BYTES = 4 * 1024 * 1024
# Reads, writes and mistakes, and the status of each; made on a thousand keys.
MIX = [
    ("PUT /keys/{}", b"value" * 20, 200),
    ("GET /keys/{}", b"", 200),
    ("HEAD /keys/{}", b"", 200),
    ("PUT /keys?{}=1&other=2", b"", 200),
    ("PATCH /keys/{}", b'{"increment": 1}', 200),
    ("POST /keys", b'{"get": ["other"], "put": {"third": "3"}}', 200),
    ("GET /keys?limit=10", b"", 200),
    ("DELETE /keys/{}", b"", 200),
    ("GET /keys/{}", b"", 404),
    ("GET /nothing/{}", b"", 404),
    ("PUT /keys/{}?expire_in=x", b"v", 400),
    ("PUT /keys", b'{"a": ', 400),
]


@pytest.mark.soak
def test_a_list_of_a_million_keys_does_not_grow_a_worker(tmp_path: Path, contract: Contract) -> None:
    with serving(tmp_path) as service:
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
    with serving(tmp_path) as service:
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
        assert json.loads(report) == {"stored": KEYS, "skipped": 0, "failed": 0, "errors": []}
        assert client.dbsize() == KEYS
        assert client.get("kv:key 999999") == b"value 999999"
        client.close()
        assert grown_bytes <= MAX_GROWTH_BYTES, f"it grew by {grown_bytes:,} bytes"


@pytest.mark.soak
@pytest.mark.parametrize("expire_in", [None, 10_000])
def test_small_requests_for_large_values_do_not_grow_a_worker(
    tmp_path: Path, contract: Contract, expire_in: int | None
) -> None:
    with serving(tmp_path) as service:
        client = server_of(service)
        client.mset({f"kv:key {n}": "small" for n in range(4_000)})
        ask = service.ask(contract)
        # Whoever sees the order of a list can put what is large behind what is small.
        order = list(ask("GET", "/keys").json)
        for key in order[-700:]:
            client.set(f"kv:{key}", b"v" * MAX_VALUE_BYTES, ex=expire_in)
        worker = psutil.Process(service.children()["gunicorn"]).children()[0]
        before_bytes = peak_bytes(worker)

        refused = ask("POST", "/keys", json.dumps({"get": order[-700:]}).encode(), JSON)
        curl(service.port, "--output", "/dev/null")
        curl(service.port, "--header", "Accept: application/x-ndjson", "--output", "/dev/null")

        assert refused.code == "values_too_large"
        grown_bytes = peak_bytes(worker) - before_bytes
        assert grown_bytes <= MAX_GROWTH_BY_LARGE_VALUES_BYTES, f"it grew by {grown_bytes:,} bytes"
        client.close()


@pytest.mark.soak
def test_hundreds_of_thousands_of_requests_do_not_grow_a_worker(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as service:
        processes = [psutil.Process(pid) for pid in workers(service)]
        make_requests(service.port, WARM_UP_REQUESTS)
        before_bytes = [process.memory_info().rss for process in processes]

        make_requests(service.port, REQUESTS)

        grown_bytes = [p.memory_info().rss - before for p, before in zip(processes, before_bytes, strict=True)]
        assert max(grown_bytes) <= MAX_GROWTH_BY_REQUESTS_BYTES, f"they grew by {grown_bytes} bytes"


def make_requests(port: int, count: int) -> None:
    """Make requests of all kinds, on connections that are kept for a while."""

    def client(number: int) -> None:
        for round_ in range(count // CLIENTS // (10 * len(MIX))):
            with Wire(port) as wire:
                for step in range(10):
                    mix(wire, f"{number}-{(10 * round_ + step) % 250}")

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))


def mix(wire: Wire, key: str) -> None:
    """Send one request of each kind at once, then read the answers."""
    sent = b""
    for line, body, _ in MIX:
        json_type = "Content-Type: application/json\r\n" if body.startswith(b"{") else ""
        head = f"{line.format(key)} HTTP/1.1\r\nHost: localhost\r\n{json_type}Content-Length: {len(body)}\r\n\r\n"
        sent += head.encode() + body
    wire.send(sent)
    for line, _, status in MIX:
        assert wire.answer(line.split()[0]).status == status, line


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
