"""Programs that are not the service: those of npm, and those that are generated."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.servers.services import environment, need


# `make clients` installs the packages of tests/clients/package.json there.
NODE_MODULES = Path(sys.prefix) / "clients" / "node_modules"


def need_node_modules() -> None:
    """Skip the test where Node.js or the packages are missing."""
    need(shutil.which("node"), "Node.js")
    need(NODE_MODULES.is_dir(), "the packages that `make clients` installs")


def run(folder: Path, *command: str | Path, **variables: str) -> str:
    """Run a program of a folder and give its output, which is shown if it fails."""
    ran = subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
