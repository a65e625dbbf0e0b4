"""What was measured, as the tables and pictures of docs/performance.md."""

import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles

from benchmarks.candidates import FLOOR, METRICS, ROOT, SERVICE, SILENT, WEBDIS
from benchmarks.load import Sample
from benchmarks.plots import bars
from benchmarks.streams import MEBIBYTE, Stream
from benchmarks.watches import Watches


DOCUMENT = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
BEGIN, END = "<!-- What follows is written by `make bench`. -->", "<!-- That was it. -->"
PACKAGES = (
    *("flask", "flask-restx", "werkzeug", "gunicorn", "gevent", "redis", "hiredis", "orjson", "granian"),
    *("fastapi", "uvicorn"),
)
# What a stream is compared with; the others with the first one.
BARE = {
    "import": "bare pipeline",
    "bare pipeline": "bare pipeline",
    "export where a key expires": "bare SCAN, MGET and PTTL",
    "bare SCAN, MGET and PTTL": "bare SCAN, MGET and PTTL",
}

# The CPU time of a sample: the worker's and the store's.
COSTS = ("cpu_us", "store_cpu_us")
Ratio = tuple[float, float, float]


@dataclass
class Results:
    """What was measured.

    :param samples: by case and candidate
    :param growth: the same for each group of cases
    :param keys: how many keys a request of a case is about
    :param streams: by what was asked
    :param stream_keys: how many keys they had
    :param neighbours: the 99th percentile of GETs alone and beside a list, in milliseconds
    :param sizes: the CPU time of requests in microseconds by the size of the store
    :param watches: what it costs to watch
    :param client_ratios: how much more a GET by the Python client takes than one by httpx
    :param ready_seconds: how long each candidate took to start
    :param worker_bytes: the private memory of a worker
    :param load_before: the load of the machine before it began
    """

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    growth: dict[str, dict[str, dict[str, list[Sample]]]] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    streams: dict[str, list[Stream]] = field(default_factory=dict)
    stream_keys: int = 0
    neighbours: tuple[float, float] = (0.0, 0.0)
    sizes: dict[int, dict[str, float]] = field(default_factory=dict)
    watches: Watches | None = None
    client_ratios: list[float] = field(default_factory=list)
    ready_seconds: dict[str, float] = field(default_factory=dict)
    worker_bytes: int = 0
    load_before: float = 0.0


def ratio(samples: Mapping[str, list[Sample]], of: str, to: str) -> Ratio:
    """Return how much more CPU time one candidate takes than another, and the least and the most of one round.

    :param samples: the samples of a case
    :param of: the one
    :param to: the other
    """
    ratios = [one.cpu_us / other.cpu_us for one, other in zip(samples[of], samples[to], strict=True)]
    return low(s.cpu_us for s in samples[of]) / low(s.cpu_us for s in samples[to]), min(ratios), max(ratios)


def low(values: Iterable[float]) -> float:
    """Return the lower quartile: whatever else the machine does only adds to the CPU time of a request."""
    return quantiles(values, n=4, method="inclusive")[0]


def more(samples: Mapping[str, list[Sample]], of: str, than: str) -> float:
    """Return how much more CPU time one candidate took than another in the same round, to the floor's; the median.

    :param samples: those of one case
    :param of: the candidate
    :param than: the other
    """
    rounds = zip(samples[of], samples[than], samples[FLOOR], strict=True)
    return median((one.cpu_us - other.cpu_us) / floor.cpu_us for one, other, floor in rounds)


def reference(samples: Mapping[str, list[Sample]]) -> str:
    """Return what the candidates of a case are compared with."""
    return next(name for name in (FLOOR, WEBDIS, SERVICE) if name in samples)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table."""
    lines = ["| " + " | ".join(row) + " |" for row in ([*head], *map(list, rows))]
    lines.insert(1, "|---" + "|---:" * (lines[0].count("|") - 2) + "|")
    return "\n".join(lines)


def request_table(samples: Mapping[str, list[Sample]]) -> str:
    """Write what one case has shown."""
    to = reference(samples)
    rows = []
    for name, each in samples.items():
        middle, least, most = ratio(samples, name, to)
        rows.append(
            (
                name,
                f"{low(s.cpu_us for s in each):,.0f} µs",
                f"{middle:.2f} ({least:.2f} to {most:.2f})",
                f"{low(s.store_cpu_us for s in each):,.0f} µs",
                f"{median(s.per_second for s in each):,.0f}",
                f"{median(s.p50_ms for s in each):.1f} ms",
                f"{median(s.p99_ms for s in each):.1f} ms",
            )
        )
    return table(("", "CPU time", f"ratio to {to}", "Valkey's", "requests/s", "p50", "p99"), rows)


def growth_table(group: str, samples: Mapping[str, Mapping[str, list[Sample]]]) -> str:
    """Write the CPU time in each case of a group, and which share of the requests failed."""
    names = list(dict.fromkeys(name for by_name in samples.values() for name in by_name))
    rows = [[case, *(_cost(by_name.get(name, [])) for name in names)] for case, by_name in samples.items()]
    return table((group, *names), rows)


def _cost(samples: list[Sample]) -> str:
    if not samples:
        return ""
    errors = max(s.errors for s in samples)
    return f"{low(s.cpu_us for s in samples):,.0f} µs" + (f", {errors:.1%} failed" if errors else "")


def stream_table(streams: Mapping[str, list[Stream]]) -> str:
    """Write what the streams have shown."""
    rows = []
    for name, each in streams.items():
        bare = streams[BARE.get(name, "bare SCAN and MGET")]
        by_time = median(one.seconds / other.seconds for one, other in zip(each, bare, strict=True))
        by_cpu = median(
            (one.cpu_seconds + one.store_cpu_seconds) / (other.cpu_seconds + other.store_cpu_seconds)
            for one, other in zip(each, bare, strict=True)
        )
        rows.append(
            (
                name,
                f"{median(s.seconds for s in each):.2f} s",
                f"{by_time:.2f}",
                f"{median(s.cpu_seconds for s in each):.2f} s",
                f"{median(s.store_cpu_seconds for s in each):.2f} s",
                f"{by_cpu:.2f}",
                f"{max(s.grown_bytes for s in each) / MEBIBYTE:.1f} MiB" if each[0].grown_bytes else "",
            )
        )
    head = ("", "time", "ratio", "CPU time", "Valkey's", "ratio of both together", "memory grew by")
    return table(head, rows)


def targets(results: Results) -> list[tuple[str, str, str]]:
    """Compare with what was to be reached."""
    rows = []
    for case in ("GET", "PUT"):
        samples = results.samples[case]
        middle, least, most = ratio(samples, SERVICE, FLOOR)
        rows.append((f"{case} of one key, to the floor", "0.7", f"{middle:.2f} ({least:.2f} to {most:.2f})"))
        both, line = more(samples, METRICS, SILENT), more(samples, SERVICE, SILENT)
        rows.append((f"log line and metrics of a {case}, to the floor", "0.15", f"{both:.2f} (the line {line:.2f})"))
    for case, keys in results.keys.items():
        if keys > 1:
            middle, least, most = ratio(results.samples[case], SERVICE, WEBDIS)
            limit = "1.0" if "read" in case else "2.0"
            rows.append((f"{case}, to Webdis", limit, f"{middle:.2f} ({least:.2f} to {most:.2f})"))
    for name, limit in (("list", "1.5"), ("export", "1.5"), ("export where a key expires", "1.3"), ("import", "2.0")):
        bare = BARE.get(name, "bare SCAN and MGET")
        pairs = zip(results.streams[name], results.streams[bare], strict=True)
        rows.append(
            (f"{name}, to the {bare}, in time", limit, f"{median(a.seconds / b.seconds for a, b in pairs):.2f}")
        )
    grown = max(s.grown_bytes for name in ("list", "export", "import") for s in results.streams[name])
    alone, beside = results.neighbours
    smallest, *_, largest = results.sizes
    by_client = results.client_ratios
    rows += [
        ("memory that a list, export or import adds", "32 MiB", f"{grown / MEBIBYTE:.1f} MiB"),
        ("p99 of another client's GETs beside a list, to idle", "3", f"{beside / alone:.1f} ({beside:.1f} ms)"),
    ]
    for name, cost in results.sizes[largest].items():
        rows.append(
            (f"{name} at {largest:,} keys, to {smallest:,}", "1.1", f"{cost / results.sizes[smallest][name]:.2f}")
        )
    rows += [
        (
            "CPU time of a program for a GET by the Python client, to bare httpx",
            "1.5",
            f"{median(by_client):.2f} ({min(by_client):.2f} to {max(by_client):.2f})",
        ),
        *([] if results.watches is None else _watch_targets(results.watches)),
        ("errors at 256 and 1,000 connections", "0", _errors(results)),
        ("ready", "1.5 s", f"{results.ready_seconds[SERVICE]:.2f} s"),
        ("private memory of a worker", "35 MiB", f"{results.worker_bytes / MEBIBYTE:.0f} MiB"),
    ]
    return rows


def watch_table(watches: Watches) -> str:
    """Write how late changes are told, and what each event and each watcher costs."""
    rows = [
        (
            f"{count:,}",
            f"{delays.p50_ms:.1f} ms",
            f"{delays.p99_ms:.1f} ms",
            f"{delays.event_cpu_us:.0f} µs",
            f"{delays.watcher_bytes / 1000:.0f} kB",
        )
        for count, delays in watches.delays.items()
    ]
    head = ("watchers of one worker", "p50", "p99", "CPU time of the worker for an event", "memory of each")
    burst = watches.burst
    return table(head, rows) + (
        f"\n\n100,000 writes of 1,000 keys took {burst.write_seconds:.1f} s. A watcher of all of them had the last "
        f"value {burst.told_seconds * 1000:.0f} ms later, with {burst.resets} resets, and the worker took "
        f"{burst.cpu_seconds:.2f} s of CPU time."
    )


def _watch_targets(watches: Watches) -> list[tuple[str, str, str]]:
    pairs = [*zip(watches.watched, watches.alone, strict=True)]
    worker, store = (median(getattr(one, of) / getattr(other, of) for one, other in pairs) for of in COSTS)
    store_us = median(one.store_cpu_us - other.store_cpu_us for one, other in pairs)
    return [
        (
            "a PUT while somebody watches other keys, to one while nobody does",
            "",
            f"{worker:.2f} (Valkey's {store:.2f})",
        ),
        ("the same, CPU time of the store more", "1 µs", f"{store_us:.1f} µs"),
        ("p99 from a write to 100 watchers", "15 ms", f"{watches.delays[100].p99_ms:.1f} ms"),
        ("memory of a watcher, of 1,000", "30 kB", f"{watches.delays[1_000].watcher_bytes / 1000:.0f} kB"),
    ]


def _errors(results: Results) -> str:
    # Not measured in a hurry.
    by_connections = results.growth.get("connections", {})
    return " and ".join(
        f"{max(s.errors for s in by_connections[number][SERVICE]):.1%}"
        for number in ("256", "1,000")
        if number in by_connections
    )


def python() -> str:
    """Return which Python runs all of it."""
    is_debians = sys.base_prefix == "/usr" and Path("/etc/debian_version").exists()
    is_profiled = is_debians or "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return (
        f"Python {platform.python_version()}{' of Debian' if is_debians else ''}, "
        f"{'with' if is_profiled else 'without'} profile-guided optimisation"
    )


def machine(results: Results) -> str:
    """Return where all of it was measured."""
    [model] = re.findall(r"Model name:\s*(.+)", subprocess.check_output(["lscpu"], text=True))
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}, ", "wrk", "webdis", "etcd-server"]
    debian = subprocess.check_output(query, text=True)
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on two cores of {model}, {platform.system()} {platform.release()}, "
        f"{python()}, {', '.join(found)}; {debian.rstrip(', ')}. "
        f"The machine's load was {results.load_before:.1f} before it began."
    )


def pictures(results: Results) -> dict[str, str]:
    """Draw the pictures."""
    drawn = {}
    for case in ("GET", "PUT"):
        samples = results.samples[case]
        values = {name: ratio(samples, name, FLOOR)[0] for name in samples}
        drawn[f"cost-{case.lower()}"] = bars(f"CPU time of a {case} of one key, to the floor", values, "", 0.7)
    streams = {name: median(s.seconds for s in each) for name, each in results.streams.items()}
    drawn["cost-streams"] = bars(f"Time for {results.stream_keys:,} keys", streams, " s")
    sizes = {
        f"{name} at {size:,} keys": cost
        for name in ("GET", "a page of 100")
        for size, costs in results.sizes.items()
        for cost in [costs[name]]
    }
    drawn["cost-sizes"] = bars("CPU time of a request by the size of the store", sizes, " µs")
    return drawn


def written(results: Results) -> str:
    """Write all of it."""
    parts = [machine(results), "### What was to be reached", table(("", "at most", "is"), targets(results))]
    parts.append("### Requests")
    parts += [f"![{case} of one key](images/cost-{case.lower()}.svg)" for case in ("GET", "PUT")]
    for case, samples in results.samples.items():
        parts += [f"#### {case}", request_table(samples)]
    for group, by_case in results.growth.items():
        parts += [f"### GET by {group}", growth_table(group, by_case)]
    parts += [
        f"### Lists, exports and imports of {results.stream_keys:,} keys",
        "![Streams](images/cost-streams.svg)",
        stream_table(results.streams),
        "### Watching",
        "" if results.watches is None else watch_table(results.watches),
        "### The size of the store",
        "![Sizes](images/cost-sizes.svg)",
        "### Start",
        table(("", "ready after"), [(name, f"{s:.2f} s") for name, s in results.ready_seconds.items()]),
    ]
    return "\n\n".join(parts)


def write(results: Results, document: Path = DOCUMENT) -> None:
    """Put all of it into the document, between its marks, and its pictures beside it."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{written(results)}\n\n{END}{after}")
    for name, picture in pictures(results).items():
        (IMAGES / f"{name}.svg").write_text(picture)
