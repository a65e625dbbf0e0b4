"""Tools that speak plain HTTP find at /values what they stored there, with their own caches empty."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.tokens import Tokens
from tests.support.servers.services import Service, ask, environment, need, serving


pytestmark = pytest.mark.drop_in

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "drop-in.md").read_text()
# Where `make drop-in` installs what comes from PyPI and npm.
INSTALLED = Path(sys.prefix) / "drop-in"
TIMEOUT_SECONDS = 180


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose keys are those of the tools."""
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def shown(service: Service) -> Callable[[str, str], str]:
    """Return what the document shows of a tool in a language, for this service."""

    def example(tool: str, language: str) -> str:
        section = DOCUMENT.partition(f"\n## {tool}\n")[2].partition("\n## ")[0]
        [block] = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        text: str = block.replace(":5000", f":{service.port}")
        return text

    return example


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


def stored(service: Service, prefix: str) -> int:
    """Return how many keys start with some letters."""
    return int(ask(service, "HEAD", f"/keys?filter={prefix}$").headers["Total-Count"])


def test_ccache(service: Service, shown: Callable[[str, str], str], tmp_path: Path) -> None:
    need(shutil.which("ccache"), "ccache")
    (tmp_path / "hello.c").write_text("int main(void) { return 0; }\n")

    for hits in (0, 1):
        cache = str(tmp_path / f"cache {hits}")
        printed = run(shown("ccache", "sh") + "\nccache --print-stats", tmp_path, CCACHE_DIR=cache)
        assert f"remote_storage_hit\t{hits}\n" in printed
        assert "remote_storage_error\t0\n" in printed
    assert stored(service, "ccache/") == 2


def test_ccache_with_a_token(shown: Callable[[str, str], str], tmp_path: Path) -> None:
    need(shutil.which("ccache"), "ccache")
    tokens = tmp_path / "tokens.json"
    token = Tokens(tokens).create("build", namespace="build", scopes=["read", "write"])
    (tmp_path / "hello.c").write_text("int main(void) { return 0; }\n")

    with serving(tmp_path, "--tokens-file", str(tokens)) as guarded:
        storage = f"http://127.0.0.1:{guarded.port}/values/ccache|bearer-token={token}"
        for hits in (0, 1):
            variables = {"CCACHE_DIR": str(tmp_path / f"cache {hits}"), "CCACHE_REMOTE_STORAGE": storage}
            printed = run("ccache gcc -c hello.c; ccache --print-stats", tmp_path, **variables)
            assert f"remote_storage_hit\t{hits}\n" in printed


def test_bazel(service: Service, shown: Callable[[str, str], str], tmp_path: Path) -> None:
    need(shutil.which("bazel"), "Bazel")
    (tmp_path / "WORKSPACE").touch()
    (tmp_path / "BUILD").write_text('genrule(name = "hello", outs = ["hello.txt"], cmd = "echo hello > $@")\n')

    for expected in ("linux-sandbox|local|processwrapper-sandbox", "1 remote cache hit"):
        root = tmp_path / expected[:2]
        (tmp_path / ".bazelrc").write_text(f"startup --output_user_root={root}\n")
        try:
            printed = run(shown("Bazel", "sh"), tmp_path)
        finally:
            run("bazel shutdown", tmp_path)
        assert re.search(expected, printed), printed
    assert stored(service, "bazel/ac/") == 1


def test_gradle(service: Service, shown: Callable[[str, str], str], tmp_path: Path) -> None:
    need(shutil.which("gradle"), "Gradle")
    source = tmp_path / "src" / "main" / "java"
    source.mkdir(parents=True)
    (source / "Hello.java").write_text("class Hello {}\n")
    (tmp_path / "build.gradle").write_text("apply plugin: 'java'\n")
    (tmp_path / "settings.gradle").write_text(shown("Gradle", "groovy"))

    for expected in (":compileJava\n", ":compileJava FROM-CACHE\n"):
        home = tmp_path / f"home {len(expected)}"
        shutil.rmtree(tmp_path / "build", ignore_errors=True)
        command = shown("Gradle", "sh").replace("gradle", "gradle --no-daemon", 1)
        printed = run(command, tmp_path, GRADLE_USER_HOME=str(home))
        assert expected in printed, printed
    assert stored(service, "gradle/") == 1


def test_fsspec(service: Service, shown: Callable[[str, str], str], tmp_path: Path) -> None:
    python = INSTALLED / "bin" / "python"
    need(python.exists(), "what `make drop-in` installs")
    content = bytes(range(256)) * 100
    (tmp_path / "local.csv").write_bytes(content)
    (tmp_path / "program.py").write_text(shown("fsspec", "python"))

    printed = run(f"{python} program.py", tmp_path)

    assert printed == f"{content[-5:]!r}\n"
    assert ask(service, "GET", "/values/table.csv").body == content
    # It has asked for a part.
    assert 206 in {line.get("status") for line in service.lines()}


def test_unstorage(service: Service, shown: Callable[[str, str], str], tmp_path: Path) -> None:
    need(shutil.which("node"), "Node.js")
    need((INSTALLED / "node_modules").is_dir(), "what `make drop-in` installs")
    (tmp_path / "node_modules").symlink_to(INSTALLED / "node_modules")
    writing = shown("unstorage", "js")
    (tmp_path / "write.mjs").write_text(writing)
    (tmp_path / "read.mjs").write_text(re.sub(r"^await storage.setItem.*\n", "", writing, flags=re.MULTILINE))

    for program in ("write.mjs", "read.mjs"):
        assert run(f"node {program}", tmp_path) == "{ name: 'Ada' }\n"
    assert ask(service, "GET", "/values/unstorage/user/1").body == b'{"name":"Ada"}'


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
