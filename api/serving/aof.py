"""The append-only files of the embedded Valkey: what a crash or a bad disk has left in them is cut off and kept."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from api.settings import StartError


MANIFEST = Path("appendonlydir", "appendonly.aof.manifest")
# As Redis up to version 6 wrote it, which is taken over.
ONE_FILE = Path("appendonly.aof")
BACKUP = "Bring it back from a backup, or move the directory away to start without data."
ZEROS_BYTES = 65_536
_IN_MANIFEST = re.compile(r"^file (\S+) .*type i$", re.MULTILINE)
_WHOLE_BYTES = re.compile(rb"ok_up_to=(\d+)")


class Cut(NamedTuple):
    """What was cut off a file: the rest from the first command that is not whole.

    :param kept: where these bytes are now; None if there was nothing to cut off
    """

    file: Path
    cut_bytes: int
    all_bytes: int
    kept: Path | None

    def __str__(self) -> str:
        if self.kept is None:
            return f"No damage was found in the {self.all_bytes:,} bytes of {self.file}."
        return (
            f"The last {self.cut_bytes:,} of {self.all_bytes:,} bytes of {self.file} were cut off, because no whole "
            f"command starts there. They are kept in {self.kept}."
        )


def cut_damage(data_dir: Path, binary: str) -> Cut:
    """Cut off what follows the last whole command, and keep it in a file beside.

    :param data_dir: the folder, which no server may use
    :param binary: the server, which is also the program that checks such files
    :raises StartError: there is no such file, or one is damaged after which others come
    """
    *earlier, last = _files(data_dir)
    for file in earlier:
        if _whole_bytes(file, binary) < file.stat().st_size:
            raise StartError(f"{file} is damaged, and {last} continues it, so that nothing can be cut off. {BACKUP}")
    whole_bytes, all_bytes = _whole_bytes(last, binary), last.stat().st_size
    if whole_bytes == all_bytes:
        return Cut(last, 0, all_bytes, None)
    kept = data_dir / f"{last.name}.cut-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    kept.touch(mode=0o600, exist_ok=False)
    try:
        with last.open("r+b") as damaged, kept.open("r+b") as copy:
            damaged.seek(whole_bytes)
            shutil.copyfileobj(damaged, copy)
            copy.flush()
            os.fsync(copy.fileno())
            damaged.truncate(whole_bytes)
    except OSError:
        kept.unlink()
        raise
    return Cut(last, all_bytes - whole_bytes, all_bytes, kept)


def cut_zeros(data_dir: Path) -> dict[Path, int]:
    """Cut off the zero bytes at the end of files: a filesystem can leave them after a power cut.

    No command ends with one, so that none is lost that was whole.

    :return: how many they were, for each file that had some
    """
    cut = {}
    for file in (data_dir / MANIFEST).parent.glob("*.incr.aof"):
        with file.open("r+b") as opened:
            size = end = opened.seek(0, os.SEEK_END)
            kept = b""
            while end and not kept:
                start = max(end - ZEROS_BYTES, 0)
                opened.seek(start)
                kept = opened.read(end - start).rstrip(b"\0")
                end = start + len(kept)
            opened.truncate(end)
        if end < size:
            cut[file] = size - end
    return cut


def _files(data_dir: Path) -> list[Path]:
    """Return the files with commands, in the order in which they are read."""
    manifest = data_dir / MANIFEST
    if not manifest.exists():
        if (data_dir / ONE_FILE).exists():
            return [data_dir / ONE_FILE]
        raise StartError(f"{manifest} is missing, without which the data beside it is not read. {BACKUP}")
    files = [manifest.parent / name for name in _IN_MANIFEST.findall(manifest.read_text(errors="replace"))]
    missing = [file for file in files if not file.exists()]
    if missing or not files:
        raise StartError(f"{missing[0] if missing else manifest} is missing or damaged. {BACKUP}")
    return files


def _whole_bytes(file: Path, binary: str) -> int:
    """Return where the last whole command ends."""
    if file.stat().st_size == 0:
        return 0
    # The server is that program if it is run under its name.
    checker = Path(binary).name.replace("server", "check-aof")
    said = subprocess.run(
        [checker, file], executable=binary, capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    found = _WHOLE_BYTES.search(said.stdout)
    if not found:
        raise StartError(f"{file} cannot be checked: {said.stdout.decode(errors='replace').strip()[-200:]!r}. {BACKUP}")
    return int(found[1])
