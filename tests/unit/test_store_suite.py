"""Every store against the public suite (copilot_runtime.testing), and what each store guarantees in addition."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot_runtime.stores import (
    LeaseLost,
    MemoryStore,
    MigrationRequired,
    RunStore,
    RunTooLarge,
    SqliteStore,
)
from copilot_runtime.stores import (
    _memory as memory,
)
from copilot_runtime.stores._sqlite import retention, run_follower, run_writes, schema
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
    append_one,
    begin,
    clear_all,
    list_thread_ids,
    message_events,
    poll_signal,
    race,
    record_run,
    store_run,
)

from .store_helpers import Clock, check_fork, raws, read_raw, recomputed

pytestmark = pytest.mark.requirement("STORE-01")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(memory, "time", clock)
    return clock


@pytest.fixture
def disk_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(0.001)
    for module in (run_follower, run_writes, sqlite):
        monkeypatch.setattr(module, "time", clock)
    return clock


# --- the public suite ---


class TestMemoryStore(RunStoreSuite):
    limits = ("max_threads", "max_runs_per_thread", "max_bytes")

    def make_store(self) -> RunStore:
        return MemoryStore()

    def make_limited(self, **limits: int) -> RunStore:
        return MemoryStore(**limits)


class TestSqliteStore(RunStoreSuite):
    limits = ("max_threads", "max_runs_per_thread", "max_bytes")

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, disk_clock: Clock) -> None:
        self.path = tmp_path / "threads.db"
        self.clock = disk_clock

    def make_store(self) -> RunStore:
        return SqliteStore(self.path)

    def make_limited(self, **limits: int) -> RunStore:
        return SqliteStore(self.path, **limits)

    def make_leasing(self, lease_seconds: float) -> RunStore:
        return SqliteStore(self.path, lease_seconds=lease_seconds)

    def open_second(self, store: RunStore) -> RunStore:
        return SqliteStore(self.path)

    def expire(self, store: RunStore, lease: Lease, meanwhile: Callable[[], object] = lambda: None) -> None:
        assert store.lease_seconds is not None
        for _ in range(5):
            self.clock.now += store.lease_seconds / 4
            meanwhile()


def test_suite_refuses_a_store_that_requires_a_list_of_messages() -> None:
    class Listing(MemoryStore):
        def finish(self, lease: Lease, frames: Sequence[bytes], completion: RunCompletion) -> None:
            json.dumps(completion.messages)
            super().finish(lease, frames, completion)

    with pytest.raises(TypeError, match="not JSON serializable"):
        TestMemoryStore().test_messages_do_not_include_those_of_an_active_run(Listing())


class RoundRobin:
    """Several stores that look like one: calls go to each of them in turn."""

    def __init__(self, stores: Sequence[RunStore]) -> None:
        self._first = stores[0]
        self._turns = itertools.cycle(stores)

    def __getattr__(self, name: str) -> Any:
        if not callable(attribute := getattr(self._first, name)):
            return attribute
        return lambda *args, **kwargs: getattr(next(self._turns), name)(*args, **kwargs)


class TestSqliteStoreOfTwoProcesses(TestSqliteStore):
    def make_store(self) -> Any:
        return self.make_limited()

    def make_limited(self, **limits: int) -> Any:
        return RoundRobin([SqliteStore(self.path, **limits) for _ in range(2)])

    def make_leasing(self, lease_seconds: float) -> Any:
        return RoundRobin([SqliteStore(self.path, lease_seconds=lease_seconds) for _ in range(2)])


class Minimal(RunStoreSuite):
    """The suite of a store without optional features."""

    def make_store(self) -> RunStore:
        return MemoryStore()


def test_tests_of_what_a_store_does_not_support_are_skipped() -> None:
    minimal = Minimal()
    for test in (
        minimal.test_claim_after_the_lease_has_expired,
        minimal.test_max_bytes,
        lambda: minimal.test_concurrent_readers_in_two_processes(minimal.make_store()),
    ):
        with pytest.raises(pytest.skip.Exception):
            test()
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
def test_pages_make_up_the_whole_list(
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
        store_run(store, ThreadKey(owner, f"t{number}"), agent=agent_id)
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
    collected: list[Any] = []
    cursor = None
    while True:
        page = store.threads(ADA, ThreadQuery(**options, limit=limit, cursor=cursor))
        assert len(page.threads) <= limit
        collected += page.threads
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.threads) == limit
    assert collected == list(whole.threads)


# --- the memory store ---


@pytest.mark.parametrize("name", ["max_threads", "max_runs_per_thread", "max_bytes"])
def test_a_negative_limit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*-1"):
        MemoryStore(**{name: -1})


def test_a_token_is_valid_for_one_run() -> None:
    store = MemoryStore()
    real = begin(store).lease
    forged = Lease(RunKey(T2, real.run.ordinal), "r", real.token)
    assert isinstance(append_one(store, forged, [b"x"]), LeaseLost)
    assert poll_signal(store, forged) is LeaseSignal.LOST


def keys(*names: str) -> list[ThreadKey]:
    return [ThreadKey(ADA, name) for name in names]


def test_max_bytes() -> None:
    store = MemoryStore(max_bytes=5000)
    for number in range(30):
        store_run(store, ThreadKey(ADA, f"t{number}"))
        assert store._table.size <= 5000
    assert 1 <= len(list_thread_ids(store)) < 30
    assert "t29" in list_thread_ids(store)


@pytest.mark.requirement("THREADS-08")
def test_max_bytes_deletes_the_oldest_runs_of_one_thread() -> None:
    store = MemoryStore(max_bytes=9000)
    for _ in range(20):
        store_run(store)
        assert store._table.size <= 9000
    assert 1 <= len(store.read(T1).runs) < 20


@pytest.mark.requirement("THREADS-08")
def test_max_bytes_ends_a_run_that_is_too_large() -> None:
    store = MemoryStore(max_bytes=10_000)
    store_run(store, T2)
    lease = begin(store).lease
    assert append_one(store, lease, [b"x" * 9000]) is None
    assert isinstance(append_one(store, lease, [b"x" * 2000]), RunTooLarge)
    assert list_thread_ids(store) == []
    # It keeps its lease, so that its end can be stored.
    store.finish(lease, *record_run(lease, [{"type": "RUN_ERROR", "message": "too large"}]))
    assert store._table.size <= 10_000


@pytest.mark.requirement("THREADS-08")
def test_max_bytes_includes_the_input() -> None:
    store = MemoryStore(max_bytes=1000)
    lease = begin(store, size=900).lease
    assert isinstance(append_one(store, lease, [b"x" * 200]), RunTooLarge)


def test_eviction_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(max_threads=1)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            store_run(store, ThreadKey(ADA, f"t{number}"))
    [record] = caplog.records
    assert "max_threads=1" in record.getMessage()


def test_max_age_seconds_in_memory(clock: Clock) -> None:
    store = MemoryStore(max_age_seconds=100)
    store_run(store, ThreadKey(ADA, "old"))
    active = begin(store, ThreadKey(ADA, "live")).lease
    clock.now += 60
    store_run(store, ThreadKey(ADA, "young"))
    clock.now += 60
    store.read(T1)  # any use deletes expired threads
    assert list_thread_ids(store) == ["young"]
    assert append_one(store, active, [b"x"]) is None, "a thread with an active run is in use"
    assert store._table.size == recomputed(store)


def test_nothing_is_logged_without_eviction(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    store_run(store)
    assert not caplog.records


def test_raw_frames_expire_in_memory(clock: Clock) -> None:
    store = MemoryStore()
    first = store_run(store)
    clock.now += RAW_RETENTION_SECONDS / 2
    second = store_run(store)
    assert raws(store, T1) == [first, second]
    clock.now += RAW_RETENTION_SECONDS / 2
    assert raws(store, T1) == [[], second]
    clock.now += RAW_RETENTION_SECONDS
    size = store._table.size
    assert raws(store, T1) == [[], []]
    assert store._table.size == size - sum(map(len, second))
    assert store._table.size == recomputed(store)
    assert not store._table.raw


def test_raw_frames_that_were_dropped_early_are_not_dropped_again(clock: Clock) -> None:
    store = MemoryStore(max_runs_per_thread=1)
    for _ in range(3):
        store_run(store)
    store_run(store, T2)
    store.delete(T2)
    kept = store._table.size
    clock.now += RAW_RETENTION_SECONDS
    store.read(T1)
    assert recomputed(store) == store._table.size < kept
    assert not store._table.raw


def test_an_active_run_keeps_its_frames(clock: Clock) -> None:
    store = MemoryStore()
    lease = begin(store).lease
    append_one(store, lease, [b"x"])
    clock.now += 100 * RAW_RETENTION_SECONDS
    store.read(T1)
    assert list(store.follow(lease.run, 0).frames) == [b"x"]


def test_after_fork_there_are_no_active_runs() -> None:
    store = MemoryStore()
    store_run(store)
    live, alone = begin(store, T1).lease, begin(store, T2).lease
    append_one(store, live, [b"x"])
    with store._process.get().lock:  # as a thread of the parent may have it
        store.after_fork()
        assert store.read(T1).live is None
    assert store.poll_signals([live, alone]) == {live: LeaseSignal.LOST, alone: LeaseSignal.LOST}
    assert list_thread_ids(store) == ["t1"]
    assert store.read(T2) == ThreadSnapshot()
    assert isinstance(append_one(store, live, [b"y"]), LeaseLost)
    begin(store, T1)
    assert recomputed(store) == store._table.size


def test_after_fork_limits_are_enforced() -> None:
    store = MemoryStore(max_threads=1)
    store_run(store, T1)
    begin(store, T1)
    store_run(store, T2)  # while its other thread has an active run, a store may exceed its limit
    store.after_fork()
    assert list_thread_ids(store) == ["t2"]


def test_after_fork_each_child_has_ordinals_of_its_own() -> None:
    """A preloaded server starts another child where one has died: its event ids must not be those of the first one."""
    store = MemoryStore()
    ordinals = set()
    for _ in range(3):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                store.after_fork()
                os.write(writing, str(begin(store).lease.run.ordinal).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            ordinals.add(pipe.read())
        os.waitpid(child, 0)
    assert len(ordinals) == 3


# --- the SQLite store ---


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens the file as another program would, with autocommit."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def rows(path: Path, sql: str, *values: Any) -> list[Any]:
    with open_file(path) as db:
        return db.execute(sql, values).fetchall()


INVALID_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"max_threads": -1}, "max_threads"),
    ({"max_runs_per_thread": -1}, "max_runs_per_thread"),
    ({"max_bytes": -1}, "max_bytes"),
    ({"max_age_seconds": -0.5}, "max_age_seconds"),
    ({"lease_seconds": 0}, "lease_seconds"),
    ({"poll_seconds": 0}, "poll_seconds"),
    ({"timeout_seconds": -1}, "timeout_seconds"),
]


@pytest.mark.parametrize(("options", "name"), INVALID_OPTIONS, ids=[name for _, name in INVALID_OPTIONS])
def test_an_invalid_option_is_refused(path: Path, options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SqliteStore(path, **options)


def test_an_invalid_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    for path, why in (
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "x.db", "does not exist"),
        ("text", "not a SQLite file"),
    ):
        with pytest.raises(ValueError, match=why):
            SqliteStore(tmp_path / path)


def test_the_file_has_a_schema_version(path: Path) -> None:
    SqliteStore(path)
    assert rows(path, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_newer_file_is_refused(path: Path) -> None:
    store = SqliteStore(path)
    store_run(store)
    newer = len(schema.MIGRATIONS) + 1
    with open_file(path) as db:
        db.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(ValueError, match=rf"schema version {newer}.*upgrade") as raised:
        SqliteStore(path)
    assert str(path) in str(raised.value)
    assert rows(path, "SELECT count(*) FROM runs") == [(1,)]
    # A process that opens it again fails as well.
    store.after_fork()
    with pytest.raises(StoreError, match="upgrade"):
        store.read(T1)


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    store_run(SqliteStore(path))
    assert list_thread_ids(SqliteStore(path)) == ["t1"]


def test_an_older_file_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(path)
    store_run(store)
    lease = begin(store, T2).lease
    added = "CREATE TABLE later (x INTEGER NOT NULL);\nINSERT INTO later VALUES (7);\n"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, added))
    newer = SqliteStore(path)
    assert rows(path, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]
    assert rows(path, "SELECT x FROM later") == [(7,)]
    assert list_thread_ids(newer) == ["t1"]
    # A process that has it open continues.
    assert append_one(store, lease, record_run(lease, message_events())[0]) is None
    SqliteStore(path)
    assert rows(path, "SELECT x FROM later") == [(7,)]


def test_an_older_file_that_another_process_migrates_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or all workers of a server but the first one would fail to start, and it with them."""
    store_run(SqliteStore(path))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE later (x INTEGER NOT NULL);\n"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN IMMEDIATE")
        opening = pool.submit(SqliteStore, path, timeout_seconds=0.1)
        assert not wait([opening], timeout=0.5).done
        other.execute("CREATE TABLE later (x INTEGER NOT NULL)")
        other.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS)}")
        other.execute("COMMIT")
        assert list_thread_ids(opening.result(30)) == ["t1"]


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_run(SqliteStore(path))
    before = rows(path, "SELECT name FROM sqlite_schema ORDER BY name")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE later (x);\nCREATE TABLE later (x);\n"))
        with pytest.raises(ValueError, match="later"):
            SqliteStore(path)
    assert rows(path, "SELECT name FROM sqlite_schema ORDER BY name") == before
    assert list_thread_ids(SqliteStore(path)) == ["t1"]


def test_migrate_false_neither_creates_nor_migrates_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(path, migrate=False)
    with pytest.raises(MigrationRequired, match=r"threads\.db: the file does not exist yet"):
        store.read(T1)
    assert not path.exists()
    path.touch()
    with pytest.raises(MigrationRequired, match="the tables do not exist yet"):
        begin(store)
    assert path.stat().st_size == 0
    store_run(SqliteStore(path))
    assert list_thread_ids(store) == ["t1"], "no restart is needed"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE later (x);\n"))
    with pytest.raises(MigrationRequired, match="those of an earlier version"):
        SqliteStore(path, migrate=False).read(T1)
    SqliteStore(path)
    assert list_thread_ids(SqliteStore(path, migrate=False)) == ["t1"]


def test_migrate_false_leaves_files_of_others_alone(path: Path) -> None:
    with open_file(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="another program's database"):
        SqliteStore(path, migrate=False).read(T1)
    with pytest.raises(ValueError, match="max_threads"):
        SqliteStore(path, migrate=False, max_threads=-1)


def test_a_run_is_stored_with_its_times(path: Path) -> None:
    before = time.time()
    store_run(SqliteStore(path))
    [(started_at, ended_at)] = rows(path, "SELECT started_at, ended_at FROM runs")
    assert before <= started_at <= ended_at <= time.time()


def test_a_file_of_the_first_version_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        SqliteStore(path)
    with open_file(path) as db:
        db.execute(
            "INSERT INTO threads (owner, thread_id, used_at, ordinal, bytes, runs) VALUES (?, ?, 1, 5, 9, 1)", T1
        )
        db.execute(
            "INSERT INTO runs (thread, ordinal, run_id, agent_id, frames_id, frames, frames_bytes, raw_until, checksum,"
            " event_messages, input_messages, duplicates, has_run_error, recorded_by, bytes, records)"
            " VALUES (1, 5, 'r1', 'a', 7, 0, 0, 0, 5, '[]', '[]', '[]', 0, '', 0, x'')"
        )
    store = SqliteStore(path)
    assert [run.run_id for run in store.read(T1).runs] == ["r1"]
    assert rows(path, "SELECT started_at, ended_at FROM runs") == [(0, 0)]
    store_run(store)
    assert [run.ordinal for run in store.read(T1).runs] == [5, 6]


def test_many_processes_create_the_file_at_once(path: Path) -> None:
    stores = race(6, lambda index: SqliteStore(path))
    assert [type(store) for store in stores] == [SqliteStore] * 6
    store_run(stores[0])
    assert [list_thread_ids(store) for store in stores] == [["t1"]] * 6


def test_what_is_stored_survives_reopening(path: Path) -> None:
    store = SqliteStore(path)
    frames = store_run(store)
    store.update(T1, name="Weather")
    lease = begin(store, T2, "r2").lease
    rest, completion = record_run(lease, message_events("m2"))
    append_one(store, lease, rest[:2], {2})
    kept = read_raw(store, T1), store.messages(T1), store.threads(ADA, ThreadQuery()), store.read(T2)
    del store
    again = SqliteStore(path)
    assert (
        read_raw(again, T1),
        again.messages(T1),
        again.threads(ADA, ThreadQuery()),
        again.read(T2),
    ) == kept
    assert list(read_raw(again, T1).runs[0].raw or ()) == frames
    # A lease belongs to the file, not to the object that returned it.
    assert poll_signal(again, lease) is None
    again.finish(lease, rest[2:], completion)
    assert list(read_raw(again, T2).runs[0].raw or ()) == rest


def test_a_deleted_file_is_replaced_by_an_empty_store(path: Path) -> None:
    """And no lease of the deleted file is valid in the new one."""
    store = SqliteStore(path)
    old = begin(store).lease
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    other = SqliteStore(path)
    new = begin(other, T2).lease
    again = begin(other, T1).lease
    frames = record_run(old, message_events())[0]
    assert isinstance(append_one(store, old, frames), LeaseLost)
    assert poll_signal(store, old) is LeaseSignal.LOST
    with pytest.raises(LeaseLost):
        store.finish(old, frames, RunCompletion(persist=False))
    for lease in (new, again):
        assert list(other.follow(lease.run, 0).frames) == []
        assert poll_signal(other, lease) is None


def test_after_fork_connections_are_not_shared(path: Path) -> None:
    check_fork(SqliteStore(path))


def test_a_lease_expires_by_the_wall_clock(path: Path) -> None:
    """With the public suite's own `expire`."""
    store = SqliteStore(path, lease_seconds=0.2)
    lease = begin(store).lease
    RunStoreSuite().expire(store, lease)
    assert store.claim(lease.run) is not None


def test_an_expired_lease_that_was_not_claimed_still_holds(path: Path, disk_clock: Clock) -> None:
    store = SqliteStore(path)
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
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
    store.finish(lease, frames[2:], completion)
    assert list(read_raw(store, T1).runs[0].raw or ()) == frames


def test_raw_frames_expire_in_sqlite(path: Path, disk_clock: Clock) -> None:
    store = SqliteStore(path)
    first = store_run(store)
    disk_clock.now += RAW_RETENTION_SECONDS - 1
    assert list(read_raw(store, T1).runs[0].raw or ()) == first
    lease = begin(store, T2).lease
    append_one(store, lease, first[:1])
    disk_clock.now += 1
    assert read_raw(store, T1).runs[0].raw is None
    disk_clock.now += run_writes.SWEEP_INTERVAL_SECONDS
    begin(store, ThreadKey(ADA, "t3"))
    assert rows(path, "SELECT count(*) FROM frames") == [(1,)]
    # An active run keeps its frames; the end of an ended run is known from its replay.
    assert list(store.follow(lease.run, 0).frames) == first[:1]
    view = store.follow(RunKey(T1, store.read(T1).runs[0].ordinal), 0)
    assert (list(view.frames), view.ended) == ([], True)
    assert len(store.read(T1).runs) == 1


def test_max_age_seconds_in_sqlite(path: Path, disk_clock: Clock) -> None:
    store = SqliteStore(path, max_age_seconds=100)
    a, b, c, d = keys("a", "b", "c", "d")
    for key in (a, b):
        store_run(store, key)
    lease = begin(store, c).lease
    disk_clock.now += 60
    store.read(b, touch=True)
    disk_clock.now += 60
    store_run(store, d)
    assert set(list_thread_ids(store)) == {"b", "d"}
    assert poll_signal(store, lease) is None
    assert not rows(path, "SELECT 1 FROM messages JOIN garbage USING (thread)")
    # Expired threads are looked for at intervals only, whichever thread begins a run.
    disk_clock.now += 60
    begin(SqliteStore(path, max_age_seconds=100), a)
    assert set(list_thread_ids(store)) == {"d"}


def test_deleted_threads_leave_no_rows(path: Path) -> None:
    store = SqliteStore(path)
    for key in (T1, T2):
        store_run(store, key)
    lease = begin(store, T1).lease
    append_one(store, lease, record_run(lease, message_events())[0][:2])
    store.delete(T1)
    clear_all(store)
    lease = begin(store, T1).lease
    append_one(store, lease, record_run(lease, message_events())[0][:2])
    store.finish(lease, (), RunCompletion(persist=False))
    while store.sweep():
        pass
    for table in ("threads", "live", "runs", "frames", "messages", "garbage"):
        assert rows(path, f"SELECT count(*) FROM {table}") == [(0,)], table


def test_a_message_is_stored_once(path: Path) -> None:
    store = SqliteStore(path)
    history: list[Any] = []
    for number in range(5):
        history.append({"id": f"u{number}", "role": "user", "content": "x" * 1000})
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, message_events(f"m{number}"), history))
        history = store.messages(T1)
    assert len(history) == 10
    # That of the last run is among its events.
    assert rows(path, "SELECT count(*) FROM messages") == [(9,)]
    [(size,)] = rows(path, "SELECT sum(length(records)) FROM runs")
    assert size < 5000


def test_limits_are_enforced_by_every_process(path: Path) -> None:
    stores = [SqliteStore(path, max_threads=2, max_runs_per_thread=2) for _ in range(2)]
    for number in range(6):
        store_run(stores[number % 2], ThreadKey(ADA, f"t{number}"))
        store_run(stores[number % 2], T1, f"m{number}")
    assert set(list_thread_ids(stores[0])) == {"t5", "t1"}
    assert len(stores[1].read(T1).runs) == 2


def test_a_new_limit_is_reached_in_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 3)
    for number in range(10):
        store_run(SqliteStore(path), ThreadKey(ADA, f"t{number}"))
    store = SqliteStore(path, max_threads=2)
    for remaining in (7, 4, 2, 2):
        store_run(store, T1)
        assert len(list_thread_ids(store)) == remaining


def test_old_threads_are_deleted_in_batches(path: Path, disk_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 3)
    for number in range(7):
        store_run(SqliteStore(path), ThreadKey(ADA, f"t{number}"))
    disk_clock.now += 200
    store = SqliteStore(path, max_age_seconds=100)
    for remaining in (4, 1, 0):
        begin(store, ThreadKey(BOB, f"t{remaining}"))
        assert len(list_thread_ids(store)) == remaining


def test_the_cost_of_a_run_does_not_depend_on_how_much_is_stored(path: Path) -> None:
    store = SqliteStore(path, max_threads=10**6, max_bytes=10**9, max_runs_per_thread=100, max_age_seconds=10**6)

    def steps(name: str) -> int:
        """Returns the work of a run, in tens of instructions of SQLite's virtual machine."""
        seen: list[None] = []
        store._connections.write(lambda db: db.set_progress_handler(lambda: seen.append(None), 10))
        store_run(store, ThreadKey(ADA, name))
        return len(seen)

    few = steps("first")
    for number in range(300):
        store_run(store, ThreadKey(ADA, f"t{number}"))
    assert few > 0
    assert steps("last") < 1.5 * few


@pytest.mark.requirement("STORE-13")
def test_the_cost_of_a_list_does_not_depend_on_how_many_threads_there_are(path: Path) -> None:
    store = SqliteStore(path)
    for number in range(3):
        store_run(store, ThreadKey(ADA, f"rare{number}"), agent="rare")
        store_run(store, ThreadKey(ADA, f"active{number}"), agent="filed")

    def add(count: int) -> None:
        for number in range(count):
            for agent in ("often", "filed"):
                key = ThreadKey(ADA, f"{agent}{count}-{number}")
                store_run(store, key, agent=agent)
                store.update(key, archived=agent == "filed")

    def steps(**query: Any) -> int:
        """Returns the work of a list, in tens of instructions of SQLite's virtual machine."""
        seen: list[None] = []
        store._connections.read(lambda db: db.set_progress_handler(lambda: seen.append(None), 10))
        page = store.threads(ADA, ThreadQuery(**query))
        store._connections.read(lambda db: db.set_progress_handler(None, 10))
        assert len(page.threads) == 3
        return len(seen)

    queries: list[dict[str, Any]] = [
        {"limit": 3},
        {"limit": 3, "include_archived": True},
        {"agent_id": "rare", "limit": 10},
        {"agent_id": "rare", "limit": 10, "include_archived": True},
        {"agent_id": "filed", "limit": 10},
        {"limit": 3, "cursor": store.threads(ADA, ThreadQuery(limit=2)).next_cursor},
    ]
    add(20)
    few = [steps(**query) for query in queries]
    add(80)
    many = [steps(**query) for query in queries]
    assert all(after < 1.5 * before + 5 for before, after in zip(few, many, strict=True)), (few, many)


@pytest.mark.requirement("THREADS-08")
def test_max_bytes_of_one_thread_in_sqlite(path: Path) -> None:
    store = SqliteStore(path, max_bytes=3000)
    for number in range(20):
        store_run(store, message=f"m{number}")
        [(runs, frames)] = rows(
            path, "SELECT (SELECT sum(length(records)) FROM runs), (SELECT sum(length(frames)) FROM frames)"
        )
        assert runs + (frames or 0) <= 3000


def test_a_file_locked_by_another_program(path: Path) -> None:
    store = SqliteStore(path, timeout_seconds=0.05)
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    with open_file(path) as db:
        db.execute("BEGIN IMMEDIATE")
        for write in (
            lambda: append_one(store, lease, frames[:1]),
            lambda: begin(store, T2),
            lambda: store.finish(lease, frames, completion),
            lambda: store.renew([lease]),
        ):
            with pytest.raises(StoreError, match=r"threads\.db.*locked"):
                write()
        assert store.read(T1).live is not None
        db.execute("ROLLBACK")
    assert append_one(store, lease, frames[:1]) is None
    store.finish(lease, frames[1:], completion)
    assert list(read_raw(store, T1).runs[0].raw or ()) == frames
