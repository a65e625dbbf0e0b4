"""Exports as files: one record a line, and their number at the end."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, BinaryIO, TypeAlias

from .errors import CutOff


Progress: TypeAlias = Callable[[int], object]

COUNT = re.compile(rb'(?:^|\n)\{"count": ?(\d+)\}\s*$')
# More than the last line has.
TAIL_BYTES = 64
CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class Imported:
    """What became of the lines of a file.

    :param stored: how many records are stored
    :param skipped: how many had expired already
    :param failed: how many lines are wrong
    :param errors: the first of those, each with its `line` and a `detail`
    """

    stored: int
    skipped: int
    failed: int
    errors: list[dict[str, Any]]


class Passed:
    """Records that pass by, chunk after chunk.

    :param progress: is told how many there are more
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        # The last line is no record.
        self._records = -1
        self.tail = b""

    @property
    def records(self) -> int:
        """How many records have passed."""
        return max(self._records, 0)

    def see(self, chunk: bytes) -> None:
        """Count the records of a chunk."""
        before = self.records
        self._records += chunk.count(b"\n")
        self.tail = (self.tail + chunk)[-TAIL_BYTES:]
        if self._progress is not None:
            self._progress(self.records - before)


class Written(Passed):
    """An export on its way into a file."""

    def __init__(self, file: IO[bytes], progress: Progress | None) -> None:
        super().__init__(progress)
        self._file = file

    def write(self, chunk: bytes) -> None:
        """Write more of it."""
        self._file.write(chunk)
        self.see(chunk)

    def count(self) -> int:
        """Return the number of its records.

        :raises CutOff: its last line does not say the same
        """
        found = COUNT.search(self.tail)
        if found is None or int(found[1]) != self.records:
            raise CutOff("The export ended too early: its last line is not the number of its records.")
        return int(found[1])


@contextmanager
def writing(file: str | BinaryIO, progress: Progress | None) -> Iterator[Written]:
    """Open a file for an export; the one of a path is put in its place when all went well."""
    if not isinstance(file, str):
        yield Written(file, progress)
        return
    path = Path(file)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as temporary:
        try:
            yield Written(temporary.file, progress)
            temporary.flush()
            os.fsync(temporary.fileno())
            Path(temporary.name).replace(path)
        except BaseException:
            Path(temporary.name).unlink()
            raise


@contextmanager
def reading(file: str | BinaryIO, *, complete: bool) -> Iterator[BinaryIO]:
    """Open a file for an import.

    :raises CutOff: it has to be complete, is not, and can be looked at before it is sent
    """
    if isinstance(file, str):
        with Path(file).open("rb") as found:
            if complete and found.seekable():
                found.seek(-min(TAIL_BYTES, found.seek(0, os.SEEK_END)), os.SEEK_END)
                refuse_cut_off(found.read())
                found.seek(0)
            yield found
    else:
        yield file


def chunks(file: BinaryIO, progress: Progress | None, *, complete: bool) -> Iterator[bytes]:
    """Return a file in chunks.

    :raises CutOff: it has to be complete, and is not
    """
    passed = Passed(progress)
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
        passed.see(chunk)
    if complete:
        refuse_cut_off(passed.tail)


def refuse_cut_off(tail: bytes) -> None:
    """Refuse a file whose end is not the number of its records.

    :raises CutOff: it is not
    """
    if COUNT.search(tail) is None:
        raise CutOff("The file is cut off: its last line is not the number of its records.")
