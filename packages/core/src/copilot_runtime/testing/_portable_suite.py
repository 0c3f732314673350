"""The tests of stores whose threads can be moved (stores/portable.py): a part of `RunStoreSuite`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from .._events import frames_of
from ..stores import MemoryStore, RunStore, copy_threads
from ..stores import protocol as p
from ..stores.portable import ImportOutcome, NoRoomError, PortableStore, PortableThread
from ._factories import (
    ADA,
    BOB,
    T1,
    T2,
    begin,
    list_thread_ids,
    message_events,
    record_run,
    store_run,
)

B1 = p.ThreadKey(BOB, "t1")


def _portable(store: RunStore) -> PortableStore:
    """Returns a store with the optional methods of `PortableStore`."""
    if not hasattr(store, "import_thread"):
        pytest.skip("the threads of this store cannot be moved")
    return cast(PortableStore, store)


def _export(store: RunStore, key: p.ThreadKey = T1) -> PortableThread:
    thread = _portable(store).export_thread(key)
    assert thread is not None
    return thread


def _run_with(store: RunStore, key: p.ThreadKey, run_id: str, message: str, question: str) -> None:
    """Stores a run with a message in its events, and one in its input."""
    lease = begin(store, key, run_id).lease
    store.finish(lease, *record_run(lease, message_events(message), [{"id": question, "role": "user", "content": "?"}]))


def _all_keys(store: PortableStore, limit: int) -> list[p.ThreadKey]:
    keys: list[p.ThreadKey] = []
    cursor = None
    while True:
        page = store.thread_keys(cursor, limit)
        assert len(page.keys) <= limit
        keys += page.keys
        if (cursor := page.next_cursor) is None:
            return keys


def _visible(store: RunStore, key: p.ThreadKey) -> Any:
    """Returns all that the protocol shows of a thread."""
    snapshot = store.read(key)
    runs = [
        (run.ordinal, run.run_id, run.agent_id, list(frames_of(run.records)), run.has_run_error, run.recorded_by)
        for run in snapshot.runs
    ]
    infos = [
        info
        for info in store.threads(key.owner, p.ThreadQuery(include_archived=True)).threads
        if info.thread_id == key.thread_id
    ]
    return runs, snapshot.last_ordinal, store.messages(key), infos


class PortableTests:
    """The tests of the optional methods of `PortableStore`."""

    _limited: Callable[..., RunStore]

    def test_export_and_import_keep_all_of_a_thread(self, store: RunStore) -> None:
        _run_with(store, T1, "r1", "m1", "q1")
        _run_with(store, T1, "r2", "m2", "q2")
        store.update(T1, name="Größe", archived=True)
        before, exported = _visible(store, T1), _export(store)
        assert [run.run_id for run in exported.runs] == ["r1", "r2"]
        assert exported.last_ordinal == exported.runs[-1].ordinal
        assert exported.active is None
        store.delete(T1)
        assert _portable(store).import_thread(exported) is ImportOutcome.CREATED
        assert _visible(store, T1) == before
        again = _export(store)
        assert dataclasses.replace(again, used_at=0.0) == dataclasses.replace(exported, used_at=0.0)

    def test_export_and_import_keep_whether_a_run_was_stopped(self, store: RunStore) -> None:
        for was_stopped in (True, False):
            lease = begin(store, T1).lease
            frames, completion = record_run(lease, message_events())
            store.finish(lease, frames, completion._replace(was_stopped=was_stopped))
        for _ in range(2):
            exported = _export(store)
            assert [run.was_stopped for run in exported.runs] == [True, False]
            store.delete(T1)
            _portable(store).import_thread(exported)

    def test_export_and_import_keep_messages_with_the_same_id(self, store: RunStore) -> None:
        inputs = [{"id": "u1", "role": role, "content": "?"} for role in ("user", "assistant", "user")]
        lease = begin(store, T1).lease
        store.finish(lease, *record_run(lease, message_events(), inputs))
        exported = _export(store)
        assert [message["role"] for message in exported.messages] == ["user", "assistant", "user", "assistant"]
        store.delete(T1)
        assert _portable(store).import_thread(exported) is ImportOutcome.CREATED
        assert store.messages(T1) == list(exported.messages)

    def test_an_imported_thread_can_be_continued(self, store: RunStore) -> None:
        _run_with(store, T1, "r1", "m1", "q1")
        exported = _export(store)
        store.delete(T1)
        _portable(store).import_thread(exported)
        started = begin(store, T1, "r2")
        assert started.lease.run.ordinal == exported.last_ordinal + 1
        assert (set(started.event_messages), set(started.input_messages)) == ({"m1"}, {"q1"})
        store.finish(started.lease, *record_run(started.lease, message_events("m2")))
        assert [run.run_id for run in store.read(T1).runs] == ["r1", "r2"]
        assert store.delete(T1)
        assert list_thread_ids(store) == []

    def test_an_imported_run_has_no_raw_frames(self, store: RunStore) -> None:
        store_run(store)
        exported = _export(store)
        store.delete(T1)
        _portable(store).import_thread(exported)
        [run] = store.read(T1, raw_ordinal=exported.last_ordinal).runs
        assert not run.raw
        update = store.follow(p.RunKey(T1, run.ordinal), 0)
        assert (list(update.frames), update.ended) == ([], True)

    def test_export_of_an_unknown_thread(self, store: RunStore) -> None:
        assert _portable(store).export_thread(T1) is None

    def test_export_leaves_out_the_active_run(self, store: RunStore) -> None:
        _run_with(store, T1, "r1", "m1", "q1")
        active = begin(store, T1, "r2").lease
        exported = _export(store)
        assert [run.run_id for run in exported.runs] == ["r1"]
        assert exported.last_ordinal == active.run.ordinal
        assert exported.active is not None
        assert exported.active.run_id == "r2"
        other = _portable(MemoryStore())
        assert other.import_thread(exported) is ImportOutcome.CREATED
        assert other.read(T1).live is None
        # A reader may know events of the run that was left out: the next one has another ordinal.
        assert begin(other, T1, "r3").lease.run.ordinal == active.run.ordinal + 1

    def test_import_replaces_an_older_copy(self, store: RunStore) -> None:
        _run_with(store, T1, "r1", "m1", "q1")
        older = _export(store)
        _run_with(store, T1, "r2", "m2", "q2")
        store.update(T1, name="new")
        newer, expected = _export(store), _visible(store, T1)
        store.delete(T1)
        assert _portable(store).import_thread(older) is ImportOutcome.CREATED
        assert _portable(store).import_thread(older) is ImportOutcome.UNCHANGED
        assert _portable(store).import_thread(newer) is ImportOutcome.REPLACED
        assert _portable(store).import_thread(newer) is ImportOutcome.UNCHANGED
        assert _visible(store, T1) == expected
        assert _portable(store).import_thread(older) is ImportOutcome.DIVERGED
        assert _visible(store, T1) == expected

    def test_import_replaces_a_copy_with_another_name(self, store: RunStore) -> None:
        store_run(store)
        unnamed = _export(store)
        store.update(T1, name="a name", archived=True)
        named = _export(store)
        store.delete(T1)
        _portable(store).import_thread(unnamed)
        assert _portable(store).import_thread(named) is ImportOutcome.REPLACED
        [info] = store.threads(ADA, p.ThreadQuery(include_archived=True)).threads
        assert (info.name, info.archived) == ("a name", True)

    def test_import_leaves_a_thread_that_was_continued(self, store: RunStore) -> None:
        store_run(store)
        exported = _export(store)
        store_run(store, T1, "m2")
        expected = _visible(store, T1)
        assert _portable(store).import_thread(exported) is ImportOutcome.DIVERGED
        assert _visible(store, T1) == expected

    def test_import_leaves_another_thread_of_the_same_name(self, store: RunStore) -> None:
        store_run(store)
        exported = _export(store)
        store.delete(T1)
        store_run(store)
        expected = _visible(store, T1)
        assert _portable(store).import_thread(exported) is ImportOutcome.DIVERGED
        assert _visible(store, T1) == expected

    def test_import_leaves_another_run_with_the_same_id(self, store: RunStore) -> None:
        store_run(store)
        exported = _export(store)
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, message_events("m2")))
        expected = _visible(store, T1)
        other = dataclasses.replace(exported.runs[0], ordinal=lease.run.ordinal, run_id=lease.run_id)
        for updated_at in (exported.updated_at - 3600, exported.updated_at + 3600):
            theirs = dataclasses.replace(
                exported, runs=[*exported.runs, other], last_ordinal=other.ordinal, updated_at=updated_at
            )
            assert _portable(store).import_thread(theirs) is ImportOutcome.DIVERGED
        assert _visible(store, T1) == expected

    def test_import_leaves_a_thread_with_an_active_run(self, store: RunStore) -> None:
        store_run(store)
        exported = _export(store)
        lease = begin(store).lease
        assert _portable(store).import_thread(exported) is ImportOutcome.BUSY
        store.finish(lease, *record_run(lease, message_events("m2")))

    def test_thread_keys_are_those_of_all_owners(self, store: RunStore) -> None:
        keys = [p.ThreadKey(owner, f"t{number}") for owner in (ADA, BOB, "") for number in range(3)]
        for key in keys:
            store_run(store, key)
        portable = _portable(store)
        for limit in (1, 2, 9, 100):
            assert set(_all_keys(portable, limit)) == set(keys)
        store.delete(keys[0])
        assert set(_all_keys(portable, 2)) == set(keys[1:])

    def test_thread_keys_while_threads_are_deleted_and_created(self, store: RunStore) -> None:
        keys = [p.ThreadKey(ADA, f"t{number}") for number in range(6)]
        for key in keys:
            store_run(store, key)
        portable = _portable(store)
        first = portable.thread_keys(None, 2)
        store.delete(first.keys[0])
        store.delete(first.keys[1])
        store_run(store, p.ThreadKey(ADA, "new"))
        found: Sequence[p.ThreadKey] = ()
        cursor = first.next_cursor
        while cursor is not None:
            page = portable.thread_keys(cursor, 2)
            found = [*found, *page.keys]
            cursor = page.next_cursor
        assert set(keys) - set(first.keys) <= set(found)

    def test_import_into_a_full_store_deletes_nothing(self) -> None:
        store = self._limited(max_threads=1)
        store_run(store)
        exported = dataclasses.replace(_export(store), key=T2)
        with pytest.raises(NoRoomError, match=r"max_threads=1 .* 2 "):
            _portable(store).import_thread(exported)
        assert list_thread_ids(store) == ["t1"]

    def test_import_of_more_runs_than_a_thread_may_have(self) -> None:
        source = _portable(MemoryStore())
        for number in range(3):
            store_run(source, T1, f"m{number}")
        store = self._limited(max_runs_per_thread=2)
        with pytest.raises(NoRoomError, match=r"max_runs_per_thread=2 .* 3 "):
            _portable(store).import_thread(_export(source))
        assert list_thread_ids(store) == []

    def test_copy_threads_there_and_back(self, store: RunStore) -> None:
        for key in (T1, T2, B1):
            _run_with(store, key, "r1", "m1", "q1")
        _run_with(store, T1, "r2", "m2", "q2")
        store.update(T2, name="n", archived=True)
        expected = [_visible(store, key) for key in (T1, T2, B1)]
        other = _portable(MemoryStore())
        report = copy_threads(_portable(store), other)
        assert (report.outcomes, report.runs, report.is_complete) == ({ImportOutcome.CREATED: 3}, 4, True)
        assert [_visible(other, key) for key in (T1, T2, B1)] == expected
        for key in (T1, T2, B1):
            store.delete(key)
        assert copy_threads(other, store).outcomes == {ImportOutcome.CREATED: 3}
        assert [_visible(store, key) for key in (T1, T2, B1)] == expected
        assert copy_threads(other, store).outcomes == {ImportOutcome.UNCHANGED: 3}
