"""The totals of a SQLite store, which each transaction writes once, are those of its rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores._sqlite import schema
from copilot_runtime.stores.protocol import LeaseLost, NewRun, RunEnd, RunStarted, StoreError, ThreadBusy, ThreadKey
from copilot_runtime.testing._factories import ADA, BOB, QUESTION, T1, begin, message_events, record_run, store_run

pytestmark = pytest.mark.requirement("STORE-09")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


def new_run(owner: str, thread: str) -> NewRun:
    return NewRun(ThreadKey(owner, thread), "r", "a")


def begin_all(store: SqliteStore, *runs: NewRun) -> list[RunEnd]:
    """Begins runs in one transaction, and returns their ends."""
    ends = []
    for started in store.write_runs(runs):
        assert isinstance(started, RunStarted)
        ends.append(RunEnd(started.lease, *record_run(started.lease, message_events(), [QUESTION])))
    return ends


def check_totals(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        owners = db.execute("SELECT owner, count(*), sum(bytes) FROM threads GROUP BY owner ORDER BY owner").fetchall()
        assert db.execute("SELECT owner, threads, bytes FROM owners ORDER BY owner").fetchall() == owners
        assert dict(db.execute("SELECT name, value FROM counters")) == {
            "threads": sum(threads for _, threads, _ in owners),
            "bytes": sum(size for _, _, size in owners),
            "owners": len(owners),
        }


def test_totals_of_runs_that_are_written_together(path: Path) -> None:
    store = SqliteStore(path)
    ends = begin_all(store, *(new_run(owner, t) for owner in (ADA, BOB) for t in "abc"))
    check_totals(path)
    store.write_runs([*ends, new_run(ADA, "d"), new_run("cleo", "d")])
    check_totals(path)
    store.write_runs([new_run(ADA, "a"), new_run(ADA, "d")])
    check_totals(path)


def test_totals_of_works_of_which_some_fail(path: Path) -> None:
    """Then they are run one by one, each of them undone where it fails."""
    store = SqliteStore(path)
    lost, other = begin_all(store, new_run(ADA, "a"), new_run(BOB, "b"))
    store.delete(lost.lease.run.thread)
    outcomes = store.write_runs([new_run(ADA, "c"), lost, other, new_run("cleo", "d"), new_run(ADA, "c")])
    assert [type(outcome) for outcome in outcomes] == [RunStarted, LeaseLost, type(None), RunStarted, ThreadBusy]
    check_totals(path)


def test_totals_of_a_transaction_that_fails(path: Path) -> None:
    store = SqliteStore(path)
    store_run(store, T1)

    def fail(db: sqlite3.Connection) -> None:
        store._runs._write(db, [new_run(BOB, "b")])
        raise sqlite3.DatabaseError("disk I/O error")

    with pytest.raises(StoreError):
        store._writer.write(fail)
    check_totals(path)
    begin(store, ThreadKey(BOB, "b"))
    check_totals(path)


def test_totals_of_several_processes(path: Path) -> None:
    stores = [SqliteStore(path, max_threads=5), SqliteStore(path, max_threads=5)]
    for number in range(20):
        for store, owner in zip(stores, (ADA, BOB), strict=True):
            store_run(store, ThreadKey(owner, f"t{number}"))
            check_totals(path)
    stores[0].clear(ADA)
    check_totals(path)


def test_totals_of_a_file_of_an_older_version_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:4])
        SqliteStore(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            for owner, thread in ((ADA, "a"), (ADA, "b"), (BOB, "c")):
                db.execute(
                    "INSERT INTO threads (owner, thread_id, used_at, ordinal, bytes) VALUES (?, ?, 1, 5, 100)",
                    (owner, thread),
                )
    store = SqliteStore(path)
    check_totals(path)
    store_run(store, ThreadKey(ADA, "a"))
    store.delete(ThreadKey(BOB, "c"))
    check_totals(path)


@pytest.mark.parametrize("value", ["9e999", "'x'", "x'00'", "-9e999"])
def test_damaged_sizes_of_a_run_change_no_totals_of_others(path: Path, value: str) -> None:
    store = SqliteStore(path, max_runs_per_thread=1)
    store_run(store, T1)
    store_run(store, ThreadKey(BOB, "b"))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"UPDATE runs SET frames_bytes = {value}, bytes = {value} WHERE thread = 1")
    store_run(store, T1, "m2")
    check_totals(path)
    store.delete(T1)
    check_totals(path)
