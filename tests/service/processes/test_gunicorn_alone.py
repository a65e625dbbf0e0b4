"""`gunicorn wsgi:app` without `flaskvstore serve`."""

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from api.serving.embedded import EmbeddedServer
from api.serving.supervisor import ROOT, answers
from models.address import Address
from models.tokens import Tokens
from tests.support.contract import Contract
from tests.support.servers.services import Service, environment, eventually, free_port


def test_without_a_url_it_stops_at_once_and_says_what_to_set() -> None:
    ended = subprocess.run(
        [gunicorn(), "wsgi:app"], cwd=ROOT, env=environment(), capture_output=True, timeout=30, check=False
    )

    assert ended.returncode != 0
    (message,) = (ended.stdout + ended.stderr).decode().splitlines()
    assert message.startswith("flaskvstore: FLASKVSTORE_REDIS_URL is not set")


@pytest.mark.parametrize("name", ["FLASKVSTORE_TOKEN_FILE", "FLASKVSTORE_KEYPREFIX"])
def test_a_variable_that_is_no_setting_stops_it_at_once(name: str) -> None:
    variables = environment(FLASKVSTORE_REDIS_URL="redis://127.0.0.1:1", **{name: "x"})

    ended = subprocess.run(
        [gunicorn(), "wsgi:app"], cwd=ROOT, env=variables, capture_output=True, timeout=30, check=False
    )

    assert ended.returncode != 0
    (message,) = (ended.stdout + ended.stderr).decode().splitlines()
    assert message.startswith(f"flaskvstore: {name} is not a setting. Did you mean FLASKVSTORE_")


def test_with_a_url_it_serves(tmp_path: Path, valkey_server: EmbeddedServer, contract: Contract) -> None:
    port = free_port()
    log = tmp_path / "gunicorn.log"
    command = [str(gunicorn()), "-b", f"127.0.0.1:{port}", "wsgi:app"]
    variables = environment(FLASKVSTORE_REDIS_URL=valkey_server.url)
    with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output) as process:
        eventually(lambda: answers(Address("127.0.0.1", port)), 30)
        service = Service(process, log, port)

        assert service.ask(contract)("PUT", "/keys?a=1").json == {"stored": 1}
        assert service.ask(contract)("GET", "/keys/a").json == {"a": "1"}
        assert len(psutil.Process(process.pid).children()) == 2
        assert service.stop() == 0

    # Nothing is warned of: only this machine reaches it.
    assert {line["route"] for line in service.lines()} >= {"/keys", "/keys/{key}"}


def test_it_warns_if_other_machines_reach_it_without_tokens(tmp_path: Path, valkey_server: EmbeddedServer) -> None:
    port = free_port()
    log = tmp_path / "gunicorn.log"
    command = [str(gunicorn()), "-w", "1", "-b", f"127.0.0.1:{port}", "-b", "0.0.0.0:0", "wsgi:app"]
    variables = environment(FLASKVSTORE_REDIS_URL=valkey_server.url)
    with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output) as process:
        eventually(lambda: answers(Address("127.0.0.1", port)), 30)
        service = Service(process, log, port)
        assert service.stop() == 0

    warning, *_ = service.lines()
    assert warning["level"] == "warning"
    assert "There are no tokens" in warning["message"]


def test_its_own_options_for_statsd_and_its_access_log_are_heeded(
    tmp_path: Path, valkey_server: EmbeddedServer
) -> None:
    port = free_port()
    log = tmp_path / "gunicorn.log"
    variables = environment(FLASKVSTORE_REDIS_URL=valkey_server.url)
    with socket.socket(type=socket.SOCK_DGRAM) as statsd, log.open("wb") as output:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(10)
        options = [
            f"--statsd-host=127.0.0.1:{statsd.getsockname()[1]}",
            "--statsd-prefix=seed",
            "--access-logfile=-",
        ]
        command = [str(gunicorn()), "-w", "1", "-b", f"127.0.0.1:{port}", *options, "wsgi:app"]
        with subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output) as process:
            eventually(lambda: answers(Address("127.0.0.1", port)), 30)
            received = [statsd.recv(1432).decode() for _ in range(4)]
            assert Service(process, log, port).stop() == 0

    assert "seed.gunicorn.request.status.200:1|c" in "\n".join(received)
    assert "GET /health/live HTTP/1.1" in log.read_text()


def test_an_exception_that_nobody_catches_is_one_line_of_its_log(tmp_path: Path, valkey_server: EmbeddedServer) -> None:
    # It says as well that garbage is looked for, once the application has been loaded without.
    (tmp_path / "faulty.py").write_text(
        "import gc, gevent\nfrom wsgi import app\n"
        "assert not gc.isenabled()\ngevent.spawn_later(0.1, lambda: int(f'gc {gc.isenabled()}'))\n"
    )
    port = free_port()
    log = tmp_path / "gunicorn.log"
    command = [str(gunicorn()), "-b", f"127.0.0.1:{port}", "-w", "1", "--pythonpath", str(tmp_path), "faulty:app"]
    variables = environment(FLASKVSTORE_REDIS_URL=valkey_server.url)
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        eventually(lambda: "not caught" in log.read_text(), 30)
        service = Service(process, log, port)
        assert service.stop() == 0

    [line] = [line for line in service.lines() if "exception" in line]
    assert (line["level"], line["message"]) == ("error", "An exception was not caught.")
    assert "ValueError: invalid literal for int() with base 10: 'gc True'" in line["exception"]


@pytest.mark.parametrize("said_by", ["tokens", "the setting"])
def test_nothing_is_warned_of_if_it_is_meant(tmp_path: Path, valkey_server: EmbeddedServer, said_by: str) -> None:
    path = tmp_path / "tokens.json"
    Tokens(path).create("a", namespace="ns", scopes=["read"])
    meant = {"FLASKVSTORE_TOKENS_FILE": str(path)} if said_by == "tokens" else {"FLASKVSTORE_OPEN": "true"}
    port = free_port()
    log = tmp_path / "gunicorn.log"
    command = [str(gunicorn()), "-w", "1", "-b", f"0.0.0.0:{port}", "wsgi:app"]
    variables = environment(FLASKVSTORE_REDIS_URL=valkey_server.url, **meant)
    with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output) as process:
        eventually(lambda: answers(Address("127.0.0.1", port)), 30)
        assert Service(process, log, port).stop() == 0

    assert "warning" not in log.read_text()


def test_tokens_that_cannot_be_read_stop_it_at_once(tmp_path: Path) -> None:
    variables = environment(
        FLASKVSTORE_REDIS_URL="redis://127.0.0.1:1", FLASKVSTORE_TOKENS_FILE=str(tmp_path / "missing")
    )

    ended = subprocess.run(
        [gunicorn(), "wsgi:app"], cwd=ROOT, env=variables, capture_output=True, timeout=30, check=False
    )

    assert ended.returncode != 0
    (message,) = (ended.stdout + ended.stderr).decode().splitlines()
    assert message.startswith("flaskvstore: FLASKVSTORE_TOKENS_FILE is ")


def gunicorn() -> Path:
    return Path(sys.executable).with_name("gunicorn")
