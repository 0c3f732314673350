"""PostgreSQL against the public suite, and what its store guarantees in addition. With a real server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from copilot_runtime.stores import RunStore
from copilot_runtime.stores._postgres.reading import threads_statement
from copilot_runtime.stores.protocol import Lease, ThreadQuery
from copilot_runtime.testing import RunStoreSuite
from copilot_runtime.testing._factories import T1, store_run

from ..services.postgres import shared_postgres
from ..shared_stores import FULL_REPETITIONS
from .postgres_helpers import Stores
from .test_store_suite import RoundRobin

pytestmark = pytest.mark.requirement("STORE-01")


@pytest.fixture(scope="module")
def reused_stores() -> Iterator[Stores]:
    """PostgreSQL stores in one schema for all tests: to create it takes longer than most of them."""
    stores = Stores()
    stores.open().migrate()
    yield stores
    stores.close()


class TestPostgresStore(RunStoreSuite):
    limits = ("max_threads", "max_runs_per_thread", "max_bytes")

    @pytest.fixture(autouse=True)
    def _place(self, reused_stores: Stores) -> Iterator[None]:
        self.stores = reused_stores
        yield
        self.stores.close_stores()
        self.stores.empty()

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


if FULL_REPETITIONS in os.environ:

    class TestPostgresStoreOfTwoProcesses(TestPostgresStore):
        def make_store(self) -> Any:
            return self.make_limited()

        def make_limited(self, **limits: int) -> Any:
            return RoundRobin([self.stores.open(**limits) for _ in range(2)])

        def make_leasing(self, lease_seconds: float) -> Any:
            return RoundRobin([self.stores.open(lease_seconds=lease_seconds) for _ in range(2)])


@pytest.mark.requirement("STORE-13")
def test_the_cost_of_a_list_does_not_depend_on_how_many_threads_there_are(stores: Stores) -> None:
    store = stores.open()
    store_run(store, T1)
    owner = T1.owner

    def add(count: int) -> None:
        # A tenth is not archived, and of an agent of its own.
        stores.execute(
            "INSERT INTO threads (key, owner_key, owner, thread_id, agent_id, archived, created_at, updated_at,"
            " ordinal, runs, bytes) SELECT decode(md5(%s || i), 'hex'), owner_key, owner, 'more-' || i,"
            " CASE i %% 10 WHEN 0 THEN 'rare' ELSE 'often' END, i %% 10 > 0, created_at,"
            " updated_at - make_interval(secs => i), 1, 1, 0"
            " FROM threads, generate_series(1, %s) AS i WHERE thread_id = 't1'",
            str(count),
            count,
        )
        stores.execute(
            "ANALYZE threads"
        )  # as autovacuum does within a minute: without that, the planner expects few rows

    def pages(**query: Any) -> int:
        """Returns how many pages of tables and indexes a list reads."""
        sql, values = threads_statement(owner, ThreadQuery(limit=3, **query))
        with shared_postgres().connect() as db:
            statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql.replace('{s}', stores.schema)}"
            [(plans,)] = db.execute(statement, values).fetchall()
        return int(plans[0]["Plan"]["Shared Hit Blocks"] + plans[0]["Plan"]["Shared Read Blocks"])

    add(1000)
    cursor = store.threads(owner, ThreadQuery(limit=50)).next_cursor
    queries: list[dict[str, Any]] = [
        {},
        {"include_archived": True},
        {"agent_id": "rare"},
        {"agent_id": "nobody", "include_archived": True},
        {"cursor": cursor},
        {"cursor": cursor, "include_archived": True, "agent_id": "often"},
    ]
    few = [pages(**query) for query in queries]
    add(4000)
    many = [pages(**query) for query in queries]
    assert all(after <= before + 8 for before, after in zip(few, many, strict=True)), (few, many)
