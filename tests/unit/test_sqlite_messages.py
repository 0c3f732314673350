"""The messages of a thread in a SQLite store: those of the last run's input are stored, those of its events found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores._sqlite import schema
from copilot_runtime.stores.protocol import ThreadUnreadable
from copilot_runtime.testing._factories import (
    FINISHED,
    QUESTION,
    STARTED,
    T1,
    begin,
    message_events,
    record_run,
    store_run,
)

pytestmark = pytest.mark.requirement("STORE-08")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


def stored_ids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {message_id for (message_id,) in db.execute("SELECT id FROM messages")}


def finish_without_messages(store: SqliteStore) -> None:
    lease = begin(store).lease
    store.finish(lease, *record_run(lease, [STARTED, FINISHED]))


def test_messages_of_the_events_are_not_stored_twice(path: Path) -> None:
    store = SqliteStore(path)
    store_run(store, T1, "m")
    assert stored_ids(path) == {QUESTION["id"]}
    assert [message["id"] for message in store.messages(T1)] == [QUESTION["id"], "m"]


def test_messages_outlive_the_run_that_had_them(path: Path) -> None:
    """A run may have no messages at all, and then those of the thread remain."""
    store = SqliteStore(path, max_runs_per_thread=1)
    store_run(store, T1, "m")
    messages = store.messages(T1)
    for _ in range(2):
        finish_without_messages(store)
        assert store.messages(T1) == messages
    assert len(store.read(T1).runs) == 1


def test_messages_of_a_run_without_input(path: Path) -> None:
    store = SqliteStore(path)
    lease = begin(store).lease
    store.finish(lease, *record_run(lease, message_events("m")))
    assert [message["id"] for message in store.messages(T1)] == ["m"]
    assert stored_ids(path) == set()


def test_messages_of_an_older_version_are_all_stored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:4])
        SqliteStore(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "INSERT INTO threads (owner, thread_id, used_at, ordinal, bytes, runs, message_ids)"
            " VALUES (?, ?, 1, 9, 9, 1, '[\"u\"]')",
            T1,
        )
        db.execute("INSERT INTO messages (thread, id, checksum, message) VALUES (1, 'u', 2745614147, '{}')")
    store = SqliteStore(path)
    assert store.messages(T1) == [{}]
    store_run(store, T1, "m")
    assert [message["id"] for message in store.messages(T1)] == [QUESTION["id"], "m"]


@pytest.mark.parametrize("column", ["runs SET records", "messages SET message"])
def test_run_without_messages_ends_after_one_that_is_damaged(path: Path, column: str) -> None:
    """The messages of the thread stay unreadable, and it is free for the next run."""
    store = SqliteStore(path)
    store_run(store, T1, "m")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE {column} = CAST(x'ff00fe' AS TEXT)")
    finish_without_messages(store)
    with pytest.raises(ThreadUnreadable):
        store.messages(T1)
    begin(store)
