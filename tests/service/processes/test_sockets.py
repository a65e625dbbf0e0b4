"""Unix sockets, and sockets that systemd gives: who may connect, and that a stop leaves them as they should be."""

import contextlib
import http.client
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.serving.embedded import EmbeddedServer
from api.serving.listener import Listener
from api.serving.supervisor import ROOT
from api.serving.systemd import notify
from api.settings import Settings, StartError
from models.address import Address, UnixAddress
from tests.support.servers.services import PROGRAM, environment, eventually, free_port, need
from tests.support.wire import Wire


UNITS = ROOT / "deploy" / "systemd"


@contextlib.contextmanager
def process(directory: Path, *command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a directory until the end of the test."""
    with (directory / "log").open("ab") as log:
        started = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, env=environment(**variables))
    try:
        yield started
    finally:
        if started.poll() is None:
            started.terminate()
        started.wait(30)


def serve(*options: str) -> list[str]:
    return [str(PROGRAM), "serve", "--workers", "1", "--data-dir", "data", *options]


def bind(text: str) -> Address | UnixAddress:
    return Settings.from_env({"FLASKVSTORE_BIND": text}).bind


def status_at(path: Path, target: str = "/health/live", host: str = "localhost") -> int:
    """Ask over a unix socket; 0 if nobody answers there."""
    connection = http.client.HTTPConnection(host, timeout=10)
    with socket.socket(socket.AF_UNIX) as connection.sock:
        try:
            connection.sock.settimeout(10)
            connection.sock.connect(str(path))
            connection.request("GET", target)
            return connection.getresponse().status
        except OSError:
            return 0


class TestUnixSocket:
    @pytest.mark.parametrize(("option", "mode"), [("", 0o600), ("?mode=660", 0o660), ("?mode=0666", 0o666)])
    def test_its_mode_says_who_may_connect(self, tmp_path: Path, option: str, mode: int) -> None:
        path = tmp_path / "kv.sock"

        with Listener(bind(f"unix:{path}{option}"), {}, to_everybody=False):
            assert stat.S_IMODE(path.stat().st_mode) == mode

        assert not path.exists()

    def test_it_serves_whoever_may_connect_under_every_host(self, tmp_path: Path) -> None:
        path = tmp_path / "kv.sock"
        with process(tmp_path, *serve("--bind", f"unix:{path}?mode=660")) as service:
            eventually(lambda: status_at(path) == 200, 30)

            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert status_at(path, "/keys", "kv.example") == 200
            eventually(lambda: f"listens on unix:{path}, data in " in (tmp_path / "log").read_text())
            service.terminate()
            assert service.wait(30) == 0

        assert not path.exists()

    def test_what_a_killed_service_has_left_is_replaced_and_a_live_one_is_not(self, tmp_path: Path) -> None:
        path = tmp_path / "kv.sock"
        command = serve("--bind", f"unix:{path}")
        with process(tmp_path, *command) as killed:
            eventually(lambda: status_at(path) == 200, 30)
            other = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False)
            assert other.returncode == 1
            assert f"Cannot listen on unix:{path}: Address already in use." in other.stderr.decode()
            assert status_at(path) == 200
            killed.kill()
            killed.wait()
        eventually(lambda: status_at(path) == 0)

        with process(tmp_path, *command):
            eventually(lambda: status_at(path) == 200, 30)

    @pytest.mark.parametrize("name", ["folder/kv.sock", "file", "s" * 200])
    def test_a_path_that_cannot_be_one_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").write_text("precious")

        with pytest.raises(StartError, match=f"^Cannot listen on unix:{tmp_path / name}: "):
            Listener(bind(f"unix:{tmp_path / name}"), {}, to_everybody=False)

        assert (tmp_path / "file").read_text() == "precious"

    def test_gunicorn_alone_gives_it_the_mode(self, tmp_path: Path, valkey_server: EmbeddedServer) -> None:
        path = tmp_path / "kv.sock"
        variables = {"FLASKVSTORE_REDIS_URL": valkey_server.url, "FLASKVSTORE_BIND": f"unix:{path}?mode=660"}
        command = ["env", f"--chdir={ROOT}", str(PROGRAM.with_name("gunicorn")), "wsgi:app"]
        with process(tmp_path, *command, **variables):
            eventually(lambda: status_at(path) == 200, 30)

            assert stat.S_IMODE(path.stat().st_mode) == 0o660


class TestSystemd:
    def activated(self, listen: str, *options: str) -> list[str]:
        """Return the command by which systemd's tool listens and starts the service at the first connection."""
        need(shutil.which("systemd-socket-activate"), "systemd-socket-activate of Debian's package systemd")
        passed = [f"--setenv={name}" for name in (*environment(), "NOTIFY_SOCKET")]
        return ["systemd-socket-activate", f"--listen={listen}", *passed, *serve(*options)]

    def test_the_socket_that_it_gives_is_served(self, tmp_path: Path) -> None:
        port = free_port()
        with process(tmp_path, *self.activated(f"127.0.0.1:{port}")) as service:
            eventually(lambda: answered(port), 30)

            eventually(lambda: f"listens on http://127.0.0.1:{port}, " in (tmp_path / "log").read_text())
            service.terminate()
            assert service.wait(30) == 0

    @pytest.mark.parametrize("server", ["gunicorn", "granian"])
    def test_a_unix_socket_that_it_gives_stays(self, tmp_path: Path, server: str) -> None:
        path = tmp_path / "kv.sock"
        with process(tmp_path, *self.activated(str(path), "--server", server)) as service:
            eventually(lambda: status_at(path) == 200, 30)
            service.terminate()
            assert service.wait(30) == 0

        assert path.is_socket()

    def test_one_for_other_machines_needs_tokens(self, tmp_path: Path) -> None:
        port = free_port()
        with process(tmp_path, *self.activated(f"0.0.0.0:{port}")) as service:
            eventually(lambda: connects(port), 30)
            assert service.wait(30) == 1

        assert f"Will not listen on 0.0.0.0:{port}" in (tmp_path / "log").read_text()

    def test_several_sockets_are_refused(self, tmp_path: Path) -> None:
        first, second = free_port(), free_port()
        command = self.activated(f"127.0.0.1:{first}")
        with process(tmp_path, command[0], f"--listen=127.0.0.1:{second}", *command[1:]) as service:
            eventually(lambda: connects(first), 30)
            assert service.wait(30) == 1

        assert "systemd gives several sockets" in (tmp_path / "log").read_text()

    def test_it_is_told_under_an_abstract_address_as_well(self) -> None:
        name = f"flaskvstore-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(f"\0{name}")

            notify({"NOTIFY_SOCKET": f"@{name}"}, "READY=1")

            assert told.recv(1024) == b"READY=1"

    def test_it_is_told_when_the_service_answers_and_when_it_stops_and_by_nobody_else(self, tmp_path: Path) -> None:
        name = str(tmp_path / "notify")
        port = free_port()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(name)
            told.settimeout(30)
            with process(tmp_path, *serve("--bind", f"127.0.0.1:{port}"), NOTIFY_SOCKET=name) as service:
                assert told.recv(1024) == b"READY=1"
                assert answered(port)
                service.terminate()
                assert told.recv(1024) == b"STOPPING=1"
                assert service.wait(30) == 0
            told.settimeout(0.2)
            with pytest.raises(TimeoutError):
                told.recv(1024)

    def test_the_units_are_right(self, tmp_path: Path) -> None:
        need(shutil.which("systemd-analyze"), "systemd-analyze of Debian's package systemd")
        for unit in UNITS.iterdir():
            content = unit.read_text().replace("/opt/flaskvstore/bin/flaskvstore", str(PROGRAM))
            (tmp_path / unit.name).write_text(content)

        units = sorted(map(str, tmp_path.glob("flaskvstore.*")))
        checked = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)

        assert (checked.returncode, checked.stderr) == (0, "")
        assert len(units) == 2


def answered(port: int) -> bool:
    try:
        with Wire(port) as wire:
            return wire.ask("GET", "/health/live").status == 200
    except OSError:
        return False


def connects(port: int) -> bool:
    """Tell whether something listens; systemd's tool starts the service at that."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
