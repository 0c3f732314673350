"""Any operations on a store, in any order, and the invariants that hold after each of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from copilot_runtime.stores import (
    LeaseLost,
    MemoryStore,
    RunStore,
    RunTooLarge,
    SqliteStore,
)
from copilot_runtime.stores import (
    _memory as memory,
)
from copilot_runtime.stores._sqlite import run_writes
from copilot_runtime.stores._sqlite import store as sqlite
from copilot_runtime.stores._sqlite.sizes import frames_bytes, ids_bytes, message_bytes, run_bytes, thread_bytes
from copilot_runtime.stores.protocol import (
    Lease,
    LeaseSignal,
    NewRun,
    RunCompletion,
    RunStarted,
    ThreadBusy,
    ThreadKey,
)
from copilot_runtime.testing._factories import (
    ADA,
    BOB,
    EMPTY_SNAPSHOT,
    FINISHED,
    QUESTION,
    STARTED,
    Event,
    append_one,
    clear_all,
    list_thread_ids,
    message_events,
    record_run,
)

from .store_helpers import Clock, recomputed

_SAID = st.sampled_from((message_events()[1:-1], [], [EMPTY_SNAPSHOT]))
"""What a run says: something, nothing, or that there are no messages any more."""


class Machine(RuleBasedStateMachine):
    """The operations. ``valid`` are the leases that hold."""

    leases = Bundle("leases")
    modules: ClassVar[Sequence[ModuleType]]
    """The modules whose ``time`` the store uses."""
    store: RunStore

    def open(self, **limits: int) -> None:
        """Creates the store."""
        raise NotImplementedError

    @initialize(threads=st.integers(0, 3), runs=st.integers(0, 3), size=st.sampled_from((0, 3000, 9000, 25_000)))
    def make(self, threads: int, runs: int, size: int) -> None:
        self.sizes: dict[Lease, int] = {}
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        for module in self.modules:
            self.patch.setattr(module, "time", self.clock)
        self.limits = (threads, runs, size)
        self.valid: set[Lease] = set()
        self.open(max_threads=threads, max_runs_per_thread=runs, max_bytes=size)

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()

    @rule(target=leases, owner=st.sampled_from((ADA, ADA, BOB)), name=st.integers(0, 2), size=st.integers(0, 300))
    def begin(self, owner: str, name: int, size: int) -> Any:
        key = ThreadKey(owner, f"t{name}")
        started = self.store.begin(NewRun(thread=key, run_id="r", agent_id="a", size=size))
        busy = any(lease.run.thread == key for lease in self.valid)
        assert isinstance(started, ThreadBusy if busy else RunStarted)
        if isinstance(started, ThreadBusy):
            return multiple()
        self.sizes[started.lease] = self.sizes[Lease(started.lease.run, "r", -1)] = size
        self.valid.add(started.lease)
        return started.lease

    @rule(lease=leases, count=st.integers(0, 3), length=st.integers(0, 200))
    def append(self, lease: Lease, count: int, length: int) -> None:
        why = append_one(self.store, lease, [b"x" * length + b"\n\n"] * count)
        assert isinstance(why, LeaseLost) == (lease not in self.valid)
        assert self.limits[2] > 0 or not isinstance(why, RunTooLarge)

    @rule(lease=leases)
    def stop(self, lease: Lease) -> None:
        live = self.store.request_stop(lease.run.thread, lease.run_id)
        assert (live is None) == all(other.run.thread != lease.run.thread for other in self.valid)

    @rule(target=leases, lease=leases, force=st.booleans())
    def claim(self, lease: Lease, force: bool) -> Any:
        claimed = self.store.claim(lease.run, force=force)
        former = next((other for other in self.valid if other.run == lease.run), None)
        assert (claimed is None) == (former is None or not force)
        if claimed is None or former is None:
            return multiple()
        self.sizes[claimed.lease] = self.sizes[former]
        self.valid.remove(former)
        self.valid.add(claimed.lease)
        return claimed.lease

    @rule(lease=consumes(leases), persist=st.booleans(), question_length=st.integers(0, 2), said=_SAID)
    def finish(self, lease: Lease, persist: bool, question_length: int, said: Sequence[Event]) -> None:
        question = [{**QUESTION, "content": "?" * question_length}] if question_length else []
        frames, completion = record_run(lease, [STARTED, *said, FINISHED], question)
        try:
            self.store.finish(lease, frames, completion if persist else RunCompletion(persist=False))
            assert lease in self.valid
        except LeaseLost:
            assert lease not in self.valid
        self.valid.discard(lease)

    @rule(
        owner=st.sampled_from((ADA, ADA, BOB)),
        name=st.integers(0, 2),
        question_length=st.integers(0, 2),
        said=_SAID,
    )
    def run(self, owner: str, name: int, question_length: int, said: Sequence[Event]) -> None:
        lease = self.begin(owner, name, 10)
        if isinstance(lease, Lease):
            self.append(lease, 2, 20)
            self.finish(lease, True, question_length, said)

    @rule(owner=st.sampled_from((ADA, ADA, BOB)), name=st.integers(0, 2))
    def delete(self, owner: str, name: int) -> None:
        self.store.delete(ThreadKey(owner, f"t{name}"))
        self.valid = {lease for lease in self.valid if lease.run.thread != (owner, f"t{name}")}

    @rule(owner=st.sampled_from((ADA, BOB)))
    def clear(self, owner: str) -> None:
        clear_all(self.store, owner)
        assert list_thread_ids(self.store, owner) == []

    @rule()
    def sweep(self) -> None:
        while self.store.sweep():
            pass

    @rule(owner=st.sampled_from((ADA, ADA, BOB)), name=st.integers(0, 2))
    def connect(self, owner: str, name: int) -> None:
        self.store.read(ThreadKey(owner, f"t{name}"), touch=True)

    @rule(seconds=st.sampled_from((1.0, 30.0, 61.0)))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def totals_are_right(self) -> None:
        if hasattr(self, "valid"):
            assert LeaseSignal.LOST not in self.store.poll_signals(list(self.valid)).values()
            self.check()

    def check(self) -> None:
        """Compares the totals with what is stored, and both with the limits."""
        raise NotImplementedError


class MemoryStoreMachine(Machine):
    modules = (memory,)
    store: MemoryStore

    def open(self, **limits: int) -> None:
        self.store = MemoryStore(**limits)

    @rule()
    def fork(self) -> None:
        self.store.after_fork()
        self.valid.clear()

    def check(self) -> None:
        assert recomputed(self.store, self.sizes) == self.store._table.size
        threads, runs, size = self.limits
        live = len(self.valid)
        if threads:
            assert len(self.store._table.by_key) <= max(threads, live + 1)
        for thread in self.store._table.by_key.values():
            assert not runs or len(thread.runs) <= runs
            assert thread.runs or thread.live is not None
        if size and not live and len(self.store._table.by_key) > 1:
            assert self.store._table.size <= size


class SqliteStoreMachine(Machine):
    modules = (sqlite, run_writes)
    store: SqliteStore

    def open(self, **limits: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = SqliteStore(Path(self.folder.name, "threads.db"), lease_seconds=1e9, **limits)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule()
    def fork(self) -> None:
        self.store.after_fork()

    def rows(self, sql: str) -> list[Any]:
        return self.store._connections.read(lambda db: db.execute(sql).fetchall())

    def recompute(self) -> dict[int, int]:
        """Returns the size of each thread, from its rows."""
        frames: dict[int, int] = {}
        for frames_id, length in self.rows("SELECT frames_id, length(frames) FROM frames"):
            frames[frames_id] = frames.get(frames_id, 0) + frames_bytes(length)
        sizes = {
            thread: thread_bytes(len(owner), len(thread_id)) + len(ids) - len("[]") + len(recent_ids)
            for thread, owner, thread_id, ids, recent_ids in self.rows(
                "SELECT id, owner, thread_id, message_ids, recent_ids FROM threads"
            )
        }
        for thread, frames_id, stored, counted in self.rows(
            "SELECT thread, frames_id, frames_bytes, counted_bytes FROM live"
        ):
            assert stored == frames.get(frames_id, 0)
            assert stored - self.store._appends.max_uncounted <= counted <= stored
            sizes[thread] += counted
        for thread, frames_id, raw_until, *columns in self.rows(
            "SELECT thread, frames_id, raw_until, run_id, records, duplicates FROM runs"
            " WHERE thread IN (SELECT id FROM threads)"
        ):
            sizes[thread] += run_bytes(sum(map(len, columns))) + (frames.get(frames_id, 0) if raw_until else 0)
        for thread, *columns in self.rows(
            "SELECT thread, id, message FROM messages WHERE thread IN (SELECT id FROM threads)"
        ):
            sizes[thread] += message_bytes(*columns)
        for thread, size, length in self.rows(
            "SELECT thread, bytes, length(ids) FROM message_ids WHERE thread IN (SELECT id FROM threads)"
        ):
            assert size == ids_bytes(length)
            sizes[thread] += size
        return sizes

    def check(self) -> None:
        counted = dict(self.rows("SELECT name, value FROM counters"))
        stored = dict(self.rows("SELECT id, runs FROM threads"))
        assert counted["threads"] == len(stored)
        assert self.rows("SELECT coalesce(sum(bytes), 0) FROM threads") == [(counted["bytes"],)]
        assert dict(self.rows("SELECT id, bytes FROM threads")) == self.recompute()
        of_owners = self.rows("SELECT owner, count(*), sum(bytes) FROM threads GROUP BY owner ORDER BY owner")
        assert self.rows("SELECT owner, threads, bytes FROM owners ORDER BY owner") == of_owners
        assert counted["owners"] == len(of_owners)
        in_runs = dict(self.rows("SELECT thread, count(*) FROM runs GROUP BY thread"))
        in_runs = {thread: count for thread, count in in_runs.items() if thread in stored}
        assert in_runs == {thread: runs for thread, runs in stored.items() if runs}
        live = {thread for (thread,) in self.rows("SELECT thread FROM live")}
        assert len(live) == len(self.valid)
        threads, runs, size = self.limits
        for thread, count in stored.items():
            assert not runs or count <= runs
            assert count or thread in live
        if not live:
            assert not threads or len(stored) <= threads
            assert not size or len(stored) < 2 or counted["bytes"] <= size


SETTINGS = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

TestMemoryStoreMachine = MemoryStoreMachine.TestCase
TestMemoryStoreMachine.settings = SETTINGS
TestSqliteStoreMachine = SqliteStoreMachine.TestCase
TestSqliteStoreMachine.settings = SETTINGS
