"""Servers of the runtimes in `fixtures.trials`, for tests that hold for every adapter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .fixtures.trials import TRIAL
from .launch import launched
from .servers import RunningServer

SERVERS = {"asgi": "uvicorn", "wsgi": "gthread"}
"""Each adapter's server here; `test_servers` has the others."""


@contextlib.contextmanager
def trial(adapter: str, name: str, server: str | None = None) -> Iterator[RunningServer]:
    """A server of that runtime."""
    factory = f"tests.fixtures.trials:{adapter}"
    with launched(server or SERVERS[adapter], factory, env={TRIAL: name}) as running:
        yield running
