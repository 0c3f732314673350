"""The connections of a SQLite store: concurrent writes share a transaction."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores._sqlite import connections as connections_module
from copilot_runtime.stores._sqlite.connections import ConnectionPair
from copilot_runtime.stores._sqlite.group_commit import MAX_GROUP_COMMIT, PendingWrite
from copilot_runtime.stores._sqlite.schema import MIGRATIONS
from copilot_runtime.stores.protocol import Batch, StoreError, ThreadKey
from copilot_runtime.testing._factories import (
    ADA,
    T1,
    T2,
    begin,
    list_thread_ids,
    message_events,
    record_run,
    store_run,
)


class Writers:
    """Worker threads that write, and the outcomes of their writes."""

    def __init__(self, connections: ConnectionPair) -> None:
        self._connections = connections
        self._workers: list[threading.Thread] = []
        self.outcomes: dict[str, Any] = {}

    def write(self, name: str, work: Callable[[sqlite3.Connection], Any]) -> None:
        def run() -> None:
            try:
                self.outcomes[name] = self._connections.write(work)
            except Exception as error:
                self.outcomes[name] = error

        worker = threading.Thread(target=run)
        worker.start()
        self._workers.append(worker)

    def wait_for_queue(self, count: int) -> None:
        """Waits until ``count`` writes are queued."""
        pause = threading.Event()
        while len(self._connections._state.get().waiting) < count:
            pause.wait(0.001)

    def join(self) -> None:
        for worker in self._workers:
            worker.join(30)
            assert not worker.is_alive()


@pytest.fixture
def connections(tmp_path: Path) -> ConnectionPair:
    pair = ConnectionPair(str(tmp_path / "threads.db"), 20.0)
    pair.write(lambda db: db.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)"))
    return pair


def read_notes(connections: ConnectionPair) -> set[str]:
    return connections.read(lambda db: {text for (text,) in db.execute("SELECT text FROM notes")})


def write_note(text: str) -> Callable[[sqlite3.Connection], str]:
    def work(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO notes VALUES (?)", (text,))
        return f"wrote {text}"

    return work


def write_and_raise(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO notes VALUES ('raising')")
    raise LookupError("raised on purpose")


def in_a_list(*works: Callable[[sqlite3.Connection], object]) -> Callable[[sqlite3.Connection], list[object]]:
    return lambda db: [work(db) for work in works]


class BlockedWrite:
    """A write that does not return until it is released."""

    def __init__(self) -> None:
        self.started, self._released = threading.Event(), threading.Event()

    def __call__(self, db: sqlite3.Connection) -> None:
        self.started.set()
        assert self._released.wait(30)

    def release(self) -> None:
        self._released.set()


def trace_statements(connections: ConnectionPair) -> list[str]:
    executed: list[str] = []
    connections.write(lambda db: db.set_trace_callback(executed.append))
    executed.clear()
    return executed


@pytest.mark.parametrize("count", [2, MAX_GROUP_COMMIT + 3])
def test_queued_writes_share_a_transaction(connections: ConnectionPair, count: int) -> None:
    executed = trace_statements(connections)
    writers, blocked = Writers(connections), BlockedWrite()
    writers.write("blocked", blocked)
    assert blocked.started.wait(30)
    for number in range(count):
        writers.write(str(number), write_note(str(number)))
    writers.wait_for_queue(count)
    blocked.release()
    writers.join()
    assert read_notes(connections) == {str(number) for number in range(count)}
    assert all(writers.outcomes[str(number)] == f"wrote {number}" for number in range(count))
    # That of the blocked write, and as many more as necessary.
    assert executed.count("COMMIT") == 1 + -(-count // MAX_GROUP_COMMIT)


def test_a_write_that_raises_is_rolled_back_alone(connections: ConnectionPair) -> None:
    writers, blocked = Writers(connections), BlockedWrite()
    writers.write("blocked", blocked)
    assert blocked.started.wait(30)
    writers.write("before", write_note("before"))
    writers.wait_for_queue(1)
    writers.write("raising", write_and_raise)
    writers.wait_for_queue(2)
    writers.write("after", write_note("after"))
    writers.wait_for_queue(3)
    blocked.release()
    writers.join()
    assert isinstance(writers.outcomes["raising"], LookupError)
    assert read_notes(connections) == {"before", "after"}


def test_parts_of_a_write_share_a_transaction(connections: ConnectionPair) -> None:
    executed = trace_statements(connections)
    notes = [write_note("a"), write_note("b")]
    assert connections.write(in_a_list(*notes), pytest.fail, 2) == ["wrote a", "wrote b"]
    assert read_notes(connections) == {"a", "b"}
    assert executed.count("COMMIT") == executed.count("BEGIN IMMEDIATE") == 1


def test_a_part_of_a_write_that_raises_is_rolled_back_alone(connections: ConnectionPair) -> None:
    executed = trace_statements(connections)
    works = [write_note("a"), write_and_raise, write_note("b")]
    first, error, last = connections.write(in_a_list(*works), lambda: [in_a_list(work) for work in works], 3)
    assert (first, last) == ("wrote a", "wrote b")
    assert isinstance(error, LookupError)
    assert read_notes(connections) == {"a", "b"}
    assert executed.count("COMMIT") == 1


def test_the_only_part_of_a_write_is_rolled_back_if_it_raises(connections: ConnectionPair) -> None:
    executed = trace_statements(connections)
    work = in_a_list(write_and_raise)
    [error] = connections.write(work, lambda: [work], 1)
    assert isinstance(error, LookupError)
    assert read_notes(connections) == set()
    assert not any("SAVEPOINT" in text for text in executed)


def test_the_only_write_of_a_transaction_is_rolled_back_if_it_raises(connections: ConnectionPair) -> None:
    executed = trace_statements(connections)
    with pytest.raises(LookupError):
        connections.write(write_and_raise)
    connections.write(write_note("after"))
    assert read_notes(connections) == {"after"}
    # A savepoint is for those that share a transaction.
    assert [text for text in executed if not text.startswith(("INSERT", "PRAGMA"))] == [
        "BEGIN IMMEDIATE",
        "ROLLBACK",
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]


def test_a_failed_transaction_fails_all_of_its_writes(connections: ConnectionPair) -> None:
    writers, blocked = Writers(connections), BlockedWrite()
    writers.write("blocked", blocked)
    assert blocked.started.wait(30)
    writers.write("good", write_note("good"))
    writers.wait_for_queue(1)
    writers.write("bad", lambda db: db.execute("INSERT INTO nowhere VALUES (1)"))
    writers.wait_for_queue(2)
    blocked.release()
    writers.join()
    errors = [writers.outcomes[name] for name in ("good", "bad")]
    assert all(isinstance(error, StoreError) for error in errors)
    assert errors[0] is not errors[1]
    assert read_notes(connections) == set()
    assert connections.write(write_note("again")) == "wrote again"


def lock_after_rollback(connections: ConnectionPair, other: sqlite3.Connection) -> None:
    """Has another connection lock the file once a transaction was rolled back, before the next one begins."""
    executed: list[str] = []

    def lock(text: str) -> None:
        if executed[-1:] == ["ROLLBACK"]:
            other.execute("BEGIN IMMEDIATE")
        executed.append(text)

    connections.write(lambda db: db.set_trace_callback(lock))


def test_writes_fail_if_another_process_locks_the_file_before_they_run_one_by_one(tmp_path: Path) -> None:
    connections = ConnectionPair(str(tmp_path / "threads.db"), 0.1)
    connections.write(lambda db: db.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)"))
    with contextlib.closing(sqlite3.connect(connections.path, isolation_level=None)) as other:
        lock_after_rollback(connections, other)
        works = [write_note("a"), write_and_raise]
        with pytest.raises(StoreError, match="locked"):
            connections.write(in_a_list(*works), lambda: [in_a_list(work) for work in works], 2)
    assert read_notes(connections) == set()
    assert connections.write(write_note("again")) == "wrote again"


def test_a_write_that_must_not_wait_leaves_to_others_what_falls_apart(tmp_path: Path) -> None:
    """It would have to begin another transaction, and wait for a process that is faster."""
    connections = ConnectionPair(str(tmp_path / "threads.db"), 0.1)
    connections.write(lambda db: db.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)"))
    with contextlib.closing(sqlite3.connect(connections.path, isolation_level=None)) as other:
        lock_after_rollback(connections, other)
        waiting = PendingWrite(write_and_raise)
        connections._state.get().waiting.append(waiting)  # by a thread that is about to take the lock
        connections.write_soon(write_note("soon"), lambda: None)
    assert waiting.outcome.error is None
    assert read_notes(connections) == {"soon"}
    connections.write(write_note("next"))
    assert isinstance(waiting.outcome.error, LookupError)
    assert read_notes(connections) == {"soon", "next"}


def test_a_write_that_must_not_wait_is_done_with_the_next_one_if_the_file_is_locked(
    connections: ConnectionPair,
) -> None:
    soon, lock = write_note("soon"), connections._state.get().writer.lock
    with contextlib.closing(sqlite3.connect(connections.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        connections.write_soon(soon, lambda: None)
    with lock:
        connections.write_soon(soon, lambda: None)
    assert read_notes(connections) == set()
    connections.write(write_note("next"))
    assert read_notes(connections) == {"soon", "next"}


def test_a_write_that_timed_out_is_not_done_later(tmp_path: Path) -> None:
    connections = ConnectionPair(str(tmp_path / "threads.db"), 0.2)
    connections.write(lambda db: db.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)"))
    writers, blocked = Writers(connections), BlockedWrite()
    writers.write("blocked", blocked)
    assert blocked.started.wait(30)
    with pytest.raises(StoreError):
        connections.write(write_note("late"))
    blocked.release()
    writers.join()
    connections.write(write_note("next"))
    assert read_notes(connections) == {"next"}


def test_a_write_that_was_interrupted_is_not_done_later(
    connections: ConnectionPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def acquire(self, **_: object) -> bool:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(connections._state.get().writer, "lock", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            connections.write(write_note("late"))
    connections.write(write_note("next"))
    assert read_notes(connections) == {"next"}


def test_a_failure_does_not_remove_the_journal(tmp_path: Path) -> None:
    # Closing the last connection would; on a full disk no new one could be created, and nothing could be read.
    path = tmp_path / "threads.db"
    connections = ConnectionPair(str(path), 20.0)
    with pytest.raises(StoreError, match="nowhere"):
        connections.write(lambda db: db.execute("INSERT INTO nowhere VALUES (1)"))
    assert path.with_name("threads.db-wal").exists()
    connections.write(lambda db: db.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)"))
    assert read_notes(connections) == set()


def half_created(path: Path) -> sqlite3.Connection:
    """Returns the connection of a process that is creating a store, just before it changes the journal mode."""
    ConnectionPair(str(path), 20.0).check()
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_creating_a_file_waits_for_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As when the workers of a server create it at once: SQLite itself does not wait to change the journal mode.
    path = tmp_path / "threads.db"
    other = half_created(path)
    pauses: list[float] = []
    here, real_sleep = threading.get_ident(), connections_module.time.sleep

    def sleep(seconds: float) -> None:
        if threading.get_ident() != here:
            real_sleep(seconds)  # in a thread of another test
            return
        pauses.append(seconds)
        if len(pauses) == 3:
            other.execute("COMMIT")

    # In this module only: a thread that another test has left may sleep as well.
    monkeypatch.setattr(connections_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    ConnectionPair(str(path), 20.0).check()
    assert len(pauses) == 3
    with contextlib.closing(sqlite3.connect(path)) as after:
        assert after.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_creating_a_file_waits_no_longer_than_the_timeout(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    with contextlib.closing(half_created(path)), pytest.raises(ValueError, match="locked"):
        ConnectionPair(str(path), 0.1).check()


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="this system has no null device")
def test_a_file_that_keeps_nothing_is_refused_with_the_error_that_was_first() -> None:
    with pytest.raises(ValueError, match="/dev/null cannot be opened") as refused:
        ConnectionPair("/dev/null", 0.5).check()
    assert "rollback" not in str(refused.value)


def test_a_sqlite_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with pytest.raises(ValueError, match=r"SQLite 3\.35 or newer is required, and this Python has 3\.34\.1"):
        ConnectionPair(str(tmp_path / "threads.db"), 20.0).check()


def test_file_that_a_newer_version_has_migrated_meanwhile_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    store = SqliteStore(path)
    store_run(store, T1)
    lease = begin(store, T2).lease
    frames, completion = record_run(lease, message_events())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    for _ in range(2):
        for write in (
            lambda: begin(store, ThreadKey(ADA, "t3")),
            lambda: store.append([Batch(lease, frames[:1])]),
            lambda: store.finish(lease, frames, completion),
            lambda: store.delete(T1),
        ):
            with pytest.raises(StoreError, match=f"schema version {len(MIGRATIONS) + 1}, but"):
                write()
    other.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    other.close()
    store.finish(lease, frames, completion)
    assert len(list_thread_ids(store)) == 2


def test_statements_have_no_numbered_parameters() -> None:
    """Python 3.12.0 to 3.12.3 warns of them at each use, and with warnings as errors no run would be stored."""
    folder = Path(connections_module.__file__).parent
    numbered = {(path.name, found) for path in folder.glob("*.py") for found in re.findall(r"\?\d", path.read_text())}
    assert numbered == set()
