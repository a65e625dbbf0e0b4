"""The commands that move many keys."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files import Imported, Progress
from ..sources import KINDS, Source, chunks
from ..values import content_of, from_json
from .arguments import shown, time_of
from .connection import with_store


if TYPE_CHECKING:
    from ..stores import Store


@click.command("export", epilog="Example: flaskvstore export -o backup.ndjson")
@click.argument("pattern", metavar="[FILTER]", required=False)
@click.option("-o", "--output", metavar="FILE", help="Replace a file when all is exported. Default: standard output.")
@with_store
def export_command(kv: "Store", pattern: str | None, output: str | None) -> None:
    """Write keys with values and expiries, one a line, and their number at the end.

    It cannot be resumed: start it again.
    """
    with progress_bar("Exported", lambda: kv.count(pattern)) as progress:
        count = kv.export_to(output or sys.stdout.buffer, pattern, progress=progress)
    click.echo(f"{count:,} exported", err=True)


@click.command("import", epilog="Example: flaskvstore import backup.ndjson")
@click.argument("file", default="-")
@click.option("--partial", is_flag=True, help="Take a file whose last line is not the number of its records.")
@click.option(
    "--from",
    "kind",
    type=click.Choice(list(KINDS)),
    help="What has written the file; for redis it is a dump.rdb or the URL of a server. Default: export.",
)
@click.option("--dry-run", is_flag=True, help="With --from, show what would be stored, and store nothing.")
@with_store
def import_command(kv: "Store", file: str, partial: bool, kind: str | None, dry_run: bool) -> None:
    """Store what an export has written to FILE; - is standard input, the default.

    It is not done in one step, and cannot be resumed. It may be repeated: that stores the same once more.
    """
    if dry_run and kind is None:
        raise click.UsageError("--dry-run needs --from.")
    source = None if kind is None else Source(kind, "/dev/stdin" if file == "-" else file)
    if source is not None and dry_run:
        _show(source)
    elif source is not None:
        # All but a store of any size are read before anything is stored: what is wrong is found in time.
        records = source.records() if kind == "redis" else list(source.records())
        _tell(kv._run(kv._import(chunks(records))), source)
    else:
        with progress_bar("Imported", lambda: _records(file)) as progress:
            given = sys.stdin.buffer if file == "-" else file
            done = kv.import_from(given, complete=not partial, progress=progress)
        _tell(done)


def _show(source: Source) -> None:
    """Show what would be stored."""
    count = 0
    for record in source.records():
        count += 1
        size = len(content_of(from_json(record["value"])))
        click.echo(f"{size:>10}  {time_of(record.get('expires_at')):<20}  {shown(record['key'])}")
    click.echo(f"{count:,} would be stored", err=True)
    _tell_left_out(source)


def _tell(done: Imported, source: Source | None = None) -> None:
    """Say what became of an import, and fail if a line was wrong."""
    click.echo(f"{done.stored:,} stored, {done.skipped:,} expired, {done.failed:,} failed", err=True)
    for error in done.errors:
        click.echo(f"line {error['line']}: {error['detail']}", err=True)
    if source is not None:
        _tell_left_out(source)
    if done.failed:
        raise click.exceptions.Exit(1)


def _tell_left_out(source: Source) -> None:
    for what, count in source.left_out.items():
        if count:
            click.echo(f"left out: {what} ({count:,})", err=True)


@contextmanager
def progress_bar(label: str, total: Callable[[], int | None]) -> Iterator[Progress | None]:
    """Show progress, with rate and time left, where somebody can see it.

    :param total: returns how many records there will be, if that is known
    """
    if not sys.stderr.isatty():
        yield None
        return
    begin, done = time.monotonic(), 0

    def rate(_: object) -> str:
        return f"{done / max(time.monotonic() - begin, 0.001):,.0f}/s"

    with click.progressbar(
        length=max(total() or 0, 0), label=label, item_show_func=rate, file=sys.stderr, show_pos=True
    ) as bar:

        def progress(more: int) -> None:
            nonlocal done
            done += more
            bar.update(more, more)

        yield progress


def _records(file: str) -> int | None:
    """Return how many records a file has; None if that would use it up."""
    path = Path(file)
    if not path.is_file():
        return None
    with path.open("rb") as found:
        # The last line is no record.
        return sum(chunk.count(b"\n") for chunk in iter(lambda: found.read(1024 * 1024), b"")) - 1


COMMANDS = (export_command, import_command)
