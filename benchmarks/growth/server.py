"""The application that grows, on a real server."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from typing import Any

from tests.serve import ServerOptions, app_command

from .. import shared
from ..servers import table

NAME = "ours-asgi-growth"


@contextlib.contextmanager
def running() -> Iterator[Any]:
    """Runs a new server, as the shared benchmark's own class, and ends it."""
    options = ServerOptions(factory="benchmarks.growth.application:application", port="{port}")
    specification = tomllib.loads(table(NAME, app_command("asgi", options), shared.ROOT))[NAME]
    server = shared.module().Server(NAME, specification)
    server.start()
    try:
        yield server
    finally:
        server.stop()
