"""The distribution: it installs one name, runs beside any others, and its source can be tested."""

import configparser
import contextlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from api.serving.embedded import EmbeddedServer
from api.serving.supervisor import answers
from models.address import Address
from tests.support.contract import Contract
from tests.support.servers.services import Service, ask, environment, eventually, free_port, need


ROOT = Path(__file__).parent.parent.parent
GUNICORN = ["-c", "python:flaskvstore.gunicorn_conf", "flaskvstore.wsgi:app"]


@pytest.fixture(scope="module")
def declared() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    uv("build", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [path] = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def source(built: Path) -> Path:
    """The unpacked sdist."""
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(built, filter="data")
    return built / path.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, and with a distribution that has packages of the same names."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    # What flaskvstore depends on; a .pth file in there, such as that of an editable flaskvstore, is not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    uv("pip", "install", "--no-deps", "--python", folder / "bin" / "python", wheel)
    put_others(packages)
    return folder / "bin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with packages of the same names, as the current one and the first to be imported from."""
    folder = tmp_path / "project"
    folder.mkdir()
    put_others(folder)
    return folder


@pytest.fixture(scope="module")
def client_only(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and what it needs without an extra."""
    folder = tmp_path_factory.mktemp("client_only")
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    uv("pip", "install", "--no-deps", "--python", folder / "bin" / "python", wheel)
    for name in required("flaskvstore"):
        for top in {Path(path).parts[0] for path in distribution(name).files or []} - {".."}:
            (packages / top).symlink_to(Path(sysconfig.get_path("purelib")) / top)
    return folder / "bin"


def required(name: str) -> set[str]:
    """Return the distributions that one needs without an extra, directly or not."""
    markers = [Requirement(line) for line in distribution(name).requires or []]
    direct = {each.name for each in markers if each.marker is None or each.marker.evaluate({"extra": ""})}
    return direct.union(*map(required, direct))


def uv(*arguments: str | Path) -> None:
    program = Path(sys.executable).with_name("uv")
    subprocess.run([program, *arguments, "--quiet", "--offline", "--no-config"], check=True, timeout=60)


def put_others(folder: Path) -> None:
    for name in ("api", "models", "resources"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('this is of somebody else')")
    (folder / "wsgi.py").write_text("raise ImportError('this is of somebody else')")


@contextlib.contextmanager
def serving(programs: Path, project: Path, command: list[str], valkey_server: EmbeddedServer) -> Iterator[Service]:
    """Run an installed service; `flaskvstore serve` brings its own store."""
    port = free_port()
    variables = environment(FLASKVSTORE_BIND=f"127.0.0.1:{port}", PYTHONPATH=".")
    if "serve" not in command:
        variables["FLASKVSTORE_REDIS_URL"] = valkey_server.url
    log = project / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [programs / command[0], *command[1:]], cwd=project, env=variables, stdout=output, stderr=output
        )
    try:
        eventually(lambda: answers(Address("127.0.0.1", port)) or process.poll() is not None, 30)
        assert process.poll() is None, log.read_text()
        yield Service(process, log, port)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def files(folder: Path, *names: str) -> set[str]:
    paths = (path for name in names for path in (folder / name).rglob("*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)) for path in paths if path.is_file()}


class TestWheel:
    def test_it_has_one_name_and_under_it_every_file_of_the_client_and_the_service(self, wheel: Path) -> None:
        service = files(ROOT, "api", "models", "resources") | {"wsgi.py", "gunicorn.conf.py"}
        client = files(ROOT / "client", ".")

        names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

        assert names == {f"flaskvstore/{name}" for name in client | {f"_server/{name}" for name in service}}

    def test_its_import_loads_nothing_of_the_service_and_nothing_that_gevent_patches(
        self, programs: Path, project: Path
    ) -> None:
        code = "import sys, flaskvstore, flaskvstore._server_path; print(*sys.modules)"

        loaded = subprocess.run(
            [programs / "python", "-c", code], cwd=project, stdout=subprocess.PIPE, text=True, check=True
        )

        names = {name for name in loaded.stdout.split() if name.startswith("flaskvstore")}
        assert names == {"flaskvstore", "flaskvstore._server_path"}
        assert not {"httpx", "socket", "ssl", "threading"} & set(loaded.stdout.split())

    def test_it_has_the_client(self, client_only: Path, project: Path) -> None:
        code = "import sys; from flaskvstore import AsyncStore, NotFound, Store; print(*sys.modules)"

        loaded = subprocess.run([client_only / "python", "-c", code], cwd=project, stdout=subprocess.PIPE, check=True)

        assert b"httpx" in loaded.stdout

    @pytest.mark.parametrize(
        "command",
        [
            ["flaskvstore", "serve"],
            ["flaskvstore", "serve", "--server", "granian", "--trust-clients"],
            ["python", "-m", "gunicorn", *GUNICORN],
        ],
        ids=" ".join,
    )
    def test_it_serves_beside_packages_of_the_same_names(
        self, programs: Path, project: Path, valkey_server: EmbeddedServer, contract: Contract, command: list[str]
    ) -> None:
        with serving(programs, project, command, valkey_server) as service:
            assert ask(service, "GET", "/").status == 200
            assert ask(service, "GET", "/swagger.json").status == 200
            assert service.ask(contract)("PUT", "/keys?a=1").json == {"stored": 1}
            assert service.ask(contract)("GET", "/keys/a").json == {"a": "1"}
            assert service.stop() == 0

        assert {line.get("route") for line in service.lines()} >= {"/", "/swagger.json", "/keys", "/keys/{key}"}

    def test_gunicorn_without_our_settings_ends_with_the_right_command(self, programs: Path, project: Path) -> None:
        ended = subprocess.run(
            [programs / "python", "-m", "gunicorn", "-b", "127.0.0.1:0", GUNICORN[-1]],
            cwd=project,
            env=environment(FLASKVSTORE_REDIS_URL="redis://127.0.0.1:1", PYTHONPATH="."),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

        assert ended.returncode != 0
        assert f"`gunicorn {' '.join(GUNICORN)}`" in ended.stderr
        assert "Traceback" not in ended.stderr


class TestWithoutTheExtra:
    @pytest.mark.parametrize("command", [["serve", "--workers", "1"], ["repair"], ["token", "list", "--help"]])
    def test_a_command_of_the_service_says_what_to_install(self, client_only: Path, command: list[str]) -> None:
        ended = subprocess.run([client_only / "flaskvstore", *command], capture_output=True, text=True, check=False)

        assert ended.returncode == 1
        assert ended.stderr.strip().endswith("needs the extra `server`: pip install 'flaskvstore[server]'.")

    def test_the_help_lists_all_commands(self, client_only: Path) -> None:
        ended = subprocess.run([client_only / "flaskvstore", "--help"], capture_output=True, text=True, check=True)

        assert {"serve", "repair", "token"} <= set(re.findall(r"^  (\w+)", ended.stdout, re.MULTILINE))


class TestSource:
    def test_it_has_every_file_of_the_repository(self, source: Path) -> None:
        need((ROOT / ".git").exists() and shutil.which("git"), "a clone and git")
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        kept = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}

        assert {name for name in kept if not (source / name).exists()} == set()

    @pytest.mark.soak
    def test_its_tests_pass_with_the_wheel(self, source: Path, programs: Path) -> None:
        tests = ["tests/unit/test_settings.py", "tests/project/test_documentation.py"]

        ended = subprocess.run(
            [programs / "python", "-m", "pytest", "-q", *tests],
            cwd=source,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

        assert ended.returncode == 0, ended.stdout


def test_every_dependency_has_its_reason(declared: configparser.ConfigParser) -> None:
    decisions = (ROOT / "docs" / "decisions.md").read_text()
    extras = declared["options.extras_require"]
    lines = "\n".join([declared["options"]["install_requires"], *extras.values()]).split("\n")
    names = {re.split(r"[\[~=<>; ]", line)[0] for line in lines if line and not line.startswith("#")}

    assert {name for name in names if f"`{name}`" not in decisions} == set()


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_every_locked_dependency_has_a_hash(lock: str) -> None:
    text = (ROOT / lock).read_text()
    pins = re.findall(r"^[a-z0-9._-]+==.*(?:\\\n    --hash=sha256:[0-9a-f]{64}.*)+", text, re.MULTILINE)

    assert len(pins) == len(re.findall(r"^[a-z]", text, re.MULTILINE))
    assert "://" not in text


def test_both_locks_agree() -> None:
    run, dev = (
        set(re.findall(r"^\S+==\S+", (ROOT / lock).read_text(), re.MULTILINE))
        for lock in ("requirements.txt", "requirements-dev.txt")
    )

    assert run <= dev
