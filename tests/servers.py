"""Real servers for tests: started on a free port, waited for, and ended with all their children."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .fixtures.configs import together
from .serve import ROOT, command

START_SECONDS = 60.0
"""How long a server may take to answer for the first time."""
STOP_SECONDS = 20.0
"""How long a server may take to end once it was told to."""
LOG_LINES = 40


@dataclasses.dataclass(frozen=True)
class RunningServer:
    """A server that answers. ``base_url`` is where the runtime is mounted, without a slash at the end."""

    port: int
    base_url: str
    process: subprocess.Popen[bytes]
    log_path: Path

    def log(self) -> str:
        """Everything that the server has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_tail(self) -> str:
        lines = self.log().splitlines()[-LOG_LINES:]
        return "the server's log ends with:\n" + "\n".join(f"    {line}" for line in lines)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, path: str) -> bool:
    """Whether an HTTP answer, no matter which, comes to a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def wait_until_up(server: RunningServer, path: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(server.port, path):
        # Waiting for the process to end is the pause between two attempts, and notices a failed start.
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = server.process.wait(0.05)
            raise RuntimeError(f"the server ended with status {status} before it answered")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server did not answer within {START_SECONDS:g} s")


def end(process: subprocess.Popen[bytes]) -> bool:
    """Ends a server and whatever it has started. Says whether it ended when it was asked to."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
        obeyed = True
    except subprocess.TimeoutExpired:
        obeyed = False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return obeyed


@contextlib.contextmanager
def running(
    adapter: str,
    config: str,
    server: str | None = None,
    *,
    store: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    preload: bool = False,
    env: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """A fixture server, for as long as the block lasts; the options are those of ``tests.serve``.

    Of several configurations, the first is at the ``base_url``.
    ``env`` adds to the environment. Raises RuntimeError when the server does not come up,
    or does not end by itself when told to; failures inside the block get the end of the
    server's log as a note.
    """
    port = free_port()
    options: dict[str, Any] = {
        "server": server,
        "store": store,
        "workers": workers,
        "threads": threads,
        "preload": preload,
    }
    start = command(adapter, config, str(port), **options)
    first, *_ = together(config).values()
    with answering(start.arguments, port, first.mount, env={**start.environment, **(env or {})}) as up:
        yield up


@contextlib.contextmanager
def answering(
    arguments: Sequence[str], port: int, mount: str, *, env: Mapping[str, str] | None = None, folder: Path = ROOT
) -> Iterator[RunningServer]:
    """A server that a command starts in ``folder``, from its first answer until the block's end.

    Raises and notes what `running` does.
    """
    with tempfile.TemporaryDirectory(prefix="copilot-server-") as temporary:
        log_path = Path(temporary) / "log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                arguments,
                cwd=folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        up = RunningServer(port, f"http://127.0.0.1:{port}{mount}", process, log_path)
        try:
            # Any route will do, and this one asks no agent anything.
            wait_until_up(up, f"{mount}/inspector-metadata")
            yield up
        except BaseException as error:
            end(process)
            error.add_note(up.log_tail())
            raise
        if not end(process):
            raise RuntimeError(f"the server had to be killed: it did not end on SIGTERM; {up.log_tail()}")
