"""Workers that die and that are replaced, and how many files they may open."""

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.support.contract import Contract
from tests.support.servers.services import (
    Service,
    ask,
    eventually,
    kill,
    ready,
    serving,
    wire_to_each_worker,
    worker_of,
    workers,
)
from tests.support.wire import Wire


CLOSES_AT_RELOAD = "Granian may close a connection that it has just taken when it replaces a worker"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that tests may disturb, with patience on a busy machine."""
    with serving(tmp_path_factory.mktemp("own"), "--workers", "2", FLASKVSTORE_STORE_TIMEOUT_SECONDS="10") as running:
        yield running


@pytest.fixture(scope="module")
def few_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that was started with a low limit for open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        with serving(tmp_path_factory.mktemp("few_files")) as service:
            yield service
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class TestWorkers:
    def test_a_killed_worker_is_replaced_and_the_service_goes_on(self, own: Service) -> None:
        eventually(lambda: len(workers(own)) == 2)
        with wire_to_each_worker(own) as (of_killed, of_other):
            killed = worker_of(own, of_killed)

            kill(killed)

            assert of_killed.has_ended()
            for _ in range(10):
                assert of_other.ask("GET", "/health/ready").status == 200
                assert ready(own)
        eventually(lambda: len(workers(own)) == 2 and killed not in workers(own))
        assert ready(own)

    @pytest.mark.gunicorn(CLOSES_AT_RELOAD)
    def test_sighup_replaces_the_workers_without_a_failed_request(self, own: Service) -> None:
        ask(own, "PUT", "/keys?a=1")
        eventually(lambda: len(workers(own)) == 2)
        old, valkey = set(workers(own)), own.children()["valkey"]

        own.process.send_signal(signal.SIGHUP)

        def replaced() -> bool:
            assert ask(own, "GET", "/keys/a").json == {"a": "1"}
            return len(workers(own)) == 2 and old.isdisjoint(workers(own))

        eventually(replaced, 30)
        assert own.children()["valkey"] == valkey

    @pytest.mark.gunicorn(CLOSES_AT_RELOAD)
    def test_a_reload_under_load_fails_no_request(self, own: Service, contract: Contract) -> None:
        eventually(lambda: len(workers(own)) == 2)
        with ThreadPoolExecutor(4) as pool:
            asked = own.ask(contract)
            reloaded = threading.Event()

            def load(name: int) -> int:
                done = 0
                while not reloaded.wait(0.005):
                    assert asked("PUT", f"/keys/{name}", b"%d" % done).status == 200
                    assert asked("GET", f"/keys/{name}").json == {str(name): str(done)}
                    done += 1
                return done

            clients = [pool.submit(load, name) for name in range(4)]
            try:
                for _ in range(2):
                    old = workers(own)
                    own.process.send_signal(signal.SIGHUP)
                    eventually(lambda old=old: len(workers(own)) == 2 and set(old).isdisjoint(workers(own)), 30)
            finally:
                reloaded.set()

            assert all(client.result() > 1 for client in clients)

    @pytest.mark.gunicorn(CLOSES_AT_RELOAD)
    def test_a_stop_does_not_wait_behind_many_reloads(self, tmp_path: Path) -> None:
        with serving(tmp_path) as service:
            gunicorn = service.children()["gunicorn"]
            for _ in range(20):
                os.kill(gunicorn, signal.SIGHUP)
                time.sleep(0.05)

            started = time.monotonic()
            assert service.stop() == 0
            # One reload takes about two seconds.
            assert time.monotonic() - started < 12


class TestFiles:
    def test_a_worker_may_open_as_many_as_it_takes_connections(self, few_files: Service) -> None:
        [worker] = workers(few_files)

        soft, hard = psutil.Process(worker).rlimit(psutil.RLIMIT_NOFILE)

        assert soft == min(4_000 + 32 + 256, hard)

    @pytest.mark.gunicorn("Granian has a log of its own")
    def test_a_worker_without_files_to_open_says_so_in_json_and_goes_on(self, few_files: Service) -> None:
        [worker] = workers(few_files)
        process = psutil.Process(worker)
        before = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 5, before[1]))
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(Wire(few_files.port))
            eventually(lambda: any("Too many open files" in line.get("exception", "") for line in few_files.lines()))
        process.rlimit(psutil.RLIMIT_NOFILE, before)

        eventually(lambda: ready(few_files))
