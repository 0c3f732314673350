"""Servers of any application factory, for tests that `tests.serve`'s configurations do not reach."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .fixtures import apps
from .serve import ADAPTERS, ROOT, SERVERS, Start
from .servers import RunningServer, answering, free_port

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
    with answering(arguments, port, mount, env={"PYTHONPATH": path, **(env or {})}) as up:
        yield up


@contextlib.contextmanager
def served(
    adapter: str, factory: str, server: str | None = None, *, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[RunningServer]:
    """The same, by an adapter, for a ``factory`` that asks `fixtures.apps` which; its first server unless told."""
    chosen = server or ADAPTERS[adapter].servers[0]
    with launched(chosen, factory, env={apps.ADAPTER: adapter, **(env or {})}, **options) as up:
        yield up
