"""Test suites for your own implementations of our protocols. They require pytest.

A store is correct if it passes `RunStoreSuite`::

    from copilot_runtime.testing import RunStoreSuite

    class TestMyStore(RunStoreSuite):
        def make_store(self) -> RunStore:
            return MyStore(...)
"""

import pytest

# Registered before the import, so that failing asserts of the suite show the values that they compare.
pytest.register_assert_rewrite("copilot_runtime.testing._store_suite")

from ._store_suite import RunStoreSuite  # noqa: E402 - see above

__all__ = ["RunStoreSuite"]
