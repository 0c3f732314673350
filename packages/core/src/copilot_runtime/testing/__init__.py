"""Tests of your own agents, and test suites for your own implementations of our protocols.

An agent is tested by running it in process, with no server::

    from copilot_runtime.testing import TestClient

    def test_greeting() -> None:
        with TestClient(CopilotRuntime(agents={"default": agent})) as client:
            assert client.run("default", "hi").text == "Hello!"

A store is correct if it passes `RunStoreSuite`, which needs pytest::

    from copilot_runtime.testing import RunStoreSuite

    class TestMyStore(RunStoreSuite):
        def make_store(self) -> RunStore:
            return MyStore(...)
"""

from typing import TYPE_CHECKING

from ._client import AsyncRunStream, AsyncTestClient, RequestOptions, RunOptions, RunStream, TestClient
from ._results import ClientResponse, HTTPStatusError, RunResult
from ._stores import override_stores

if TYPE_CHECKING:
    from ._store_suite import RunStoreSuite

__all__ = [
    "AsyncRunStream",
    "AsyncTestClient",
    "ClientResponse",
    "HTTPStatusError",
    "RequestOptions",
    "RunOptions",
    "RunResult",
    "RunStoreSuite",
    "RunStream",
    "TestClient",
    "override_stores",
]


def __getattr__(name: str) -> object:
    # The clients must not need pytest.
    if name != "RunStoreSuite":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    # Registered before the import, so that failing asserts of the suite show the values that they compare.
    for module in ("_store_suite", "_portable_suite"):
        pytest.register_assert_rewrite(f"copilot_runtime.testing.{module}")
    from ._store_suite import RunStoreSuite

    return RunStoreSuite
