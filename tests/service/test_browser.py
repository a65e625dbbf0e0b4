"""The documentation page in a real browser: the API can be tried from it, and nothing but the service is asked."""

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, expect

from models.tokens import Tokens
from tests.support.clients import Ask, target_of
from tests.support.contract import Contract
from tests.support.servers.services import Service, serving


pytestmark = pytest.mark.browser
TIMEOUT_MILLISECONDS = 10_000
KEY = "über/straße"


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
def documentation(
    browser: Browser, service: Service, expected: Collection[int] = (), path: str = "docs", **options: Any
) -> Iterator[Page]:
    """Open the documentation page; whatever goes wrong in it fails the test in the end."""
    host = f"127.0.0.1:{service.port}"
    with browser.new_page(**options) as page:
        page.set_default_timeout(TIMEOUT_MILLISECONDS)
        faults = watch(page, host, expected)
        page.goto(f"http://{host}/{path}")
        yield page
    assert not faults, "\n".join(faults)


def try_out(page: Page, operation: str) -> Locator:
    """Open an operation and make its form ready."""
    block = page.locator(f"#operations-keys-{operation}")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    return block


def execute(block: Locator) -> tuple[str, str]:
    """Send a form, and give the status and the body that the page shows."""
    clear = block.get_by_role("button", name="Clear")
    if clear.is_visible():
        clear.click()
    block.get_by_role("button", name="Execute").click()
    shown = block.locator(".live-responses-table tbody .response")
    status = shown.locator(".response-col_status").inner_text()
    body = shown.locator(".response-col_description .microlight").first
    return status, body.inner_text()


def executed(block: Locator) -> tuple[str, Any]:
    """Send a form whose answer is JSON."""
    status, body = execute(block)
    return status, json.loads(body)


def send_as(block: Locator, media_type: str) -> Locator:
    """Choose what the body is, and give its field."""
    block.locator(".opblock-section-request-body select.content-type").select_option(media_type)
    return block.locator(".opblock-section-request-body :is(textarea, input[type=file])")


def show_as(block: Locator, media_type: str) -> None:
    """Choose what the answer is to be."""
    block.locator(".response[data-code='200'] select.content-type").select_option(media_type)


def faults_for_readers(page: Page) -> list[str]:
    """Give what axe-core finds, which looks for what keeps people from reading or using a page."""
    return [f"{found['id']}: {found['nodes'][0]['html']}" for found in Axe().run(page).response["violations"]]


def test_the_start_page_shows_its_own_address(browser: Browser, service: Service) -> None:
    with documentation(browser, service, path="") as page:
        lines = page.locator("pre").inner_text().splitlines()
        page.get_by_role("link", name="Documentation").click()
        expect(page.locator(".opblock").first).to_be_visible()

    assert len(lines) == 3
    assert all(f"'http://127.0.0.1:{service.port}/keys" in line for line in lines)


def test_every_example_works_from_top_to_bottom_on_an_empty_store(
    browser: Browser, service: Service, served: Ask, contract: Contract
) -> None:
    served("DELETE", "/keys")
    operations = [each["operationId"] for (_, path), each in contract.operations.items() if path.startswith("/keys")]

    with documentation(browser, service) as page:
        seen = {}
        for operation in operations:
            block = try_out(page, operation)
            seen[operation] = execute(block)
            block.locator(".opblock-summary-control").click()

    assert {operation: status for operation, (status, _) in seen.items()} == dict.fromkeys(operations, "200")
    assert json.loads(seen["list_keys"][1]) == {"word": "a value", "world": "another value"}
    assert json.loads(seen["delete_keys"][1]) == {"deleted": 2}
    assert json.loads(seen["get_key"][1]) == {"word": "a value"}
    assert json.loads(seen["change_key"][1]) == {"word": "a value, and more"}


def test_pairs_can_be_stored_in_every_way(browser: Browser, service: Service, served: Ask) -> None:
    with documentation(browser, service) as page:
        block = try_out(page, "store_keys")
        send_as(block, "application/x-www-form-urlencoded").fill("form=two+words")
        assert executed(block) == ("200", {"stored": 1})
        send_as(block, "application/x-ndjson").fill('{"key": "line", "value": "1"}\n{"key": "wrong"}\n')
        assert executed(block)[1]["errors"][0]["line"] == 2
        send_as(block, "application/json").fill(json.dumps({KEY: "Größe"}))
        block.locator("[data-param-name=query_pairs] textarea").fill('{"in query": "a & b"}')
        block.get_by_placeholder("expire_in").fill("60")
        assert executed(block) == ("200", {"stored": 2})

    assert served("GET", "/keys").json == {"form": "two words", "line": "1", KEY: "Größe", "in query": "a & b"}
    assert "Expire-In" in served("GET", target_of(KEY)).headers


def test_a_list_can_be_filtered_and_exported(browser: Browser, service: Service, served: Ask) -> None:
    served("PUT", "/keys?word=one&world=two")

    with documentation(browser, service) as page:
        block = try_out(page, "list_keys")
        block.get_by_placeholder("filter").fill("wo$d")
        assert executed(block) == ("200", {"word": "one", "world": "two"})
        show_as(block, "application/x-ndjson")
        status, lines = execute(block)

    assert status == "200"
    assert json.loads(lines.splitlines()[-1]) == {"count": 2}


def test_an_event_stream_shows_the_state_and_ends(browser: Browser, service: Service, served: Ask) -> None:
    served("PUT", "/keys?word=one")

    with documentation(browser, service) as page:
        for operation in ("list_keys", "get_key"):
            block = try_out(page, operation)
            show_as(block, "text/event-stream")
            status, text = execute(block)
            assert status == "200"
            assert re.findall(r"event: (\w+)", text) == ["reset", "put", "synced"]


def test_every_key_reaches_itself(browser: Browser, service: Service, served: Ask) -> None:
    with documentation(browser, service) as page:
        block = try_out(page, "get_key")
        for key in (KEY, "a%2Fb", "100%", "%41", "a b%20c?#&", "//"):
            served("PUT", target_of(key), b"its value")
            block.get_by_placeholder("key").fill(key)
            assert executed(block) == ("200", {key: "its value"})


def test_the_pages_work_below_a_prefix_that_the_service_does_not_know(
    browser: Browser, service: Service, served: Ask
) -> None:
    served("PUT", "/keys?word=one")
    page = browser.new_page()
    # As a proxy does that takes the prefix off.
    page.route(
        "**/kv/**", lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace("/kv/", "/")))
    )
    page.goto(f"http://127.0.0.1:{service.port}/kv/")
    address = page.locator(".address").first.inner_text()
    page.get_by_role("link", name="Documentation").click()

    assert address == f"http://127.0.0.1:{service.port}/kv/"
    assert executed(try_out(page, "list_keys")) == ("200", {"word": "one"})
    assert page.locator(".request-url").inner_text().endswith(f"{address}keys")


def test_bytes_are_sent_from_a_file_and_shown_after_json(
    browser: Browser, service: Service, served: Ask, tmp_path: Path
) -> None:
    (tmp_path / "value").write_bytes(b"\xff\x00")

    with documentation(browser, service) as page:
        storing = try_out(page, "put_key")
        send_as(storing, "application/octet-stream").set_input_files(tmp_path / "value")
        assert executed(storing) == ("200", {"stored": 1})
        reading = try_out(page, "get_key")
        assert executed(reading) == ("200", {"word": {"base64": "/wA="}})
        show_as(reading, "application/octet-stream")
        reading.get_by_role("button", name="Execute").click()
        with page.expect_download() as download:
            reading.get_by_text("Download file").click()
        assert download.value.path().read_bytes() == b"\xff\x00"


def test_a_token_opens_the_operations_and_is_kept_for_the_tab(browser: Browser, tmp_path: Path) -> None:
    presented = Tokens(tmp_path / "tokens.json").create("browser", namespace="ns", scopes=["read", "write"])
    with (
        serving(tmp_path, "--tokens-file", str(tmp_path / "tokens.json")) as service,
        documentation(browser, service, expected={304, 401}) as page,
    ):
        status, problem = executed(try_out(page, "store_keys"))
        assert (status, problem["code"]) == ("401", "missing_token")

        page.get_by_role("button", name="Authorize").first.click()
        dialog = page.locator(".modal-ux")
        dialog.get_by_role("textbox").fill(presented)
        dialog.get_by_role("button", name="Apply credentials").click()
        dialog.get_by_role("button", name="Close").first.click()
        page.reload()
        assert executed(try_out(page, "store_keys")) == ("200", {"stored": 2})

        page.get_by_role("button", name="Authorize").first.click()
        page.locator(".modal-ux").get_by_role("button", name="Remove authorization").click()
        page.reload()
        assert executed(try_out(page, "store_keys"))[0] == "401"


def test_an_error_is_one_line_until_it_is_unfolded(browser: Browser, service: Service) -> None:
    with documentation(browser, service) as page:
        expect(page.get_by_role("button", name="Authorize")).to_have_count(0)
        block = try_out(page, "get_key")
        first = block.locator(".parameters tbody tr").first
        expect(first).to_contain_text("key")
        error = block.locator(".responses-table .response[data-code='404']")
        codes = error.get_by_text("key_not_found")
        expect(codes).to_be_hidden()

        error.locator("summary").click()

        expect(codes).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_can_be_read_by_everybody_and_on_a_phone(
    browser: Browser, service: Service, served: Ask, scheme: str
) -> None:
    phone: Any = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with documentation(browser, service, path="", **phone) as page:
        assert faults_for_readers(page) == []

    with documentation(browser, service, **phone) as page:
        for operation in ("store_keys", "get_key"):
            execute(try_out(page, operation))
        background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

        assert faults_for_readers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert (background == "rgb(28, 32, 34)") == (scheme == "dark")
