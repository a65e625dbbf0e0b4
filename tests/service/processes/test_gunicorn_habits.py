"""What Gunicorn would decide by itself: headers that it believes, its error pages, versions, and idle connections."""

import contextlib
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.serving.embedded import EmbeddedServer
from api.serving.supervisor import ROOT, answers
from models.address import Address
from tests.support.clients import Ask
from tests.support.servers.services import Service, environment, eventually, free_port, serving
from tests.support.wire import Wire


pytestmark = pytest.mark.gunicorn("Granian has habits of its own")
# Longer than Gunicorn waits by default, and than an idle connection is left in peace where there is no room.
IDLE_SECONDS = 7.0


@contextlib.contextmanager
def gunicorn_alone(log: Path, server: EmbeddedServer, *options: str) -> Iterator[Service]:
    """Run `gunicorn wsgi:app`, whose last option is where it listens."""
    port = int(options[-1].rpartition(":")[2])
    command = [str(Path(sys.executable).with_name("gunicorn")), "wsgi:app", *options]
    variables = environment(FLASKVSTORE_REDIS_URL=server.url, FLASKVSTORE_WORKERS="1", FLASKVSTORE_OPEN="true")
    with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output) as process:
        try:
            eventually(lambda: answers(Address("127.0.0.1", port)), 30)
            yield Service(process, log, port)
        finally:
            process.terminate()


@pytest.fixture
def wire(served: Ask, service: Service) -> Iterator[Wire]:
    """A connection to a service with one key, under a path as a proxy would add it and without."""
    served("PUT", "/keys?a=1&foo/keys/a=2")
    with Wire(service.port) as connected:
        yield connected


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "SCRIPT_NaME", "script_name", "Script-Name", "SCRIPT-NAME"])
@pytest.mark.parametrize("prefix", ["/foo", "/nowhere", "//evil.example", "/"])
def test_no_header_moves_the_root(wire: Wire, name: str, prefix: str) -> None:
    headers = {name: prefix}

    assert wire.ask("GET", "/keys/a", b"", headers).json == {"a": "1"}
    assert wire.ask("GET", f"{prefix}/keys/a", b"", headers).status == 404
    assert wire.ask("GET", "/swagger.json", b"", headers).json["basePath"] == "/"
    assert "evil" not in str(wire.ask("GET", "/keys?limit=1", b"", headers).headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Proto": "https", "X-Forwarded-SSL": "off"},
        {"X-Forwarded-Protocol": "ssl", "X-Forwarded-Proto": "http"},
        {"PATH_INFO": "/keys/b", "REMOTE_USER": "x", "REQUEST_METHOD": "DELETE"},
    ],
)
def test_no_header_changes_what_a_request_is(wire: Wire, headers: dict[str, str]) -> None:
    assert wire.ask("GET", "/keys/a", b"", headers).json == {"a": "1"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, valkey_server: EmbeddedServer) -> Iterator[Service]:
    """A service without `serve`, on a unix socket beside its log and for all machines."""
    directory = tmp_path_factory.mktemp("alone")
    options = ("-b", f"unix:{directory / 'kv.sock'}", "-b", f"[::]:{free_port()}")
    with gunicorn_alone(directory / "log", valkey_server, *options) as running:
        yield running


def test_a_unix_socket_is_believed_no_more(alone: Service) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(alone.log.with_name("kv.sock")))
        connection.sendall(
            b"GET /health/live HTTP/1.1\r\nHost: evil.example\r\nSCRIPT_NAME: /health\r\n"
            b"X-Forwarded-Proto: https\r\nX-Forwarded-SSL: off\r\nConnection: close\r\n\r\n"
        )
        received = connection.makefile("rb").read()

    assert received.startswith(b"HTTP/1.1 200 ")


def test_all_addresses_are_those_of_both_families(alone: Service) -> None:
    assert answers(Address("127.0.0.1", alone.port))
    assert answers(Address("::1", alone.port))


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"get /keys/SECRET HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (b"GET /keys/SECRET\xff HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (b"GET /keys/SECRET HTTP/1.1\r\nSECRET\r\n\r\n", 400, "malformed_request"),
        (b"GET /keys/SECRET HTTP/2.0\r\n\r\n", 400, "malformed_request"),
        (b"SECRET\r\n\r\n", 400, "malformed_request"),
        (b"GET /keys/SECRET HTTP/1.1\r\nContent-Length: SECRET\r\n\r\n", 400, "malformed_request"),
        (b"GET /keys/SECRET" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nX: SECRET" + b"x" * 9_000 + b"\r\n\r\n", 431, "fields_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"SECRET: x\r\n" * 200 + b"\r\n", 431, "fields_too_large"),
        (b"PUT /keys/a HTTP/1.1\r\nExpect: SECRET\r\n\r\n", 417, "expectation_failed"),
        (b"PUT /keys/a HTTP/1.1\r\nTransfer-Encoding: SECRET, chunked\r\n\r\n", 501, "unsupported_transfer_coding"),
    ],
)
def test_what_is_no_request_is_refused_by_a_problem_document_that_quotes_nothing(
    wire: Wire, data: bytes, status: int, code: str
) -> None:
    wire.send(data)

    answer = wire.answer()

    assert (answer.status, answer.code) == (status, code)
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert b"SECRET" not in answer.body
    assert wire.has_ended()


@pytest.mark.parametrize("version", ["1.2", "1.3", "1.9"])
def test_a_later_minor_version_is_answered_as_http_1_1(wire: Wire, version: str) -> None:
    wire.send(f"GET /keys/a HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())

    assert wire.socket.recv(13) == b"HTTP/1.1 200 "


def test_an_idle_connection_lives_longer_than_those_of_balancers(wire: Wire) -> None:
    assert wire.ask("GET", "/keys/a").status == 200
    time.sleep(IDLE_SECONDS)

    assert wire.ask("GET", "/keys/a").status == 200


def test_an_idle_connection_lives_as_long_as_the_setting_says(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1", FLASKVSTORE_KEEP_ALIVE_SECONDS="1") as service:
        with Wire(service.port) as used, Wire(service.port) as fresh:
            started = time.monotonic()
            assert used.ask("GET", "/health/live").status == 200
            assert used.has_ended()
            assert fresh.has_ended()

        assert 0.9 < time.monotonic() - started < IDLE_SECONDS


def test_the_health_check_of_the_image_asks_no_proxy(service: Service) -> None:
    [check] = re.findall(r'^ +CMD \["python", "-c", "(.*)"\]$', (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:1")

    for port, status in ((service.port, 0), (1, 1)):
        variables = environment(FLASKVSTORE_BIND=f"127.0.0.1:{port}", **proxies)
        command = shlex.join([sys.executable, "-c", check])
        ended = subprocess.run(["sh", "-c", command], env=variables, capture_output=True, timeout=30, check=False)
        assert ended.returncode == status, ended.stderr
