"""What a SQLite store deletes: in short transactions, and as much as its limits require of the file itself."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._engine import async_store
from copilot_runtime._engine.async_store import AsyncStore
from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores._pagination import next_cursor
from copilot_runtime.stores._sqlite import (
    connections,
    garbage,
    last_uses,
    retention,
    run_begins,
    run_follower,
    run_writes,
)
from copilot_runtime.stores._sqlite import store as sqlite
from copilot_runtime.stores._sqlite.thread_list import select_infos
from copilot_runtime.stores.protocol import (
    RAW_RETENTION_SECONDS,
    Batch,
    Lease,
    LeaseLost,
    NewRun,
    RunCompletion,
    RunEnd,
    RunStarted,
    StoreError,
    ThreadKey,
    ThreadQuery,
)
from copilot_runtime.testing._factories import (
    ADA,
    BOB,
    QUESTION,
    T1,
    T2,
    append_one,
    begin,
    clear_all,
    list_thread_ids,
    message_events,
    record_run,
    store_run,
)

from .store_helpers import Clock, read_raw

pytestmark = pytest.mark.requirement("STORE-08")

CONTENT_TABLES = ("threads", "live", "runs", "frames", "messages", "garbage")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(0.001)
    for module in (sqlite, run_writes):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(run_follower, "time", clock)
    return clock


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BATCH_SIZE", 5)
    monkeypatch.setattr(garbage, "PIECE_ROWS", 10)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each transaction has changed since the fixture was set up."""
    counts: list[int] = []
    commit = connections.ConnectionPair._commit

    def count(self: connections.ConnectionPair, db: sqlite3.Connection, waiting: Any) -> None:
        before = db.total_changes
        commit(self, db, waiting)
        counts.append(db.total_changes - before)

    monkeypatch.setattr(connections.ConnectionPair, "_commit", count)
    return counts


def count_rows(path: Path, *tables: str) -> int:
    db = sqlite3.connect(path)
    try:
        return sum(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)
    finally:
        db.close()


def store_long_run(store: SqliteStore, key: ThreadKey, batches: int) -> None:
    lease = begin(store, key).lease
    frames, completion = record_run(lease, message_events())
    for number in range(batches):
        append_one(store, lease, [b"id: 1.%d\ndata: {}\n\n" % number])
    store.finish(lease, frames, completion)


def between_pieces(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Lets another process write whenever a long operation pauses."""

    async def pause(seconds: float) -> None:
        assert seconds >= async_store.MIN_PAUSE_SECONDS
        work()

    monkeypatch.setattr(async_store.driver, "sleep", pause)


@pytest.mark.usefixtures("small_pieces")
def test_clear_lets_other_requests_write_in_between(
    path: Path, changes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(path)
    for number in range(40):
        store_run(store, ThreadKey(ADA, f"t{number}"))
    other = SqliteStore(path, timeout_seconds=0.01)
    turns: list[object] = []
    between_pieces(monkeypatch, lambda: turns.append(begin(other, ThreadKey(BOB, f"t{len(turns)}"))))
    changes.clear()
    asyncio.run(AsyncStore(store).clear(ADA))
    assert list_thread_ids(store) == []
    assert len(turns) > 10
    assert max(changes) < 60
    assert count_rows(path, "runs", "messages", "frames", "garbage") == 0


@pytest.mark.usefixtures("small_pieces")
def test_delete_of_a_large_thread_lets_other_requests_write_in_between(
    path: Path, changes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(path)
    store_long_run(store, T1, 100)
    turns: list[object] = []
    between_pieces(monkeypatch, lambda: turns.append(list_thread_ids(store)))
    changes.clear()
    assert asyncio.run(AsyncStore(store).delete(T1))
    # It is not visible any more from the first moment on.
    assert len(turns) > 5
    assert not any(turns)
    assert max(changes) < 30
    assert count_rows(path, *CONTENT_TABLES) == 0


@pytest.mark.usefixtures("small_pieces")
def test_expired_raw_frames_are_deleted_in_small_pieces(path: Path, clock: Clock, changes: list[int]) -> None:
    store = SqliteStore(path)
    for number in range(5):
        store_long_run(store, ThreadKey(ADA, f"t{number}"), 60)
    clock.now += RAW_RETENTION_SECONDS + run_writes.SWEEP_INTERVAL_SECONDS
    changes.clear()
    begins = 0
    while count_rows(path, "frames") > 3:
        store_run(store, ThreadKey(BOB, f"t{begins}"))
        clock.now += RAW_RETENTION_SECONDS + run_writes.SWEEP_INTERVAL_SECONDS
        begins += 1
        assert begins < 40
    assert begins > 10
    assert max(changes) < 60
    assert all(store.read(ThreadKey(ADA, f"t{number}")).runs for number in range(5))


def test_raw_frames_that_are_being_deleted_are_not_read(path: Path, clock: Clock) -> None:
    store = SqliteStore(path)
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    for frame in frames[:-1]:
        append_one(store, lease, [frame])
    store.finish(lease, frames[-1:], completion)
    clock.now += RAW_RETENTION_SECONDS + 1
    store._writer.write(lambda db: store._retention.sweep(db, clock.now))
    store._writer.write(lambda db: garbage.collect(db, 1))
    assert count_rows(path, "frames") == 4
    update = store.follow(lease.run, 1)
    assert (list(update.frames), update.ended) == ([], True)


CLEAR_AND_DIE = """
import asyncio, os, signal, sys
from copilot_runtime._engine import async_store
from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores._sqlite import garbage, store
store.BATCH_SIZE, garbage.PIECE_ROWS = 5, 10
pauses = 0
async def sleep(seconds):
    global pauses
    pauses += 1
    if pauses == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
async_store.driver.sleep = sleep
asyncio.run(async_store.AsyncStore(SqliteStore(sys.argv[1])).clear("ada"))
"""


@pytest.mark.parametrize("pauses", [3, 10], ids=["while threads are deleted", "while their rows are deleted"])
def test_clear_that_was_interrupted_can_be_repeated(path: Path, pauses: int) -> None:
    store = SqliteStore(path)
    for number in range(22):
        store_run(store, ThreadKey(ADA, f"t{number}"))
    done = subprocess.run([sys.executable, "-c", CLEAR_AND_DIE, str(path), str(pauses)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list_thread_ids(store)) == (22 - 3 * 5 if pauses == 3 else 0)
    assert count_rows(path, "runs") > 0
    asyncio.run(AsyncStore(store).clear(ADA))
    assert count_rows(path, *CONTENT_TABLES) == 0


def test_rows_that_a_process_has_not_lived_to_delete_are_deleted_by_others(path: Path) -> None:
    store = SqliteStore(path)
    store_long_run(store, T1, 1000)
    store.delete(T1)
    assert count_rows(path, "frames") > 0
    lease = begin(store, T2).lease
    for _ in range(6):
        append_one(store, lease, [b"id: 1.1\ndata: {}\n\n"])
    assert count_rows(path, "garbage") == 0


# --- the size of the file ---


def disk_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.iterdir() if file.name.startswith(path.name))


def _small(store: SqliteStore, number: int, choice: random.Random) -> None:
    store_run(store, ThreadKey(ADA, f"t{number}"))


def _medium(store: SqliteStore, number: int, choice: random.Random) -> None:
    """Rows that are a little too long to share a page."""
    lease = begin(store, ThreadKey(ADA, f"t{number}")).lease
    question = [{"id": "u", "role": "user", "content": "?" * choice.randrange(700, 1600)}]
    store.finish(lease, *record_run(lease, message_events(delta="x" * choice.randrange(700, 1600)), question))


def _large(store: SqliteStore, number: int, choice: random.Random) -> None:
    lease = begin(store, ThreadKey(ADA, f"t{number % 20}")).lease
    frames, completion = record_run(lease, message_events(delta="x" * choice.choice((10, 5_000, 60_000))))
    append_one(store, lease, frames[:3])
    store.finish(lease, frames[3:], completion)


def _returning(store: SqliteStore, number: int, choice: random.Random) -> None:
    """Threads that are used in no order leave pages that are partly empty."""
    store_run(store, ThreadKey(ADA, f"t{choice.randrange(2000)}"), f"m{number}")


def _named(store: SqliteStore, number: int, choice: random.Random) -> None:
    thread = ThreadKey(ADA, f"t{number}")
    store_run(store, thread)
    store.update(thread, name=WIDE * 1000)


@pytest.mark.usefixtures("no_syncs")
@pytest.mark.requirement("THREADS-08")
@pytest.mark.parametrize(
    ("work", "count"),
    [(_small, 1000), (_medium, 200), (_large, 60), (_returning, 700), (_named, 400)],
    ids=["small", "medium", "large", "returning", "named"],
)
def test_max_bytes_bounds_the_files(
    path: Path, work: Callable[[SqliteStore, int, random.Random], None], count: int
) -> None:
    limit = 1_200_000
    store = SqliteStore(path, max_bytes=limit)
    choice = random.Random(1)
    for number in range(count):
        work(store, number, choice)
        assert number % 5 or disk_bytes(path) <= 1.5 * limit
    # And they are used, not just kept small.
    assert disk_bytes(path) > 0.7 * limit
    clear_all(store)
    while store.sweep():
        pass
    assert disk_bytes(path) <= 1.5 * limit


@pytest.mark.usefixtures("no_syncs")
@pytest.mark.requirement("THREADS-08")
def test_max_bytes_bounds_the_files_while_many_runs_are_active(path: Path) -> None:
    """Each of them has little that is not counted, but all of them together have more than there is room for."""
    limit = 6_000_000
    store = SqliteStore(path, max_bytes=limit)
    for number in range(500):
        _medium(store, number, random.Random(number))
        _large(store, number, random.Random(number))
    leases = [begin(store, ThreadKey(f"user {number}", "t")).lease for number in range(600)]
    for _ in range(2):
        for start in range(0, len(leases), 100):
            store.append([Batch(lease, [b"x" * 2_900 + b"\n\n"], frozenset()) for lease in leases[start : start + 100]])
            assert disk_bytes(path) <= 1.5 * limit
    assert not store.append([Batch(lease, [], frozenset()) for lease in leases])


@pytest.mark.usefixtures("no_syncs")
@pytest.mark.requirement("THREADS-08")
def test_max_bytes_bounds_the_files_while_large_runs_end_together(path: Path) -> None:
    limit = 1_200_000
    store = SqliteStore(path, max_bytes=limit)
    for round_number in range(10):
        leases = [begin(store, ThreadKey(ADA, f"{round_number} {number}")).lease for number in range(16)]
        ends = [RunEnd(lease, *record_run(lease, message_events(delta="x" * 30_000))) for lease in leases]
        assert store.write_runs(ends) == [None] * 16
        assert disk_bytes(path) <= 1.5 * limit


def counted_bytes(store: SqliteStore) -> int:
    count: int = store._read(lambda db: db.execute("SELECT value FROM counters WHERE name = 'bytes'").fetchone()[0])
    return count


WIDE = "\N{GRINNING FACE}"
"""A character that takes four bytes."""


def _owner(store: SqliteStore, text: str) -> None:
    store_run(store, ThreadKey(text, "t"))


def _thread_id(store: SqliteStore, text: str) -> None:
    store_run(store, ThreadKey(ADA, text))


def _run_id(store: SqliteStore, text: str) -> None:
    lease = begin(store, run_id=text).lease
    store.finish(lease, *record_run(lease, message_events()))


def _message_id(store: SqliteStore, text: str) -> None:
    lease = begin(store).lease
    question = [{"id": text, "role": "user", "content": "?"}]
    store.finish(lease, *record_run(lease, message_events(), question))


def _name(store: SqliteStore, text: str) -> None:
    store_run(store, T1)
    store.update(T1, name="x")
    store.update(T1, name=text)


def _cleared(store: SqliteStore, text: str) -> None:
    begin(store, ThreadKey(text, text))
    clear_all(store, text)


@pytest.mark.requirement("THREADS-08")
@pytest.mark.parametrize("work", [_owner, _thread_id, _run_id, _message_id, _name, _cleared])
def test_max_bytes_counts_the_bytes_of_characters(
    tmp_path: Path, work: Callable[[SqliteStore, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_begins, "first_ordinal", lambda: 1)  # its digits would count
    counted = {}
    for kind, text in {"wide": WIDE * 50, "narrow": "x" * 200, "short": "x" * 50}.items():
        store = SqliteStore(tmp_path / f"{kind}.db")
        work(store, text)
        counted[kind] = counted_bytes(store)
    assert counted["wide"] >= counted["narrow"] > counted["short"] + 140


def test_max_bytes_counts_names_as_often_as_they_change(path: Path) -> None:
    store = SqliteStore(path)
    store_run(store, T1)
    store.update(T1, name="x")
    before = counted_bytes(store)
    for name in (WIDE * 100, "a\0" + WIDE * 100, "y"):
        store.update(T1, name=name)
        assert counted_bytes(store) == before + len(name.encode()) - 1


def test_journal_of_a_large_transaction_is_emptied_behind_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "links" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    store = SqliteStore(link, max_bytes=1_200_000)
    lease = begin(store).lease
    store.finish(lease, *record_run(lease, message_events(delta="x" * 500_000)))
    assert path.with_name(path.name + "-wal").stat().st_size == 0


@contextlib.contextmanager
def reading_without_pause(path: Path) -> Iterator[None]:
    """Reads the file all the time, on two connections: each snapshot is taken before the former one is closed."""
    has_ended = threading.Event()

    def read() -> None:
        connections = [sqlite3.connect(path, isolation_level=None) for _ in range(2)]
        for db, former in itertools.cycle(zip(connections, reversed(connections), strict=True)):
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM threads").fetchone()
            if former.in_transaction:
                former.execute("COMMIT")
            if has_ended.is_set():
                break
        for db in connections:
            db.close()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        has_ended.set()
        reader.join()


@pytest.mark.usefixtures("no_syncs")
@pytest.mark.requirement("THREADS-08")
@pytest.mark.parametrize("size", [20_000, 50_000, 130_000])
def test_max_bytes_bounds_the_files_while_others_read_and_write_without_pause(path: Path, size: int) -> None:
    limit = 4_000_000
    stores = [SqliteStore(path, max_bytes=limit) for _ in range(2)]  # as of two processes
    begin(stores[0])
    with reading_without_pause(path):
        for number in range(8_000_000 // size):
            store = stores[number % 2]
            lease = begin(store, ThreadKey(f"user {number % 3}", f"t{number}")).lease
            store.finish(lease, *record_run(lease, message_events(delta="x" * size)))
            assert disk_bytes(path) <= 1.5 * limit


@pytest.mark.usefixtures("no_syncs")
def test_journal_that_cannot_be_emptied_delays_one_write_and_no_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "JOURNAL_TIMEOUT_SECONDS", 0.05)
    waits = []
    empty_journal = connections.ConnectionPair._empty_journal

    def count(pair: connections.ConnectionPair, db: sqlite3.Connection, timeout: float) -> bool:
        if timeout:
            waits.append(timeout)
        return empty_journal(pair, db, timeout)

    monkeypatch.setattr(connections.ConnectionPair, "_empty_journal", count)
    journal, store = path.with_name(path.name + "-wal"), SqliteStore(path, max_bytes=1_200_000)
    begin(store)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM threads").fetchone()
        for number in range(20):
            lease = begin(store, ThreadKey(ADA, f"thread {number}")).lease
            store.finish(lease, *record_run(lease, message_events(delta="x" * 20_000)))
        size = journal.stat().st_size
    assert len(waits) == 1
    assert size > 400_000
    store_run(store, ThreadKey(ADA, "after"))
    assert journal.stat().st_size == 0


@pytest.mark.usefixtures("no_syncs")
def test_max_bytes_counts_what_was_deleted_until_it_is_gone(path: Path) -> None:
    """Or the file would grow with every thread that is evicted."""
    limit = 1_200_000
    store = SqliteStore(path, max_bytes=limit)
    for number in range(6):
        lease = begin(store, ThreadKey(ADA, f"t{number}")).lease
        for at in range(100):
            append_one(store, lease, [b"id: 1.%d\ndata: %b\n\n" % (at + 1, b"x" * 8000)])
            assert disk_bytes(path) <= 1.5 * limit
        store.finish(lease, (), record_run(lease, message_events())[1])
    assert len(list_thread_ids(store)) == 1


@pytest.mark.requirement("THREADS-08")
def test_limits_by_default(path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    store = SqliteStore(path)
    limits = store._retention
    assert (limits.max_threads, limits.max_runs_per_thread, limits.max_bytes) == (100_000, 1000, 4 << 30)
    monkeypatch.setattr(retention, "_totals", lambda db: {"threads": 5 << 30, "bytes": 5 << 30})
    store_run(store, T1)
    store_run(store, T2)
    assert list_thread_ids(store) == ["t2"]
    assert [record.name for record in caplog.records] == ["copilot_runtime.stores.sqlite"]


def test_reading_does_not_wait_for_a_lock(path: Path) -> None:
    """That a thread was used is written with the next write."""
    store = SqliteStore(path, timeout_seconds=60, max_threads=2)
    store_run(store, T1)
    store_run(store, T2)
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        assert store.read(T1, touch=True).runs
        assert store.read(T1, touch=True).runs
        db.execute("ROLLBACK")
    finally:
        db.close()
    store_run(store, ThreadKey(ADA, "t3"))
    assert set(list_thread_ids(store)) == {"t1", "t3"}


@pytest.mark.parametrize("error", [ValueError, sqlite3.OperationalError])
def test_use_of_a_thread_is_not_forgotten_if_a_transaction_fails(path: Path, error: type[Exception]) -> None:
    """That of another write, with which it is to be written."""

    def fail(db: sqlite3.Connection) -> None:
        raise error("not written")

    store = SqliteStore(path, max_threads=3)
    for key in (T1, T2, ThreadKey(ADA, "t3")):
        store_run(store, key)
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        assert store.read(T1, touch=True).runs
        db.execute("ROLLBACK")
    finally:
        db.close()
    with pytest.raises((ValueError, StoreError), match="not written"):
        store._connections.write(fail)
    assert store.read(ThreadKey(ADA, "t3"), touch=True).runs
    store_run(store, ThreadKey(ADA, "t4"))
    assert set(list_thread_ids(store)) == {"t1", "t3", "t4"}


def test_reading_costs_the_same_however_long_nothing_can_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk, where each read tries again. What was read last is written once that is possible."""
    monkeypatch.setattr(last_uses, "MAX_UNWRITTEN", 2)
    store = SqliteStore(path, max_threads=4)
    keys = [T1, T2, ThreadKey(ADA, "t3")]
    for key in keys:
        store_run(store, key)
    statements: list[str] = []
    store._connections.write(lambda db: db.set_trace_callback(statements.append))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for key in (T1, *keys, T1):
            assert store.read(key, touch=True).runs
    store._connections.write(lambda db: None)
    written = [statement for statement in statements if "SET used_at" in statement]
    assert [statement.rpartition("thread_id = ")[2] for statement in written] == ["'t3'", "'t1'"]


# --- the cost of a short run ---


def test_statements_of_a_short_run_are_few(path: Path) -> None:
    """Every write checks the limits, so that has to cost little as long as they are far away."""
    store = SqliteStore(path)
    store_run(store, T1)  # the first run also sweeps
    statements: list[str] = []
    store._writer.write(lambda db: db.set_trace_callback(statements.append))

    def count(work: Callable[[], object]) -> int:
        statements.clear()
        work()
        return len(statements)

    leases: list[Lease] = []
    assert count(lambda: leases.append(begin(store, T2).lease)) <= 7
    frames, completion = record_run(leases[0], message_events(), [QUESTION])
    batch = Batch(leases[0], frames[:3], frame_count=3)
    assert count(lambda: store.append([batch])) <= 6
    assert count(lambda: store.finish(leases[0], frames[3:], completion)) <= 11


@pytest.mark.parametrize("count", [3, 128, 131])
def test_events_of_many_runs_are_appended_with_few_statements(path: Path, count: int) -> None:
    """After each of them, and each row that one returns, the thread waits for the event loop."""
    store = SqliteStore(path)
    leases = [begin(store, ThreadKey("ada", str(number))).lease for number in range(count)]
    store.append([Batch(lease, [b"data: 1\n\n"], frame_count=1) for lease in leases])
    statements: list[str] = []
    store._writer.write(lambda db: db.set_trace_callback(statements.append))
    statements.clear()
    assert not store.append([Batch(lease, [b"data: 2\n\n"], {at}, 2) for at, lease in enumerate(leases)])
    assert len(statements) <= 9
    for at, lease in enumerate(leases):
        update = store.follow(lease.run, 1)
        assert (update.frames, update.duplicates) == ([b"data: 2\n\n"], {at})


def test_runs_that_end_together_end_with_few_statements(path: Path) -> None:
    store = SqliteStore(path)
    leases = [begin(store, ThreadKey(ADA, str(number))).lease for number in range(16)]
    ends = [RunEnd(lease, *record_run(lease, message_events(), [QUESTION])) for lease in leases]
    statements: list[str] = []
    store._writer.write(lambda db: db.set_trace_callback(statements.append))
    statements.clear()
    # One of them twice: it can end only once.
    *ended, again = store.write_runs([*ends, ends[0]])
    assert ended == [None] * 16
    assert isinstance(again, LeaseLost)
    # Inserts of several rows count for each.
    assert len(statements) <= 9 + 16 * 4
    assert not any(text.startswith(("SAVEPOINT", "ROLLBACK")) for text in statements)
    for end in ends:
        assert list(read_raw(store, end.lease.run.thread).runs[0].raw or ()) == end.frames


@pytest.mark.usefixtures("small_pieces")
def test_runs_that_end_together_make_room_for_each(path: Path) -> None:
    """Otherwise, what has been deleted would grow as long as runs begin and end together."""
    store = SqliteStore(path, max_runs_per_thread=1)
    for round_number in range(5):
        new_runs = [NewRun(ThreadKey(ADA, str(number)), str(round_number), "a") for number in range(16)]
        leases = [started.lease for started in store.write_runs(new_runs) if isinstance(started, RunStarted)]
        for number in range(5):
            store.append([Batch(lease, [b"data: %d\n\n" % number]) for lease in leases])
        ends = [RunEnd(lease, *record_run(lease, message_events())) for lease in leases]
        assert store.write_runs(ends) == [None] * 16
    # Those of the round before may be left.
    assert count_rows(path, "garbage") <= 16


def test_thread_of_which_no_run_is_kept_is_deleted_in_its_turn(path: Path) -> None:
    store = SqliteStore(path, max_threads=3)
    lease = begin(store, T1).lease
    store.finish(lease, (), RunCompletion(persist=False, keep_ordinal=True))
    for number in range(3):
        store_run(store, ThreadKey(ADA, f"later {number}"))
    assert count_rows(path, "threads") == 3
    assert store.read(T1).last_ordinal == 0


def test_threads_are_deleted_in_the_order_in_which_their_runs_have_ended(path: Path) -> None:
    store = SqliteStore(path, max_threads=3)
    slow, fast = (begin(store, key).lease for key in (T1, T2))
    for lease in (fast, slow):
        store.finish(lease, *record_run(lease, message_events()))
    for number in range(2):
        store_run(store, ThreadKey(ADA, f"later {number}"))
    assert sorted(list_thread_ids(store)) == ["later 0", "later 1", T1.thread_id]


@pytest.mark.parametrize(("limit", "left"), [(2, ["3", "4"]), (1, ["4"])])
def test_threads_whose_runs_end_together_do_not_displace_each_other(path: Path, limit: int, left: list[str]) -> None:
    store = SqliteStore(path, max_threads=limit)
    leases = [begin(store, ThreadKey(ADA, str(number))).lease for number in range(5)]
    ends = [RunEnd(lease, *record_run(lease, message_events())) for lease in leases]
    assert store.write_runs(ends) == [None] * 5
    assert sorted(list_thread_ids(store)) == left


def test_sweep_reads_only_what_is_to_be_deleted(path: Path) -> None:
    """It is part of the beginning of a run, and a full file has millions of runs."""
    store = SqliteStore(path, max_age_seconds=1000)
    store_run(store, T1)
    statements: list[str] = []

    def work(db: Any) -> None:
        db.set_trace_callback(statements.append)
        assert not store._retention.sweep(db, 0.0)
        db.set_trace_callback(None)
        for sql in statements:
            plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}"))
            assert "SCAN runs" not in plan, sql
            assert "SCAN threads" not in plan, sql

    store._writer.write(work)
    assert len(statements) >= 4


@pytest.mark.parametrize("agent_id", [None, "a"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first page", "another page"])
def test_list_of_threads_is_a_range_of_an_index(path: Path, agent_id: str | None, is_first: bool) -> None:
    store = SqliteStore(path)
    store_run(store, T1)
    [listed] = store.threads(ADA, ThreadQuery()).threads
    cursor = None if is_first else next_cursor(listed)
    statements: list[str] = []

    def work(db: sqlite3.Connection) -> None:
        db.set_trace_callback(statements.append)
        select_infos(db, ADA, ThreadQuery(agent_id=agent_id, cursor=cursor, include_archived=True))  # type: ignore[arg-type]
        db.set_trace_callback(None)
        for sql in statements:
            [plan] = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert plan.startswith("SEARCH threads USING INDEX threads_listed")

    store._connections.read(work)
    assert len(statements) == 2


# --- a clock that is set back ---


@pytest.mark.parametrize("seconds", [16.0, 3600.0])
def test_lease_that_ends_later_than_possible_has_expired(path: Path, clock: Clock, seconds: float) -> None:
    """Or the run of a process that died would be active until the clock has caught up."""
    store = SqliteStore(path)
    lease = begin(store).lease
    clock.now -= seconds
    live = store.read(T1).live
    assert live is not None
    assert live.expired
    assert store.follow(lease.run, 0).expired
    store.renew([lease])
    assert not store.follow(lease.run, 0).expired
    clock.now -= seconds
    assert store.claim(lease.run) is not None


def test_lease_of_another_length_has_not_expired(path: Path) -> None:
    lease = begin(SqliteStore(path, lease_seconds=1000)).lease
    assert not SqliteStore(path, lease_seconds=1).follow(lease.run, 0).expired


def test_raw_frames_that_expire_later_than_possible_are_deleted(path: Path, clock: Clock) -> None:
    store = SqliteStore(path, max_threads=3)
    for number in range(3):
        store_run(store, ThreadKey(ADA, f"t{number}"))
    clock.now -= 3600
    last_ordinal = store.read(ThreadKey(ADA, "t0")).last_ordinal
    assert store.read(ThreadKey(ADA, "t0"), raw_ordinal=last_ordinal).runs[0].raw is None
    while store.sweep():
        pass
    assert count_rows(path, "frames") == 0
    # What was used since then is not older than what was used before.
    store.read(ThreadKey(ADA, "t0"), touch=True)
    store_run(store, ThreadKey(ADA, "t3"))
    assert "t0" in list_thread_ids(store)
