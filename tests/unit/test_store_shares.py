"""A user who fills a store pushes out own threads, and none of users who hold no more than their share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime.stores import MemoryStore, RunStore, SqliteStore
from copilot_runtime.stores._sqlite import shares
from copilot_runtime.stores.protocol import ThreadKey
from copilot_runtime.testing._factories import (
    ADA,
    BOB,
    STARTED,
    append_one,
    begin,
    list_thread_ids,
    record_run,
    store_run,
    text_event,
)

from .store_helpers import recomputed

pytestmark = [pytest.mark.requirement("STORE-09"), pytest.mark.usefixtures("no_syncs")]

LIMITS = [{"max_threads": 10, "max_bytes": 0}, {"max_threads": 0, "max_bytes": 60_000}]


Make = Callable[..., RunStore]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memory":
        return MemoryStore
    return lambda **limits: SqliteStore(tmp_path / "threads.db", **limits)


def check(store: RunStore) -> None:
    """Compares the totals of owners with what is stored."""
    if isinstance(store, MemoryStore):
        assert store._table.size == recomputed(store)
    elif isinstance(store, SqliteStore):
        counted, stored = (
            store._connections.read(lambda db, sql=sql: db.execute(sql).fetchall())  # type: ignore[misc]
            for sql in (
                "SELECT owner, threads, bytes FROM owners ORDER BY owner",
                "SELECT owner, count(*), sum(bytes) FROM threads GROUP BY owner ORDER BY owner",
            )
        )
        assert counted == stored
        number = store._connections.read(lambda db: db.execute("SELECT value FROM counters WHERE name = 'owners'"))
        assert number.fetchone() == (len(stored),)


def fill(store: RunStore, owner: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        store_run(store, ThreadKey(owner, f"t{number}"))


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_eviction_of_threads_of_one_user_keeps_those_of_others(make: Make, limits: dict[str, int]) -> None:
    store = make(**limits)
    fill(store, BOB, 4)
    fill(store, ADA, 1000)
    assert list_thread_ids(store, BOB) == ["t3", "t2", "t1", "t0"]
    kept = list_thread_ids(store, ADA)
    assert kept == [f"t{number}" for number in range(999, 999 - len(kept), -1)]
    assert len(kept) >= 5
    check(store)


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_eviction_for_a_new_user_takes_from_those_above_their_share(make: Make, limits: dict[str, int]) -> None:
    store = make(**limits)
    fill(store, "light", 1)
    fill(store, ADA, 100)
    for number in range(4):
        fill(store, f"new-{number}", 1)
    fill(store, BOB, 1)
    for owner in ("light", *[f"new-{number}" for number in range(4)], BOB):
        assert list_thread_ids(store, owner) == ["t0"], owner
    assert list_thread_ids(store, ADA)[0] == "t99"


def test_eviction_with_equal_shares_is_by_the_least_recent_use(make: Make) -> None:
    store = make(max_threads=10)
    for number in range(30):
        fill(store, f"user-{number}", 1)
    kept = [number for number in range(30) if list_thread_ids(store, f"user-{number}")]
    assert kept == list(range(20, 30))


def test_eviction_of_users_whose_threads_all_have_active_runs(make: Make) -> None:
    store = make(max_threads=4)
    for number in range(6):
        begin(store, ThreadKey(ADA, f"t{number}"))
    fill(store, BOB, 3)
    fill(store, "third", 1)
    assert list_thread_ids(store, "third") == ["t0"]
    assert all(store.read(ThreadKey(ADA, f"t{number}")).live for number in range(6))


def test_eviction_within_one_large_thread_keeps_those_of_others(make: Make) -> None:
    store = make(max_bytes=60_000)
    fill(store, BOB, 4)
    for number in range(50):
        lease = begin(store, ThreadKey(ADA, "large")).lease
        long = [STARTED, text_event("START"), *[text_event("CONTENT", delta="x" * 1000)] * 3, text_event("END")]
        frames, completion = record_run(lease, [*long, {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}])
        assert append_one(store, lease, frames[:3]) is None
        store.finish(lease, frames[3:], completion)
        if isinstance(store, MemoryStore):
            assert store._table.size <= 60_000, number
    assert list_thread_ids(store, BOB) == ["t3", "t2", "t1", "t0"]
    assert len(store.read(ThreadKey(ADA, "large")).runs) > 1
    check(store)


def test_eviction_in_memory_does_not_compare_all_users_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user who holds most is looked for again only once that user holds no more than the share."""
    store = MemoryStore(max_threads=400)
    for number in range(200):
        fill(store, f"user-{number}", 1)
    fill(store, ADA, 300)
    compared = 0
    usual = type(store._table)._idle_above_share

    def counted(*args: Any) -> Any:
        nonlocal compared
        compared += 1
        return usual(*args)

    monkeypatch.setattr(type(store._table), "_idle_above_share", counted)
    for number in range(100):
        fill(store, f"new-{number}", 1)
    assert compared <= 600


def test_eviction_in_sqlite_uses_indexes(tmp_path: Path) -> None:
    """A full file has 100,000 threads: none of these queries may go through all of them, or through all users."""
    store = SqliteStore(tmp_path / "threads.db")
    fill(store, BOB, 1)
    fill(store, ADA, 3)
    seen: list[str] = []

    def work(db: Any) -> None:
        totals = dict(db.execute("SELECT name, value FROM counters"))
        measures: tuple[shares.Measure, ...] = ("threads", "bytes")
        db.set_trace_callback(seen.append)
        for measure in measures:
            assert not shares.is_above_share(db, 1, measure, totals[measure])
            assert shares.own_idle_threads(db, 3, 10) == [2, 4]
            assert shares.next_victim(db, 4, measure, totals[measure]) == 2
        db.set_trace_callback(None)
        assert len(set(seen)) >= 7
        for sql in set(seen):
            plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}"))
            assert "TEMP B-TREE" not in plan, (sql, plan)
            assert "SCAN owners" not in plan, (sql, plan)
            # Which begins with the least recently used thread, and ends with the first one that has no active run.
            plan = plan.replace("SCAN threads USING COVERING INDEX threads_used ", "")
            assert "SCAN threads" not in plan, (sql, plan)

    store._connections.read(work)
