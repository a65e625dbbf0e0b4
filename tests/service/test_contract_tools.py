"""Tools that read the OpenAPI document find no fault in it, nor in what the service answers."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.tokens import Tokens
from resources.media_types import BYTES, FORM, JSON, NDJSON_TYPES, PATCH_TYPES, TEXT
from tests.support.amounts import SEED
from tests.support.clients import Answer, over_http
from tests.support.contract import Contract
from tests.support.programs import NODE_MODULES, need_node_modules, run
from tests.support.servers.reverse_proxies import listens
from tests.support.servers.services import PROGRAM, Service, ask, environment, eventually, free_port, serving
from tests.support.servers.stores import server_of


pytestmark = pytest.mark.clients

# What clients send: each operation, with each media type that it takes or gives.
CALLS = [
    ("PUT", "/keys?word=one&other=two&expire_in=60", "", "", ""),
    ("PUT", "/keys", JSON, '{"word": "one", "image": {"base64": "/9j/4A=="}, "other": "2"}', ""),
    ("PUT", "/keys", FORM, "word=a+form&form=%C3%BC", ""),
    *(("PUT", "/keys", name, '{"key": "line", "value": "1"}\n{"key": "wrong"}\n', "") for name in NDJSON_TYPES),
    ("GET", "/keys", "", "", ""),
    ("GET", "/keys?filter=wo$d&values=false&limit=5", "", "", ""),
    *(("GET", "/keys?filter=$o$", "", "", name) for name in NDJSON_TYPES),
    (
        "POST",
        "/keys",
        JSON,
        '{"if": {"word": "*", "a": null}, "get": ["word"], "put": {"a": "1"}, "delete": ["b"]}',
        "",
    ),
    ("GET", "/keys/image", "", "", ""),
    ("GET", "/keys/image", "", "", BYTES),
    ("GET", "/keys/word", "", "", TEXT),
    ("GET", "/keys/a%2Fb%25", "", "", ""),
    *(("PUT", "/keys/item", name, '{"some": "bytes"}', "") for name in (BYTES, TEXT, JSON, FORM, "image/png")),
    *(("PATCH", "/keys/counter", name, '{"increment": 5, "expire_in": 60}', "") for name in PATCH_TYPES),
    ("PATCH", "/keys/word", JSON, '{"expire_in": null}', BYTES),
    ("PATCH", "/keys/word", JSON, '{"append": "!"}', TEXT),
    ("DELETE", "/keys/word", "", "", ""),
    ("DELETE", "/keys/word", "", "", ""),
    *(("PUT", "/values/item", name, '{"some": "bytes"}', "") for name in ("", BYTES, TEXT, JSON)),
    *(("GET", "/values/item", "", "", name) for name in ("", BYTES, TEXT)),
    *(("PATCH", "/values/item", JSON, '{"append": "!"}', name) for name in ("", BYTES, TEXT)),
    ("DELETE", "/values/item", "", "", ""),
    ("DELETE", "/keys?filter=$i$", "", "", ""),
    ("DELETE", "/keys", "", "", ""),
    ("GET", "/token", "", "", ""),
    ("GET", "/health/live", "", "", ""),
    ("GET", "/health/ready", "", "", ""),
]
RECIPES = Path(__file__).parent.parent.parent / "docs" / "contract-tests"
RULES = 'extends: ["spectral:oas"]'


@pytest.fixture(params=["open", "with tokens"])
def document(request: pytest.FixtureRequest, service: Service, tmp_path: Path) -> Path:
    """A file with the document."""
    need_node_modules()
    file = tmp_path / "openapi.json"
    if request.param == "open":
        file.write_bytes(ask(service, "GET", "/openapi.json").body)
        return file
    Tokens(tmp_path / "tokens.json").create("unused", namespace="unused", scopes=["read"])
    with serving(tmp_path, "--tokens-file", str(tmp_path / "tokens.json")) as guarded:
        file.write_bytes(ask(guarded, "GET", "/openapi.json").body)
    return file


def test_redocly_finds_no_fault(document: Path) -> None:
    variables = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    command = (NODE_MODULES / ".bin" / "redocly", "lint", "--extends", "recommended", "--format", "json")

    found = json.loads(run(document.parent, *command, document, **variables))

    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


def test_spectral_finds_no_error(document: Path) -> None:
    (document.parent / "rules.yaml").write_text(RULES)

    run(document.parent, NODE_MODULES / ".bin" / "spectral", "lint", document, "--ruleset", "rules.yaml")


@contextmanager
def prism(document: Path, service: Service) -> Iterator[int]:
    """Run Prism, which compares requests and answers with the document; gives its port."""
    port = free_port()
    upstream = f"http://127.0.0.1:{service.port}"
    command = (NODE_MODULES / ".bin" / "prism", "proxy", document, upstream, "--port", str(port))
    log = document.with_name("prism.log")
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment()) as running,
    ):
        try:
            eventually(lambda: listens(port), 30)
            yield port
        finally:
            running.terminate()


@pytest.mark.parametrize("document", ["open"], indirect=True)
def test_prism_finds_no_mismatch(document: Path, service: Service, contract: Contract) -> None:
    server_of(service).flushall()
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()

    with prism(document, service) as port:
        proxied = over_http("127.0.0.1", port, Contract({**contract.document, "paths": {}}))
        for method, target, content_type, body, accept in CALLS:
            headers = {"Content-Type": content_type} if content_type else {}
            answer: Answer = proxied(method, target, body.encode(), headers | ({"Accept": accept} if accept else {}))
            if "sl-violations" in answer.headers:
                found[f"{method} {target} {content_type}"] = answer.headers["sl-violations"]
            seen.add((method, contract.template(target.partition("?")[0])))

    assert found == {}
    # Prism itself fails to forward a HEAD.
    assert seen == {(method, path) for method, path in contract.operations if method != "HEAD"}


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A folder with copies of the files of docs/contract-tests.md."""
    return Path(shutil.copytree(RECIPES, tmp_path / "recipes"))


def test_schemathesis_passes_with_the_settings_that_people_copy(recipes: Path, service: Service) -> None:
    server_of(service).flushall()
    command = (PROGRAM.with_name("schemathesis"), "run", f"http://127.0.0.1:{service.port}/openapi.json")

    run(recipes, *command, "--max-examples", "20", "--seed", str(SEED))


def test_dredd_passes_with_the_hooks_that_people_copy(recipes: Path, service: Service, contract: Contract) -> None:
    need_node_modules()
    server_of(service).flushall()
    (recipes / "swagger.json").write_bytes(ask(service, "GET", "/swagger.json").body)
    (recipes / "node_modules").symlink_to(NODE_MODULES)
    dredd = NODE_MODULES / ".bin" / "dredd"

    told = run(recipes, dredd, "swagger.json", f"http://127.0.0.1:{service.port}", "--hookfiles", "dredd_hooks.js")

    found = re.search(r"(\d+) passing, 0 failing, 0 errors", told)
    assert found, told
    assert int(found[1]) >= sum(method != "HEAD" for method, _ in contract.operations)
