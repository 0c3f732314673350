"""PostgreSQL against the public suite, and what its store guarantees in addition. With a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from copilot_runtime.stores import PostgresStore, RunStore
from copilot_runtime.stores.protocol import Lease
from copilot_runtime.testing import RunStoreSuite

from ..services.postgres import new_schema, shared_postgres
from .test_store_suite import RoundRobin

pytestmark = pytest.mark.requirement("STORE-01")


class Stores:
    """Stores in one schema, which are closed at the end of the test."""

    def __init__(self) -> None:
        self.schema = new_schema()
        self._opened: list[PostgresStore] = []

    def open(self, **options: Any) -> PostgresStore:
        store = PostgresStore(shared_postgres().url(self.schema).partition("?")[0], schema=self.schema, **options)
        self._opened.append(store)
        return store

    def close(self) -> None:
        for store in self._opened:
            store.close()

    def execute(self, sql: str, *values: Any) -> list[Any]:
        """Executes SQL in the schema. Returns the rows, if there are any."""
        with shared_postgres().connect() as db:
            db.execute(f"SET search_path = {self.schema}")
            cursor = db.execute(sql, values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def stores() -> Iterator[Stores]:
    stores = Stores()
    yield stores
    stores.close()


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


class TestPostgresStoreOfTwoProcesses(TestPostgresStore):
    def make_store(self) -> Any:
        return self.make_limited()

    def make_limited(self, **limits: int) -> Any:
        return RoundRobin([self.stores.open(**limits) for _ in range(2)])

    def make_leasing(self, lease_seconds: float) -> Any:
        return RoundRobin([self.stores.open(lease_seconds=lease_seconds) for _ in range(2)])
