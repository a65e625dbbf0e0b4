"""`python -m benchmarks [--quick]`: measure everything, and write docs/performance.md; half an hour.

With ``--quick`` it takes four minutes, measures less, and only prints.
"""

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import urllib.request
from pathlib import Path

import psutil
import redis

from api.serving.embedded import EmbeddedServer
from benchmarks import watches
from benchmarks.candidates import ETCD, SERVICE, WEBDIS, Running, candidates, running
from benchmarks.cases import KEY, VALUE, cases, etcd_request
from benchmarks.client import ratios
from benchmarks.load import CONNECTIONS, OTHER_CORE, Request, run
from benchmarks.report import Results, write, written
from benchmarks.streams import Streams, private_bytes


# Rounds and seconds of each request, rounds and keys of the streams, the sizes of stores.
FULL = (7, 1, 3, 1_000_000, [1_000, 100_000, 1_000_000])
QUICK = (2, 1, 1, 100_000, [1_000, 100_000])
TOOLS = ("wrk", "webdis", "etcd", "curl", "taskset")


def measure(directory: Path, *, quick: bool) -> Results:
    """Start everything, and measure it.

    :param directory: for all files
    :param quick: whether to measure little
    """
    rounds, seconds, stream_rounds, keys, sizes = QUICK if quick else FULL
    results = Results(load_before=os.getloadavg()[0], stream_keys=keys)
    # This program, the store and the load share a core; the candidates are put on the other.
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    with contextlib.ExitStack() as stack:
        store = EmbeddedServer(directory / "store", durability="everysec")
        store.start()
        stack.callback(store.stop)
        socket_file = directory / "store" / "valkey.sock"
        client = redis.Redis(unix_socket_path=str(socket_file))
        # Nobody reads what is sent here; the kernel throws it away.
        statsd = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        statsd.bind(("127.0.0.1", 0))
        started: dict[str, Running] = {}
        for name, candidate in candidates(f"127.0.0.1:{statsd.getsockname()[1]}").items():
            files = directory / name.replace(" ", "-")
            started[name] = stack.enter_context(running(candidate, store=socket_file, directory=files))
            results.ready_seconds[name] = started[name].ready_seconds
        assert store.pid
        _ask(started[ETCD], etcd_request(directory, "put", key=KEY.encode(), value=VALUE))
        for case in cases(directory):
            if quick and case.grows_with:
                continue
            results.keys[case.name] = case.keys
            by_name = results.growth.setdefault(case.grows_with, {}) if case.grows_with else results.samples
            found = by_name[case.name] = {name: [] for name in case.requests if name in started}
            for number in range(rounds + 1):
                for name, samples in found.items():
                    case.prepare(client)
                    target = started[name]
                    sample = run(
                        case.requests[name],
                        port=target.port,
                        pid=target.pid,
                        store_pid=store.pid,
                        # Of many connections each needs time for some requests.
                        seconds=seconds if case.connections <= CONNECTIONS else 2 * seconds,
                        connections=case.connections,
                        may_fail=bool(case.grows_with),
                    )
                    # The first round warms everything up.
                    if number:
                        samples.append(sample)
            print(case.name, flush=True)
        client.set(f"kv:{KEY}", VALUE)
        results.client_ratios = ratios(started[SERVICE].port, KEY, rounds)
        put = next(case for case in cases(directory) if case.name == "PUT").requests[SERVICE]
        results.watches = watches.measure(started[SERVICE], client, store.pid, put, rounds=rounds, seconds=seconds)
        results.worker_bytes = private_bytes(psutil.Process(started[SERVICE].pid).children(recursive=True)[-1].pid)
        streams = Streams(started[SERVICE], started[WEBDIS], client, socket_file, store.pid, directory)
        results.sizes = streams.sizes(sizes, rounds=rounds, seconds=seconds)
        results.streams = streams.runs(keys, stream_rounds)
        results.neighbours = streams.neighbours(seconds * 2, rounds=max(1, rounds // 2))
    return results


def _ask(whom: Running, request: Request) -> None:
    assert request.body
    url = f"http://127.0.0.1:{whom.port}{request.path}"
    with urllib.request.urlopen(url, request.body.read_bytes()) as answer:
        answer.read()


def main(*, quick: bool) -> None:
    """Measure, and write or print what was found."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sys.exit(f"{', '.join(missing)}: not found. On Debian: apt-get install wrk webdis etcd-server curl util-linux")
    with tempfile.TemporaryDirectory() as directory:
        results = measure(Path(directory), quick=quick)
    print(written(results))
    if not quick:
        write(results)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
