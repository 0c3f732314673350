"""The ids of the messages of a thread, which a SQLite store keeps together, and does not read again for each run."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores._sql import message_ids
from copilot_runtime.stores._sqlite import message_ids as rows_of_ids
from copilot_runtime.stores._sqlite import rows, schema
from copilot_runtime.stores.protocol import NewRun, RunEnd, RunStarted, ThreadUnreadable
from copilot_runtime.testing._factories import T1, T2, begin, message_events, record_run, store_run

pytestmark = pytest.mark.requirement("STORE-01")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


def stored_ids(store: SqliteStore) -> tuple[set[str], set[str]]:
    """Returns the ids as the rows have them."""
    thread = store._connections.read(lambda db: rows.select_row_id(db, T1))
    if thread is None:
        return set(), set()
    in_events, in_inputs = store._connections.read(lambda db: rows_of_ids.select_ids(db, thread))
    return set(in_events), set(in_inputs)


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


def count_parsed_ids(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Returns a list to which each parse adds how many rows, and how many ids of messages in events, it has read."""
    counts: list[tuple[int, int]] = []
    parse = rows_of_ids._parse

    def count(found: Sequence[object]) -> message_ids.Ids:
        ids = parse(found)
        counts.append((len(found), len(ids[0])))
        return ids

    monkeypatch.setattr(rows_of_ids, "_parse", count)
    return counts


@pytest.mark.parametrize("max_runs", [0, 150], ids=["all are kept", "the oldest is deleted"])
def test_beginning_a_run_reads_only_runs_that_are_new(
    path: Path, max_runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(path, max_runs_per_thread=max_runs)
    for number in range(200):
        store_run(store, T1, f"message-{number:04}")
    counts = count_parsed_ids(monkeypatch)
    for number in range(3):
        store_run(store, T1, f"next-{number}")
    assert max(ids for _, ids in counts) < 50, "those that are in the row of the thread"
    counts.clear()
    begin(SqliteStore(path))
    [(row_count, id_count)] = counts
    assert row_count < 15
    assert id_count - (max_runs or 203) in range(60), "and a few of deleted runs"


@pytest.mark.parametrize("runs", [1, 5, 20])
def test_the_ids_of_a_thread_are_in_few_rows(path: Path, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of which may be on a page of its own, which has to be read from the file."""
    store = SqliteStore(path)
    for number in range(runs):
        run_once(store, f"message-{number:08}", f"question-{number:08}")
    counts = count_parsed_ids(monkeypatch)
    begin(SqliteStore(path))
    assert counts == [(1 if runs < 20 else 2, runs)]


def test_ids_that_each_run_has_are_kept_once_in_the_row_of_the_thread(path: Path) -> None:
    """Such as where an agent repeats the whole input in its RUN_STARTED."""
    store = SqliteStore(path)
    asked = [{"id": f"question-{number}", "role": "user", "content": "?"} for number in range(10)]
    lengths: list[int] = []
    for _ in range(10):
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, message_events("the same"), asked))
        lengths += [length for (length,) in read_rows(store, "SELECT length(recent_ids) FROM threads")]
    assert stored_ids(store) == ({"the same"}, {message["id"] for message in asked})
    assert lengths == lengths[:1] * 10


def read_rows(store: SqliteStore, sql: str) -> list[tuple[int, ...]]:
    return store._connections.read(lambda db: db.execute(sql).fetchall())


TEXTS = ["", "\x00", '"', "\\", "\ud800", "\u2028", "\U0001f600", '":5,"', "{", "ü" * 2000]


@pytest.mark.parametrize("text", TEXTS, ids=[ascii(text)[:20] for text in TEXTS])
def test_ids_of_any_text_are_those_that_were_stored(path: Path, text: str) -> None:
    store = SqliteStore(path)
    for _ in range(3):
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events("m"))
        store.finish(lease, frames, completion._replace(event_messages={text}, input_messages={f"q{text}"}))
    started = begin(store)
    assert (set(started.event_messages), set(started.input_messages)) == ({text}, {f"q{text}"})


def test_ids_of_older_versions_of_the_schema_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:3])
        SqliteStore(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "INSERT INTO threads (owner, thread_id, used_at, ordinal, bytes, runs) VALUES (?, ?, 1, 9, 9, 3)", T1
        )
        for ordinal, event_messages in ((5, '["m1"]'), (7, '["m2","ü"]'), (9, "damaged")):
            db.execute(
                "INSERT INTO runs (thread, ordinal, run_id, agent_id, frames_id, frames, frames_bytes, raw_until,"
                " checksum, event_messages, input_messages, duplicates, has_run_error, recorded_by, bytes, records)"
                " VALUES (1, ?, 'r1', 'a', 7, 0, 0, 0, 5, ?, '[\"u\"]', '[]', 0, '', 0, x'')",
                (ordinal, event_messages),
            )
    store = SqliteStore(path, max_runs_per_thread=3)
    assert stored_ids(store) == ({"m1", "m2", "ü"}, {"u"})
    run_once(store, "m3", "u3")
    assert stored_ids(store) == ({"m2", "ü", "m3"}, {"u", "u3"})
    run_once(store, "m4", "u4")
    run_once(store, "m5", "u5")
    assert stored_ids(store) == ({"m3", "m4", "m5"}, {"u3", "u4", "u5"})


@pytest.mark.parametrize(
    "damage",
    [
        "recent_ids = 9e999",
        'recent_ids = char(10) || \'"u":"x",\'',
        "recent_ids = x'00'",
        "ids_until = 'x'",
        "first_run = ''",
    ],
)
def test_damaged_ids_are_reported(path: Path, damage: str) -> None:
    store = SqliteStore(path)
    store_run(store)
    store_run(store, T2)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"UPDATE threads SET {damage} WHERE thread_id = 't1'")
    with pytest.raises(ThreadUnreadable):
        begin(store)
    assert set(begin(store, T2).event_messages) == {"m"}
    assert store.delete(T1)
    assert not begin(store).event_messages


def test_ids_are_deleted_with_their_thread(path: Path) -> None:
    store = SqliteStore(path)
    for number in range(30):
        store_run(store, T1, f"m{number}" + "x" * 200)
    assert read_rows(store, "SELECT count(*) > 3 FROM message_ids") == [(1,)]
    store.delete(T1)
    while store.sweep():
        pass
    assert read_rows(store, "SELECT count(*) FROM message_ids") == [(0,)]


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
    kept = [sys.getsizeof(text) for thread in known._threads.values() for ids in thread.ids for text in ids]
    assert known._size == sum(thread.size for thread in known._threads.values()) <= limit
    assert known._size == sum(kept) + message_ids._ENTRY_BYTES * len(kept)
    assert bool(kept) == (length == 1)
