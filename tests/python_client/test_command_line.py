"""The commands of the client, on a real service."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from redis import Redis
from werkzeug.serving import make_server

from api.app import create_app
from api.serving.embedded import EmbeddedServer
from api.settings import Settings
from client import Store
from client.commands.connection import EXIT_CODES, exit_code_of
from client.errors import BY_CODE
from client.program import main
from models.tokens import Tokens
from tests.support.servers.proxy import Fault, Then, proxy_to
from tests.support.servers.services import PROGRAM, Service, environment, eventually, free_port


Run = Callable[..., Result]


@pytest.fixture
def kv(service: Service, service_connection: Redis) -> Iterator[Store]:
    service_connection.flushall()
    with Store(f"http://127.0.0.1:{service.port}") as store:
        yield store


@pytest.fixture
def variables(kv: Store, tmp_path: Path) -> dict[str, str]:
    """The environment of the commands."""
    return {"FLASKVSTORE_URL": kv.url, "HOME": str(tmp_path)}


@pytest.fixture
def run(variables: dict[str, str]) -> Run:
    """Run a command in this process."""

    def run(*arguments: str, given: str | bytes | None = None, **changed: str) -> Result:
        return CliRunner().invoke(main, arguments, input=given, env={**variables, **changed})

    return run


def program(variables: dict[str, str], *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    """Run a command as a process."""
    return subprocess.Popen([PROGRAM, *arguments], env=environment(**variables), **options)


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    """Run an application in this process, and give its address."""
    with make_server("127.0.0.1", 0, app) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.port}"
        server.shutdown()


class TestValues:
    def test_a_value_goes_to_standard_output_byte_for_byte(self, run: Run, kv: Store) -> None:
        kv.put("key", b"\xff\n\x00")

        assert run("get", "key").stdout_bytes == b"\xff\n\x00"

    def test_it_goes_to_a_file(self, run: Run, kv: Store, tmp_path: Path) -> None:
        kv.put("key", b"\xff")

        assert run("get", "key", "-o", str(tmp_path / "value")).output == ""
        assert (tmp_path / "value").read_bytes() == b"\xff"

    def test_it_is_shown_with_etag_and_expiry(self, run: Run, kv: Store) -> None:
        etag = kv.put("key", "ü")

        assert json.loads(run("get", "key", "--json").stdout) == {"key": "key", "value": "ü", "etag": etag, "ttl": None}

    @pytest.mark.parametrize(
        ("argument", "given", "value"),
        [
            (["one"], None, "one"),
            (["-"], b"\xff", b"\xff"),
            ([], "two", "two"),
            (["@{folder}/file"], None, "three"),
            (["--", "-1"], None, "-1"),
            ([""], None, ""),
        ],
    )
    def test_a_value_comes_from_where_it_is_said(
        self, run: Run, kv: Store, tmp_path: Path, argument: list[str], given: str | bytes | None, value: str | bytes
    ) -> None:
        (tmp_path / "file").write_text("three")
        argument = [each.format(folder=tmp_path) for each in argument]

        assert run("put", "key", *argument, given=given).exit_code == 0
        assert kv.read("key") == value

    def test_a_key_that_is_no_text_is_refused(self, run: Run) -> None:
        assert run("get", "\udcff").exit_code == run("ls", "\udcff").exit_code == 2

    def test_a_value_can_expire(self, run: Run, kv: Store) -> None:
        run("put", "key", "one", "--ttl", "1h")

        assert 3500 < int(run("ttl", "key").output) <= 3600
        assert run("ttl", "key", "never").exit_code == 0
        assert run("ttl", "key").output == "never\n"
        assert run("ttl", "key", "2d").exit_code == 0
        assert (kv.entry("key").ttl or 0) > 172_000
        assert "is not a time" in run("ttl", "key", "5").output

    def test_a_write_can_have_a_condition(self, run: Run, kv: Store) -> None:
        assert run("put", "key", "one", "--create").exit_code == 0
        assert run("put", "key", "two", "--create").exit_code == 4
        assert run("put", "key", "two", "--if-match", kv.entry("key").etag).exit_code == 0
        assert run("put", "key", "three", "--if-match", '"other"').exit_code == 4
        assert run("put", "key", "three", "--if-match", "*", "--create").exit_code == 2
        assert run("del", "key", "--if-match", '"other"').exit_code == 4
        assert kv.read("key") == "two"

    def test_numbers_and_texts_grow(self, run: Run, kv: Store) -> None:
        assert run("incr", "n").output == "1\n"
        assert run("incr", "n", "5", "--ttl", "1h", "--keep").output == "6\n"
        assert run("incr", "n", "-10").output == "-4\n"
        assert run("append", "log", "a").output == ""
        assert run("append", "log", given="b\n").output == ""
        assert kv.read("log") == "ab\n"


class TestMany:
    @pytest.fixture(autouse=True)
    def filled(self, kv: Store) -> None:
        kv.update({"user:1": "Ann", "user:\n": b"\xff"})
        kv.put("other", "x", ttl=60)

    def test_keys_are_listed(self, run: Run) -> None:
        assert set(run("ls").output.splitlines()) == {"user:1", '"user:\\n"', "other"}
        assert set(run("ls", "-0", "user:$").output.split("\0")) == {"user:1", "user:\n", ""}
        assert len(run("ls", "--limit", "2").output.splitlines()) == 2
        assert run("ls", "--long", "--json").exit_code == 2
        assert "expires_at" in run("ls", "--json", "other").output

    def test_they_are_listed_with_sizes_and_expiries(self, run: Run) -> None:
        [head, line] = run("ls", "--long", "o$").output.splitlines()

        assert head.split() == ["BYTES", "EXPIRES", "KEY"]
        assert line.split()[::2] == ["1", "other"]
        assert line.split()[1].endswith("Z")

    def test_they_are_listed_as_records(self, run: Run) -> None:
        [record] = map(json.loads, run("ls", "--json", "user:\n").output.splitlines())

        assert record == {"key": "user:\n", "value": {"base64": "/w=="}}

    def test_keys_are_deleted_by_name(self, run: Run, kv: Store) -> None:
        deleted = run("del", "user:1", "nothing", "other")

        assert deleted.exit_code == 3
        assert "nothing" in deleted.stderr
        assert list(kv) == ["user:\n"]

    def test_a_wide_deletion_asks(self, run: Run, kv: Store) -> None:
        asked = run("del", "--filter", "user:$", given="n\n")
        assert (asked.exit_code, kv.count()) == (1, 3)
        assert "Delete 2 keys?" in asked.stderr
        assert run("del", "--filter", "user:$", given="y\n").stdout == "2\n"
        assert run("del", "--filter", "$", "--yes").stdout == "1\n"
        assert run("del", "a", "b", "--if-match", "*").exit_code == 2
        assert run("del").exit_code == run("del", "a", "--filter", "b").exit_code == 2

    def test_they_move_by_a_file(self, run: Run, kv: Store, tmp_path: Path) -> None:
        path = str(tmp_path / "export.ndjson")
        before = dict(kv.items())

        assert run("export", "-o", path).stderr == "3 exported\n"
        kv.clear()
        assert run("import", path).stderr == "3 stored, 0 expired, 0 failed\n"
        assert dict(kv.items()) == before

    def test_they_move_by_a_pipe(self, run: Run, kv: Store) -> None:
        exported = run("export", "user:$").stdout_bytes
        kv.clear()

        assert run("import", given=exported).exit_code == 0
        assert kv.count() == 2

    def test_a_file_that_was_cut_off_is_refused(self, run: Run, kv: Store) -> None:
        line = b'{"key": "new", "value": "1"}\n'

        assert run("import", given=line).exit_code == 1
        assert run("import", "--partial", given=line).exit_code == 0
        assert run("import", "nothing.ndjson").exit_code == 1
        wrong = run("import", "--partial", given=line + b"{}\n")
        assert (wrong.exit_code, kv.read("new")) == (1, "1")
        assert "line 2: " in wrong.stderr

    def test_a_transaction_is_done(self, run: Run, kv: Store) -> None:
        done = run("tx", '{"if": {"other": "*"}, "get": ["user:1"], "delete": ["other"]}')

        assert json.loads(done.stdout) == {"values": {"user:1": "Ann"}, "stored": 0, "deleted": 1}
        assert run("tx", given='{"if": {"other": "*"}, "put": {"a": "1"}}').exit_code == 4
        assert run("tx", "no JSON").exit_code == 2
        assert not kv.exists("a")


class TestEdit:
    @pytest.fixture
    def editor(self, tmp_path: Path) -> Callable[[str], str]:
        """Make an editor of a script in Python, which finds the path of the file in `file`."""

        def editor(script: str) -> str:
            path = tmp_path / "editor"
            path.write_text(f"#!{sys.executable}\nimport sys, pathlib\nfile = pathlib.Path(sys.argv[1])\n{script}\n")
            path.chmod(0o755)
            return str(path)

        return editor

    def test_a_value_is_edited_and_keeps_its_expiry(self, run: Run, kv: Store, editor: Callable[[str], str]) -> None:
        kv.put("key", "one", ttl=1000)

        assert run("edit", "key", EDITOR=editor("file.write_text('two\\n')")).exit_code == 0

        assert kv.read("key") == "two"
        assert kv.entry("key").ttl is not None

    def test_a_new_value_is_made(self, run: Run, kv: Store, editor: Callable[[str], str]) -> None:
        assert run("edit", "new", EDITOR=editor("file.write_text('two\\n')")).exit_code == 0

        assert kv.read("new") == "two"

    def test_nothing_is_written_where_nothing_is_changed(
        self, run: Run, kv: Store, editor: Callable[[str], str]
    ) -> None:
        kv.put("key", "one")

        assert "Nothing is changed" in run("edit", "key", EDITOR=editor("")).stderr
        kv.put("key", b"\xff")
        assert run("edit", "key", EDITOR=editor("")).exit_code == 1

    @pytest.mark.parametrize(
        ("choice", "value", "exit_code"),
        [("mine", "two", 0), ("quit", "theirs", 4), ("edit", "<<<<<<< yours\ntwo\n=======\ntheirs\n>>>>>>> theirs", 0)],
    )
    def test_after_a_lost_race_the_others_value_is_offered(
        self,
        run: Run,
        kv: Store,
        editor: Callable[[str], str],
        service: Service,
        choice: str,
        value: str,
        exit_code: int,
    ) -> None:
        kv.put("key", "one")
        script = (
            "import urllib.request as u\n"
            "if 'yours' in file.read_text(): sys.exit()\n"
            "file.write_text('two\\n')\n"
            f"u.urlopen(u.Request('{kv.url}/keys/key', b'theirs', method='PUT'))"
        )

        edited = run("edit", "key", given=f"{choice}\n", EDITOR=editor(script))

        assert (edited.exit_code, kv.read("key")) == (exit_code, value)
        assert "-theirs\n+two\n" in edited.stderr


class TestLock:
    def test_a_command_runs_while_it_is_held(self, kv: Store, variables: dict[str, str]) -> None:
        code = "import sys, urllib.request as u; u.urlopen(sys.argv[1]); sys.exit(7)"
        command = [sys.executable, "-c", code, f"{kv.url}/keys/job"]

        assert program(variables, "lock", "job", "--", *command).wait(30) == 7
        assert not kv.exists("job")

    def test_it_is_extended(self, kv: Store, variables: dict[str, str]) -> None:
        with program(variables, "lock", "job", "--ttl", "1s", "--", "sleep", "60") as running:
            eventually(lambda: kv.exists("job"))
            etag = kv.entry("job").etag
            kv.expire("job", 1000, if_match=etag)
            eventually(lambda: (kv.entry("job").ttl or 0) <= 1)
            running.send_signal(signal.SIGTERM)

            assert running.wait(30) == 128 + signal.SIGTERM
        assert not kv.exists("job")

    def test_the_command_is_stopped_if_it_is_lost(self, kv: Store, variables: dict[str, str]) -> None:
        with program(variables, "lock", "job", "--ttl", "1s", "--", "sleep", "60", stderr=subprocess.PIPE) as running:
            eventually(lambda: kv.exists("job"))
            kv.put("job", "of another one")

            assert running.wait(30) == 4
            assert b"lock" in (running.stderr.read() if running.stderr else b"")
        assert kv.read("job") == "of another one"

    def test_the_command_is_stopped_if_it_may_be_lost(
        self, kv: Store, service: Service, variables: dict[str, str]
    ) -> None:
        with proxy_to(service.port) as proxy:
            through = {**variables, "FLASKVSTORE_URL": f"http://127.0.0.1:{proxy.port}"}
            with program(
                through, "lock", "job", "--ttl", "1s", "--", "sleep", "60", stderr=subprocess.DEVNULL
            ) as running:
                eventually(lambda: kv.exists("job"))
                with proxy.failing(Fault(Then.CUT, of_command=True, kept_bytes=0)):
                    assert running.wait(30) == 4

    def test_that_of_another_one_is_not_taken(self, run: Run, kv: Store) -> None:
        kv.put("job", "of another one")

        assert run("lock", "job", "--", "true").exit_code == 4

    def test_a_command_that_is_not_there_frees_it(self, run: Run, kv: Store) -> None:
        assert run("lock", "job", "--", "no-such-command").exit_code == 1
        assert not kv.exists("job")


class TestWatch:
    def test_each_change_is_shown(self, kv: Store, variables: dict[str, str]) -> None:
        kv.put("a\n", "1")
        with program(variables, "watch", "a$", stdout=subprocess.PIPE) as running:
            assert running.stdout
            assert [running.stdout.readline() for _ in range(3)] == [b"reset\n", b'put "a\\n"\n', b"synced\n"]
            kv.delete("a\n")
            # A state may be told twice.
            assert b'delete "a\\n"\n' in running.stdout
            running.terminate()

    def test_each_change_is_shown_as_json(self, kv: Store, variables: dict[str, str]) -> None:
        etag = kv.put("a", "")
        with program(variables, "watch", "--json", stdout=subprocess.PIPE) as running:
            assert running.stdout
            shown = [json.loads(running.stdout.readline()) for _ in range(3)]
            running.terminate()

        assert shown[1] == {"kind": "put", "key": "a", "value": "", "etag": etag}
        assert shown[2].keys() == {"kind", "value", "id"}

    def test_a_command_is_run_for_each_change(self, kv: Store, variables: dict[str, str]) -> None:
        kv.put("a", "1")
        command = "sh -c 'echo $KV_EVENT $KV_KEY; cat'"
        with program(variables, "watch", "--exec", command, stdout=subprocess.PIPE) as running:
            assert running.stdout
            said = [running.stdout.readline() for _ in range(3)]
            running.terminate()

        assert said == [b"reset\n", b"put a\n", b"1synced\n"]

    def test_a_command_that_is_not_there_is_said(self, run: Run) -> None:
        assert run("watch", "--exec", "no-such-command").exit_code == 1


class TestService:
    def test_it_is_checked(self, run: Run, kv: Store) -> None:
        checked = run("check")

        assert checked.exit_code == 0
        assert [line.split()[0] for line in checked.output.splitlines()] == [
            *("address", "ready", "clock", "version", "token")
        ]
        assert kv.url in checked.output

    def test_one_that_is_not_there_is_said(self, run: Run) -> None:
        checked = run("check", "--url", f"http://127.0.0.1:{free_port()}")

        assert checked.exit_code == 1
        assert "does not answer" in checked.output

    def test_a_token_comes_from_a_file_a_variable_or_a_profile(
        self, run: Run, tmp_path: Path, valkey_server: EmbeddedServer
    ) -> None:
        token = Tokens(tmp_path / "tokens.json").create(
            "shop", namespace="shop", scopes=["read"], expires_in_seconds=None
        )
        (tmp_path / "token").write_text(token)
        app = create_app(Settings(redis_url=valkey_server.url, tokens_file=tmp_path / "tokens.json"))
        with listening(app) as url:
            profiles = tmp_path / ".config" / "flaskvstore.toml"
            profiles.parent.mkdir()
            profiles.write_text(f'[shop]\nurl = "{url}"\ntoken = "{token}"\n')
            profiles.chmod(0o644)

            assert run("ls", "--url", url).exit_code == run("check", "--url", url).exit_code == 5
            assert run("ls", "--url", url, "--token-file", str(tmp_path / "token")).exit_code == 0
            assert run("ls", "--url", url, FLASKVSTORE_TOKEN=token).exit_code == 0
            assert run("put", "a", "1", "--url", url, FLASKVSTORE_TOKEN=token).exit_code == 5
            assert "chmod 600" in run("ls", "--profile", "shop").stderr
            profiles.chmod(0o600)
            checked = run("check", "--profile", "shop")
            assert "shop may read in the namespace shop until revoked" in checked.output

    def test_a_profile_is_used_where_nothing_else_is_said(self, run: Run, tmp_path: Path, kv: Store) -> None:
        profiles = tmp_path / ".config" / "flaskvstore.toml"
        profiles.parent.mkdir()
        profiles.write_text(f'[default]\nurl = "http://127.0.0.1:{free_port()}"\n[real]\nurl = "{kv.url}"\n')

        assert run("ls").exit_code == 0
        assert run("ls", FLASKVSTORE_URL="").exit_code == 1
        assert run("ls", "--url", "localhost").exit_code == 2
        assert run("ls", "--profile", "real", FLASKVSTORE_URL="http://127.0.0.1:1").exit_code == 0
        assert "it has: default, real" in run("ls", "--profile", "other").stderr
        profiles.write_text("[default]\nadress = 1\n")
        assert run("ls").exit_code == 2
        profiles.write_text("no TOML")
        assert run("ls").exit_code == 2

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_a_shell_is_told_how_to_complete(self, run: Run, shell: str) -> None:
        assert "_FLASKVSTORE_COMPLETE" in run("completion", shell).output

    @pytest.mark.parametrize(
        ("words", "offered"), [("get user:", {"user:1", "user:2"}), ("get $", {"$"}), ("ge", {"get"})]
    )
    def test_commands_and_keys_are_completed(self, kv: Store, words: str, offered: set[str]) -> None:
        kv.update({"user:1": "", "user:2": "", "other": "", "$": ""})

        assert completed(words, kv.url) == offered

    def test_no_key_is_completed_without_a_service(self) -> None:
        assert completed("get us", f"http://127.0.0.1:{free_port()}") == set()


def completed(words: str, url: str) -> set[str]:
    """Return what bash is offered."""
    asked = {"_FLASKVSTORE_COMPLETE": "bash_complete", "COMP_WORDS": f"flaskvstore {words}", "FLASKVSTORE_URL": url}
    asked["COMP_CWORD"] = str(len(words.split()))
    offered = CliRunner().invoke(main, [], prog_name="flaskvstore", env=asked)
    return {line.partition(",")[2] for line in offered.output.split()}


def test_progress_is_shown_on_a_terminal(kv: Store, variables: dict[str, str], tmp_path: Path) -> None:
    kv.update({f"k{number}": "v" for number in range(500)})
    path = str(tmp_path / "export.ndjson")
    kv.export_to(path)
    ours, theirs = pty.openpty()

    running = program(variables, "import", path, stdin=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b""
    # At its end a terminal is an error.
    with suppress(OSError):
        while more := os.read(ours, 1024):
            said += more
    os.close(ours)

    assert running.wait(30) == 0
    assert b"500/500" in said
    assert b"/s" in said


def test_every_error_has_its_exit_code() -> None:
    codes = {exit_code_of(kind("")) for kind in BY_CODE.values()}

    assert codes == {1, *EXIT_CODES.values()}


def test_a_pipe_that_is_closed_ends_it_quietly(kv: Store, variables: dict[str, str]) -> None:
    kv.update({f"k{number}": "v" for number in range(5000)})
    reader, writer = os.pipe()
    os.close(reader)

    running = program(variables, "ls", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)

    assert running.communicate(timeout=30)[1] == b""
