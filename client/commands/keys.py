"""The commands for keys and their values."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import NotFound
from ..values import content_of, to_json
from .arguments import NEVER, content_in, keys_like, seconds_in, shown, time_of
from .connection import exit_code_of, with_store


if TYPE_CHECKING:
    from ..stores import Store
    from ..values import Record


@click.command("get", epilog="Example: flaskvstore get word")
@click.argument("key", shell_complete=keys_like)
@click.option("-o", "--output", metavar="FILE", help="Write the value to a file. Default: standard output.")
@click.option("--json", "as_json", is_flag=True, help="Show value, ETag and expiry as JSON.")
@with_store
def get_command(kv: "Store", key: str, output: str | None, as_json: bool) -> None:
    """Write the value of a key, byte for byte."""
    entry = kv.entry(key)
    content = entry.content
    if as_json:
        said = {"key": key, "value": to_json(entry.value), "etag": entry.etag, "ttl": entry.ttl}
        content = json.dumps(said, ensure_ascii=False).encode() + b"\n"
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        Path(output).write_bytes(content)


@click.command("put", epilog="Example: flaskvstore put word one --ttl 1h")
@click.argument("key", shell_complete=keys_like)
@click.argument("value", type=content_in, default="-")
@click.option(
    "--ttl", type=seconds_in, metavar="TIME", help="When it expires, such as 90s, 5m, 12h or 30d. Default: never."
)
@click.option("--create", is_flag=True, help="Only if there is no such key.")
@click.option("--if-match", metavar="ETAG", help="Only if the value has this ETag; `*` if there is any value.")
@with_store
def put_command(kv: "Store", key: str, value: bytes, ttl: int | None, create: bool, if_match: str | None) -> None:
    """Store a value: VALUE itself, @FILE for the bytes of a file, or - for those of standard input, the default."""
    if create and if_match is not None:
        raise click.UsageError("--create and --if-match exclude each other.")
    kv.put(key, value, ttl=ttl, only_if_absent=create, if_match=if_match)


@click.command("del", epilog="Example: flaskvstore del --filter 'tmp:$'")
@click.argument("keys", shell_complete=keys_like, nargs=-1)
@click.option("--filter", "pattern", help="Delete the keys that match a filter, in which $ is any run of characters.")
@click.option("--if-match", metavar="ETAG", help="Only if the value has this ETag.")
@click.option("--yes", is_flag=True, help="Do not ask before keys are deleted by a filter.")
@with_store
def del_command(kv: "Store", keys: Sequence[str], pattern: str | None, if_match: str | None, yes: bool) -> None:
    """Delete keys: those that are named, or those that a filter matches."""
    if (pattern is None) != bool(keys):
        raise click.UsageError("Name either keys or a --filter.")
    if if_match is not None and len(keys) != 1:
        raise click.UsageError("--if-match is for one key.")
    if pattern is not None:
        if not yes:
            click.confirm(f"Delete {kv.count(pattern):,} keys?", abort=True, err=True)
        click.echo(kv.delete_matching(pattern))
        return
    missing: NotFound | None = None
    for key in keys:
        try:
            kv.delete(key, if_match=if_match)
        except NotFound as error:
            missing = error
            click.echo(error.detail, err=True)
    if missing is not None:
        raise click.exceptions.Exit(exit_code_of(missing))


@click.command("ls", epilog="Example: flaskvstore ls --long 'user:$'")
@click.argument("pattern", metavar="[FILTER]", required=False)
@click.option("-l", "--long", is_flag=True, help="Show sizes and expiries as well.")
@click.option("--json", "as_json", is_flag=True, help="Show keys with their values as JSON, one a line, as exports do.")
@click.option("-0", "--null", is_flag=True, help="End each key with a zero byte. Default: with a line break.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Show at most that many. Default: all.")
@with_store
def ls_command(kv: "Store", pattern: str | None, long: bool, as_json: bool, null: bool, limit: int | None) -> None:
    """List keys, in no particular order. In FILTER $ is any run of characters.

    A name with line breaks or the like is written as a JSON string, unless each ends with a zero byte.
    """
    if long + as_json + null > 1:
        raise click.UsageError("--long, --json and --null exclude each other.")
    if long:
        click.echo("     BYTES  EXPIRES               KEY")
        for record in islice(kv.scan(pattern, values=False), limit):
            click.echo(f"{record.value_bytes:>10}  {time_of(record.expires_at):<20}  {shown(record.key)}")
    elif as_json:
        for record in islice(kv.scan(pattern), limit):
            click.echo(json.dumps(_as_json(record), ensure_ascii=False))
    else:
        for key in islice(kv.keys(pattern), limit):
            click.echo(key + "\0" if null else shown(key), nl=not null)


@click.command(
    "incr", context_settings={"ignore_unknown_options": True}, epilog="Example: flaskvstore incr visits --ttl 1m --keep"
)
@click.argument("key", shell_complete=keys_like)
@click.argument("by", type=int, default=1, metavar="[N]")
@click.option("--ttl", type=seconds_in, metavar="TIME", help="When it expires. Default: as before.")
@click.option("--keep", is_flag=True, help="Set the expiry only if there is none.")
@with_store
def incr_command(kv: "Store", key: str, by: int, ttl: int | None, keep: bool) -> None:
    """Add N to a number, 1 by default, and print it."""
    click.echo(kv.increment(key, by, ttl=ttl, keep_ttl=keep))


@click.command("append", epilog="Example: date | flaskvstore append log")
@click.argument("key", shell_complete=keys_like)
@click.argument("value", type=content_in, default="-")
@click.option("--ttl", type=seconds_in, metavar="TIME", help="When it expires. Default: as before.")
@with_store
def append_command(kv: "Store", key: str, value: bytes, ttl: int | None) -> None:
    """Add to the end of a value. VALUE is as for put."""
    kv.append(key, value, ttl=ttl)


@click.command("ttl", epilog="Example: flaskvstore ttl session 1h")
@click.argument("key", shell_complete=keys_like)
@click.argument("time", required=False)
@with_store
def ttl_command(kv: "Store", key: str, time: str | None) -> None:
    """Print the seconds until a key expires, or set them: TIME is such as 90s, 5m, 12h, 30d, or never."""
    if time is None:
        ttl = kv.entry(key).ttl
        click.echo(NEVER if ttl is None else ttl)
    else:
        kv.expire(key, None if time == NEVER else seconds_in(time))


@click.command("watch", epilog="Example: flaskvstore watch 'flag:$' --exec ./reload.sh")
@click.argument("pattern", metavar="[FILTER]", required=False)
@click.option("--since", metavar="ID", help="Go on after a change with an id. Default: begin with the state.")
@click.option("--changes", is_flag=True, help="Begin with the changes, without the state.")
@click.option("--json", "as_json", is_flag=True, help="Show each change as JSON, with values and ids.")
@click.option(
    "--exec",
    "command",
    metavar="COMMAND",
    help="Run a command for each change, with KV_EVENT and KV_KEY in its environment and the value as its standard "
    "input. Default: print.",
)
@with_store
def watch_command(
    kv: "Store", pattern: str | None, since: str | None, changes: bool, as_json: bool, command: str | None
) -> None:
    """Show keys and then each change, without an end: put, delete, expire; reset before the state, synced after it."""
    for change in kv.watch(pattern, since=since, initial=not changes):
        if command is not None:
            environ = {**os.environ, "KV_EVENT": change.kind, "KV_KEY": change.key}
            given = b"" if change.value is None else content_of(change.value)
            try:
                subprocess.run(shlex.split(command), env=environ, input=given, check=False)
            except (OSError, ValueError) as error:
                raise click.ClickException(f"{command}: {error}") from None
        elif as_json:
            told = {name: part for name, part in asdict(change).items() if part or name == "value"}
            told["value"] = None if change.value is None else to_json(change.value)
            click.echo(json.dumps(told, ensure_ascii=False))
        else:
            click.echo(f"{change.kind} {shown(change.key)}".rstrip())


def _as_json(record: "Record") -> dict[str, Any]:
    said = {"key": record.key, "value": None if record.value is None else to_json(record.value)}
    return said if record.expires_at is None else {**said, "expires_at": record.expires_at}


COMMANDS = (get_command, put_command, del_command, ls_command, incr_command, append_command, ttl_command, watch_command)
