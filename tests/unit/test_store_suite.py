"""Every store against the public suite (copilot_runtime.testing), and what each promises besides."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from copilot_runtime.stores._sqlite import retention, schema
from copilot_runtime.stores._sqlite import store as sqlite
from copilot_runtime.stores.protocol import (
    RAW_RETENTION_SECONDS,
    Lease,
    LeaseSignal,
    RunCompletion,
    RunKey,
    StoreError,
    ThreadKey,
    ThreadQuery,
    ThreadSnapshot,
)
from copilot_runtime.testing import RunStoreSuite
from copilot_runtime.testing._factories import (
    ADA,
    BOB,
    T1,
    T2,
    answer,
    append_one,
    begin,
    completed,
    listed,
    race,
    run,
    signal,
)

from .recording import recorded
from .stores import Clock, raws, recomputed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(memory, "time", clock)
    return clock


@pytest.fixture
def disk_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(0.001)
    monkeypatch.setattr(sqlite, "time", clock)
    return clock


# --- the public suite ---


class TestMemoryStore(RunStoreSuite):
    bounds = ("max_threads", "max_runs_per_thread", "max_bytes")

    def make_store(self) -> RunStore:
        return MemoryStore()

    def make_bounded(self, **bounds: int) -> RunStore:
        return MemoryStore(**bounds)


class TestSqliteStore(RunStoreSuite):
    bounds = ("max_threads", "max_runs_per_thread", "max_bytes")

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, disk_clock: Clock) -> None:
        self.path = tmp_path / "threads.db"
        self.clock = disk_clock

    def make_store(self) -> RunStore:
        return SqliteStore(self.path)

    def make_bounded(self, **bounds: int) -> RunStore:
        return SqliteStore(self.path, **bounds)

    def make_leasing(self, lease_seconds: float) -> RunStore:
        return SqliteStore(self.path, lease_seconds=lease_seconds)

    def open_second(self, store: RunStore) -> RunStore:
        return SqliteStore(self.path)

    def expire(self, store: RunStore, lease: Lease, meanwhile: Callable[[], object] = lambda: None) -> None:
        assert store.lease_seconds is not None
        for _ in range(5):
            self.clock.now += store.lease_seconds / 4
            meanwhile()


class InTurn:
    """Several stores that look like one: every call goes to another one than the call before."""

    def __init__(self, stores: Sequence[RunStore]) -> None:
        self._first = stores[0]
        self._turns = itertools.cycle(stores)

    def __getattr__(self, name: str) -> Any:
        if not callable(found := getattr(self._first, name)):
            return found
        return lambda *args, **named: getattr(next(self._turns), name)(*args, **named)


class TestSqliteStoreOfTwoProcesses(TestSqliteStore):
    def make_store(self) -> Any:
        return self.make_bounded()

    def make_bounded(self, **bounds: int) -> Any:
        return InTurn([SqliteStore(self.path, **bounds) for _ in range(2)])

    def make_leasing(self, lease_seconds: float) -> Any:
        return InTurn([SqliteStore(self.path, lease_seconds=lease_seconds) for _ in range(2)])


class Least(RunStoreSuite):
    """What somebody writes whose store does the least."""

    def make_store(self) -> RunStore:
        return MemoryStore()


def test_what_a_store_cannot_is_skipped() -> None:
    least = Least()
    for able in (
        least.test_a_lease_runs_out,
        least.test_bytes_are_bounded,
        lambda: least.test_readers_in_another_process(least.make_store()),
    ):
        with pytest.raises(pytest.skip.Exception):
            able()
    with pytest.raises(NotImplementedError, match="make_store"):
        RunStoreSuite().make_store()


@given(
    threads=st.lists(st.tuples(st.sampled_from((ADA, BOB)), st.integers(0, 30), st.sampled_from("ab")), max_size=20),
    archived=st.sets(st.integers(0, 30)),
    limit=st.integers(1, 7),
    agent=st.sampled_from((None, "a", "b")),
    include_archived=st.booleans(),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_pages_are_the_list_in_pieces(
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    threads: list[tuple[str, int, str]],
    archived: set[int],
    limit: int,
    agent: str | None,
    include_archived: bool,
) -> None:
    store: RunStore
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path_factory.mktemp("pages") / "threads.db")
    for owner, number, agent_id in threads:
        run(store, ThreadKey(owner, f"t{number}"), agent=agent_id)
    for number in archived:
        store.update(ThreadKey(ADA, f"t{number}"), archived=True)
    last = {number: (place, agent_id) for place, (owner, number, agent_id) in enumerate(threads) if owner == ADA}
    expected = {
        f"t{number}"
        for number, (_, agent_id) in last.items()
        if agent in (None, agent_id) and (include_archived or number not in archived)
    }
    options: dict[str, Any] = {"agent_id": agent, "include_archived": include_archived}
    whole = store.threads(ADA, ThreadQuery(**options))
    assert whole.next_cursor is None
    assert {info.thread_id for info in whole.threads} == expected
    times = [info.updated_at for info in whole.threads]
    assert times == sorted(times, reverse=True)
    pieces: list[Any] = []
    cursor = None
    while True:
        page = store.threads(ADA, ThreadQuery(**options, limit=limit, cursor=cursor))
        assert len(page.threads) <= limit
        pieces += page.threads
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.threads) == limit
    assert pieces == list(whole.threads)


# --- the memory store's own promises ---


@pytest.mark.parametrize("name", ["max_threads", "max_runs_per_thread", "max_bytes"])
def test_a_negative_bound_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*-1"):
        MemoryStore(**{name: -1})


def test_a_token_is_for_one_run() -> None:
    store = MemoryStore()
    real = begin(store).lease
    forged = Lease(RunKey(T2, 1), "r", real.token)
    assert isinstance(append_one(store, forged, [b"x"]), LeaseLost)
    assert signal(store, forged) is LeaseSignal.LOST


def keys(*names: str) -> list[ThreadKey]:
    return [ThreadKey(ADA, name) for name in names]


def test_bytes_are_bounded() -> None:
    store = MemoryStore(max_bytes=5000)
    for number in range(30):
        run(store, ThreadKey(ADA, f"t{number}"))
        assert store._size <= 5000
    assert 1 <= len(listed(store)) < 30
    assert "t29" in listed(store)


def test_one_thread_beyond_the_bytes_loses_its_oldest_runs() -> None:
    store = MemoryStore(max_bytes=3000)
    for _ in range(20):
        run(store)
        assert store._size <= 3000
    assert 1 <= len(store.read(T1).runs) < 20


def test_a_run_that_outgrows_the_store() -> None:
    store = MemoryStore(max_bytes=1000)
    run(store, T2)
    lease = begin(store).lease
    assert append_one(store, lease, [b"x" * 900]) is None
    assert isinstance(append_one(store, lease, [b"x" * 200]), RunTooLarge)
    assert listed(store) == []
    # It still has its lease, to say how it ended.
    store.finish(lease, *completed(lease, [{"type": "RUN_ERROR", "message": "too large"}]))
    assert store._size <= 1000


def test_the_input_counts() -> None:
    store = MemoryStore(max_bytes=1000)
    lease = begin(store, size=900).lease
    assert isinstance(append_one(store, lease, [b"x" * 200]), RunTooLarge)


def test_eviction_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(max_threads=1)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            run(store, ThreadKey(ADA, f"t{number}"))
    [record] = caplog.records
    assert "max_threads=1" in record.getMessage()


def test_threads_in_memory_grow_too_old(clock: Clock) -> None:
    store = MemoryStore(max_age_seconds=100)
    run(store, ThreadKey(ADA, "old"))
    going_on = begin(store, ThreadKey(ADA, "live")).lease
    clock.now += 60
    run(store, ThreadKey(ADA, "young"))
    clock.now += 60
    store.read(T1)  # any use looks for what is too old
    assert listed(store) == ["young"]
    assert append_one(store, going_on, [b"x"]) is None, "what runs is in use"
    assert store._size == recomputed(store)


def test_nothing_is_said_without_eviction(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    run(store)
    assert not caplog.records


def test_raw_frames_are_kept_for_a_while(clock: Clock) -> None:
    store = MemoryStore()
    first = run(store)
    clock.now += RAW_RETENTION_SECONDS / 2
    second = run(store)
    assert raws(store, T1) == [first, second]
    clock.now += RAW_RETENTION_SECONDS / 2
    assert raws(store, T1) == [[], second]
    clock.now += RAW_RETENTION_SECONDS
    size = store._size
    assert raws(store, T1) == [[], []]
    assert store._size == size - sum(map(len, second))
    assert not store._raw


def test_what_is_dropped_early_is_not_dropped_again(clock: Clock) -> None:
    store = MemoryStore(max_runs_per_thread=1)
    for _ in range(3):
        run(store)
    run(store, T2)
    store.delete(T2)
    kept = store._size
    clock.now += RAW_RETENTION_SECONDS
    [stored] = store.read(T1).runs
    assert store._size == kept - sum(len(frame) for frame in recorded(answer(), ordinal=stored.ordinal)[1])
    assert not store._raw


def test_a_live_run_keeps_its_frames(clock: Clock) -> None:
    store = MemoryStore()
    lease = begin(store).lease
    append_one(store, lease, [b"x"])
    clock.now += 100 * RAW_RETENTION_SECONDS
    store.read(T1)
    assert list(store.follow(lease.run, 0).frames) == [b"x"]


def test_after_a_fork_nothing_runs() -> None:
    store = MemoryStore()
    run(store)
    live, alone = begin(store, T1).lease, begin(store, T2).lease
    append_one(store, live, [b"x"])
    held = store._lock
    with held:  # as some thread of the parent's may
        store.after_fork()
        assert store.read(T1).live is None
    assert store.poll_signals([live, alone]) == {live: LeaseSignal.LOST, alone: LeaseSignal.LOST}
    assert listed(store) == ["t1"]
    assert store.read(T2) == ThreadSnapshot()
    assert isinstance(append_one(store, live, [b"y"]), LeaseLost)
    begin(store, T1)
    assert recomputed(store) == store._size


def test_bounds_hold_after_a_fork() -> None:
    store = MemoryStore(max_threads=1)
    run(store, T1)
    begin(store, T1)
    run(store, T2)  # while its other thread is in use, a store may keep more than it should
    store.after_fork()
    assert listed(store) == ["t2"]


# --- the SQLite store's own promises ---


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, as any other program has it; what is done holds."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def rows(path: Path, sql: str, *values: Any) -> list[Any]:
    with opened(path) as db:
        return db.execute(sql, values).fetchall()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"max_threads": -1}, "max_threads"),
    ({"max_runs_per_thread": -1}, "max_runs_per_thread"),
    ({"max_bytes": -1}, "max_bytes"),
    ({"max_age_seconds": -0.5}, "max_age_seconds"),
    ({"lease_seconds": 0}, "lease_seconds"),
    ({"poll_seconds": 0}, "poll_seconds"),
    ({"timeout_seconds": -1}, "timeout_seconds"),
]


@pytest.mark.parametrize(("options", "name"), BAD, ids=[name for _, name in BAD])
def test_an_option_that_cannot_be(path: Path, options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SqliteStore(path, **options)


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    for path, why in (
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "x.db", "does not exist"),
        ("text", "not a SQLite file"),
    ):
        with pytest.raises(ValueError, match=why):
            SqliteStore(tmp_path / path)


def test_the_file_says_its_version(path: Path) -> None:
    SqliteStore(path)
    assert rows(path, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_newer_file_is_refused(path: Path) -> None:
    store = SqliteStore(path)
    run(store)
    newer = len(schema.MIGRATIONS) + 1
    with opened(path) as db:
        db.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(ValueError, match=rf"schema version {newer}.*upgrade") as raised:
        SqliteStore(path)
    assert str(path) in str(raised.value)
    assert rows(path, "SELECT count(*) FROM runs") == [(1,)]
    # One that opens it later is told, too, and says so.
    store.after_fork()
    with pytest.raises(StoreError, match="upgrade"):
        store.read(T1)


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    run(SqliteStore(path))
    assert listed(SqliteStore(path)) == ["t1"]


def test_an_older_file_is_brought_forward(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(path)
    run(store)
    lease = begin(store, T2).lease
    added = "CREATE TABLE later (x INTEGER NOT NULL);\nINSERT INTO later VALUES (7);\n"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, added))
    newer = SqliteStore(path)
    assert rows(path, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]
    assert rows(path, "SELECT x FROM later") == [(7,)]
    assert listed(newer) == ["t1"]
    # The process that has it open goes on meanwhile.
    assert append_one(store, lease, completed(lease, answer())[0]) is None
    SqliteStore(path)
    assert rows(path, "SELECT x FROM later") == [(7,)]


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(SqliteStore(path))
    before = rows(path, "SELECT name FROM sqlite_schema ORDER BY name")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE later (x);\nCREATE TABLE later (x);\n"))
        with pytest.raises(ValueError, match="later"):
            SqliteStore(path)
    assert rows(path, "SELECT name FROM sqlite_schema ORDER BY name") == before
    assert listed(SqliteStore(path)) == ["t1"]


def test_many_processes_make_the_file_at_once(path: Path) -> None:
    stores = race(6, lambda index: SqliteStore(path))
    assert [type(store) for store in stores] == [SqliteStore] * 6
    run(stores[0])
    assert [listed(store) for store in stores] == [["t1"]] * 6


def test_what_is_stored_survives_reopening(path: Path) -> None:
    store = SqliteStore(path)
    frames = run(store)
    store.update(T1, name="Weather")
    lease = begin(store, T2, "r2").lease
    rest, finished = completed(lease, answer("m2"))
    append_one(store, lease, rest[:2], {2})
    kept = store.read(T1, raw_ordinal=1), store.messages(T1), store.threads(ADA, ThreadQuery()), store.read(T2)
    del store
    again = SqliteStore(path)
    assert (
        again.read(T1, raw_ordinal=1),
        again.messages(T1),
        again.threads(ADA, ThreadQuery()),
        again.read(T2),
    ) == kept
    assert list(again.read(T1, raw_ordinal=1).runs[0].raw or ()) == frames
    # A lease is the file's, and not the object's that gave it.
    assert signal(again, lease) is None
    again.finish(lease, rest[2:], finished)
    assert list(again.read(T2, raw_ordinal=1).runs[0].raw or ()) == rest


def test_a_file_that_is_deleted_is_another_store(path: Path) -> None:
    """And no lease of the old one fits the new one's runs."""
    store = SqliteStore(path)
    old = begin(store).lease
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    other = SqliteStore(path)
    new = begin(other, T2).lease
    again = begin(other, T1).lease
    frames = completed(old, answer())[0]
    assert isinstance(append_one(store, old, frames), LeaseLost)
    assert signal(store, old) is LeaseSignal.LOST
    with pytest.raises(LeaseLost):
        store.finish(old, frames, RunCompletion(persist=False))
    for lease in (new, again):
        assert list(other.follow(lease.run, 0).frames) == []
        assert signal(other, lease) is None


def test_a_fork_shares_the_file_and_no_connection(path: Path) -> None:
    store = SqliteStore(path)
    run(store)
    lease = begin(store, T2).lease
    frames, finished = completed(lease, answer("m2"))
    append_one(store, lease, frames[:2])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # In the child: says what it sees, and never comes back.
        said = "raised"
        try:
            store.after_fork()
            live = store.read(T2).live
            run(store, ThreadKey(ADA, "t3"))
            said = f"{listed(store)} {live is not None and not live.expired}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "['t3', 't1'] True"
    os.waitpid(child, 0)
    # The parent's run is the parent's still.
    assert append_one(store, lease, frames[2:3]) is None
    store.finish(lease, frames[3:], finished)
    assert listed(store) == ["t2", "t3", "t1"]


def test_a_lease_runs_out_by_the_clock_on_the_wall(path: Path) -> None:
    """The public suite's own way of waiting, for once."""
    store = SqliteStore(path, lease_seconds=0.2)
    lease = begin(store).lease
    RunStoreSuite().expire(store, lease)
    assert store.claim(lease.run) is not None


def test_who_is_late_but_was_not_replaced_still_holds(path: Path, disk_clock: Clock) -> None:
    store = SqliteStore(path)
    lease = begin(store).lease
    frames, finished = completed(lease, answer())
    disk_clock.now += 60
    live = store.read(T1).live
    assert live is not None
    assert live.expired
    assert append_one(store, lease, frames[:2]) is None
    store.renew([lease])
    live = store.read(T1).live
    assert live is not None
    assert not live.expired
    disk_clock.now += 60
    store.finish(lease, frames[2:], finished)
    assert list(store.read(T1, raw_ordinal=1).runs[0].raw or ()) == frames


def test_raw_frames_go_after_a_while(path: Path, disk_clock: Clock) -> None:
    store = SqliteStore(path)
    first = run(store)
    disk_clock.now += RAW_RETENTION_SECONDS - 1
    assert list(store.read(T1, raw_ordinal=1).runs[0].raw or ()) == first
    lease = begin(store, T2).lease
    append_one(store, lease, first[:1])
    disk_clock.now += 1
    assert store.read(T1, raw_ordinal=1).runs[0].raw is None
    disk_clock.now += sqlite.SWEEP_INTERVAL_SECONDS
    begin(store, ThreadKey(ADA, "t3"))
    assert rows(path, "SELECT count(*) FROM frames JOIN threads ON id = thread WHERE thread_id = 't1'") == [(0,)]
    # A live run keeps its own, and how a run ended is known by its replay.
    assert list(store.follow(lease.run, 0).frames) == first[:1]
    view = store.follow(RunKey(T1, 1), 0)
    assert (list(view.frames), view.ended) == ([], True)
    assert len(store.read(T1).runs) == 1


def test_threads_that_nobody_uses_grow_too_old(path: Path, disk_clock: Clock) -> None:
    store = SqliteStore(path, max_age_seconds=100)
    a, b, c, d = keys("a", "b", "c", "d")
    for key in (a, b):
        run(store, key)
    lease = begin(store, c).lease
    disk_clock.now += 60
    store.read(b, touch=True)
    disk_clock.now += 60
    run(store, d)
    assert set(listed(store)) == {"b", "d"}
    assert signal(store, lease) is None
    assert not rows(path, "SELECT 1 FROM messages WHERE thread NOT IN (SELECT id FROM threads)")
    # Looked for now and then only, whoever begins.
    disk_clock.now += 60
    begin(SqliteStore(path, max_age_seconds=100), a)
    assert set(listed(store)) == {"d"}


def test_what_is_gone_leaves_nothing(path: Path) -> None:
    store = SqliteStore(path)
    for key in (T1, T2):
        run(store, key)
    lease = begin(store, T1).lease
    append_one(store, lease, completed(lease, answer())[0][:2])
    store.delete(T1)
    store.clear(ADA)
    lease = begin(store, T1).lease
    append_one(store, lease, completed(lease, answer())[0][:2])
    store.finish(lease, (), RunCompletion(persist=False))
    for table in ("threads", "live", "runs", "frames", "messages"):
        assert rows(path, f"SELECT count(*) FROM {table}") == [(0,)], table


def test_a_message_is_stored_once(path: Path) -> None:
    store = SqliteStore(path)
    given_to_all: list[Any] = []
    for number in range(5):
        given_to_all.append({"id": f"u{number}", "role": "user", "content": "x" * 1000})
        lease = begin(store).lease
        store.finish(lease, *completed(lease, answer(f"m{number}"), given_to_all))
        given_to_all = store.messages(T1)
    assert len(given_to_all) == 10
    assert rows(path, "SELECT count(*) FROM messages") == [(10,)]
    [(size,)] = rows(path, "SELECT sum(length(records)) FROM runs")
    assert size < 5000


def test_bounds_hold_whichever_process_ends_a_run(path: Path) -> None:
    stores = [SqliteStore(path, max_threads=2, max_runs_per_thread=2) for _ in range(2)]
    for number in range(6):
        run(stores[number % 2], ThreadKey(ADA, f"t{number}"))
        run(stores[number % 2], T1, f"m{number}")
    assert set(listed(stores[0])) == {"t5", "t1"}
    assert len(stores[1].read(T1).runs) == 2


def test_a_bound_that_comes_late_is_reached_in_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 3)
    for number in range(10):
        run(SqliteStore(path), ThreadKey(ADA, f"t{number}"))
    store = SqliteStore(path, max_threads=2)
    for left in (7, 4, 2, 2):
        run(store, T1)
        assert len(listed(store)) == left


def test_the_old_go_in_steps(path: Path, disk_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 3)
    for number in range(7):
        run(SqliteStore(path), ThreadKey(ADA, f"t{number}"))
    disk_clock.now += 200
    store = SqliteStore(path, max_age_seconds=100)
    for left in (4, 1, 0):
        begin(store, ThreadKey(BOB, f"t{left}"))
        assert len(listed(store)) == left


def test_what_a_run_costs_does_not_depend_on_how_much_is_kept(path: Path) -> None:
    store = SqliteStore(path, max_threads=10**6, max_bytes=10**9, max_runs_per_thread=100, max_age_seconds=10**6)

    def steps(name: str) -> int:
        """SQLite's own measure of a run's work: instructions of its virtual machine, in tens."""
        seen: list[None] = []
        store._connections.write(lambda db: db.set_progress_handler(lambda: seen.append(None), 10))
        run(store, ThreadKey(ADA, name))
        return len(seen)

    few = steps("first")
    for number in range(300):
        run(store, ThreadKey(ADA, f"t{number}"))
    assert few > 0
    assert steps("last") < 1.5 * few


def test_the_bytes_of_one_thread_are_bounded(path: Path) -> None:
    store = SqliteStore(path, max_bytes=3000)
    for number in range(20):
        run(store, message=f"m{number}")
        [(runs, frames)] = rows(
            path, "SELECT (SELECT sum(length(records)) FROM runs), (SELECT sum(length(frames)) FROM frames)"
        )
        assert runs + (frames or 0) <= 3000


def test_a_file_that_another_program_has_locked(path: Path) -> None:
    store = SqliteStore(path, timeout_seconds=0.05)
    lease = begin(store).lease
    frames, finished = completed(lease, answer())
    with opened(path) as db:
        db.execute("BEGIN IMMEDIATE")
        for write in (
            lambda: append_one(store, lease, frames[:1]),
            lambda: begin(store, T2),
            lambda: store.finish(lease, frames, finished),
            lambda: store.renew([lease]),
        ):
            with pytest.raises(StoreError, match=r"threads\.db.*locked"):
                write()
        assert store.read(T1).live is not None
        db.execute("ROLLBACK")
    assert append_one(store, lease, frames[:1]) is None
    store.finish(lease, frames[1:], finished)
    assert list(store.read(T1, raw_ordinal=1).runs[0].raw or ()) == frames
