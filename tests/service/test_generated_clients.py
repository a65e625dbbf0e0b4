"""Clients that are generated from the documents do every operation of a real service."""

import base64
import json
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from models.tokens import SCOPES, Tokens
from tests.support.cases import KEYS, VALUES
from tests.support.clients import AS_BYTES, target_of, with_token
from tests.support.contract import Contract
from tests.support.programs import NODE_MODULES, need_node_modules, run
from tests.support.servers.services import PROGRAM, Service, ask, environment, need, serving


pytestmark = pytest.mark.clients

PROGRAMS = Path(__file__).parent.parent / "clients"
ENTRIES = {
    **dict.fromkeys(KEYS.values(), b"a value"),
    **{f"value: {name}": value for name, value in VALUES.items()},
}
# Clients that resolve dot segments cannot have these in a path; docs/clients.md says what to do.
DOTS = {".", ".."}


class Guarded:
    """A service with tokens, its document, and a folder for a client of it."""

    def __init__(self, service: Service, token: str, folder: Path) -> None:
        self.service = service
        self.token = token
        self.folder = folder
        (folder / "openapi.json").write_bytes(ask(service, "GET", "/openapi.json").body)

    def generate(self, generator: str, output: str, properties: str) -> None:
        """Generate a client with openapi-generator."""
        need(shutil.which("java"), "Java")
        run(
            self.folder,
            *(PROGRAM.with_name("openapi-generator-cli"), "generate", "-i", "openapi.json", "-g", generator),
            *("-o", output, "--additional-properties", properties),
            # Less compilation, because it runs for two seconds only.
            JAVA_OPTS="-XX:TieredStopAtLevel=1",
        )

    def use_node_modules(self) -> None:
        """Let programs in the folder import the packages of npm."""
        need_node_modules()
        (self.folder / "node_modules").symlink_to(NODE_MODULES)
        (self.folder / "package.json").write_text('{"type": "module"}')

    def check(self, contract: Contract, *command: str | Path, without: Collection[str] = ()) -> None:
        """Run a program that does every operation, and compare what it has stored.

        :param command: the program; it is told by a file what to do
        :param without: keys that its client cannot name, or cannot store what they are to have
        """
        values = {key: value for key, value in ENTRIES.items() if key not in without}
        plan = {
            "url": f"http://127.0.0.1:{self.service.port}",
            "token": self.token,
            "entries": [
                {"key": key, "base64": base64.b64encode(value).decode(), "json": as_json(value)}
                for key, value in values.items()
            ],
        }
        (self.folder / "plan.json").write_text(json.dumps(plan))

        run(self.folder, *command, "plan.json")

        asked = {(line["method"], line["route"]) for line in self.service.lines() if "route" in line}
        assert contract.operations.keys() - asked == set()
        owner = with_token(self.service.ask(contract), self.token)
        assert owner("GET", "/keys?values=false").json.keys() == values.keys()
        assert {key: owner("GET", target_of(key), b"", AS_BYTES).body for key in values} == values


def as_json(value: bytes) -> object:
    """Return a value as GET shows it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    tokens = tmp_path / "tokens.json"
    token = Tokens(tokens).create("all", namespace="all", scopes=SCOPES)
    folder = tmp_path / "client"
    folder.mkdir()
    with serving(tmp_path, "--tokens-file", str(tokens)) as service:
        yield Guarded(service, token, folder)


def test_openapi_generator_for_python(guarded: Guarded, contract: Contract) -> None:
    guarded.generate("python", "generated", "packageName=flaskvstore_client")

    guarded.check(contract, "env", "PYTHONPATH=generated", sys.executable, PROGRAMS / "program.py", without=DOTS)


def test_openapi_generator_for_go(guarded: Guarded, contract: Contract) -> None:
    need(shutil.which("go"), "Go")
    guarded.generate("go", "client", "packageName=client,withGoMod=false")
    (guarded.folder / "go.mod").write_text("module program\n\ngo 1.19\n")
    shutil.copy(PROGRAMS / "program.go", guarded.folder)
    run(guarded.folder, "go", "build", "-o", "program", "program.go", GOPROXY="off", GOFLAGS="-mod=mod")

    # It refuses to send an empty file; StoreKeys can store an empty value.
    guarded.check(contract, guarded.folder / "program", without={"value: nothing"})


def test_openapi_python_client(guarded: Guarded, contract: Contract) -> None:
    command = ("openapi-python-client", "generate", "--meta", "none", "--path", "openapi.json")
    # It calls ruff by its name.
    variables = {"PATH": f"{PROGRAM.parent}:{environment()['PATH']}"}
    run(guarded.folder, *command, "--output-path", "generated/keys_client", **variables)
    program = PROGRAMS / "program_of_openapi_python_client.py"

    guarded.check(contract, "env", "PYTHONPATH=generated", sys.executable, program, without=DOTS)


def test_openapi_typescript_with_openapi_fetch(guarded: Guarded, contract: Contract) -> None:
    guarded.use_node_modules()
    binaries = NODE_MODULES / ".bin"
    shutil.copy(PROGRAMS / "program.ts", guarded.folder)
    run(guarded.folder, binaries / "openapi-typescript", "openapi.json", "--output", "schema.ts")
    run(
        guarded.folder,
        *(binaries / "tsc", "--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "program.ts"),
    )

    guarded.check(contract, "node", "program.js", without=DOTS)


def test_swagger_js(guarded: Guarded, contract: Contract) -> None:
    guarded.use_node_modules()
    shutil.copy(PROGRAMS / "program.mjs", guarded.folder)

    # It leaves what looks like a percent-encoding as it is.
    guarded.check(contract, "node", "program.mjs", without={*DOTS, "a%2Fb"})
