"""Tests for what you write yourself; they need pytest.

A store of your own is right when it passes `RunStoreSuite`::

    from copilot_runtime.testing import RunStoreSuite

    class TestMyStore(RunStoreSuite):
        def make_store(self) -> RunStore:
            return MyStore(...)
"""

import pytest

# Before it is imported, so that a bare assert of it says what it has compared.
pytest.register_assert_rewrite("copilot_runtime.testing._store_suite")

from ._store_suite import RunStoreSuite  # noqa: E402 - see above

__all__ = ["RunStoreSuite"]
