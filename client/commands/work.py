"""The commands that do several things with one key, or one thing with several."""

import difflib
import json
import signal
import subprocess
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

import click

from ..errors import FlaskvstoreError, LockLost, PreconditionFailed
from ..values import Entry
from .arguments import content_in, keys_like, seconds_in
from .connection import CONDITION, with_store


if TYPE_CHECKING:
    from ..stores import Lock, Store

# How long a command may take to end when its lock is lost.
PATIENCE_SECONDS = 5.0


@click.command("edit", epilog="Example: EDITOR=vim flaskvstore edit config")
@click.argument("key", shell_complete=keys_like)
@with_store
def edit_command(kv: "Store", key: str) -> None:
    """Edit a value in the program that the variable EDITOR names, and store it if it is still the same.

    If another client has changed it meanwhile, its value is shown.
    """
    seen = _entry(kv, key)
    before = _text(seen)
    text = before
    while True:
        edited = click.edit(text, require_save=False)
        text = _as_before(before, text if edited is None else edited)
        if text == before:
            click.echo("Nothing is changed.", err=True)
            return
        try:
            kv.put(key, text, ttl=None if seen is None else seen.ttl, if_match=seen, only_if_absent=seen is None)
        except PreconditionFailed:
            seen = _entry(kv, key)
            before = _text(seen)
            text = _merged(before, text)
        else:
            return


@click.command("lock", epilog="Example: flaskvstore lock backup --wait 1m -- ./backup.sh --all")
@click.argument("key", shell_complete=keys_like)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--ttl",
    type=seconds_in,
    metavar="TIME",
    default="30s",
    help="When the lock is free if this program dies. Default: 30s.",
)
@click.option("--wait", type=seconds_in, metavar="TIME", help="How long to wait for the lock. Default: not at all.")
@with_store
def lock_command(kv: "Store", key: str, command: Sequence[str], ttl: int, wait: int | None) -> None:
    """Run COMMAND while holding a lock, and end with its status.

    The lock is extended meanwhile. If it is lost, COMMAND is stopped.
    """
    # Whether the lock is lost is known before it is another's.
    kv._timeout_seconds = min(kv._timeout_seconds, ttl / 3)
    with kv.lock(key, ttl=ttl, wait_seconds=wait or 0) as lock:
        try:
            running = subprocess.Popen(command)
        except OSError as error:
            raise click.ClickException(str(error)) from None
        signal.signal(signal.SIGTERM, lambda *_: running.terminate())
        # Both get the interrupt of a terminal; this program waits for the other.
        signal.signal(signal.SIGINT, _ignore)
        try:
            status = _wait(running, lock, ttl)
        except LockLost:
            running.terminate()
            try:
                running.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                running.kill()
            raise
    # As a shell tells of a signal.
    raise click.exceptions.Exit(status if status >= 0 else 128 - status)


@click.command("tx", epilog='Example: flaskvstore tx \'{"if": {"lock": null}, "put": {"lock": "mine"}}\'')
@click.argument("transaction", type=content_in, default="-")
@with_store
def tx_command(kv: "Store", transaction: bytes) -> None:
    """Do a transaction: JSON, @FILE, or - for standard input, the default. Its form is that of POST /keys."""
    try:
        asked = json.loads(transaction)
    except ValueError as error:
        raise click.UsageError(f"The transaction is no JSON: {error}.") from None
    click.echo(json.dumps(kv._run(kv._transact(asked)), ensure_ascii=False))


def _wait(running: "subprocess.Popen[bytes]", lock: "Lock", ttl: int) -> int:
    """Wait for a command, and extend its lock.

    :raises LockLost: the lock is another's, or may be
    """
    extended_at = time.monotonic()
    while True:
        try:
            return running.wait(ttl / 3)
        except subprocess.TimeoutExpired:
            began_at = time.monotonic()
            try:
                lock.extend()
                extended_at = began_at
            except LockLost:
                raise
            except FlaskvstoreError:
                # The service may come back before the lock expires.
                if time.monotonic() - extended_at > ttl * 2 / 3:
                    raise lock.lost() from None


def _entry(kv: "Store", key: str) -> Entry | None:
    return kv._run(kv._entry_or_none(key))


def _text(entry: Entry | None) -> str:
    try:
        return "" if entry is None else entry.text
    except UnicodeDecodeError:
        raise click.ClickException(
            "The value is no text: write it with get to a file, and store that with put."
        ) from None


def _as_before(before: str, text: str) -> str:
    """Return a text without the line end that editors add."""
    return text if before.endswith("\n") or not text.endswith("\n") else text.removesuffix("\n")


def _merged(theirs: str, mine: str) -> str:
    """Return the text to edit after a lost race, as the user wants it."""
    click.echo("Another client has changed the value meanwhile:", err=True)
    lines = difflib.unified_diff(theirs.splitlines(), mine.splitlines(), "theirs", "yours", lineterm="")
    click.echo("\n".join(lines), err=True)
    choices = click.Choice(["edit", "mine", "quit"])
    choice = click.prompt("edit both, store mine, or quit?", type=choices, default="edit", err=True)
    if choice == "quit":
        raise click.exceptions.Exit(CONDITION)
    return mine if choice == "mine" else f"<<<<<<< yours\n{mine}\n=======\n{theirs}\n>>>>>>> theirs\n"


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Take a signal, and do nothing."""


COMMANDS = (edit_command, lock_command, tx_command)
