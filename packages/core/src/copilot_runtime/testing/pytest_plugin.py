"""A pytest plugin, which is active where this package is installed: tests write to no store of an application.

In each test, every runtime has an empty memory store of its own. Those that the test itself creates keep their stores,
unless that is a SQLite file outside of the folder for temporary files. ``@pytest.mark.copilot_store`` is for tests of
the configured store; ``-p no:copilot_runtime`` turns the plugin off.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ._stores import override_stores, own_stores

MARKER = "copilot_store"


def pytest_configure(config: pytest.Config) -> None:
    """Describes the marker."""
    config.addinivalue_line("markers", f"{MARKER}: the test uses the stores that the runtimes were configured with")


@pytest.fixture(autouse=True, scope="session")
def _copilot_stores_outside_of_tests() -> Iterator[None]:
    """For fixtures that outlive a test."""
    with override_stores():
        yield


@pytest.fixture(autouse=True)
def _copilot_stores(request: pytest.FixtureRequest) -> Iterator[None]:
    is_marked = request.node.get_closest_marker(MARKER) is not None
    with own_stores() if is_marked else override_stores():
        yield
