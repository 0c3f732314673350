"""An MCP server with an app, in a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

from .serve import ROOT


@contextlib.contextmanager
def run_clock_server() -> Iterator[str]:
    """Runs `clock_server` and yields its URL."""
    # The listening socket is inherited, so that nobody need wait for it.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor = listening.fileno()
        command = [sys.executable, "-m", "tests.fixtures.clock_server", str(descriptor)]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[descriptor])
        port = listening.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()
