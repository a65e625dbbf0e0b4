"""EventSource and fetch in a real browser, with the code of docs/watch.md: what a page knows is what the store has."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from models.tokens import SCOPES, Tokens
from tests.support.clients import Ask, put_json, with_token
from tests.support.contract import Contract
from tests.support.servers.services import Service, eventually, kill, serving, workers


pytestmark = pytest.mark.browser
DOCUMENTS = Path(__file__).parent.parent.parent / "docs"
[FLAGS] = re.findall(r"^```html\n(.*?)^```$", (DOCUMENTS / "recipes.md").read_text(), re.MULTILINE | re.DOTALL)
DOCUMENT = (DOCUMENTS / "watch.md").read_text()
FOLLOW, FOLLOW_WITH_TOKEN = re.findall(r"^```js\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
# An EventSource waits for up to 3 seconds before it connects again, and the page for 3 more if it was refused.
TIMEOUT_MILLISECONDS = 15_000


@contextmanager
def following(browser: Browser, page_url: str, script: str, argument: Any) -> Iterator[Page]:
    """Open a page that follows changes; `view` is what it knows.

    :param script: from the code of the document to a function that is called with an argument
    """
    with browser.new_page() as page:
        page.goto(page_url)
        page.evaluate(script, argument)
        yield page


def shows(page: Page, expected: dict[str, Any]) -> None:
    """Wait until a page knows what is expected, and nothing else."""
    page.wait_for_function(
        "expected => JSON.stringify(Object.fromEntries([...view].sort())) === expected",
        arg=json.dumps(dict(sorted(expected.items())), separators=(",", ":")),
        timeout=TIMEOUT_MILLISECONDS,
    )


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGHUP])
def test_a_page_follows_changes_through_the_end_of_workers(
    browser: Browser, disturbed: Service, contract: Contract, ending: signal.Signals
) -> None:
    ask = disturbed.ask(contract)
    ask("DELETE", "/keys")
    put_json(ask, {"flag:a": "1", "flag:b": "1", "other": "1"})
    url = f"http://127.0.0.1:{disturbed.port}"
    script = f"url => {{ {FOLLOW} window.view = new Map(); follow(url + '/keys?filter=flag:$', view, () => 0); }}"

    with following(browser, f"{url}/docs", script, url) as page:
        shows(page, {"flag:a": "1", "flag:b": "1"})
        put_json(ask, {"flag:a": "2", "other": "2"})
        ask("DELETE", "/keys/flag:b")
        shows(page, {"flag:a": "2"})

        if ending is signal.SIGHUP:
            disturbed.process.send_signal(ending)
        else:
            for worker in workers(disturbed):
                kill(worker)
        eventually(lambda: _is_served(ask))
        put_json(ask, {"flag:c": "3"})
        ask("DELETE", "/keys/flag:a")
        shows(page, {"flag:c": "3"})
        ask("PUT", "/keys/flag:d?expire_in=1", b"4")
        ask("DELETE", "/keys/flag:c")
        shows(page, {})


def test_a_button_is_there_while_its_flag_is_on(browser: Browser, service: Service, served: Ask) -> None:
    served("PUT", "/keys/recipe:flag:search", b"off")
    page = browser.new_page()
    body = FLAGS.replace("<script>", f"<script>{FOLLOW}")
    page.route("**/site", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(f"http://127.0.0.1:{service.port}/site")
    button = page.locator("#search")

    expect(button).to_be_hidden()
    served("PUT", "/keys/recipe:flag:search", b"on")
    expect(button).to_be_visible()
    served("DELETE", "/keys/recipe:flag:search")
    expect(button).to_be_hidden()


def test_a_page_of_another_origin_follows_too(
    browser: Browser, tmp_path: Path, other_site: str, contract: Contract
) -> None:
    origin = other_site.rstrip("/")
    with serving(tmp_path, "--workers", "2", FLASKVSTORE_CORS_ORIGINS=origin) as service:
        ask = service.ask(contract)
        put_json(ask, {"a": "1"})
        script = f"url => {{ {FOLLOW} window.view = new Map(); follow(url, view, () => 0); }}"
        with following(browser, other_site, script, f"http://127.0.0.1:{service.port}/keys") as page:
            shows(page, {"a": "1"})
            for worker in workers(service):
                os.kill(worker, signal.SIGKILL)
            eventually(lambda: _is_served(ask))
            put_json(ask, {"b": "2"})
            shows(page, {"a": "1", "b": "2"})


def test_a_page_with_a_token_follows_by_fetch_until_it_is_revoked(
    browser: Browser, tmp_path: Path, other_site: str, contract: Contract
) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    presented = tokens.create("page", namespace="ns", scopes=SCOPES)
    options = {"FLASKVSTORE_TOKENS_FILE": str(tmp_path / "tokens.json"), "FLASKVSTORE_CORS_ORIGINS": other_site[:-1]}
    with serving(tmp_path, **options) as service:
        ask = with_token(service.ask(contract), presented)
        put_json(ask, {"a": "1"})
        script = f"""([url, token]) => {{
            {FOLLOW_WITH_TOKEN}
            window.view = new Map();
            followWithToken(url, token, (name, data) => {{
                if (name === "reset") view.clear();
                if (name === "put") view.set(data.key, data.value);
                if (name === "delete" || name === "expire") view.delete(data.key);
            }}).then(status => {{ window.ended = status; }});
        }}"""
        argument = [f"http://127.0.0.1:{service.port}/keys", presented]
        with following(browser, other_site, script, argument) as page:
            shows(page, {"a": "1"})
            for worker in workers(service):
                kill(worker)
            eventually(lambda: _is_served(ask))
            ask("DELETE", "/keys/a")
            put_json(ask, {"b": "\n\n2"})
            shows(page, {"b": "\n\n2"})

            tokens.revoke("page")
            page.wait_for_function("window.ended === 401", timeout=TIMEOUT_MILLISECONDS)


def test_a_page_that_was_refused_comes_back(browser: Browser, tmp_path: Path, contract: Contract) -> None:
    with serving(tmp_path, FLASKVSTORE_MAX_WATCHERS="1") as service:
        put_json(service.ask(contract), {"a": "1"})
        url = f"http://127.0.0.1:{service.port}"
        script = f"url => {{ {FOLLOW} window.view = new Map(); follow(url + '/keys', view, () => 0); }}"
        with following(browser, f"{url}/docs", script, url) as first:
            shows(first, {"a": "1"})
            with following(browser, f"{url}/docs", script, url) as second:
                assert second.evaluate("view.size") == 0
                first.close()
                shows(second, {"a": "1"})


def _is_served(ask: Ask) -> bool:
    try:
        return ask("GET", "/keys").status == 200
    except OSError:
        return False
