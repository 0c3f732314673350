"""The ids of the messages of a long thread, which a SQLite store does not read again for each run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores._sql import message_ids
from copilot_runtime.stores._sqlite import rows
from copilot_runtime.stores.protocol import NewRun, RunEnd, RunStarted
from copilot_runtime.testing._factories import T1, T2, begin, message_events, record_run, store_run

pytestmark = pytest.mark.requirement("STORE-01")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


def stored_ids(store: SqliteStore) -> tuple[set[str], set[str]]:
    """Returns the ids as the rows have them."""
    thread = store._connections.read(lambda db: rows.select_row_id(db, T1))
    found = [] if thread is None else store._connections.read(lambda db: rows.select_message_ids(db, thread, 0))
    return {text for _, ids, _ in found for text in ids}, {text for _, _, ids in found for text in ids}


def run_once(store: SqliteStore, message: str, question: str) -> None:
    """Stores a run, and checks what its beginning returned."""
    expected = stored_ids(store)
    started = begin(store)
    assert (set(started.event_messages), set(started.input_messages)) == expected
    asked = [{"id": question, "role": "user", "content": "?"}]
    store.finish(started.lease, *record_run(started.lease, message_events(message), asked))


OPERATIONS: dict[str, Callable[[SqliteStore, SqliteStore, int], object]] = {
    "run": lambda store, other, at: run_once(store, f"m{at}", f"u{at}"),
    "repeated ids": lambda store, other, at: run_once(store, f"m{at % 5}", f"u{at % 3}"),
    "run of another process": lambda store, other, at: run_once(other, f"o{at}", "u"),
    "run that is not kept": lambda store, other, at: store_nothing(store),
    "many runs": lambda store, other, at: [run_once(store, f"m{at}-{more}", "u") for more in range(9)],
    "deleted": lambda store, other, at: other.delete(T1),
    "rolled back": lambda store, other, at: roll_back(store),
    "fork": lambda store, other, at: store.after_fork(),
}


def store_nothing(store: SqliteStore) -> None:
    lease = begin(store).lease
    frames, completion = record_run(lease, [])
    store.finish(lease, frames, type(completion)(persist=False))


def roll_back(store: SqliteStore) -> None:
    """Begins a run after one that has ended, in a group that is run again without the latter."""
    lost = begin(store, T2).lease
    store.delete(T2)
    lease = begin(store).lease
    ended = RunEnd(lease, *record_run(lease, message_events("in a group")))
    new = NewRun(thread=T1, run_id="r", agent_id="a")
    none, started, raised = store.write_runs([ended, new, RunEnd(lost, *record_run(lost, message_events()))])
    assert none is None
    assert isinstance(started, RunStarted)
    assert isinstance(raised, Exception)
    assert set(started.event_messages) == stored_ids(store)[0]
    store.finish(started.lease, *record_run(started.lease, message_events("next")))


@settings(max_examples=25, deadline=None)
@given(
    operations=st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=4, max_size=12),
    max_runs=st.sampled_from((0, 3, 10)),
)
def test_message_ids_of_a_long_thread_are_those_of_its_runs(
    operations: list[str], max_runs: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("ids") / "threads.db"
    store, other = (SqliteStore(path, max_runs_per_thread=max_runs) for _ in range(2))
    for at, operation in enumerate(["many runs", *operations, "run"]):
        OPERATIONS[operation](store, other, at)


@pytest.mark.parametrize("max_runs", [0, 50], ids=["all are kept", "the oldest is deleted"])
def test_beginning_a_run_reads_only_runs_that_are_new(
    path: Path, max_runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(path, max_runs_per_thread=max_runs)
    for number in range(60):
        store_run(store, T1, f"m{number}")
    counts: list[int] = []
    select = rows.select_message_ids

    def count(*args: object) -> object:
        found = select(*args)  # type: ignore[arg-type]
        counts.append(len(found))
        return found

    monkeypatch.setattr(rows, "select_message_ids", count)
    for number in range(3):
        store_run(store, T1, f"n{number}")
    assert counts == [1, 1, 1]


@pytest.mark.parametrize("length", [1, 2_000])
def test_message_ids_are_kept_up_to_a_limit(path: Path, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of their bytes, since clients choose them."""
    limit = 20_000
    monkeypatch.setattr(message_ids, "MAX_BYTES", limit)
    store = SqliteStore(path, max_runs_per_thread=60)
    for at in range(70):
        for thread in (T1, T2):
            store_run(store, thread, f"m{at}" + "x" * length)
    for at in range(70, 80):
        run_once(store, f"m{at}" + "x" * length, f"u{at}")
    known = store._connections.write(lambda db: db.message_ids)
    kept = [
        sys.getsizeof(text) for thread in known._threads.values() for text in (*thread.in_events, *thread.in_inputs)
    ]
    assert known._size == sum(thread.size for thread in known._threads.values()) <= limit
    assert known._size == sum(kept) + message_ids._ENTRY_BYTES * len(kept)
    assert bool(kept) == (length == 1)
