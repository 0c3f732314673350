"""Any operations on a PostgreSQL store, in any order, and the invariants that hold after each of them."""

from __future__ import annotations

import types
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from copilot_runtime.stores import PostgresStore
from copilot_runtime.stores._postgres.sizes import frames_bytes, message_bytes, run_bytes, thread_bytes

from ..shared_stores import repetitions
from .postgres_helpers import Stores
from .test_store_machine import Machine

_stores: list[Stores] = []


def shared_stores() -> Stores:
    """Returns one schema for all examples."""
    if not _stores:
        _stores.append(Stores())
        _stores[0].open().migrate()
    return _stores[0]


class PostgresStoreMachine(Machine):
    modules = (cast(types.ModuleType, types.SimpleNamespace(time=None)),)
    store: PostgresStore

    def open(self, **limits: int) -> None:
        self.stores = shared_stores()
        self.stores.close_stores()
        self.stores.empty()
        self.store = self.stores.open(lease_seconds=1e9, **limits)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "stores"):
            self.stores.close()

    @rule(seconds=st.sampled_from((30.0, 61.0)))
    def wait(self, seconds: float) -> None:
        """Time is the server's, so what is stored becomes older."""
        for table, column in (("threads", "used_at"), ("runs", "raw_until")):
            self.stores.execute(f"UPDATE {table} SET {column} = {column} - make_interval(secs => %s)", seconds)

    def recompute(self) -> dict[int, int]:
        """Returns the size of each thread, from its rows."""
        rows = self.stores.execute
        frames: dict[int, int] = {}
        for frames_id, length in rows("SELECT frames_id, length(frames) FROM frames"):
            frames[frames_id] = frames.get(frames_id, 0) + frames_bytes(length)
        sizes = {
            thread: thread_bytes(owner, thread_id)
            for thread, owner, thread_id in rows("SELECT id, owner, thread_id FROM threads")
        }
        for thread, frames_id, stored, counted in rows(
            "SELECT thread, frames_id, frames_bytes, counted_bytes FROM live"
        ):
            assert stored == frames.get(frames_id, 0)
            assert 0 <= counted <= stored
            sizes[thread] += counted
        for thread, frames_id, raw_until, records, *lists in rows(
            "SELECT thread, frames_id, raw_until, records, event_messages, input_messages, duplicates FROM runs"
            " WHERE thread IN (SELECT id FROM threads)"
        ):
            sizes[thread] += run_bytes(records, *lists) + (frames.get(frames_id, 0) if raw_until else 0)
        for thread, message in rows("SELECT thread, message FROM messages WHERE thread IN (SELECT id FROM threads)"):
            sizes[thread] += message_bytes(message)
        return sizes

    def check(self) -> None:
        rows = self.stores.execute
        rows(f"SELECT {self.stores.schema}.fold_usage()")
        stored = dict(rows("SELECT id, runs FROM threads"))
        assert dict(rows("SELECT id, bytes FROM threads")) == self.recompute()
        of_owners = rows("SELECT owner_key, count(*), sum(bytes) FROM threads GROUP BY 1 ORDER BY 1")
        assert rows("SELECT owner_key, threads, bytes FROM usage WHERE owner_key <> '' ORDER BY 1") == of_owners
        [(owners, threads, size)] = rows("SELECT owners, threads, bytes FROM usage WHERE owner_key = ''")
        assert (owners, threads, size) == (len(of_owners), len(stored), sum(row[2] for row in of_owners))
        in_runs: dict[Any, int] = dict(rows("SELECT thread, count(*) FROM runs GROUP BY thread"))
        in_runs = {thread: count for thread, count in in_runs.items() if thread in stored}
        assert in_runs == {thread: runs for thread, runs in stored.items() if runs}
        live = {thread for (thread,) in rows("SELECT thread FROM live")}
        assert len(live) == len(self.valid)
        assert live == {thread for (thread,) in rows("SELECT id FROM threads WHERE active")}
        max_threads, max_runs, max_bytes = self.limits
        for thread, count in stored.items():
            assert not max_runs or count <= max_runs
            assert count or thread in live
        if not live:
            assert not max_threads or len(stored) <= max_threads
            assert not max_bytes or len(stored) < 2 or size <= max_bytes


TestPostgresStoreMachine = PostgresStoreMachine.TestCase
TestPostgresStoreMachine.settings = settings(
    max_examples=repetitions(6, 60), stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
