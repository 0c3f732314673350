"""An MCP server with an app, in a process of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .servers import run_on_socket


@contextlib.contextmanager
def run_clock_server() -> Iterator[str]:
    """Runs `clock_server` and yields its URL."""
    with run_on_socket("tests.fixtures.clock_server") as (port, _):
        yield f"http://127.0.0.1:{port}/mcp"
