"""Servers of the runtimes in `fixtures.runtimes`, for tests that hold for every adapter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .fixtures.runtimes import TRIAL
from .launch import served
from .servers import RunningServer


@contextlib.contextmanager
def trial(adapter: str, name: str, server: str | None = None, **options: Any) -> Iterator[RunningServer]:
    """That runtime on a server, the adapter's first one unless told; ``options`` are those of `launched`."""
    with served(adapter, "tests.fixtures.runtimes:application", server, env={TRIAL: name}, **options) as running:
        yield running
