"""Tools that speak plain HTTP find at /values what they stored there, with their own caches empty."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.tokens import SCOPES, Tokens
from tests.support.clients import Ask, with_token
from tests.support.contract import Contract
from tests.support.servers.services import environment, need, serving


pytestmark = pytest.mark.drop_in

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "drop-in.md").read_text()
# Where `make drop-in` installs what comes from PyPI and npm.
INSTALLED = Path(sys.prefix) / "drop-in"
TIMEOUT_SECONDS = 180
# What of an example the document replaces by what it names for a token.
WITHOUT_A_TOKEN = {
    "ccache": "CCACHE_REMOTE_STORAGE=http://127.0.0.1:5000/values/ccache",
    "Bazel": "--remote_cache=http://127.0.0.1:5000/values/bazel",
    "fsspec": 'fsspec.filesystem("http")',
    "unstorage": 'headers: { accept: "text/plain" }',
}


class Shown:
    """What the document shows, for a service of ours.

    :param port: that of the service
    :param ask: asks it
    :param token: the token that it wants; empty if it wants none
    """

    def __init__(self, port: int, ask: Ask, token: str) -> None:
        self.ask = ask
        self._port = port
        self._token = token

    def example(self, tool: str, language: str) -> str:
        """Return the example for a tool in a language."""
        section = DOCUMENT.partition(f"\n## {tool}\n")[2].partition("\n## ")[0]
        [text] = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        if self._token:
            [with_it] = re.findall(r"^With a token: `(.+?)`", section, re.MULTILINE)
            text = text.replace(WITHOUT_A_TOKEN[tool], with_it.replace("TOKEN", self._token))
            assert self._token in text
        return str(text.replace(":5000", f":{self._port}"))

    def stored(self, prefix: str) -> int:
        """Return how many keys start with some letters."""
        return int(self.ask("HEAD", f"/keys?filter={prefix}$").headers["Total-Count"])


@pytest.fixture(scope="module", params=["open", "with a token"])
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, contract: Contract
) -> Iterator[Shown]:
    """What the document shows, without and with a token."""
    folder = tmp_path_factory.mktemp("service")
    if request.param == "open":
        with serving(folder) as service:
            yield Shown(service.port, service.ask(contract), "")
        return
    token = Tokens(folder / "tokens.json").create("build", namespace="build", scopes=SCOPES)
    with serving(folder, "--tokens-file", str(folder / "tokens.json")) as service:
        yield Shown(service.port, with_token(service.ask(contract), token), token)


def run(script: str, folder: Path, **variables: str) -> str:
    """Run a script in a folder, and return what it prints."""
    ran = subprocess.run(
        ["bash", "-ec", script],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_ccache(shown: Shown, tmp_path: Path) -> None:
    need(shutil.which("ccache"), "ccache")
    (tmp_path / "hello.c").write_text("int main(void) { return 0; }\n")

    for hits in (0, 1):
        cache = str(tmp_path / f"cache {hits}")
        printed = run(shown.example("ccache", "sh") + "\nccache --print-stats", tmp_path, CCACHE_DIR=cache)
        assert f"remote_storage_hit\t{hits}\n" in printed
        assert "remote_storage_error\t0\n" in printed
    assert shown.stored("ccache/") == 2


def test_bazel(shown: Shown, tmp_path: Path) -> None:
    need(shutil.which("bazel"), "Bazel")
    (tmp_path / "WORKSPACE").touch()
    (tmp_path / "BUILD").write_text('genrule(name = "hello", outs = ["hello.txt"], cmd = "echo hello > $@")\n')

    for is_cached in (False, True):
        (tmp_path / ".bazelrc").write_text(f"startup --output_user_root={tmp_path / f'root-{is_cached}'}\n")
        try:
            printed = run(shown.example("Bazel", "sh"), tmp_path)
        finally:
            run("bazel shutdown", tmp_path)
        assert ("1 remote cache hit" in printed) == is_cached, printed
    assert shown.stored("bazel/ac/") == 1


@pytest.mark.parametrize("shown", ["open"], indirect=True)
def test_gradle(shown: Shown, tmp_path: Path) -> None:
    need(shutil.which("gradle"), "Gradle")
    source = tmp_path / "src" / "main" / "java"
    source.mkdir(parents=True)
    (source / "Hello.java").write_text("class Hello {}\n")
    (tmp_path / "build.gradle").write_text("apply plugin: 'java'\n")
    (tmp_path / "settings.gradle").write_text(shown.example("Gradle", "groovy"))
    command = shown.example("Gradle", "sh").replace("gradle", "gradle --no-daemon", 1)

    for is_cached in (False, True):
        shutil.rmtree(tmp_path / "build", ignore_errors=True)
        printed = run(command, tmp_path, GRADLE_USER_HOME=str(tmp_path / f"home {is_cached}"))
        assert (":compileJava FROM-CACHE\n" in printed) == is_cached, printed
    assert shown.stored("gradle/") == 1


def test_fsspec(shown: Shown, tmp_path: Path) -> None:
    python = INSTALLED / "bin" / "python"
    need(python.exists(), "what `make drop-in` installs")
    content = bytes(range(256)) * 100
    (tmp_path / "local.csv").write_bytes(content)
    (tmp_path / "program.py").write_text(shown.example("fsspec", "python"))

    printed = run(f"{python} program.py", tmp_path)

    assert printed == f"{content[-5:]!r}\n"
    assert shown.ask("GET", "/values/table.csv").body == content


def test_unstorage(shown: Shown, tmp_path: Path) -> None:
    need(shutil.which("node"), "Node.js")
    need((INSTALLED / "node_modules").is_dir(), "what `make drop-in` installs")
    (tmp_path / "node_modules").symlink_to(INSTALLED / "node_modules")
    writing = shown.example("unstorage", "js")
    (tmp_path / "write.mjs").write_text(writing)
    (tmp_path / "read.mjs").write_text(re.sub(r"^await storage.setItem.*\n", "", writing, flags=re.MULTILINE))

    for program in ("write.mjs", "read.mjs"):
        assert run(f"node {program}", tmp_path) == "{ name: 'Ada' }\n"
    assert shown.ask("GET", "/values/unstorage/user/1").body == b'{"name":"Ada"}'


def test_larger_values_can_be_allowed(tmp_path: Path) -> None:
    limits = dict(re.findall(r"(FLASKVSTORE_MAX_\w+_BYTES)=(\d+)", DOCUMENT))
    large = tmp_path / "large"
    large.write_bytes(bytes(20 * 1024 * 1024))

    with serving(tmp_path, **limits) as raised:
        target = f"http://127.0.0.1:{raised.port}/values/large"
        stored = run(f"curl --silent --fail --upload-file {large} {target}", tmp_path)
        run(f"curl --silent --fail --output back --range 0- {target}", tmp_path)

    assert stored == '{"stored":1}\n'
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


def test_every_tool_of_the_document_is_here() -> None:
    tools = re.findall(r"^## (\w+)$", DOCUMENT, re.MULTILINE)

    assert tools == re.findall(r"^\| \[(\w+)\]", DOCUMENT, re.MULTILINE)
    assert {f"test_{tool.lower()}" for tool in tools} <= set(globals())
