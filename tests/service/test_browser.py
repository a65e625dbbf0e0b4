"""The documentation page in a real browser: the API can be tried from it, and nothing but the service is asked."""

import json
import shutil
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, expect, sync_playwright

from models.tokens import Tokens
from tests.support.clients import Ask, target_of
from tests.support.servers.services import Service, need, serving


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
TIMEOUT_MILLISECONDS = 10_000
KEY = "über/straße"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """An installed Chromium; where CI runs there has to be one."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    need(found, f"a browser: one of {', '.join(PROGRAMS)} on PATH")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=found, args=OPTIONS) as running:
        yield running


def test_a_page_whose_name_is_made_to_lead_here_gets_nothing(browser: Browser, service: Service, served: Ask) -> None:
    served("PUT", "/keys?word=one")
    page = browser.new_page()
    # What the site itself sends before its name leads here.
    page.route("**/site", lambda route: route.fulfill(body="<p>Hello</p>", content_type="text/html"))
    page.goto(f"http://evil.example:{service.port}/site")
    seen = page.evaluate(
        """async () => {
            const get = await fetch("/keys");
            const put = await fetch("/keys/word", {method: "PUT", body: "two"});
            const deletion = await fetch("/keys", {method: "DELETE", headers: {"X-Forwarded-Host": "localhost"}});
            return [get.status, await get.text(), put.status, deletion.status];
        }"""
    )

    assert [seen[0], *seen[2:]] == [403] * 3
    assert json.loads(seen[1])["code"] == "unknown_host"
    assert served("GET", "/keys").json == {"word": "one"}


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


def test_a_page_of_another_site_gets_nothing_done_but_its_link_leads_to_the_documentation(
    browser: Browser, service: Service, served: Ask, other_site: str
) -> None:
    served("PUT", "/keys?word=one")
    here = f"http://127.0.0.1:{service.port}"
    before = len(service.lines())
    with browser.new_page() as page:
        page.goto(other_site)

        page.evaluate(
            """async here => {
                await fetch(here + "/keys?filter=$", {mode: "no-cors"}).catch(() => 0);
                await fetch(here + "/keys", {method: "POST", mode: "no-cors", body: "{}"}).catch(() => 0);
                await fetch(here + "/keys/word", {method: "DELETE"}).catch(() => 0);
                const image = new Image();
                const ended = new Promise(done => { image.onerror = done; });
                image.src = here + "/keys/word";
                await ended;
            }""",
            here,
        )
        seen = [(line["method"], line["status"]) for line in service.lines()[before:]]
        assert seen == [("GET", 403), ("POST", 403), ("OPTIONS", 403), ("GET", 403)]

        page.evaluate("here => { location.href = here + '/'; }", here)
        page.wait_for_url(f"{here}/")
        expect(page).to_have_title("flaskvstore")
    assert served("GET", "/keys").json == {"word": "one"}


def watch(page: Page, host: str, expected: Collection[int] = ()) -> list[str]:
    """Collect what goes wrong in a page, and what it asks of others than a host; some statuses may be meant."""
    faults: list[str] = []

    def console(message: ConsoleMessage) -> None:
        is_expected = any(f"the server responded with a status of {status}" in message.text for status in expected)
        if message.type in {"error", "warning"} and not is_expected:
            faults.append(f"console: {message.text}")

    def request(request: Request) -> None:
        url = urlsplit(request.url)
        # The images inside of style sheets are data: URLs, which are asked of nobody.
        if url.scheme != "data" and url.netloc != host:
            faults.append(f"asked another host: {request.url}")

    def response(response: Response) -> None:
        if not response.ok and response.status not in expected:
            faults.append(f"answered with {response.status}: {response.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("request", request)
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}: {request.failure}"))
    page.on("response", response)
    return faults


@contextmanager
def documentation(browser: Browser, service: Service, expected: Collection[int] = ()) -> Iterator[Page]:
    """Open the documentation page; whatever goes wrong in it fails the test in the end."""
    host = f"127.0.0.1:{service.port}"
    with browser.new_page() as page:
        page.set_default_timeout(TIMEOUT_MILLISECONDS)
        faults = watch(page, host, expected)
        page.goto(f"http://{host}/")
        yield page
    assert not faults, "\n".join(faults)


def try_out(page: Page, operation: str) -> Locator:
    """Open an operation and make its form ready."""
    tag = page.locator("#operations-tag-keys")
    if tag.get_attribute("data-is-open") == "false":
        tag.click()
    block = page.locator(f"#operations-keys-{operation}")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    return block


def execute(block: Locator) -> tuple[str, Any]:
    """Send a form, and give the status and the body that the page shows."""
    block.get_by_role("button", name="Execute").click()
    shown = block.locator(".live-responses-table tbody")
    status = shown.locator(".response-col_status").inner_text()
    return status, json.loads(shown.locator(".highlight-code code").first.inner_text())


def test_a_value_is_stored_and_read_on_the_documentation_page(browser: Browser, service: Service, served: Ask) -> None:
    with documentation(browser, service) as page:
        expect(page).to_have_title("flaskvstore")

        storing = try_out(page, "store_keys")
        storing.locator("textarea").fill(json.dumps({KEY: "Größe", "other": "1"}))
        storing.get_by_placeholder("expire_in").fill("60")
        assert execute(storing) == ("200", {"stored": 2})

        reading = try_out(page, "get_key")
        reading.get_by_placeholder("key").fill(KEY)
        assert execute(reading) == ("200", {KEY: "Größe"})

    assert served("GET", target_of(KEY)).json == {KEY: "Größe"}


def test_a_token_opens_the_operations_of_the_documentation_page(browser: Browser, tmp_path: Path) -> None:
    presented = Tokens(tmp_path / "tokens.json").create("browser", namespace="ns", scopes=["read", "write"])
    with (
        serving(tmp_path, "--tokens-file", str(tmp_path / "tokens.json")) as service,
        documentation(browser, service, expected={401}) as page,
    ):
        refused = try_out(page, "store_keys")
        refused.locator("textarea").fill(json.dumps({"word": "1"}))
        status, problem = execute(refused)
        assert (status, problem["code"]) == ("401", "missing_token")

        page.get_by_role("button", name="Authorize").first.click()
        dialog = page.locator(".modal-ux")
        dialog.get_by_role("textbox").fill(presented)
        dialog.get_by_role("button", name="Apply credentials").click()
        dialog.get_by_role("button", name="Close").first.click()

        refused.get_by_role("button", name="Clear").click()
        assert execute(refused) == ("200", {"stored": 1})
