"""Fixtures of tests in a real browser."""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.servers.services import need


PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A site whose name leads here. The newest Chromium stops that by itself; others leave it to the service.
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
    "--disable-features=LocalNetworkAccessChecks",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """An installed Chromium; where CI runs there has to be one."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    need(found, f"a browser: one of {', '.join(PROGRAMS)} on PATH")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=found, args=OPTIONS) as running:
        yield running


class Hello(BaseHTTPRequestHandler):
    """A site of others."""

    def do_GET(self) -> None:
        """Send its page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<p>Hello</p>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def other_site() -> Iterator[str]:
    """The URL of a site that is not the service's, for a browser."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://evil.example:{server.server_port}/"
        server.shutdown()
