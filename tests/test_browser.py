"""The documentation page in a real browser: the API can be tried from it, and nothing but the service is asked."""

import json
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Response, expect, sync_playwright

from tests.asking import Ask, target_of
from tests.services import Service, need


PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_MILLISECONDS = 10_000
KEY = "über/straße"


@pytest.fixture(scope="module")
def chromium() -> str:
    """The path of an installed Chromium; where CI runs there has to be one."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    need(found, f"a browser: one of {', '.join(PROGRAMS)} on PATH")
    return str(found)


def watch(page: Page, host: str) -> list[str]:
    """Collect what goes wrong in a page, and what it asks of others than a host."""
    faults: list[str] = []

    def console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            faults.append(f"console: {message.text}")

    def request(request: Request) -> None:
        url = urlsplit(request.url)
        # The images inside of style sheets are data: URLs, which are asked of nobody.
        if url.scheme != "data" and url.netloc != host:
            faults.append(f"asked another host: {request.url}")

    def response(response: Response) -> None:
        if not response.ok:
            faults.append(f"answered with {response.status}: {response.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("request", request)
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}: {request.failure}"))
    page.on("response", response)
    return faults


@pytest.fixture
def page(chromium: str, service: Service) -> Iterator[Page]:
    """The documentation page; whatever goes wrong in it fails the test in the end."""
    host = f"127.0.0.1:{service.port}"
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=OPTIONS) as browser:
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_MILLISECONDS)
        faults = watch(page, host)
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


def execute(block: Locator) -> tuple[str, object]:
    """Send a form, and give the status and the body that the page shows."""
    block.get_by_role("button", name="Execute").click()
    shown = block.locator(".live-responses-table tbody")
    status = shown.locator(".response-col_status").inner_text()
    return status, json.loads(shown.locator(".highlight-code code").first.inner_text())


def test_a_value_is_stored_and_read_on_the_documentation_page(page: Page, served: Ask) -> None:
    expect(page).to_have_title("flaskvstore")

    storing = try_out(page, "put_key_collection")
    storing.locator("textarea").fill(json.dumps({KEY: "Größe", "other": "1"}))
    storing.get_by_placeholder("expire_in").fill("60")
    assert execute(storing) == ("200", {"stored": 2})

    reading = try_out(page, "get_key_item")
    reading.get_by_placeholder("key").fill(KEY)
    assert execute(reading) == ("200", {KEY: "Größe"})

    assert served("GET", target_of(KEY)).json == {KEY: "Größe"}
