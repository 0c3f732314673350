"""PostgreSQL against the public suite, and what its store guarantees in addition. With a real server."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from copilot_runtime.stores import RunStore
from copilot_runtime.stores.protocol import Lease
from copilot_runtime.testing import RunStoreSuite

from ..shared_stores import FULL_REPETITIONS
from .postgres_helpers import Stores
from .test_store_suite import RoundRobin

pytestmark = pytest.mark.requirement("STORE-01")


class TestPostgresStore(RunStoreSuite):
    limits = ("max_threads", "max_runs_per_thread", "max_bytes")

    @pytest.fixture(autouse=True)
    def _place(self, stores: Stores) -> None:
        self.stores = stores

    def make_store(self) -> RunStore:
        return self.stores.open()

    def make_limited(self, **limits: int) -> RunStore:
        return self.stores.open(**limits)

    def make_leasing(self, lease_seconds: float) -> RunStore:
        return self.stores.open(lease_seconds=lease_seconds)

    def open_second(self, store: RunStore) -> RunStore:
        return self.stores.open()

    def expire(self, store: RunStore, lease: Lease, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Time is the server's: leases are made older."""
        assert store.lease_seconds is not None
        for _ in range(5):
            self.stores.execute(
                "UPDATE live SET expires_at = expires_at - make_interval(secs => %s)", store.lease_seconds / 4
            )
            meanwhile()


@pytest.mark.skipif(FULL_REPETITIONS not in os.environ, reason=f"all of the suite once more, with {FULL_REPETITIONS}=1")
class TestPostgresStoreOfTwoProcesses(TestPostgresStore):
    def make_store(self) -> Any:
        return self.make_limited()

    def make_limited(self, **limits: int) -> Any:
        return RoundRobin([self.stores.open(**limits) for _ in range(2)])

    def make_leasing(self, lease_seconds: float) -> Any:
        return RoundRobin([self.stores.open(lease_seconds=lease_seconds) for _ in range(2)])
