"""A service under watch: its datagrams go through the mapping to a real Prometheus with our rules and alerts."""

import contextlib
import http.client
import json
import math
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from api.serving.embedded import EmbeddedServer
from tests.support.clients import AS_NDJSON, JSON, NDJSON
from tests.support.events import AS_EVENTS
from tests.support.monitoring.exporter import Exporter, Listening, listening
from tests.support.monitoring.mapping import MAPPING, read_rules
from tests.support.servers.services import Service, eventually, free_port, need, serving, valkey


MONITORING = Path(__file__).parent.parent.parent.parent / "monitoring"
PROMETHEUS = MONITORING / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana" / "dashboards" / "flaskvstore.json").read_text())
JOB = "flaskvstore_gunicorn"
SCRAPE_INTERVAL = "500ms"

# Every resource, every operation of the store, and some mistakes.
CALLS: list[tuple[str, str, bytes, dict[str, str]]] = [
    ("PUT", "/keys?word=one&world=two", b"", {}),
    ("PUT", "/keys/word", b"value" * 100, {}),
    ("GET", "/keys/word", b"", {}),
    ("HEAD", "/keys/word", b"", {}),
    ("PATCH", "/keys/visits", b'{"increment": 1}', JSON),
    ("POST", "/keys", b'{"get": ["word"], "put": {"other": "3"}}', JSON),
    ("PUT", "/keys", b'{"key": "imported", "value": "4"}\n', NDJSON),
    ("GET", "/keys", b"", {}),
    ("GET", "/keys", b"", AS_NDJSON),
    ("GET", "/keys?limit=2", b"", {}),
    ("HEAD", "/keys", b"", {}),
    ("DELETE", "/keys/other", b"", {}),
    ("DELETE", "/keys?filter=imp$", b"", {}),
    ("GET", "/keys/nothing", b"", {}),
    ("GET", "/keys?unknown=1", b"", {}),
    ("GET", "/health/live", b"", {}),
    ("GET", "/health/ready", b"", {}),
    ("GET", "/swagger.json", b"", {}),
    ("GET", "/nowhere", b"", {}),
]


@dataclass
class Prometheus:
    """A Prometheus of ours.

    :param port: where it answers
    """

    port: int

    def get(self, path: str, **parameters: str) -> Any:
        """Ask its API."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, expression: str) -> list[float]:
        """Give the numbers that an expression has now."""
        found = self.get("query", query=expression)["result"]
        return [value for each in found if not math.isnan(value := float(each["value"][1]))]


@dataclass
class Watched:
    """A service, the store behind it, and what watches both."""

    service: Service
    store: EmbeddedServer
    exporter: Listening
    prometheus: Prometheus


@contextlib.contextmanager
def prometheus(directory: Path, target: str) -> Iterator[Prometheus]:
    """Run a Prometheus with our configuration, but on a target here, and with short intervals.

    :param directory: where it keeps its data
    :param target: what it scrapes
    """
    binary = shutil.which("prometheus")
    need(binary, "Debian's prometheus")
    assert binary
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL}
    configuration["rule_files"] = [str(PROMETHEUS / name) for name in configuration["rule_files"]]
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    config = directory / "prometheus.yml"
    config.write_text(yaml.safe_dump(configuration))
    port = free_port()
    log = directory / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Prometheus(port)
    try:
        eventually(lambda: process.poll() is None and scrapes(running), 30)
        yield running
    finally:
        process.terminate()
        process.wait(30)


def scrapes(running: Prometheus) -> bool:
    """Tell whether a Prometheus has scraped its target."""
    try:
        return running.values(f'up{{job="{JOB}"}}') == [1]
    except (OSError, ValueError):
        # It does not listen yet, or answers that it is not ready in plain text.
        return False


@contextlib.contextmanager
def watched(directory: Path, *options: str, **variables: str) -> Iterator[Watched]:
    """Run a service in front of a Valkey that can be stopped, and watch it.

    :param directory: where all of it is kept
    """
    exporter = Exporter(read_rules(MAPPING.read_text()))
    with (
        listening(exporter) as heard,
        valkey(directory / "store") as store,
        serving(
            directory, "--redis-url", store.url, *options, FLASKVSTORE_STATSD_HOST=heard.statsd, **variables
        ) as service,
        prometheus(directory, heard.metrics) as running,
    ):
        yield Watched(service, store, heard, running)


def work(port: int, seconds: float, pause_seconds: float = 0.0) -> None:
    """Send calls to a service for a while, one after the other, and watch the first change of each round.

    :param port: where it listens
    :param seconds: for how long
    :param pause_seconds: how long to wait between two
    """
    deadline = time.monotonic() + seconds
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as watching:
        for method, target, body, headers in cycle(CALLS):
            if time.monotonic() > deadline:
                return
            if target == CALLS[0][1]:
                watching.close()
                watching.request("GET", "/keys", headers={**AS_EVENTS, "Prefer": "wait=60"})
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            with contextlib.closing(connection):
                connection.request(method, target, body=body or None, headers=headers)
                connection.getresponse().read()
            if target == CALLS[-1][1]:
                misbehave(port)
            time.sleep(pause_seconds)


def misbehave(port: int) -> None:
    """Send what Gunicorn refuses, and logs."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        connection.recv(65536)


def crowd(port: int, seconds: float, clients: int, pause_seconds: float = 0.0) -> None:
    """Send calls by several clients at once.

    :param port: where the service listens
    :param seconds: for how long
    :param clients: how many
    :param pause_seconds: how long each waits between two calls
    """
    threads = [threading.Thread(target=work, args=(port, seconds, pause_seconds)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def expressions() -> list[tuple[str, str]]:
    """Give the queries of the dashboard, each with its panel's title."""
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def filled(expression: str, rate_interval: str) -> str:
    """Put in what Grafana would for its variables.

    :param expression: a query of the dashboard
    :param rate_interval: what ``$__rate_interval`` becomes
    """
    return expression.replace("$__rate_interval", rate_interval).replace("$job", ".+")
