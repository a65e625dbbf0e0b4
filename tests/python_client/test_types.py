"""The types of the Python client hold for pyright as well; `make check` asks mypy."""

import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent.parent
PYRIGHT = ROOT / ".venv" / "clients" / "node_modules" / ".bin" / "pyright"


@pytest.mark.clients
@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_pyright_finds_no_fault(version: str) -> None:
    checked = ["client"] if version == "3.10" else ["client", "tests/python_client/usage.py"]
    options = ["--pythonpath", sys.executable, "--pythonversion", version]

    ran = subprocess.run([PYRIGHT, *options, *checked], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.startswith("0 errors, 0 warnings, ")
