"""What a newcomer does first: a fresh clone, and the README's first command."""

import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.servers.services import environment, eventually, need


ROOT = Path(__file__).parent.parent.parent


@pytest.mark.soak
def test_make_run_serves_in_a_fresh_clone(tmp_path: Path) -> None:
    need(shutil.which("git"), "git")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    log = tmp_path / "run.log"
    with log.open("wb") as output:
        run = subprocess.Popen(
            ["make", "run"],
            cwd=clone,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(FLASKVSTORE_BIND="127.0.0.1:0"),
        )
    try:

        def port() -> str | None:
            assert run.poll() is None, log.read_text()
            found = re.search(r"documentation at (http://127\.0\.0\.1:\d+)/", log.read_text())
            return found[1] if found else None

        eventually(port, 300)

        with urllib.request.urlopen(f"{port()}/health/ready") as answer:
            assert answer.status == 200
    finally:
        # make passes it on.
        run.terminate()
        run.wait(30)
