"""A pytest plugin, which is active where `copilot-runtime` is installed: tests write to no store of an application.

In each test, every runtime has an empty memory store of its own. Those that the test itself creates keep their stores,
unless that is a SQLite file outside of the folder for temporary files. ``@pytest.mark.copilot_store`` is for tests of
the configured store; ``-p no:copilot_runtime`` turns the plugin off.

pytest loads this module for every test suite of the environment, so it is outside of the package `copilot_runtime` and
imports nothing of it: the runtime calls `on_import` instead.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

MARKER = "copilot_store"
RUNTIME = "copilot_runtime"


class _Block:
    """A context manager of `copilot_runtime.testing._stores`, entered once the runtime has been imported."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._context: AbstractContextManager[None] | None = None

    def start(self) -> None:
        self._context = getattr(importlib.import_module(f"{RUNTIME}.testing._stores"), self._name)()
        self._context.__enter__()

    def stop(self) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)


_blocks: list[_Block] = []


def on_import() -> None:
    """Replaces the stores of the runtimes that are about to be created."""
    for block in _blocks:
        block.start()


@contextmanager
def _stores(name: str) -> Iterator[None]:
    block = _Block(name)
    _blocks.append(block)
    if RUNTIME in sys.modules:
        block.start()
    try:
        yield
    finally:
        _blocks.remove(block)
        block.stop()


def pytest_configure(config: pytest.Config) -> None:
    """Describes the marker."""
    config.addinivalue_line("markers", f"{MARKER}: the test uses the stores that the runtimes were configured with")


@pytest.fixture(autouse=True, scope="session")
def _copilot_stores_outside_of_tests() -> Iterator[None]:
    """For fixtures that outlive a test."""
    with _stores("override_stores"):
        yield


@pytest.fixture(autouse=True)
def _copilot_stores(request: pytest.FixtureRequest) -> Iterator[None]:
    is_marked = request.node.get_closest_marker(MARKER) is not None
    with _stores("own_stores" if is_marked else "override_stores"):
        yield
