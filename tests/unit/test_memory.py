"""How much memory there is, as the kernel says it in every layout of its files."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from api.serving import memory
from api.serving.memory import memory_bytes


MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MEBIBYTE = 1024 * 1024
UNLIMITED_V1 = "9223372036854771712"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        pytest.param("0::/a/b", {"a/b/memory.max": "1048576", "a/memory.max": "max"}, MEBIBYTE, id="version 2"),
        pytest.param("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "1048576"}, MEBIBYTE, id="of the parent"),
        pytest.param("0::/", {"memory.max": "1048576"}, MEBIBYTE, id="version 2 in a container"),
        pytest.param("0::/", {}, MACHINE, id="version 2 on a machine, whose root has no limit"),
        pytest.param("0::/a", {"a/memory.max": "max"}, MACHINE, id="version 2 without a limit"),
        pytest.param("0::/../x", {"memory.max": "1048576"}, MEBIBYTE, id="outside of the namespace"),
        pytest.param(
            "4:memory:/a\n1:cpu:/\n0::/",
            {"memory/a/memory.limit_in_bytes": "1048576", "memory/memory.limit_in_bytes": UNLIMITED_V1},
            MEBIBYTE,
            id="version 1",
        ),
        pytest.param(
            "11:cpuset,memory:/docker/4f6", {"memory/memory.limit_in_bytes": "1048576"}, MEBIBYTE, id="in a container"
        ),
        pytest.param("4:memory:/a", {"memory/a/memory.limit_in_bytes": UNLIMITED_V1}, MACHINE, id="without a limit"),
        pytest.param("0::/a:b", {"a:b/memory.max": "1048576"}, MEBIBYTE, id="a colon in its name"),
        pytest.param("1:name=systemd:/x", {"memory.max": "1048576"}, MACHINE, id="not for memory"),
        pytest.param(None, {}, MACHINE, id="no cgroups at all"),
    ],
)
def test_it_is_the_least_of_the_machine_and_its_cgroups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "own")
    if own is not None:
        (tmp_path / "own").write_text(own + "\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")

    assert memory_bytes() == expected


def test_a_real_limit_is_seen() -> None:
    # Where processes may be limited, as for root on a machine of its own, with both versions of cgroups.
    for root, name in ((memory.CGROUPS / "memory", "memory.limit_in_bytes"), (memory.CGROUPS, "memory.max")):
        group = root / f"flaskvstore-{uuid.uuid4()}"
        try:
            group.mkdir()
            (group / name).write_text(str(256 * MEBIBYTE))
        except OSError:
            continue
        program = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); "
        program += "from api.serving.memory import memory_bytes; print(memory_bytes())"
        try:
            seen = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        finally:
            group.rmdir()
        assert int(seen) == 256 * MEBIBYTE
        return
    pytest.skip("No memory can be limited here.")
