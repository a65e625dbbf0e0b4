"""The distribution: its generic package names are ours alone, and nothing is left out."""

import configparser
import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def declared() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.mark.parametrize("package", ["api", "models", "resources", "wsgi"])
def test_no_other_distribution_has_our_names(package: str) -> None:
    assert set(packages_distributions().get(package, [])) <= {"flaskvstore"}


def test_every_package_is_declared(declared: configparser.ConfigParser) -> None:
    there = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for folder in ("api", "models", "resources")
        for path in (ROOT / folder).rglob("__init__.py")
    }

    assert set(declared["options"]["packages"].split()) == there


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
