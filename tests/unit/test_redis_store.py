"""Redis against the public suite of stores (copilot_runtime.testing), and what it guarantees in addition."""

from __future__ import annotations

import pytest

from copilot_runtime.stores import RunStore
from copilot_runtime.stores._redis.store import RedisStore
from copilot_runtime.testing import RunStoreSuite

from ..services.redis import new_prefix, shared_redis

pytestmark = pytest.mark.requirement("STORE-01")


class TestRedisStore(RunStoreSuite):
    limits = ("max_threads", "max_runs_per_thread", "max_bytes")

    @pytest.fixture(autouse=True)
    def _place(self) -> None:
        self.url = f"redis://127.0.0.1:{shared_redis().port}/0"
        self.prefix = new_prefix()

    def make_store(self) -> RunStore:
        return RedisStore(self.url, prefix=self.prefix)

    def make_limited(self, **limits: int) -> RunStore:
        return RedisStore(self.url, prefix=self.prefix, **limits)

    def make_leasing(self, lease_seconds: float) -> RunStore:
        return RedisStore(self.url, prefix=self.prefix, lease_seconds=lease_seconds)

    def open_second(self, store: RunStore) -> RunStore:
        return RedisStore(self.url, prefix=self.prefix)
