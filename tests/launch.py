"""Servers of any application factory, for tests that `tests.serve`'s configurations do not reach."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .serve import ROOT, SERVERS, Start
from .servers import RunningServer, end, free_port, wait_until_up

MOUNT = "/api/copilotkit"


@contextlib.contextmanager
def launched(
    server: str,
    factory: str,
    *,
    mount: str = MOUNT,
    workers: int = 1,
    threads: int = 64,
    preload: bool = False,
    extra: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """One of `tests.serve`'s servers, with the application that ``factory`` makes.

    ``extra`` are further arguments of the server's own. Raises RuntimeError where the
    server does not come up, or does not end by itself when told to; failures inside the
    block get the end of the server's log as a note.
    """
    port = free_port()
    start = Start(factory=factory, port=str(port), workers=workers, threads=threads, preload=preload)
    arguments = [sys.executable, "-m", *SERVERS[server].command(start), *extra]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(prefix="copilot-server-") as folder:
        log_path = Path(folder) / "log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        up = RunningServer(port, f"http://127.0.0.1:{port}{mount}", process, log_path)
        try:
            wait_until_up(up, f"{mount}/inspector-metadata")
            yield up
        except BaseException as error:
            end(process)
            error.add_note(up.log_tail())
            raise
        if process.poll() is None and not end(process):
            raise RuntimeError(f"the server had to be killed: it did not end on SIGTERM; {up.log_tail()}")
