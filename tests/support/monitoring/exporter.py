"""What statsd_exporter does with datagrams: it adds them up by its mapping, and shows the sums to Prometheus.

See https://github.com/statsd/statsd/blob/master/docs/metric_types.md for what comes in, and
https://prometheus.io/docs/instrumenting/exposition_formats/ for what goes out.
"""

import contextlib
import socket
import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import Any

from tests.support.monitoring.mapping import Rule, Target, target_of


METRIC_TYPES = {"c": "counter", "g": "gauge", "ms": "observer", "h": "observer", "d": "observer"}
EXPOSED_TYPES = {"counter": "counter", "gauge": "gauge", "observer": "histogram"}
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024

Labels = tuple[tuple[str, str], ...]


@dataclass
class Histogram:
    """How many of the values that were observed fell between which bounds, and their sum."""

    counts: list[int]
    sum: float = 0.0


@dataclass
class Family:
    """All that has one name: for each set of labels a value, or a histogram."""

    metric_type: str
    help: str
    buckets: tuple[float, ...]
    values: dict[Labels, float] = field(default_factory=dict)
    histograms: dict[Labels, Histogram] = field(default_factory=dict)


class Exporter:
    """Adds up what it receives.

    :param rules: the mapping
    """

    def __init__(self, rules: list[Rule]) -> None:
        self.families: dict[str, Family] = {}
        self.dropped: set[str] = set()
        self.errors: list[str] = []
        self._rules = rules
        self._lock = threading.Lock()

    def receive(self, datagram: bytes) -> None:
        """Take a datagram: a line for each metric.

        :param datagram: its bytes
        """
        with self._lock:
            for line in datagram.decode().splitlines():
                name, _, samples = line.partition(":")
                try:
                    for sample in samples.split(":"):
                        self._add(name, *sample.split("|"))
                except (TypeError, ValueError, KeyError) as error:
                    self.errors.append(f"{line}: {error!r}")

    def _add(self, name: str, text: str, kind: str, sampled: str = "@1") -> None:
        metric_type = METRIC_TYPES[kind]
        value, rate = float(text), float(sampled.removeprefix("@"))
        target = target_of(self._rules, name, metric_type)
        if target.is_dropped:
            self.dropped.add(name)
            return
        if metric_type == "counter" and value < 0:
            raise ValueError("a counter that falls")
        family = self._family(target, metric_type)
        before = family.values.get(target.labels, 0.0)
        match metric_type:
            case "counter":
                family.values[target.labels] = before + value / rate
            case "gauge":
                family.values[target.labels] = before + value if text[0] in "+-" else value
            case _:
                seconds = value / 1000 if kind == "ms" else value
                empty = Histogram([0] * (len(family.buckets) + 1))
                histogram = family.histograms.setdefault(target.labels, empty)
                histogram.counts[bisect_left(family.buckets, seconds)] += int(1 / rate)
                histogram.sum += seconds * int(1 / rate)

    def _family(self, target: Target, metric_type: str) -> Family:
        family = self.families.setdefault(target.name, Family(metric_type, target.help, target.buckets))
        if (family.metric_type, family.buckets) != (metric_type, target.buckets):
            raise ValueError(f"{target.name} is a {family.metric_type} already")
        return family

    def exposition(self) -> str:
        """Give all of it in Prometheus' text format."""
        with self._lock:
            return "".join(f"{line}\n" for name in sorted(self.families) for line in lines(name, self.families[name]))


def lines(name: str, family: Family) -> Iterator[str]:
    """Give the lines of one metric."""
    yield f"# HELP {name} {escaped(family.help)}"
    yield f"# TYPE {name} {EXPOSED_TYPES[family.metric_type]}"
    for labels, value in family.values.items():
        yield f"{name}{labelled(labels)} {value!r}"
    for labels, histogram in family.histograms.items():
        for bound, count in zip((*family.buckets, "+Inf"), accumulate(histogram.counts), strict=True):
            yield f"{name}_bucket{labelled((*labels, ('le', str(bound))))} {count}"
        yield f"{name}_sum{labelled(labels)} {histogram.sum!r}"
        yield f"{name}_count{labelled(labels)} {sum(histogram.counts)}"


def labelled(labels: Labels) -> str:
    """Give labels as they stand behind a name."""
    pairs = ",".join('{}="{}"'.format(label, escaped(value).replace('"', r"\"")) for label, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def escaped(text: str) -> str:
    """Give a text on one line."""
    return text.replace("\\", r"\\").replace("\n", r"\n")


@dataclass
class Listening:
    """An exporter on the network."""

    exporter: Exporter
    statsd: str
    metrics: str
    datagrams: list[bytes]


@contextlib.contextmanager
def listening(exporter: Exporter) -> Iterator[Listening]:
    """Put an exporter on the network: datagrams come in, and /metrics goes out, both on free ports.

    :param exporter: the exporter
    """

    class Scrape(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = exporter.exposition().encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # On a busy machine Prometheus may have given up.
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as its parent's
            pass

    datagrams: list[bytes] = []

    def receive() -> None:
        while datagram := inbox.recv(65536):
            datagrams.append(datagram)
            exporter.receive(datagram)

    with (
        socket.socket(type=socket.SOCK_DGRAM) as inbox,
        ThreadingHTTPServer(("127.0.0.1", 0), Scrape) as server,
    ):
        inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        inbox.bind(("127.0.0.1", 0))
        threads = [threading.Thread(target=each) for each in (receive, server.serve_forever)]
        for thread in threads:
            thread.start()
        statsd, metrics = (f"127.0.0.1:{port}" for port in (inbox.getsockname()[1], server.server_port))
        try:
            yield Listening(exporter, statsd, metrics, datagrams)
        finally:
            server.shutdown()
            with socket.socket(type=socket.SOCK_DGRAM) as last:
                last.sendto(b"", inbox.getsockname())
            for thread in threads:
                thread.join()
