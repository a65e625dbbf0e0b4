"""The documentation is true: README and Swagger say what the code does, in both directions."""

import contextlib
import importlib
import json
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from flask_restx import schemas
from jsonschema import Draft4Validator
from redis import Redis

from api import errors
from api.app import create_app
from api.serving.embedded import find_binary
from api.settings import Settings, variable_name
from resources.media_types import NDJSON
from tests.support.clients import Ask
from tests.support.contract import Contract
from tests.support.servers.services import (
    PROGRAM,
    START_SECONDS,
    Service,
    environment,
    eventually,
    free_port,
    need,
    serving,
    valkey,
)


ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
LIMITS = (ROOT / "docs" / "limits.md").read_text()
RECIPES = (ROOT / "docs" / "recipes.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
EXAMPLES = {
    document.name: re.findall(r"^```console\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    for document in (ROOT / "README.md", *(ROOT / "docs" / name for name in ("recipes.md", "access.md", "watch.md")))
}

# What others export, with the awkward cases of each: an empty value, no value, bytes, quotes, an expiry.
EXPORTED = {
    "consul.json": """[{"key": "consul/text", "flags": 0, "value": "R3LDvMOfZQ=="},
        {"key": "consul/folder/", "flags": 0, "value": ""}, {"key": "consul/none", "flags": 42, "value": null}]""",
    "etcd.json": """{"header": {"revision": 4}, "count": 3, "kvs": [
        {"key": "L2V0Y2QvdGV4dA==", "create_revision": 2, "mod_revision": 2, "version": 1, "value": "dmFsdWU="},
        {"key": "/w==", "create_revision": 3, "mod_revision": 3, "version": 1, "value": "AP8="},
        {"key": "L2V0Y2QvZW1wdHk=", "create_revision": 4, "mod_revision": 4, "version": 1}]}""",
    "cloudflare.json": """[{"key": "cloudflare-text", "value": "text", "expiration": 5000000000},
        {"key": "cloudflare-bytes", "value": "AP8=", "base64": true, "metadata": {"left": "out"}},
        {"key": "cloudflare-plain", "value": "AP8="}, {"key": "cloudflare-gone", "value": "x", "expiration": 1}]""",
    ".env": """# a comment\n\nENV_PLAIN=a = b # c\nexport ENV_DOUBLE="two words"\nENV_SINGLE='it"s'\nENV_EMPTY=\n""",
}
MOVED_IN = {
    "consul/text": "Grüße",
    "consul/folder/": "",
    "consul/none": "",
    "/etcd/text": "value",
    "/etcd/empty": "",
    "cloudflare-text": "text",
    "cloudflare-bytes": {"base64": "AP8="},
    "cloudflare-plain": "AP8=",
    "ENV_PLAIN": "a = b # c",
    "ENV_DOUBLE": "two words",
    "ENV_SINGLE": 'it"s',
    "ENV_EMPTY": "",
}

# What an operation has in both documents.
SAME = ("operationId", "summary", "description", "tags", "security")


def table(heading: str, document: str = README) -> list[list[str]]:
    """Give the rows of the table whose head starts with some words, by default of the README's."""
    [block] = re.findall(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", document, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in block.splitlines()]


class TestReadme:
    def test_the_call_table_has_every_operation_and_no_other(self, contract: Contract) -> None:
        calls = [tuple(row[0].split()) for row in table("call")]

        assert sorted(calls) == sorted(contract.operations)

    def test_the_error_table_has_every_error_and_no_other(self) -> None:
        others = [errors.NOT_FOUND, errors.METHOD_NOT_ALLOWED, errors.INTERNAL]
        others += [problem for problem, _ in errors.REFUSALS.values()]
        known = {(str(problem.status), problem.code) for problem in [*errors.PROBLEMS.values(), *others]}

        rows = [(status, code) for status, code, _ in table("status")]

        assert set(rows) == known
        assert len(rows) == len(known)

    def test_the_settings_table_has_every_setting_with_its_default_unit_and_meaning(self) -> None:
        expected = [
            [
                variable_name(each.name),
                shown(each.default),
                each.metadata["unit"],
                each.metadata["meaning"],
            ]
            for each in fields(Settings)
        ]

        assert table("variable") == expected

    def test_the_options_of_serve_are_named(self) -> None:
        shown = subprocess.run([PROGRAM, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        options = set(re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE)) - {"--help"}

        assert options
        assert all(f"`{option}`" in README for option in options)

    def test_every_example_gives_what_it_shows(self, served: Ask, service: Service, tmp_path: Path) -> None:
        for example in EXAMPLES["README.md"]:
            run_example(example, service.port, tmp_path)

    def test_every_example_of_watching_gives_what_it_shows(self, served: Ask, service: Service, tmp_path: Path) -> None:
        for example in EXAMPLES["watch.md"]:
            run_example(example, service.port, tmp_path)

    def test_every_recipe_gives_what_it_shows_and_moves_in_without_loss(
        self, served: Ask, service: Service, tmp_path: Path
    ) -> None:
        need(shutil.which("jq"), "jq")
        for name, content in EXPORTED.items():
            (tmp_path / name).write_text(content)

        for example in EXAMPLES["recipes.md"]:
            run_example(example, service.port, tmp_path)

        assert served("GET", "/keys").json == MOVED_IN
        assert int(served("GET", "/keys/cloudflare-text").headers["Expire-In"]) > 2_000_000_000

    def test_the_keys_of_a_snapshot_move_in_as_a_recipe_shows(
        self, served: Ask, service: Service, tmp_path: Path
    ) -> None:
        with valkey(tmp_path / "made") as server, Redis.from_url(server.url) as client:
            client.set("text", "value", exat=4_000_000_000)
            client.set("bytes", b"\xff")
            client.rpush("list", "left out")
            client.save()
        (tmp_path / "old").mkdir()
        (tmp_path / "made" / "dump.rdb").rename(tmp_path / "old" / "dump.rdb")
        between = f"127.0.0.1:{free_port()}"
        words = {
            "valkey-server": find_binary(),
            ".venv/bin/flaskvstore": str(PROGRAM),
            "6399": str(free_port()),
            "127.0.0.1:5001": between,
            "127.0.0.1:5000": f"127.0.0.1:{service.port}",
        }
        text = re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], RECIPES)
        _, starts, move = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

        with contextlib.ExitStack() as stack:
            for line in starts.splitlines():
                command = f"exec env {line.removesuffix(' &')} > log 2>&1"
                started = subprocess.Popen(["bash", "-c", command], cwd=tmp_path, env=environment())
                stack.enter_context(started)
                stack.callback(started.terminate)
            ready = ["curl", "--silent", "--fail", "--output", "/dev/null", f"http://{between}/health/ready"]
            eventually(lambda: subprocess.run(ready, check=False).returncode == 0, START_SECONDS)
            subprocess.run(["bash", "-c", move], check=True, timeout=30, capture_output=True)

        assert served("GET", "/keys").json == {"text": "value", "bytes": {"base64": "/w=="}}
        assert "Expire-In" in served("GET", "/keys/text").headers

    def test_every_example_of_access_gives_what_it_shows(self, tmp_path: Path) -> None:
        making, *using = EXAMPLES["access.md"]
        tokens = tmp_path / "tokens.json"

        run_example(making, 0, tmp_path)
        with serving(tmp_path, "--tokens-file", str(tokens)) as service:
            for example in using:
                run_example(example, service.port, tmp_path)

    def test_there_are_examples_of_every_method_on_keys(self) -> None:
        commands = "\n".join(EXAMPLES["README.md"])

        assert {"PUT", "PATCH", "POST", "DELETE"} <= set(re.findall(r"-X (\w+)", commands))
        assert "--head" in commands


def run_example(example: str, port: int, folder: Path) -> None:
    """Run the commands of an example in a folder, and compare what they print."""
    exported: list[str] = []
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", example, re.MULTILINE):
        here = command.replace(":5000", f":{port}").replace(".venv/bin/flaskvstore", str(PROGRAM))
        if here.startswith("export "):
            exported.append(here)
        script = "; ".join([*exported, here])
        ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30, cwd=folder)
        assert comparable(ran.stdout) == comparable(expected), command


def shown(default: object) -> str:
    """Give a default as one would set it."""
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else str(default)


def comparable(output: str) -> object:
    """Give JSON as its value, because entries have no order, and other text without its line ends."""
    try:
        return json.loads(output)
    except json.JSONDecodeError:
        return output.replace("\r", "").strip()


class TestLimits:
    def limits(self) -> dict[str, str]:
        """Return the limit for each name of what sets it."""
        return {row[3]: row[1] for row in table(r"what \| limit", LIMITS) if row[3]}

    def test_every_limit_is_that_of_the_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Gunicorn's settings are read from a module that reads ours.
        monkeypatch.setenv("FLASKVSTORE_REDIS_URL", "redis://127.0.0.1")
        defaults = {variable_name(each.name): each.default for each in fields(Settings)}

        def value_of(name: str) -> Any:
            if name in defaults:
                return defaults[name]
            module, _, constant = name.rpartition(".")
            return getattr(importlib.import_module(module), constant)

        shown = {name: f"{int(value):,}" if (value := value_of(name)) else "" for name in self.limits()}
        assert self.limits() == shown

    def test_every_limit_of_the_code_is_there(self) -> None:
        settings = {variable_name(each.name) for each in fields(Settings) if re.search(r"^max_|_seconds$", each.name)}
        constants = {
            f"{'.'.join(module.relative_to(ROOT).with_suffix('').parts)}.{constant}"
            for layer in ("resources", "models")
            for module in (ROOT / layer).rglob("*.py")
            for constant in re.findall(r"^(MAX_\w+) = ", module.read_text(), re.MULTILINE)
            if constant != "MAX_PORT"
        }

        assert settings | constants <= self.limits().keys()


class TestOpenApi:
    def test_every_operation_has_a_summary_and_a_success_and_its_failures(self, contract: Contract) -> None:
        for (method, path), operation in contract.operations.items():
            assert operation["summary"], (method, path)
            assert "200" in operation["responses"]
            assert "400" in operation["responses"]
            if not path.startswith("/health"):
                assert "500" in operation["responses"]
            for status, response in operation["responses"].items():
                resolved = contract.resolved(response)
                assert resolved["description"], (method, path, status)
                assert ("content" in resolved) == (method != "HEAD" and status != "304"), (method, path, status)

    def test_head_is_declared_wherever_get_is(self, contract: Contract) -> None:
        found = contract.operations

        assert {path for method, path in found if method == "GET"} == {
            path for method, path in found if method == "HEAD"
        }

    def test_operations_are_named_as_a_user_would_name_them(self, contract: Contract) -> None:
        # They are the methods of generated clients, so a new name breaks programs.
        assert {operation["operationId"] for operation in contract.operations.values()} == {
            *("list_keys", "count_keys", "store_keys", "transact", "delete_keys"),
            *("get_key", "has_key", "put_key", "change_key", "delete_key"),
            *("get_value", "has_value", "put_value", "change_value", "delete_value"),
            *("get_token", "check_token"),
            *("check_live", "is_live", "check_ready", "is_ready"),
        }

    def test_the_codes_of_each_status_are_those_of_the_error_table(self, contract: Contract) -> None:
        schemas = contract.document["components"]["schemas"]
        documented = {
            (status, code)
            for status in contract.document["components"]["responses"]
            for code in schemas[status]["allOf"][1]["properties"]["code"]["enum"]
        }

        assert documented == {
            (f"Problem{status}", code) for status, code, _ in table("status") if status not in {"405", "417"}
        }

    def test_every_example_of_a_body_follows_its_schema(self, contract: Contract) -> None:
        schemas = contract.document["components"]["schemas"]
        examples = {name: each["examples"] for name, each in schemas.items() if "examples" in each}

        assert examples.keys() >= {"Entries", "Pairs", "Change", "Transaction", "Outcome", "Stored", "Record"}
        for name, each in examples.items():
            for example in each:
                contract.validate({"$ref": f"#/components/schemas/{name}"}, json.dumps(example).encode())
        for name, response in contract.document["components"]["responses"].items():
            example = response["content"]["application/problem+json"]["example"]
            contract.validate({"$ref": f"#/components/schemas/{name}"}, json.dumps(example).encode())

    def test_the_example_of_lines_is_lines(self, contract: Contract) -> None:
        [example] = contract.document["components"]["schemas"]["Records"]["examples"]

        contract.check_body({}, NDJSON, example.encode())

    def test_every_parameter_has_its_bounds_a_description_and_an_example(self, contract: Contract) -> None:
        bounds = {"enum", "pattern", "maximum", "maxLength", "maxProperties"}
        for (method, path), operation in contract.operations.items():
            for parameter in operation["parameters"]:
                what, schema = (method, path, parameter["name"]), parameter["schema"]
                assert parameter["description"], what
                assert "example" in parameter or "examples" in schema, what
                assert bounds & set(schema) or schema["type"] == "boolean", what

    def test_what_is_needed_comes_first(self, contract: Contract) -> None:
        for operation in contract.operations.values():
            needed = [parameter["required"] for parameter in operation["parameters"]]
            assert needed == sorted(needed, reverse=True)

    def test_no_line_of_the_source_ends_in_the_middle_of_a_sentence(self, contract: Contract) -> None:
        texts = [contract.document["info"]["description"]]
        texts += [each["description"] for each in contract.operations.values() if "description" in each]

        assert all("\n" not in paragraph for text in texts for paragraph in text.split("\n\n"))


@pytest.fixture(scope="module")
def swagger() -> Any:
    """The Swagger 2.0 document."""
    app = create_app(Settings(redis_url="redis://127.0.0.1:1"))
    return app.test_client().get("/swagger.json").get_json()


class TestSwagger:
    def test_it_is_valid(self, swagger: Any) -> None:
        schemas.validate(swagger)

    def test_it_says_the_same_as_openapi_where_it_can(self, swagger: Any, contract: Contract) -> None:
        assert {(m.upper(), path) for path, item in swagger["paths"].items() for m in item if m != "parameters"} == set(
            contract.operations
        )
        for (method, path), operation in contract.operations.items():
            item = swagger["paths"][path]
            old = item[method.lower()]
            parameters = [*item.get("parameters", []), *old.get("parameters", [])]
            content = operation.get("requestBody", {}).get("content", {})
            answered = operation["responses"]["200"].get("content", {})
            assert {name: old.get(name) for name in SAME} == {name: operation.get(name) for name in SAME}
            assert [p["name"] for p in parameters if p["in"] != "body"] == [
                p["name"] for p in operation["parameters"] if p["schema"]["type"] != "object"
            ]
            assert old.get("consumes", []) == [media_type for media_type in content if media_type != "*/*"]
            assert set(old.get("produces", answered)) - {"application/problem+json"} == set(answered)
            for status, response in operation["responses"].items():
                resolved = contract.resolved(response)
                assert old["responses"][status]["description"] == resolved["description"]
                assert old["responses"][status]["headers"].keys() == resolved["headers"].keys()

    def test_the_examples_of_openapi_follow_its_schemas_too(self, swagger: Any, contract: Contract) -> None:
        for name, schema in contract.document["components"]["schemas"].items():
            for example in schema.get("examples", ()):
                found = {"$ref": f"#/definitions/{name}", "definitions": swagger["definitions"]}
                Draft4Validator(found).validate(example)

    def test_values_and_numbers_have_types_that_generators_of_clients_read_as_they_are_meant(
        self, swagger: Any
    ) -> None:
        definitions = swagger["definitions"]

        # A schema without a type would be read as an object, a number without a format as 32 bits.
        assert definitions["Entries"]["additionalProperties"] is True
        assert definitions["Outcome"]["properties"]["values"]["additionalProperties"] is True
        assert definitions["Change"]["properties"]["increment"]["format"] == "int64"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"`((?:api|client|resources|models|tests|docs|\.github)/[\w./-]+)`", text)
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]

    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in linked if not (document.parent / link).exists()]

    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_to_a_heading_leads_to_one(document: Path) -> None:
    links = re.findall(r"\]\(([^):#]*)#([^)]+)\)", document.read_text())

    missing = [(name, anchor) for name, anchor in links if anchor not in anchors(document.parent / (name or document))]

    assert missing == []


def test_the_decisions_have_an_index_of_all_their_titles_in_order() -> None:
    text = (ROOT / "docs" / "decisions.md").read_text()

    assert re.findall(r"^ *- \[(.+)\]\(#", text, re.MULTILINE) == re.findall(r"^###? (.+)$", text, re.MULTILINE)


def anchors(document: Path) -> list[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_every_module_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = {
        str(path.relative_to(ROOT))
        for folder in ("api", "client", "resources", "models")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }

    assert {module for module in modules if f"`{module}`" not in text} == set()
