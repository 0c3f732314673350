"""A SQLite store's connections: what writes at the same time shares a transaction."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime.stores._sqlite import connections as connections_module
from copilot_runtime.stores._sqlite.connections import MAX_GROUP_COMMIT, ConnectionPair
from copilot_runtime.stores.protocol import StoreError


class Writers:
    """Threads that write, and what became of it."""

    def __init__(self, connections: ConnectionPair) -> None:
        self._connections = connections
        self._threads: list[threading.Thread] = []
        self.outcomes: dict[str, Any] = {}

    def write(self, name: str, work: Callable[[sqlite3.Connection], Any]) -> None:
        def run() -> None:
            try:
                self.outcomes[name] = self._connections.write(work)
            except Exception as error:
                self.outcomes[name] = error

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)

    def until_waiting(self, count: int) -> None:
        pause = threading.Event()
        while len(self._connections._waiting) < count:
            pause.wait(0.001)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def connections(tmp_path: Path) -> ConnectionPair:
    made = ConnectionPair(str(tmp_path / "threads.db"), 20.0)
    made.write(lambda db: db.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)"))
    return made


def noted(connections: ConnectionPair) -> set[str]:
    return connections.read(lambda db: {text for (text,) in db.execute("SELECT text FROM notes")})


def note(text: str) -> Callable[[sqlite3.Connection], str]:
    def work(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO notes VALUES (?)", (text,))
        return f"wrote {text}"

    return work


def refuse(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO notes VALUES ('refused')")
    raise LookupError("refused")


class Held:
    """A write that goes on until it is let go."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.begun, self._go, self._then = threading.Event(), threading.Event(), then

    def __call__(self, db: sqlite3.Connection) -> None:
        self.begun.set()
        assert self._go.wait(30)
        self._then()

    def go(self) -> None:
        self._go.set()


def statements(connections: ConnectionPair) -> list[str]:
    seen: list[str] = []
    connections.write(lambda db: db.set_trace_callback(seen.append))
    seen.clear()
    return seen


@pytest.mark.parametrize("count", [2, MAX_GROUP_COMMIT + 3])
def test_those_who_wait_share_a_transaction(connections: ConnectionPair, count: int) -> None:
    seen = statements(connections)
    writers, held = Writers(connections), Held()
    writers.write("held", held)
    assert held.begun.wait(30)
    for number in range(count):
        writers.write(str(number), note(str(number)))
    writers.until_waiting(count)
    held.go()
    writers.join()
    assert noted(connections) == {str(number) for number in range(count)}
    assert all(writers.outcomes[str(number)] == f"wrote {number}" for number in range(count))
    # The held one, and as many more as it takes.
    assert seen.count("COMMIT") == 1 + -(-count // MAX_GROUP_COMMIT)


def test_one_that_is_refused_undoes_itself_alone(connections: ConnectionPair) -> None:
    writers, held = Writers(connections), Held()
    writers.write("held", held)
    assert held.begun.wait(30)
    writers.write("before", note("before"))
    writers.until_waiting(1)
    writers.write("refused", refuse)
    writers.until_waiting(2)
    writers.write("after", note("after"))
    writers.until_waiting(3)
    held.go()
    writers.join()
    assert isinstance(writers.outcomes["refused"], LookupError)
    assert noted(connections) == {"before", "after"}


def test_a_transaction_that_fails_fails_for_all_in_it(connections: ConnectionPair) -> None:
    writers, held = Writers(connections), Held()
    writers.write("held", held)
    assert held.begun.wait(30)
    writers.write("good", note("good"))
    writers.until_waiting(1)
    writers.write("bad", lambda db: db.execute("INSERT INTO nowhere VALUES (1)"))
    writers.until_waiting(2)
    held.go()
    writers.join()
    assert all(isinstance(writers.outcomes[name], StoreError) for name in ("good", "bad"))
    assert noted(connections) == set()
    assert connections.write(note("again")) == "wrote again"


def test_one_who_waits_in_vain_writes_nothing_later(tmp_path: Path) -> None:
    connections = ConnectionPair(str(tmp_path / "threads.db"), 0.2)
    connections.write(lambda db: db.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)"))
    writers, held = Writers(connections), Held()
    writers.write("held", held)
    assert held.begun.wait(30)
    with pytest.raises(StoreError):
        connections.write(note("late"))
    held.go()
    writers.join()
    connections.write(note("next"))
    assert noted(connections) == {"next"}


def test_a_failure_does_not_take_the_journal_along(tmp_path: Path) -> None:
    # As closing a file's last connection would: where nothing may grow there would be no new one, not even to read.
    path = tmp_path / "threads.db"
    connections = ConnectionPair(str(path), 20.0)
    with pytest.raises(StoreError, match="nowhere"):
        connections.write(lambda db: db.execute("INSERT INTO nowhere VALUES (1)"))
    assert path.with_name("threads.db-wal").exists()
    connections.write(lambda db: db.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)"))
    assert noted(connections) == set()


def test_a_new_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As when the workers of a server make it at once: SQLite itself does not wait to change a file's journal.
    path = tmp_path / "threads.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)")
    other.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr(connections_module.time, "sleep", sleep)
    ConnectionPair(str(path), 20.0).check()
    assert len(pauses) == 3
    with contextlib.closing(sqlite3.connect(path)) as after:
        assert after.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_new_file_is_not_waited_for_beyond_the_patience(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ValueError, match="locked"):
        ConnectionPair(str(path), 0.1).check()


def test_a_sqlite_that_is_too_old_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with pytest.raises(ValueError, match=r"SQLite 3\.35 or newer is required, and this Python has 3\.34\.1"):
        ConnectionPair(str(tmp_path / "threads.db"), 20.0).check()
