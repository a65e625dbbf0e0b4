"""What is deployed: the image, run for real by `make image-test`, and the files for Compose and Kubernetes."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.tokens import SCOPES, Tokens
from tests.support.clients import Ask, bearer, over_http
from tests.support.contract import Contract
from tests.support.servers.services import environment, eventually, need, valkey


ROOT = Path(__file__).parent.parent.parent
ENGINE = environment().get("ENGINE", "docker")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
# What Gunicorn gives requests in flight by default.
GRACEFUL_SECONDS = 30
# Runs inside: a statsd server that asks the service for something.
STATSD_SERVER = """
import socket, urllib.request
with socket.socket(type=socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 9125))
    server.settimeout(10)
    urllib.request.urlopen("http://127.0.0.1:5000/health/live")
    received = ""
    while "gunicorn.request.status.200" not in received or "request.live.GET.200" not in received:
        received += server.recv(1432).decode()
print(received)
"""
# That of the image's user.
GROUP = 10001
LOCKED_DOWN = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")


class Container:
    """A running container of the image `flaskvstore`."""

    def __init__(self, *options: str) -> None:
        self.id = engine("run", "--detach", "--publish=127.0.0.1::5000", *LOCKED_DOWN, *options, "flaskvstore")

    @cached_property
    def port(self) -> int:
        """Where it is published on this machine."""
        return int(engine("port", self.id, "5000").rpartition(":")[2])

    def ask(self, contract: Contract) -> Ask:
        """Make a way to ask it."""
        return over_http("127.0.0.1", self.port, contract)

    def run(self, *command: str) -> str:
        """Run a command inside, and give its output."""
        return engine("exec", self.id, *command)

    def inspect(self, path: str) -> Any:
        """Give what the engine knows about it."""
        return json.loads(engine("inspect", "--format", f"{{{{json {path}}}}}", self.id))

    def is_healthy(self) -> bool:
        """Run the image's health check, as an engine does."""
        kind, *command = self.inspect(".Config.Healthcheck.Test")
        assert kind == "CMD"
        return subprocess.run([ENGINE, "exec", self.id, *command], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def running(directory: Path, *options: str, **variables: str) -> Iterator[Container]:
    """Run a container beside a real Valkey."""
    with valkey(directory) as server:
        # The container's user is neither the one of the tests nor root.
        directory.chmod(0o755)
        (directory / "valkey.sock").chmod(0o777)
        assert server.url == f"unix://{directory}/valkey.sock"
        settings = {"FLASKVSTORE_REDIS_URL": "unix:///valkey/valkey.sock", **variables}
        variables_of = (f"--env={name}={value}" for name, value in settings.items())
        container = Container(f"--volume={directory}:/valkey", *options, *variables_of)
        try:
            eventually(container.is_healthy, 30)
            yield container
        finally:
            engine("rm", "--force", container.id)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A container shared by the tests that leave it well."""
    with running(tmp_path_factory.mktemp("image"), FLASKVSTORE_STATSD_HOST="127.0.0.1:9125") as started:
        yield started


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """What is applied to Kubernetes, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(rendered())}


@pytest.fixture(scope="module")
def pod(objects: dict[str, Any]) -> Any:
    return objects["Deployment"]["spec"]["template"]["spec"]


@pytest.mark.image
class TestImage:
    def test_it_stores_and_gives(self, container: Container, contract: Contract) -> None:
        ask = container.ask(contract)

        assert ask("GET", "/health/ready").json == {"status": "ok"}
        assert ask("PUT", "/keys?word=one&world=two").json == {"stored": 2}
        assert ask("GET", "/keys?filter=wo$d").json == {"word": "one", "world": "two"}

    def test_it_has_its_documentation_and_its_version(self, container: Container, contract: Contract) -> None:
        assert container.ask(contract)("GET", "/swagger.json").json["info"]["version"] in container.run(
            "flaskvstore", "--version"
        )

    def test_it_is_a_plain_user_without_rights(self, container: Container) -> None:
        # The first process is Gunicorn.
        status = container.run("cat", "/proc/1/status")

        assert re.search(r"^Uid:\s+10001\s+10001\s", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)

    def test_it_sends_metrics_to_the_statsd_server_that_is_named(self, container: Container) -> None:
        received = container.run("python", "-c", STATSD_SERVER)

        assert "flaskvstore.gunicorn.request.status.200:1|c" in received
        assert "flaskvstore.request.live.GET.200:" in received

    def test_it_asks_for_tokens_from_a_folder_that_its_group_may_read(self, tmp_path: Path, contract: Contract) -> None:
        access = tmp_path / "access"
        access.mkdir()
        tokens = Tokens(access / "tokens.json")
        first = tokens.create("first", namespace="ns", scopes=SCOPES)
        os.chown(access / "tokens.json", -1, GROUP)
        (access / "tokens.json").chmod(0o640)

        with running(
            tmp_path, f"--volume={access}:/access:ro", FLASKVSTORE_TOKENS_FILE="/access/tokens.json"
        ) as guarded:
            ask = guarded.ask(contract)
            assert ask("GET", "/keys").status == 401
            assert ask("GET", "/keys", b"", bearer(first)).status == 200
            second = tokens.create("second", namespace="ns", scopes=SCOPES)
            tokens.revoke("first")
            assert ask("GET", "/keys", b"", bearer(second)).status == 200
            assert ask("GET", "/keys", b"", bearer(first)).status == 401

    def test_it_stops_in_order(self, tmp_path: Path) -> None:
        with running(tmp_path) as stopped:
            engine("stop", "--time=30", stopped.id)

            assert stopped.inspect(".State.ExitCode") == 0

    def test_an_embedded_valkey_keeps_to_the_memory_of_its_container(self) -> None:
        serve = ("timeout", "--preserve-status", "15", "flaskvstore", "serve", "--open", "--data-dir=/tmp/data")

        log = engine("run", "--rm", "--memory=300m", *LOCKED_DOWN, "flaskvstore", *serve)

        assert "(embedded Valkey, up to 100 MiB)" in log

    def test_without_a_store_it_says_what_to_set(self) -> None:
        ended = subprocess.run([ENGINE, "run", "--rm", "flaskvstore"], capture_output=True, check=False, timeout=60)

        assert ended.returncode > 0
        assert b"FLASKVSTORE_REDIS_URL is not set" in ended.stderr


class TestCompose:
    def test_it_keeps_to_the_specification(self) -> None:
        run("check-jsonschema", "--builtin-schema=vendor.compose-spec", "compose.yaml")

    def test_everything_is_published_on_this_machine_only(self) -> None:
        ports = [port for service in COMPOSE.values() for port in service.get("ports", [])]

        assert len(ports) == 5
        assert all(port.startswith("127.0.0.1:") for port in ports)

    def test_every_image_of_others_has_a_version(self) -> None:
        images = {service["image"] for service in COMPOSE.values()} - {"flaskvstore"}

        assert all(re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", image) for image in images)

    @pytest.mark.parametrize("name", COMPOSE)
    def test_a_service_is_locked_down(self, name: str) -> None:
        service = COMPOSE[name]

        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]

    def test_no_call_without_a_filter_deletes_everything(self) -> None:
        assert COMPOSE["flaskvstore"]["environment"]["FLASKVSTORE_DELETE_ALL"] == "false"

    def test_the_store_is_full_before_its_container_is(self) -> None:
        command = COMPOSE["valkey"]["command"]

        assert command[command.index("--maxmemory") + 1] == "400mb"
        assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
        assert COMPOSE["valkey"]["mem_limit"] == "1g"

    def test_services_wait_until_those_they_need_are_healthy(self) -> None:
        needs = {name: COMPOSE[name].get("depends_on", {}) for name in COMPOSE}
        checked = {name for name in COMPOSE if "healthcheck" in COMPOSE[name]}

        # The check of ours is in its Dockerfile.
        assert checked == needs.keys() - {"flaskvstore"}
        assert {condition["condition"] for each in needs.values() for condition in each.values()} == {"service_healthy"}
        assert needs["flaskvstore"].keys() == {"valkey", "statsd-exporter"}

    def test_everything_that_is_mounted_exists(self) -> None:
        mounts = [volume for service in COMPOSE.values() for volume in service.get("volumes", [])]
        folders = [ROOT / mount.split(":")[0] for mount in mounts if mount.startswith("./")]

        assert len(folders) == 4
        assert all(folder.is_dir() for folder in folders)


class TestKubernetes:
    def test_everything_keeps_to_the_schemas(self, tmp_path: Path) -> None:
        manifests = tmp_path / "manifests.yaml"
        manifests.write_text(rendered())

        run("kubernetes-validate", "--strict", str(manifests))

    def test_the_image_has_the_version_of_the_service(self, pod: Any) -> None:
        [service] = pod["containers"]

        assert service["image"].endswith(f"flaskvstore:{version('flaskvstore')}")

    def test_the_exporter_has_the_mapping_from_monitoring(self, objects: dict[str, Any], pod: Any) -> None:
        mapping = objects["ConfigMap"]
        mounted = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]

        assert mapping["data"] == {"mapping.yml": (ROOT / "monitoring" / "statsd" / "mapping.yml").read_text()}
        assert mounted == [mapping["metadata"]["name"]]

    def test_the_exporter_is_that_of_compose(self, pod: Any) -> None:
        [exporter] = pod["initContainers"]

        assert exporter["image"] == COMPOSE["statsd-exporter"]["image"]
        assert exporter["args"] == COMPOSE["statsd-exporter"]["command"]

    def test_an_update_has_time_for_requests_in_flight(self, objects: dict[str, Any], pod: Any) -> None:
        [service] = pod["containers"]
        before = service["lifecycle"]["preStop"]["sleep"]["seconds"]

        assert objects["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert pod["terminationGracePeriodSeconds"] > before + GRACEFUL_SECONDS

    def test_its_tokens_are_where_the_service_looks_and_only_its_group_may_read_them(self, pod: Any) -> None:
        [service] = pod["containers"]
        [path] = [each["value"] for each in service["env"] if each["name"] == "FLASKVSTORE_TOKENS_FILE"]
        [mount] = [each for each in service["volumeMounts"] if each["name"] == "tokens"]
        [volume] = [each for each in pod["volumes"] if each["name"] == "tokens"]

        assert path == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
        assert volume["secret"]["defaultMode"] == 0o440

    def test_no_call_without_a_filter_deletes_everything(self, pod: Any) -> None:
        [service] = pod["containers"]

        assert {"name": "FLASKVSTORE_DELETE_ALL", "value": "false"} in service["env"]

    def test_every_container_is_locked_down(self, pod: Any) -> None:
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "fsGroup": GROUP,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for each in (*pod["containers"], *pod["initContainers"]):
            security = {name: value for name, value in each["securityContext"].items() if name != "runAsUser"}
            assert security == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }

    def test_the_service_leads_to_the_pods(self, objects: dict[str, Any]) -> None:
        template = objects["Deployment"]["spec"]["template"]

        assert objects["Service"]["spec"]["selector"].items() <= template["metadata"]["labels"].items()


def run(tool: str, *arguments: str) -> str:
    """Run one of the development tools, and give its output."""
    program = Path(sys.executable).with_name(tool)
    need(program.exists(), tool)
    ended = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def rendered() -> str:
    """Give what `kubectl apply -k` applies."""
    return run("kubectl", "kustomize", "deploy/kubernetes")


def engine(*arguments: str) -> str:
    """Run Docker or Podman, and give its output."""
    return subprocess.run(
        [ENGINE, *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout.strip()
