"""What the services share: finding programs, an account that is not root's, and ending processes by their ids."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

STOP_SECONDS = 20.0
"""How long a service may take to end."""


def find_program(name: str, *patterns: str) -> str | None:
    """Returns the path of a program: from PATH, or the last match of a pattern such as ``/usr/lib/x/*/bin``."""
    found = shutil.which(name)
    if found is not None:
        return found
    matches = [match for pattern in patterns for match in glob.glob(f"{pattern}/{name}") if os.access(match, os.X_OK)]
    return max(matches, default=None)


def account(name: str) -> str | None:
    """Returns the account to run a service as that refuses to run as root; None for our own."""
    return name if os.getuid() == 0 else None


@contextlib.contextmanager
def service_folder(name: str, user: str | None = None) -> Iterator[Path]:
    """A new temporary folder, which belongs to ``user``."""
    with tempfile.TemporaryDirectory(prefix=f"copilot-{name}-", ignore_cleanup_errors=True) as folder:
        if user is not None:
            shutil.chown(folder, user, user)
        yield Path(folder)


def end(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> None:
    """Ends a process, by force if it takes too long."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def with_children(pid: int) -> list[int]:
    """Returns the ids of a process and its child processes."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *map(int, children)]


def signal_all(pids: Iterable[int], how: int) -> None:
    """Sends a signal to processes; those that have ended are skipped."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
