"""How the Python client reaches a service: by TLS, and through an HTTP proxy."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import InvalidRequest, Store, Unavailable
from tests.python_client.conftest import Make
from tests.support.servers.proxy import Fault, proxy_to
from tests.support.servers.services import Service, need


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that nobody has signed, with its key in the same file."""
    need(shutil.which("openssl"), "openssl")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
    subprocess.run([*made, "-keyout", path, "-out", path.with_suffix(".crt")], check=True, capture_output=True)
    with path.open("a") as file:
        file.write(path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def secured(service: Service, certificate: Path) -> Iterator[str]:
    """The address of the service behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with proxy_to(service.port) as plain, socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted, _ = listener.accept()
                    threading.Thread(target=serve, args=(accepted,), daemon=True).start()

        def serve(accepted: socket.socket) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(accepted, server_side=True) as client,
                socket.create_connection(("127.0.0.1", plain.port)) as server,
            ):
                # A request and its answer are small here, and come one at a time.
                while asked := client.recv(65536):
                    server.sendall(asked)
                    client.sendall(server.recv(65536))

        threading.Thread(target=accept, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_a_certificate_has_to_be_trusted(kv: Store, make: Make, secured: str, certificate: Path) -> None:
    kv.put("key", "value")

    assert make(secured, tls=ssl.create_default_context(cafile=certificate.with_suffix(".crt"))).read("key") == "value"
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        make(secured).read("key")


@pytest.mark.parametrize("url", ["localhost:5000", "127.0.0.1:5000", "http://", "http://a:b", "unix:/kv.sock", ""])
def test_an_address_that_cannot_be_one_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidRequest):
        Store(url)


def test_a_token_that_no_header_can_hold_is_never_sent(kv: Store, make: Make, service: Service) -> None:
    wrong = make(f"http://127.0.0.1:{service.port}", token="a\nb")  # noqa: S106  # of nobody

    with pytest.raises(Unavailable):
        wrong.put("key", "value")


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_proxy_is_asked(
    kv: Store, make: Make, service: Service, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    kv.put("key", "value")
    asked: list[bytes] = []

    def note(data: bytes) -> Fault | None:
        asked.append(data)
        return None

    with proxy_to(service.port) as proxy, proxy.choosing(note):
        address = f"http://127.0.0.1:{proxy.port}"
        if by_variable:
            monkeypatch.setenv("HTTP_PROXY", address)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
        store = make("http://localhost", **({} if by_variable else {"proxy": address}))

        assert store.read("key") == "value"

    assert asked[0].startswith(b"GET http://localhost/values/key HTTP/1.1\r\n")
