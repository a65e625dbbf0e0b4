"""Programs that this one starts and that must not outlive it."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO


_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def spawn(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    inherit: Sequence[int] = (),
    umask: int = -1,
    output: IO[bytes] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, out of reach of the terminal's Ctrl-C.

    On Linux it gets a signal if this process ends without stopping it, by SIGKILL for example.

    :param command: the program and its arguments
    :param cwd: the folder it runs in
    :param env: its environment; None for ours
    :param inherit: file descriptors that stay open in it
    :param umask: what its new files may not be; -1 for ours
    :param output: where its standard output and error go; None for ours
    :param death_signal: that signal
    """
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=inherit,
        umask=umask,
        process_group=0,
        preexec_fn=partial(_in_child, death_signal),
    )


def _in_child(death_signal: signal.Signals) -> None:
    # The parent blocks the signals that it waits for, and a child would inherit that.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # A shell that starts the service in the background has it ignore these, and so would the child.
    for ignored in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_DFL)
    end_with_parent(death_signal)


def end_with_parent(death_signal: signal.Signals = signal.SIGTERM) -> None:
    """Let Linux send this process a signal when its parent ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
