"""Ends the services and servers of a test process that was killed, and could not end them itself.

Run as a program, it is told on its standard input, by a line each, which processes there are and which have ended. When
that is closed, so is the test process, however it has ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

STOP_SECONDS = 10.0
"""How long they may take to end."""


class Process(Protocol):
    """A process that was started, such as a ``subprocess.Popen``."""

    pid: int


_supervisors: dict[int, subprocess.Popen[str]] = {}
"""By the id of the process that has started each: a child after a fork starts its own."""


def guard(process: Process, how: int, folder: Path | None = None) -> None:
    """Has a process end, with its group if it leads one, and its folder deleted, if this process is killed.

    Args:
        process: The process.
        how: The signal that ends it.
        folder: Its temporary folder.
    """
    _tell(f"{process.pid} {int(how)} {folder or ''}")


def release(process: Process) -> None:
    """Forgets a process, which this one has ended, or is about to end."""
    if os.getpid() in _supervisors:
        _tell(str(process.pid))


def _tell(line: str) -> None:
    supervisor = _supervisors.get(os.getpid())
    if supervisor is None:
        supervisor = _supervisors[os.getpid()] = subprocess.Popen(
            [sys.executable, "-SE", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # not killed together with the test process
        )
    assert supervisor.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # somebody has ended it
        print(line, file=supervisor.stdin, flush=True)


def _main() -> None:
    processes: dict[int, tuple[int, str]] = {}
    for line in sys.stdin:
        pid, *rest = line.rstrip("\n").split(" ", 2)
        processes.pop(int(pid), None)
        if rest:
            processes[int(pid)] = int(rest[0]), rest[1]
    for pid, (how, _) in processes.items():
        for each in _with_children(pid):
            _send(each, signal.SIGCONT)  # a test may have suspended it
        _send(pid, how)
    deadline = time.monotonic() + STOP_SECONDS
    for pid, (_, folder) in processes.items():
        while _send(pid, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        for each in _with_children(pid):
            _send(each, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # those that it has left
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _with_children(pid: int) -> list[int]:
    try:
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:
        return [pid]


def _send(pid: int, how: int) -> bool:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    _main()
