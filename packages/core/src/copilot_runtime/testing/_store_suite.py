"""The tests that every store has to pass. They use nothing but the protocol (stores/protocol.py)."""

from __future__ import annotations

import contextlib
import copy
import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest

from ..stores import RunStore
from ..stores import protocol as p
from ._factories import (
    ADA,
    BOB,
    EMPTY_SNAPSHOT,
    FINISHED,
    QUESTION,
    STARTED,
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
    text_event,
)
from ._portable_suite import PortableTests

TIMEOUT_SECONDS = 30.0
"""The longest wait. Only a store that fails reaches it."""


def _finish_and_begin_another(store: RunStore, lease: p.Lease) -> None:
    store.finish(lease, (), p.RunCompletion(persist=False))
    begin(store)


def _delete_and_begin_another(store: RunStore, lease: p.Lease) -> None:
    store.delete(lease.run.thread)
    begin(store)


_WAYS_TO_LOSE_LEASE: Mapping[str, Callable[[RunStore, p.Lease], object]] = {
    "finished": lambda store, lease: store.finish(lease, (), p.RunCompletion(persist=False)),
    "finished and persisted": lambda store, lease: store.finish(lease, *record_run(lease, message_events())),
    "finished, and another begun": _finish_and_begin_another,
    "deleted": lambda store, lease: store.delete(lease.run.thread),
    "deleted, and another begun": _delete_and_begin_another,
    "claimed": lambda store, lease: store.claim(lease.run, force=True),
}

# Operations on a thread, and whether they count as use.
_USES: Mapping[str, tuple[Callable[[RunStore, p.ThreadKey], object], bool]] = {
    "a run": (store_run, True),
    "a run that begins": (begin, True),
    "connecting": (lambda store, key: store.read(key, touch=True), True),
    "reading its events": (lambda store, key: store.read(key), False),
    "reading its messages": (lambda store, key: store.messages(key), False),
    "being listed": (lambda store, key: store.threads(ADA, p.ThreadQuery()), False),
    "a name": (lambda store, key: store.update(key, name="x"), False),
    "a stop without a run": (lambda store, key: store.request_stop(key, None), False),
}

_WATCHED_CHANGES: Mapping[str, Callable[[RunStore, p.Lease], object]] = {
    "append": lambda store, lease: append_one(store, lease, record_run(lease, message_events())[0][:2]),
    "finish": lambda store, lease: store.finish(lease, *record_run(lease, message_events())),
    "finish without events": lambda store, lease: store.finish(lease, (), p.RunCompletion(persist=False)),
    "delete": lambda store, lease: store.delete(lease.run.thread),
}

_WATCHED_BY_HOLDER: Mapping[str, Callable[[RunStore, p.Lease], object]] = {
    "stop": lambda store, lease: store.request_stop(lease.run.thread, None),
    "claim": lambda store, lease: store.claim(lease.run, force=True),
    "delete": lambda store, lease: store.delete(lease.run.thread),
    "follow": lambda store, lease: store.follow(lease.run, 0),
}

_INVALID_CURSORS = ("", "x", "[]", "[1]", "[1,2,3]", "{}", "null", "7", '["a","b"]', "[" * 100_000, f"[1{'0' * 400},1]")


def _new(thread_id: str) -> p.NewRun:
    return p.NewRun(thread=p.ThreadKey(ADA, thread_id), run_id="r", agent_id="a")


def _write_runs(store: RunStore) -> Callable[[Sequence[p.NewRun | p.RunEnd]], Sequence[Any]]:
    """Returns the optional method of `p.GroupingStore`."""
    if not hasattr(store, "write_runs"):
        pytest.skip("this store does not write runs together")
    method: Callable[[Sequence[p.NewRun | p.RunEnd]], Sequence[Any]] = store.write_runs
    return method


def _read_with_messages(store: RunStore) -> Callable[[p.ThreadKey], tuple[p.ThreadSnapshot, Sequence[Any]]]:
    """Returns the optional method of `p.CombiningStore`."""
    if not hasattr(store, "read_with_messages"):
        pytest.skip("this store does not read a thread and its messages together")
    method: Callable[[p.ThreadKey], tuple[p.ThreadSnapshot, Sequence[Any]]] = store.read_with_messages
    return method


@contextlib.contextmanager
def _watched(store: RunStore, run: p.RunKey) -> Iterator[threading.Event]:
    """Watches a run (`p.WatchingStore`), and yields what is set after a change from now on."""
    if not hasattr(store, "watch"):
        pytest.skip("this store has to be polled")
    changed = threading.Event()
    stop_watching = store.watch(run, changed.set)
    try:
        assert changed.wait(TIMEOUT_SECONDS), "watch() must call back once it listens"
        changed.clear()
        yield changed
    finally:
        stop_watching()
        stop_watching()


def _eventually_signals(store: RunStore, leases: Sequence[p.Lease], expected: Mapping[p.Lease, p.LeaseSignal]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (signals := store.poll_signals(leases)) != expected:
        assert time.monotonic() < deadline, signals
        time.sleep(0.01)


def _keys(*names: str) -> list[p.ThreadKey]:
    return [p.ThreadKey(ADA, name) for name in names]


class RunStoreSuite(PortableTests):
    """The tests that a store has to pass.

    Derive a class whose name begins with ``Test``, and override `make_store`. Override the other methods of this
    first part as far as your store supports what they need; other tests are skipped. If they need a fixture, such
    as ``tmp_path``, let an autouse fixture of your class store it in an attribute.
    """

    limits: Collection[str] = ()
    """Which of the limits max_threads, max_runs_per_thread and max_bytes the store has."""

    def make_store(self) -> RunStore:
        """Returns a new, empty store."""
        raise NotImplementedError("make_store() must return a new, empty store")

    def make_limited(self, **limits: int) -> RunStore:
        """Returns a new store with some of ``limits``; 0 means no limit."""
        raise NotImplementedError("a store with limits requires make_limited()")

    def make_leasing(self, lease_seconds: float) -> RunStore:
        """Returns a new store whose leases expire after ``lease_seconds``."""
        pytest.skip("the leases of this store do not expire")

    def open_second(self, store: RunStore) -> RunStore:
        """Returns a second store with the same threads as ``store``, as another process would open it."""
        pytest.skip("this store is for one process")

    def expire(self, store: RunStore, lease: p.Lease, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Waits until a lease has expired, and calls ``meanwhile`` repeatedly until then.

        Override this if your tests control the time.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            meanwhile()
            live = store.read(lease.run.thread).live
            assert live is not None, "a run whose lease has expired must stay until it is claimed"
            if live.expired:
                return
            assert time.monotonic() < deadline, "a lease that is not renewed must expire"
            time.sleep(0.01)

    @pytest.fixture
    def store(self) -> RunStore:
        return self.make_store()

    def _limited(self, **limits: int) -> RunStore:
        for name in limits:
            if name not in self.limits:
                pytest.skip(f"this store has no {name}")
        return self.make_limited(**limits)

    # --- runs ---

    def test_attributes(self, store: RunStore) -> None:
        assert store.blocking in (True, False)
        assert store.poll_seconds is None or store.poll_seconds > 0
        assert getattr(store, "flush_bytes", 0) >= 0
        assert store.lease_seconds is None or store.lease_seconds > 0

    def test_an_unknown_thread_is_empty(self, store: RunStore) -> None:
        for snapshot in (store.read(T1), store.read(T1, touch=True), store.read(T1, raw_ordinal=1)):
            assert not snapshot.runs
            assert snapshot.live is None
        assert list(store.messages(T1)) == []
        assert store.request_stop(T1, None) is None
        assert store.claim(p.RunKey(T1, 1)) is None
        assert store.claim(p.RunKey(T1, 1), force=True) is None
        update = store.follow(p.RunKey(T1, 1), 0)
        assert (list(update.frames), update.ended, update.expired) == ([], True, False)
        assert not store.update(T1, name="x")
        assert not store.delete(T1)
        clear_all(store)
        assert list_thread_ids(store) == []

    def test_a_run_from_begin_to_finish(self, store: RunStore) -> None:
        started = begin(store)
        assert (started.lease.run.thread, started.lease.run_id) == (T1, "r")
        assert not started.event_messages
        assert not started.input_messages
        assert not store.read(T1).runs
        assert store.read(T1).live == p.ActiveRun(started.lease.run, "r", "a", stopping=False)
        frames, completion = record_run(started.lease, message_events(), [QUESTION])
        assert append_one(store, started.lease, frames[:2]) is None
        assert not store.read(T1).runs
        store.finish(started.lease, frames[2:], completion)
        [stored] = store.read(T1, raw_ordinal=started.lease.run.ordinal).runs
        assert (stored.ordinal, stored.run_id, stored.agent_id) == (started.lease.run.ordinal, "r", "a")
        assert list(stored.records) == list(completion.records)
        assert list(stored.raw or ()) == frames
        assert store.read(T1).live is None

    def test_raw_frames_are_returned_for_the_requested_run_only(self, store: RunStore) -> None:
        frames = [store_run(store, message=f"m{number}") for number in range(3)]
        requested = store.read(T1).runs[1].ordinal
        assert [
            None if stored.raw is None else list(stored.raw) for stored in store.read(T1, raw_ordinal=requested).runs
        ] == [
            None,
            frames[1],
            None,
        ]
        assert [stored.raw for stored in store.read(T1).runs] == [None] * 3
        assert [stored.raw for stored in store.read(T1, raw_ordinal=requested + 17).runs] == [None] * 3

    def test_whether_a_run_has_an_error_is_kept(self, store: RunStore) -> None:
        for ended in (FINISHED, {"type": "RUN_ERROR", "message": "no"}, FINISHED):
            lease = begin(store).lease
            store.finish(lease, *record_run(lease, [STARTED, ended]))
        assert [stored.has_run_error for stored in store.read(T1).runs] == [False, True, False]

    def test_append_to_several_runs_at_once(self, store: RunStore) -> None:
        leases = [begin(store, key).lease for key in _keys("a", "b", "c")]
        recorded = [record_run(lease, message_events(f"m{at}")) for at, lease in enumerate(leases)]
        store.delete(leases[1].run.thread)
        refused = _append_all(store, {lease: frames[:2] for lease, (frames, _) in zip(leases, recorded, strict=True)})
        assert {lease: type(why) for lease, why in refused.items()} == {leases[1]: p.LeaseLost}
        for at in (0, 2):
            assert list(store.follow(leases[at].run, 0).frames) == recorded[at][0][:2]
        assert not _append_all(store, {})

    @pytest.mark.parametrize("count", [1, 7, 40])
    def test_append_to_many_runs_at_once(self, store: RunStore, count: int) -> None:
        leases = [begin(store, key).lease for key in _keys(*map(str, range(count)))]
        lost = leases[count // 2]
        store.finish(lost, (), p.RunCompletion(persist=False))
        recorded = [record_run(lease, message_events(f"m{at}"))[0] for at, lease in enumerate(leases)]
        for part in (slice(0, 2), slice(2, 2), slice(2, 5)):
            batches = [
                p.Batch(lease, frames[part], {at})
                for at, (lease, frames) in enumerate(zip(leases, recorded, strict=True))
            ]
            assert list(store.append(batches)) == [lost]
        for at, (lease, frames) in enumerate(zip(leases, recorded, strict=True)):
            if lease is not lost:
                update = store.follow(lease.run, 0)
                assert (list(update.frames), set(update.duplicates)) == (frames[:5], {at})

    def test_append_twice_to_a_run_at_once(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, _ = record_run(lease, message_events())
        assert not store.append([p.Batch(lease, frames[:2]), p.Batch(lease, frames[2:4], {3})])
        update = store.follow(lease.run, 0)
        assert (list(update.frames), set(update.duplicates)) == (frames[:4], {3})

    @pytest.mark.parametrize("stored", [0, 1, 3])
    def test_append_again_after_a_failure_stores_each_frame_once(self, store: RunStore, stored: int) -> None:
        """A call that failed, such as when its connection broke, may have appended some of the frames."""
        lease, other = begin(store).lease, begin(store, T2).lease
        frames, _ = record_run(lease, message_events())
        others, _ = record_run(other, message_events("m2"))
        if stored:
            assert not store.append([p.Batch(lease, frames[:stored], frame_count=stored)])
        assert not store.append(
            [p.Batch(lease, frames[:3], {3}, frame_count=3), p.Batch(other, others[:2], frame_count=2)]
        )
        assert not store.append([p.Batch(lease, frames[2:5], {3}, frame_count=5)])
        assert list(store.follow(lease.run, 0).frames) == frames
        assert list(store.follow(other.run, 0).frames) == others[:2]

    @pytest.mark.parametrize("stored", [0, 2, 4])
    def test_finish_after_a_failure_stores_each_frame_once(self, store: RunStore, stored: int) -> None:
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events())
        assert append_one(store, lease, frames[:stored]) is None
        store.finish(lease, frames, completion._replace(frame_count=len(frames)))
        [run] = store.read(T1, raw_ordinal=lease.run.ordinal).runs
        assert list(run.raw or ()) == frames

    def test_frames_that_do_not_continue_a_run_are_refused(self, store: RunStore) -> None:
        """The store has lost frames that it had acknowledged: what follows them must not take their place."""
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events())
        assert append_one(store, lease, frames[:1]) is None
        refused = store.append([p.Batch(lease, frames[2:3], frame_count=3)])
        assert {lease: type(why) for lease, why in refused.items()} == {lease: p.LeaseLost}
        with pytest.raises(p.LeaseLost):
            store.finish(lease, frames[3:], completion._replace(frame_count=len(frames)))
        assert list(store.follow(lease.run, 0).frames) == frames[:1]

    def test_begin_id_of_an_active_run(self, store: RunStore) -> None:
        """Optional: a store in which no run has begun when `begin` raises may leave it out."""
        started = store.begin(p.NewRun(thread=T1, run_id="r", agent_id="a", begin_id="b1"))
        assert isinstance(started, p.RunStarted)
        busy = store.begin(p.NewRun(thread=T1, run_id="r", agent_id="a", begin_id="b2"))
        assert isinstance(busy, p.ThreadBusy)
        live = store.read(T1).live
        assert live is not None
        assert live.begin_id == busy.live.begin_id
        assert live.begin_id in ("b1", "")

    def test_write_runs_begins_and_ends_runs_together(self, store: RunStore) -> None:
        write_runs = _write_runs(store)
        a, b, busy = write_runs([_new("a"), _new("b"), _new("a")])
        assert isinstance(a, p.RunStarted)
        assert isinstance(b, p.RunStarted)
        assert isinstance(busy, p.ThreadBusy)
        assert busy.live.run == a.lease.run
        frames, completion = record_run(a.lease, message_events("m"), [QUESTION])
        ended, again = write_runs([p.RunEnd(a.lease, frames, completion), _new("a")])
        assert ended is None
        assert isinstance(again, p.RunStarted)
        assert again.lease.run.ordinal == a.lease.run.ordinal + 1
        assert (again.event_messages, again.input_messages) == ({"m"}, {QUESTION["id"]})
        assert [message["id"] for message in store.messages(a.lease.run.thread)] == [QUESTION["id"], "m"]

    def test_write_runs_with_one_that_raises_leaves_the_others_alone(self, store: RunStore) -> None:
        write_runs = _write_runs(store)
        lost, kept = (begin(store, key).lease for key in _keys("lost", "kept"))
        store.delete(lost.run.thread)
        ends = [p.RunEnd(lease, *record_run(lease, message_events("m"))) for lease in (lost, kept)]
        raised, ended, begun = write_runs([*ends, _new("new")])
        assert isinstance(raised, p.LeaseLost)
        assert ended is None
        assert isinstance(begun, p.RunStarted)
        assert not store.read(lost.run.thread).runs
        assert len(store.read(kept.run.thread).runs) == 1
        assert append_one(store, begun.lease, record_run(begun.lease, message_events())[0][:1]) is None

    def test_ordinals_and_tokens_increase(self, store: RunStore) -> None:
        leases = []
        for _ in range(3):
            leases.append(begin(store).lease)
            store.finish(leases[-1], *record_run(leases[-1], message_events()))
        first = leases[0].run.ordinal
        assert first > 0
        assert [lease.run.ordinal for lease in leases] == [first, first + 1, first + 2]
        assert leases[0].token < leases[1].token < leases[2].token
        assert [stored.ordinal for stored in store.read(T1).runs] == [first, first + 1, first + 2]

    def test_begin_on_a_busy_thread(self, store: RunStore) -> None:
        lease = begin(store).lease
        again = store.begin(p.NewRun(thread=T1, run_id="r2", agent_id="b"))
        assert again == p.ThreadBusy(p.ActiveRun(lease.run, "r", "a", stopping=False))
        store.request_stop(T1, None)
        again = store.begin(p.NewRun(thread=T1, run_id="r2", agent_id="b"))
        assert again == p.ThreadBusy(p.ActiveRun(lease.run, "r", "a", stopping=True))
        assert append_one(store, lease, record_run(lease, message_events())[0][:1]) is None
        begin(store, T2)

    def test_begin_returns_the_ids_of_known_messages(self, store: RunStore) -> None:
        store_run(store, message="m1")
        started = begin(store)
        assert set(started.event_messages) == {"m1"}
        assert set(started.input_messages) == {"u1"}
        store.finish(started.lease, *record_run(started.lease, message_events("m2")))
        # The ids that were returned when the run began do not change.
        assert set(started.event_messages) == {"m1"}
        assert set(begin(store).event_messages) == {"m1", "m2"}

    def test_owners_do_not_see_each_others_threads(self, store: RunStore) -> None:
        theirs = p.ThreadKey(BOB, "t1")
        store_run(store, T1, "mine")
        lease = begin(store, theirs, "theirs").lease
        assert store.read(T1).live is None
        assert store.request_stop(T1, None) is None
        mine = begin(store, T1).lease
        assert mine.run != lease.run
        frames, completion = record_run(lease, message_events("m-theirs"))
        assert append_one(store, lease, frames[:2]) is None
        assert list(store.follow(mine.run, 0).frames) == []
        store.finish(lease, frames[2:], completion)
        assert list_thread_ids(store, BOB) == list_thread_ids(store, ADA) == ["t1"]
        assert [message["id"] for message in store.messages(theirs)] == ["m-theirs"]
        clear_all(store)
        assert list_thread_ids(store, BOB) == ["t1"]
        assert store.delete(theirs)
        assert list_thread_ids(store, BOB) == []
        assert poll_signal(store, mine) is None

    def test_any_string_is_a_valid_id(self, store: RunStore) -> None:
        names = ["", " ", "a'b\"c", "%_*", "ü\u2028\x00\x7f", "T1", "t1", "../x", "x" * 5000]
        for name in names:
            store_run(store, p.ThreadKey(ADA, name), message=f"m-{name}")
        assert sorted(list_thread_ids(store)) == sorted(names)
        for name in names:
            assert store.messages(p.ThreadKey(ADA, name))[-1]["id"] == f"m-{name}"
        assert list_thread_ids(store, "Ada") == list_thread_ids(store, "") == []

    # --- fencing ---

    @pytest.mark.parametrize("how", _WAYS_TO_LOSE_LEASE)
    def test_a_lost_lease_cannot_write(self, store: RunStore, how: str) -> None:
        lease = begin(store).lease
        early, late = record_run(lease, message_events("early"))[0], record_run(lease, message_events("late"))
        assert append_one(store, lease, early[:2]) is None
        _WAYS_TO_LOSE_LEASE[how](store, lease)
        before = store.read(T1)
        assert isinstance(append_one(store, lease, late[0][2:]), p.LeaseLost)
        with pytest.raises(p.LeaseLost):
            store.finish(lease, late[0][2:], late[1])
        with pytest.raises(p.LeaseLost):
            store.finish(lease, (), p.RunCompletion(persist=False))
        store.renew([lease])
        assert poll_signal(store, lease) is p.LeaseSignal.LOST
        after = store.read(T1)
        assert _comparable(after) == _comparable(before)
        if after.live is not None:
            assert not set(late[0][2:]) & set(store.follow(after.live.run, 0).frames)

    def test_a_forged_lease_cannot_write(self, store: RunStore) -> None:
        real = begin(store).lease
        forged = p.Lease(real.run, real.run_id, real.token + 1)
        frames = record_run(real, message_events())[0]
        assert isinstance(append_one(store, forged, frames[:1]), p.LeaseLost)
        assert poll_signal(store, forged) is p.LeaseSignal.LOST
        assert append_one(store, real, frames[:1]) is None
        assert list(store.follow(real.run, 0).frames) == frames[:1]

    def test_delete_revokes_the_lease_of_an_active_run(self, store: RunStore) -> None:
        store_run(store)
        lease = begin(store).lease
        frames = record_run(lease, message_events("m2"))[0]
        assert append_one(store, lease, frames[:2]) is None
        assert store.delete(T1)
        assert poll_signal(store, lease) is p.LeaseSignal.LOST
        snapshot = store.read(T1)
        assert (list(snapshot.runs), snapshot.live) == ([], None)
        assert store.follow(lease.run, 0).ended
        assert store.claim(lease.run, force=True) is None
        assert begin(store).lease.run != lease.run

    def test_clear_keeps_the_lease_of_an_active_run(self, store: RunStore) -> None:
        store_run(store, message="before")
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events("m"))
        assert append_one(store, lease, frames[:2]) is None
        clear_all(store)
        assert not store.read(T1).runs
        assert list(store.messages(T1)) == []
        assert list(store.follow(lease.run, 0).frames) == frames[:2]
        assert list_thread_ids(store) == []
        assert poll_signal(store, lease) in (None, p.LeaseSignal.FOLLOWED)
        store.finish(lease, frames[2:], completion)
        [stored] = store.read(T1, raw_ordinal=lease.run.ordinal).runs
        assert list(stored.raw or ()) == frames
        assert set(begin(store).event_messages) == {"m"}

    def test_clear_keeps_threads_that_are_created_meanwhile(self, store: RunStore) -> None:
        active = begin(store, T2).lease
        for number in range(450):
            begin(store, p.ThreadKey(ADA, f"t-{number}"))
        store_run(store, p.ThreadKey(BOB, "theirs"))
        cursor = store.clear(ADA)
        store_run(store, p.ThreadKey(ADA, "new"))
        while cursor is not None:
            cursor = store.clear(ADA, cursor)
        assert list_thread_ids(store) == ["new"]
        assert list_thread_ids(store, BOB) == ["theirs"]
        assert poll_signal(store, active) is None
        clear_all(store)
        assert list_thread_ids(store) == []
        while store.sweep():
            pass
        store.finish(active, *record_run(active, message_events()))
        assert list_thread_ids(store) == ["t2"]

    @pytest.mark.parametrize("operation", ["delete", "clear"])
    def test_a_recreated_thread_does_not_reuse_ordinals(self, store: RunStore, operation: str) -> None:
        """Or an event id of the former thread would resume in the middle of another run."""
        store_run(store)
        store_run(store)
        former = {stored.ordinal for stored in store.read(T1).runs}
        if operation == "delete":
            store.delete(T1)
        else:
            clear_all(store)
        assert begin(store).lease.run.ordinal not in former

    def test_ordinals_do_not_tell_of_the_threads_of_others(self, store: RunStore) -> None:
        """Clients see them. A counter that threads share would show when a thread of somebody else is deleted."""

        def new_thread(number: int) -> int:
            return begin(store, p.ThreadKey(BOB, f"new{number}")).lease.run.ordinal

        before = [new_thread(0), new_thread(1)]
        for _ in range(3):
            store_run(store)
        deleted = store.read(T1).runs[-1].ordinal
        store.delete(T1)
        ordinals = [*before, deleted, new_thread(2), new_thread(3)]
        assert all(abs(one - other) > 1 for one, other in itertools.pairwise(sorted(ordinals))), ordinals

    def test_last_ordinal_is_kept_of_a_run_that_is_not(self, store: RunStore) -> None:
        first, second = begin(store, T1).lease, begin(store, T2).lease
        for lease in (first, second):
            store.finish(lease, (), p.RunCompletion(persist=False, keep_ordinal=lease is second))
        assert store.read(T1) == p.ThreadSnapshot()
        snapshot = store.read(T2)
        assert (list(snapshot.runs), snapshot.live, snapshot.last_ordinal) == ([], None, second.run.ordinal)
        assert list_thread_ids(store) == []
        assert begin(store, T2).lease.run.ordinal == second.run.ordinal + 1
        assert store.read(T2).last_ordinal == second.run.ordinal + 1

    # --- stopping ---

    def test_poll_signals(self, store: RunStore) -> None:
        first, second = begin(store, T1).lease, begin(store, T2).lease
        assert store.poll_signals([first, second]) == {}
        store.request_stop(T2, None)
        assert store.poll_signals([first, second]) == {second: p.LeaseSignal.STOP}
        store.finish(first, (), p.RunCompletion(persist=False))
        assert store.poll_signals([first, second]) == {first: p.LeaseSignal.LOST, second: p.LeaseSignal.STOP}
        assert store.poll_signals([]) == {}
        store.renew([])

    def test_request_stop(self, store: RunStore) -> None:
        lease = begin(store).lease
        live = p.ActiveRun(lease.run, "r", "a", stopping=False)
        assert store.request_stop(T1, "other") == live
        assert poll_signal(store, lease) is None
        assert store.request_stop(T1, "r") == live
        assert poll_signal(store, lease) is p.LeaseSignal.STOP
        assert store.request_stop(T1, None) == p.ActiveRun(lease.run, "r", "a", stopping=True)
        store.finish(lease, (), p.RunCompletion(persist=False))
        assert store.request_stop(T1, None) is None

    def test_request_stop_is_for_one_run(self, store: RunStore) -> None:
        lease = begin(store).lease
        store.request_stop(T1, None)
        store.finish(lease, *record_run(lease, message_events()))
        assert poll_signal(store, begin(store).lease) is None

    # --- following ---

    def test_follow_an_active_run(self, store: RunStore) -> None:
        lease = begin(store).lease
        assert _progress(store.follow(lease.run, 0)) == ([], set(), False)
        frames, completion = record_run(lease, message_events())
        append_one(store, lease, frames[:2], {2})
        assert _progress(store.follow(lease.run, 0)) == (frames[:2], {2}, False)
        assert list(store.follow(lease.run, 1).frames) == frames[1:2]
        assert list(store.follow(lease.run, 2).frames) == []
        assert list(store.follow(lease.run, 9).frames) == []
        append_one(store, lease, frames[2:3], {2, 3})
        assert set(store.follow(lease.run, 2).duplicates) == {2, 3}
        store.finish(lease, frames[3:], completion)
        update = store.follow(lease.run, 2)
        assert (list(update.frames), update.ended) == (frames[2:], True)
        update = store.follow(lease.run, len(frames))
        assert (list(update.frames), update.ended) == ([], True)

    def test_follow_returns_duplicates_when_there_are_no_new_frames(self, store: RunStore) -> None:
        lease = begin(store).lease
        append_one(store, lease, record_run(lease, message_events())[0][:2], {2})
        for after in (0, 2, 2, 2, 0):
            assert set(store.follow(lease.run, after).duplicates) == {2}

    def test_follow_returns_the_duplicates_of_an_ended_run(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events())
        store.finish(
            lease,
            frames,
            p.RunCompletion(persist=True, records=completion.records, last_agent_event=5, duplicates={2, 3, 4}),
        )
        assert set(store.follow(lease.run, 0).duplicates) == {2, 3, 4}

    def test_read_returns_the_duplicates_with_the_raw_frames(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events())
        append_one(store, lease, frames[:3], {2})
        store.finish(
            lease,
            frames[3:],
            p.RunCompletion(persist=True, records=completion.records, last_agent_event=5, duplicates={2, 3, 4}),
        )
        ordinal = lease.run.ordinal
        for raw_ordinal, expected in ((None, set()), (ordinal + 1, set()), (ordinal, {2, 3, 4})):
            [run] = store.read(lease.run.thread, raw_ordinal=raw_ordinal).runs
            assert (set(run.duplicates), run.raw is not None) == (expected, bool(expected))

    def test_follow_after_any_number_with_batches_of_any_size(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, completion = record_run(
            lease, [STARTED, text_event("START"), *[text_event("CONTENT")] * 20, text_event("END"), FINISHED]
        )
        at = 0
        for size in (1, 3, 0, 7, 2, 5):
            append_one(store, lease, frames[at : at + size])
            at += size
            for after in range(at + 2):
                assert list(store.follow(lease.run, after).frames) == frames[after:at]
        store.finish(lease, frames[at:], completion)
        for after in range(len(frames) + 1):
            assert list(store.follow(lease.run, after).frames) == frames[after:]

    def test_follow_beyond_the_end_returns_the_last_frame(self, store: RunStore) -> None:
        """A crash lost the last events that a reader has received: the end of the run is sent again."""
        lease = begin(store).lease
        frames, completion = record_run(lease, [STARTED, FINISHED])
        store.finish(lease, frames, completion)
        update = store.follow(lease.run, 17)
        assert (list(update.frames), update.ended) == (frames[-1:], True)

    def test_follow_a_run_that_was_not_persisted(self, store: RunStore) -> None:
        lease = begin(store).lease
        append_one(store, lease, record_run(lease, message_events())[0][:1])
        store.finish(lease, (), p.RunCompletion(persist=False))
        assert store.follow(lease.run, 0).ended
        begin(store)
        assert store.follow(lease.run, 0).ended

    def test_results_are_not_changed_by_later_writes(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events())
        append_one(store, lease, frames[:1], {1})
        before = (store.read(T1), store.follow(lease.run, 0))
        expected = copy.deepcopy(before)
        append_one(store, lease, frames[1:2], {1, 2})
        store.finish(lease, frames[2:], completion)
        store.delete(T1)
        assert before == expected

    # --- what is stored ---

    def test_finish_without_persisting(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames = record_run(lease, message_events())[0]
        append_one(store, lease, frames[:1])
        store.finish(lease, frames[1:2], p.RunCompletion(persist=False))
        snapshot = store.read(T1)
        assert (list(snapshot.runs), snapshot.live) == ([], None)
        assert list_thread_ids(store) == []
        store_run(store)
        lease = begin(store).lease
        store.finish(lease, (), p.RunCompletion(persist=False))
        assert len(store.read(T1).runs) == 1

    def test_messages(self, store: RunStore) -> None:
        store_run(store)
        assert store.messages(T1) == [QUESTION, {"id": "m", "role": "assistant", "content": "Hello"}]
        assert store.messages(T1) == store.messages(T1)
        # A run without any messages leaves those of the run before.
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, [STARTED, FINISHED]))
        assert len(store.messages(T1)) == 2
        # So does one that ends without any, as with the Node runtime.
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, [STARTED, EMPTY_SNAPSHOT, FINISHED], store.messages(T1)))
        assert len(store.messages(T1)) == 2
        # The list is that of the last run only: history that the client did not send again is lost.
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, message_events("m2")))
        assert [message["id"] for message in store.messages(T1)] == ["m2"]

    def test_messages_with_the_same_id_are_all_kept(self, store: RunStore) -> None:
        """Such as an activity with the id of the message that it belongs to."""
        inputs = [
            QUESTION,
            {"id": "u1", "role": "assistant", "content": "a"},
            {"id": "u1\n1", "role": "user", "content": ""},
        ]
        activity = {"type": "ACTIVITY_SNAPSHOT", "messageId": "m", "activityType": "x", "content": {"n": 1}}
        shown = {"id": "m", "role": "activity", "activityType": "x", "content": {"n": 1}}
        messages = [*inputs, {"id": "m", "role": "assistant", "content": "Hello"}, shown]
        lease = begin(store).lease
        *events, finished = message_events()
        store.finish(lease, *record_run(lease, [*events, activity, finished], inputs))
        assert store.messages(T1) == messages
        # Also as the input of the next run, and where that adds to it.
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, message_events("m2"), messages))
        assert store.messages(T1) == [*messages, {"id": "m2", "role": "assistant", "content": "Hello"}]
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, [STARTED, FINISHED], messages[::-1]))
        assert store.messages(T1) == messages[::-1]

    def test_messages_that_have_changed_are_replaced(self, store: RunStore) -> None:
        store_run(store)
        lease = begin(store).lease
        changed = {"id": "u1", "role": "user", "content": "hi again"}
        store.finish(
            lease,
            *record_run(lease, message_events("m2"), [changed, {"id": "m", "role": "assistant", "content": "Hello"}]),
        )
        assert store.messages(T1) == [
            changed,
            {"id": "m", "role": "assistant", "content": "Hello"},
            {"id": "m2", "role": "assistant", "content": "Hello"},
        ]

    def test_read_with_messages_returns_what_read_and_messages_return(self, store: RunStore) -> None:
        read_with_messages = _read_with_messages(store)
        assert read_with_messages(T1) == (p.ThreadSnapshot(), [])
        for number in range(3):
            store_run(store, message=f"m{number}")
        lease = begin(store).lease
        snapshot, messages = read_with_messages(T1)
        assert snapshot == store.read(T1)
        assert len(snapshot.runs) == 3
        assert snapshot.live is not None
        assert messages == store.messages(T1) != []
        # More than there are runs, and so many that an order by text is another one than that by number.
        inputs = [{"id": f"u{number}", "role": "user", "content": "é\x00" * number} for number in range(30)]
        store.finish(lease, *record_run(lease, message_events("last"), inputs))
        assert read_with_messages(T1) == (store.read(T1), store.messages(T1))
        assert [message["id"] for message in store.messages(T1)] == [*(each["id"] for each in inputs), "last"]
        assert read_with_messages(T2) == (p.ThreadSnapshot(), [])

    def test_messages_do_not_include_those_of_an_active_run(self, store: RunStore) -> None:
        store_run(store)
        lease = begin(store).lease
        append_one(store, lease, record_run(lease, message_events("m2"))[0])
        assert [message["id"] for message in store.messages(T1)] == ["u1", "m"]

    def test_messages_do_not_include_events_that_completed_a_run(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events())
        # Only the first event was emitted by the agent itself.
        completion = p.RunCompletion(persist=True, records=completion.records, messages=[QUESTION], last_agent_event=1)
        store.finish(lease, frames, completion)
        assert store.messages(T1) == [QUESTION]

    def test_messages_are_in_the_order_in_which_they_started(self, store: RunStore) -> None:
        events = [
            STARTED,
            text_event("START", "a"),
            text_event("START", "b"),
            text_event("END", "b"),
            text_event("END", "a"),
            FINISHED,
        ]
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, events))
        assert [message["id"] for message in store.messages(T1)] == ["a", "b"]

    def test_json_is_stored_unchanged(self, store: RunStore) -> None:
        """Any JSON is returned as it was, including strings with arbitrary characters."""
        content = "ü \U0001f600 \u2028 \\n\n\n\ndata: x\n\nid: 9.9\r\n \x00 ' \""
        message = {"id": "u1", "role": "user", "content": content, "more": {"n": [1, 2.5, None, True, {}]}}
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events("m", content), [message])
        append_one(store, lease, frames[:3])
        store.finish(lease, frames[3:], completion)
        [stored] = store.read(T1, raw_ordinal=lease.run.ordinal).runs
        assert list(stored.raw or ()) == frames
        assert list(stored.records) == list(completion.records)
        assert store.messages(T1) == [message, {"id": "m", "role": "assistant", "content": content}]

    # --- lists of threads ---

    def test_threads_are_listed_once_a_run_has_ended(self, store: RunStore) -> None:
        lease = begin(store).lease
        assert list_thread_ids(store) == []
        assert not store.update(T1, name="x")
        store.finish(lease, *record_run(lease, message_events()))
        [info] = store.threads(ADA, p.ThreadQuery()).threads
        assert (info.thread_id, info.agent_id, info.name, info.archived) == ("t1", "a", None, False)
        assert 0 < info.created_at <= info.updated_at

    def test_threads_have_the_agent_of_their_last_run(self, store: RunStore) -> None:
        store_run(store, agent="a")
        store_run(store, agent="b")
        assert list_thread_ids(store, agent_id="a") == []
        assert list_thread_ids(store, agent_id="b") == ["t1"]

    def test_update(self, store: RunStore) -> None:
        store_run(store)
        assert store.update(T1, name="Weather")
        assert store.update(T1, archived=True)
        assert list_thread_ids(store) == []
        [info] = store.threads(ADA, p.ThreadQuery(include_archived=True)).threads
        assert (info.name, info.archived) == ("Weather", True)
        assert store.update(T1, archived=False)
        [info] = store.threads(ADA, p.ThreadQuery()).threads
        assert (info.name, info.archived) == ("Weather", False)
        store_run(store)
        assert store.threads(ADA, p.ThreadQuery()).threads[0].name == "Weather"
        assert not store.update(p.ThreadKey(BOB, "t1"), name="mine now")

    def test_update_if_unnamed(self, store: RunStore) -> None:
        assert not store.update(T1, name="x", if_unnamed=True)
        store_run(store)
        assert store.update(T1, name="Weather", if_unnamed=True)
        assert not store.update(T1, name="Rain", archived=True, if_unnamed=True)
        [info] = store.threads(ADA, p.ThreadQuery()).threads
        assert (info.name, info.archived) == ("Weather", False)
        store_run(store, T2)
        assert store.update(T2, name="")
        assert not store.update(T2, name="Sun", if_unnamed=True)
        assert store.update(T1, name="Rain")

    def test_delete(self, store: RunStore) -> None:
        store_run(store, T1)
        store_run(store, T2)
        store.update(T1, name="gone", archived=True)
        assert store.delete(T1)
        assert not store.delete(T1)
        assert list_thread_ids(store) == ["t2"]
        assert not store.read(T1).runs
        assert store.messages(T1) == []
        assert not begin(store, T1).event_messages
        store.delete(T1)
        store_run(store, T1, "m2")
        [info, _] = store.threads(ADA, p.ThreadQuery()).threads
        assert (info.thread_id, info.name, info.archived) == ("t1", None, False)

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
    @pytest.mark.parametrize("agent", [None, "a", "b"])
    @pytest.mark.parametrize("include_archived", [False, True])
    def test_pages_make_up_the_whole_list(
        self, store: RunStore, limit: int, agent: str | None, include_archived: bool
    ) -> None:
        agents = {f"t{number}": "ab"[number % 3 % 2] for number in range(8)}
        archived = {"t1", "t3", "t6"}
        for name, agent_id in agents.items():
            store_run(store, p.ThreadKey(ADA, name), agent=agent_id)
            store_run(store, p.ThreadKey(BOB, name), agent=agent_id)
        for name in archived:
            store.update(p.ThreadKey(ADA, name), archived=True)
        options: dict[str, Any] = {"agent_id": agent, "include_archived": include_archived}
        whole = store.threads(ADA, p.ThreadQuery(**options))
        assert whole.next_cursor is None
        assert {info.thread_id for info in whole.threads} == {
            name
            for name, agent_id in agents.items()
            if agent in (None, agent_id) and (include_archived or name not in archived)
        }
        times = [info.updated_at for info in whole.threads]
        assert times == sorted(times, reverse=True)
        collected: list[Any] = []
        cursor = None
        while True:
            page = store.threads(ADA, p.ThreadQuery(**options, limit=limit, cursor=cursor))
            assert len(page.threads) <= limit
            collected += page.threads
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page.threads) == limit
        assert collected == list(whole.threads)

    @pytest.mark.parametrize("cursor", _INVALID_CURSORS, ids=range(len(_INVALID_CURSORS)))
    def test_an_invalid_cursor(self, store: RunStore, cursor: str) -> None:
        store_run(store)
        with pytest.raises(ValueError, match="cursor"):
            store.threads(ADA, p.ThreadQuery(cursor=cursor))

    @pytest.mark.parametrize(("at", "found"), [(1e300, ["t1"]), (-1e300, [])])
    def test_a_cursor_with_a_time_that_cannot_be(self, store: RunStore, at: float, found: list[str]) -> None:
        """Clients may send it. It is in the future, or before all threads."""
        store_run(store)
        page = store.threads(ADA, p.ThreadQuery(cursor=f'[{at},"t"]', limit=3))
        assert [info.thread_id for info in page.threads] == found

    # --- expired leases ---

    def test_claim_with_force(self, store: RunStore) -> None:
        store_run(store)
        lease = begin(store, agent="b").lease
        frames, completion = record_run(lease, message_events("m2"))
        append_one(store, lease, frames[:2])
        assert store.claim(lease.run) is None
        assert store.claim(p.RunKey(T1, lease.run.ordinal - 1), force=True) is None
        assert store.claim(p.RunKey(T2, lease.run.ordinal), force=True) is None
        claimed = store.claim(lease.run, force=True)
        assert claimed is not None
        assert (claimed.lease.run, claimed.lease.run_id, claimed.agent_id) == (lease.run, "r", "b")
        assert claimed.lease.token > lease.token
        assert claimed.started_at >= store.threads(ADA, p.ThreadQuery()).threads[0].updated_at
        assert list(claimed.frames) == frames[:2]
        assert [message["id"] for message in claimed.messages] == ["u1", "m"]
        assert claimed.event_messages == {"m"}
        # The thread is busy until the run has ended.
        assert isinstance(store.begin(p.NewRun(thread=T1, run_id="r2", agent_id="a")), p.ThreadBusy)
        assert poll_signal(store, lease) is p.LeaseSignal.LOST
        assert isinstance(append_one(store, lease, frames[2:3]), p.LeaseLost)
        store.finish(claimed.lease, frames[2:], completion)
        stored = store.read(T1, raw_ordinal=lease.run.ordinal).runs[-1]
        assert list(stored.raw or ()) == frames
        assert stored.agent_id == "b"
        assert store.claim(lease.run, force=True) is None
        begin(store)

    def test_claim_after_the_lease_has_expired(self) -> None:
        store = self.make_leasing(1.0)
        lease = begin(store).lease
        frames, completion = record_run(lease, message_events())
        append_one(store, lease, frames[:2])
        assert store.follow(lease.run, 0).expired is False
        self.expire(store, lease)
        expired = p.ActiveRun(lease.run, "r", "a", stopping=False, expired=True)
        assert store.read(T1).live == expired
        assert store.begin(p.NewRun(thread=T1, run_id="r2", agent_id="a")) == p.ThreadBusy(expired)
        assert store.request_stop(T1, None) == expired
        for _ in range(2):
            assert store.follow(lease.run, 2).expired is True
        claimed = store.claim(lease.run)
        assert claimed is not None
        # The claimed run has a new lease, so a second claim fails.
        assert store.claim(lease.run) is None
        assert list(claimed.frames) == frames[:2]
        assert isinstance(append_one(store, lease, frames[2:3]), p.LeaseLost)
        with pytest.raises(p.LeaseLost):
            store.finish(lease, frames[2:], completion)
        assert poll_signal(store, lease) is p.LeaseSignal.LOST
        store.finish(claimed.lease, frames[2:], completion)
        assert store.read(T1).live is None
        assert len(store.read(T1).runs) == 1

    def test_renew_keeps_a_lease(self) -> None:
        store = self.make_leasing(1.0)
        renewed, other = begin(store, T1).lease, begin(store, T2).lease
        self.expire(store, other, meanwhile=lambda: store.renew([renewed]))
        live = store.read(T1).live
        assert live is not None
        assert not live.expired
        assert store.claim(renewed.run) is None

    def test_follow_reports_an_expired_lease(self) -> None:
        """Even if nothing was written since."""
        store = self.make_leasing(1.0)
        lease = begin(store).lease
        append_one(store, lease, record_run(lease, message_events())[0][:2])
        assert _progress(store.follow(lease.run, 0))[0]
        assert not store.follow(lease.run, 2).expired
        self.expire(store, lease)
        assert store.follow(lease.run, 2).expired

    def test_concurrent_claims(self) -> None:
        store = self.make_leasing(1.0)
        for number in range(3):
            lease = begin(store, p.ThreadKey(ADA, f"t{number}")).lease
            self.expire(store, lease)
            results = race(6, lambda index, lease=lease: store.claim(lease.run))  # type: ignore[misc]
            assert [type(result) for result in results if result is not None] == [p.ClaimedRun]

    # --- concurrency ---

    def test_concurrent_begins(self, store: RunStore) -> None:
        _begin_concurrently([store])

    def test_concurrent_stop_requests(self, store: RunStore) -> None:
        for _ in range(20):
            lease = begin(store).lease
            results = race(6, lambda index: store.request_stop(T1, None))
            assert sorted(result.stopping for result in results) == [False, *[True] * 5]
            store.finish(lease, (), p.RunCompletion(persist=False))

    def test_concurrent_finishes(self, store: RunStore) -> None:
        for _ in range(20):
            lease = begin(store).lease
            end = record_run(lease, message_events())
            results = race(4, lambda index, lease=lease, end=end: store.finish(lease, *end))  # type: ignore[misc]
            assert [type(result) for result in results].count(p.LeaseLost) == 3
            assert len(store.read(T1, raw_ordinal=lease.run.ordinal).runs[-1].raw or ()) == 5

    def test_concurrent_readers_of_a_run(self, store: RunStore) -> None:
        """They see a prefix of the run at any time, and all of it in the end."""
        _read_while_writing([store] * 4)

    # --- several processes ---

    def test_a_second_process_reads_the_same(self, store: RunStore) -> None:
        second = self.open_second(store)
        frames = store_run(store)
        lease = begin(store, T2, "r2").lease
        append_one(store, lease, record_run(lease, message_events())[0][:2], {2})
        [stored] = second.read(T1, raw_ordinal=store.read(T1).runs[0].ordinal).runs
        assert list(stored.raw or ()) == frames
        assert second.read(T2) == store.read(T2)
        assert _progress(second.follow(lease.run, 0)) == _progress(store.follow(lease.run, 0))
        assert second.messages(T1) == store.messages(T1)
        assert second.threads(ADA, p.ThreadQuery()) == store.threads(ADA, p.ThreadQuery())
        assert second.begin(p.NewRun(thread=T2, run_id="r3", agent_id="a")) == p.ThreadBusy(
            p.ActiveRun(lease.run, "r2", "a", False)
        )

    def test_processes_see_each_others_changes(self, store: RunStore) -> None:
        second = self.open_second(store)
        lease = begin(store).lease
        assert poll_signal(store, lease) is None
        assert second.request_stop(T1, "r") == p.ActiveRun(lease.run, "r", "a", stopping=False)
        assert poll_signal(store, lease) is p.LeaseSignal.STOP
        frames, completion = record_run(lease, message_events())
        for at in range(4):
            append_one(store, lease, frames[at : at + 1])
            assert list(second.follow(lease.run, at).frames) == frames[at : at + 1]
            assert list(second.follow(lease.run, at + 1).frames) == []
        store.finish(lease, frames[4:], completion)
        update = second.follow(lease.run, 4)
        assert (list(update.frames), update.ended) == (frames[4:], True)
        later = begin(second).lease
        assert later.run.ordinal == lease.run.ordinal + 1
        assert later.token > lease.token
        assert store.delete(T1)
        assert poll_signal(second, later) is p.LeaseSignal.LOST

    @pytest.mark.parametrize("change", _WATCHED_CHANGES)
    def test_watch_calls_back_after_another_process_has_changed_the_run(self, store: RunStore, change: str) -> None:
        second = self.open_second(store)
        lease = begin(store).lease
        with _watched(second, lease.run) as changes:
            _WATCHED_CHANGES[change](store, lease)
            assert changes.wait(TIMEOUT_SECONDS)

    @pytest.mark.parametrize("change", _WATCHED_BY_HOLDER)
    def test_watch_calls_back_the_holder_of_the_lease(self, store: RunStore, change: str) -> None:
        second = self.open_second(store)
        lease = begin(store).lease
        with _watched(store, lease.run) as changes:
            _WATCHED_BY_HOLDER[change](second, lease)
            assert changes.wait(TIMEOUT_SECONDS)

    def test_watch_of_several_runs_and_watchers(self, store: RunStore) -> None:
        second = self.open_second(store)
        first, other = begin(store).lease, begin(store, T2).lease
        with _watched(second, first.run) as mine, _watched(second, first.run) as yours:
            with _watched(second, other.run) as others:
                assert append_one(store, other, record_run(other, message_events())[0]) is None
                assert others.wait(TIMEOUT_SECONDS)
            assert append_one(store, first, record_run(first, message_events())[0]) is None
            assert mine.wait(TIMEOUT_SECONDS)
            assert yours.wait(TIMEOUT_SECONDS)

    def test_followed_signal(self, store: RunStore) -> None:
        second = self.open_second(store)
        followed, alone = begin(store).lease, begin(store, T2).lease
        with _watched(second, followed.run):
            second.follow(followed.run, 0)
            _eventually_signals(store, [followed, alone], {followed: p.LeaseSignal.FOLLOWED})
            assert second.request_stop(T1, None) is not None
            _eventually_signals(store, [followed, alone], {followed: p.LeaseSignal.STOP})

    def test_concurrent_begins_in_two_processes(self, store: RunStore) -> None:
        _begin_concurrently([store, self.open_second(store)])

    def test_concurrent_readers_in_two_processes(self, store: RunStore) -> None:
        _read_while_writing([store, self.open_second(store), self.open_second(store), store])

    # --- limits ---

    def test_max_threads_evicts_the_least_recently_used_thread(self) -> None:
        store = self._limited(max_threads=2)
        for key in _keys("a", "b", "c"):
            store_run(store, key)
        assert set(list_thread_ids(store)) == {"b", "c"}

    @pytest.mark.parametrize("name", _USES)
    def test_max_threads_and_what_counts_as_use(self, name: str) -> None:
        use, counts = _USES[name]
        store = self._limited(max_threads=2)
        a, b, c = _keys("a", "b", "c")
        store_run(store, a)
        store_run(store, b)
        use(store, a)
        store_run(store, c)
        assert bool(store.read(a).runs) == counts
        assert bool(store.read(b).runs) != counts

    def test_max_threads_and_finishing_counts_as_use(self) -> None:
        store = self._limited(max_threads=2)
        a, b, c = _keys("a", "b", "c")
        lease = begin(store, a).lease
        store_run(store, b)
        store.finish(lease, *record_run(lease, message_events()))
        store_run(store, c)
        assert set(list_thread_ids(store)) == {"a", "c"}

    def test_max_threads_keeps_a_thread_with_an_active_run(self) -> None:
        store = self._limited(max_threads=1)
        a, b, c = _keys("a", "b", "c")
        leases = [begin(store, key).lease for key in (a, b)]
        store_run(store, c)
        assert store.poll_signals(leases) == {}
        for lease in leases:
            store.finish(lease, *record_run(lease, message_events()))
        assert len(list_thread_ids(store)) == 1

    def test_max_runs_per_thread_deletes_the_oldest_run(self) -> None:
        store = self._limited(max_runs_per_thread=2)
        for message in ("m1", "m2", "m3"):
            store_run(store, message=message)
        assert len(store.read(T1).runs) == 2
        assert set(begin(store).event_messages) == {"m2", "m3"}

    @pytest.mark.parametrize("limit", ["max_threads", "max_runs_per_thread", "max_bytes"])
    def test_zero_is_no_limit(self, limit: str) -> None:
        store = self._limited(**{limit: 0})
        for number in range(120):
            store_run(store, T1 if limit == "max_runs_per_thread" else p.ThreadKey(ADA, f"t{number}"))
        assert sum(len(store.read(p.ThreadKey(ADA, name)).runs) for name in list_thread_ids(store)) == 120

    def test_max_bytes(self) -> None:
        store = self._limited(max_bytes=5000)
        for number in range(30):
            store_run(store, p.ThreadKey(ADA, f"t{number}"))
            assert f"t{number}" in list_thread_ids(store)
            assert _stored_bytes(store) <= 5000
        assert 1 <= len(list_thread_ids(store)) < 30

    def test_max_bytes_deletes_the_oldest_runs_of_one_thread(self) -> None:
        store = self._limited(max_bytes=3000)
        for number in range(20):
            store_run(store, message=f"m{number}")
            assert _stored_bytes(store) <= 3000
        assert 1 <= len(store.read(T1).runs) < 20
        assert store.messages(T1)[-1]["id"] == "m19"

    @pytest.mark.parametrize(
        "limits", [{"max_threads": 10}, {"max_bytes": 60_000}], ids=lambda limits: next(iter(limits))
    )
    def test_one_owner_does_not_push_out_threads_of_others(self, limits: dict[str, int]) -> None:
        """Owners share each limit equally, and those who have more than their share lose threads first."""
        store = self._limited(**limits)
        light = [p.ThreadKey(BOB, f"t{number}") for number in range(3)]
        for key in light:
            store_run(store, key)
        for number in range(100):
            store_run(store, p.ThreadKey(ADA, f"t{number}"))
        assert list_thread_ids(store, BOB) == ["t2", "t1", "t0"]
        kept = list_thread_ids(store)
        assert 3 < len(kept) < 100
        assert kept == [f"t{number}" for number in range(99, 99 - len(kept), -1)]
        # Also if someone else needs room.
        store_run(store, p.ThreadKey("third", "t0"))
        assert list_thread_ids(store, BOB) == ["t2", "t1", "t0"]
        assert list_thread_ids(store, "third") == ["t0"]
        assert list_thread_ids(store)[0] == "t99"

    def test_max_bytes_includes_active_runs(self) -> None:
        store = self._limited(max_bytes=5000)
        store_run(store, T2)
        lease = begin(store).lease
        frames, completion = record_run(
            lease, [STARTED, text_event("START"), *[text_event("CONTENT", delta="x" * 1000)] * 4]
        )
        assert append_one(store, lease, frames) is None
        assert list_thread_ids(store) == []
        store.finish(lease, (), completion)
        assert list_thread_ids(store) == ["t1"]

    def test_max_bytes_ends_a_run_that_is_too_large(self) -> None:
        store = self._limited(max_bytes=3000)
        lease = begin(store).lease
        long = [STARTED, text_event("START"), *[text_event("CONTENT", delta="x" * 1000)] * 4]
        frames = record_run(lease, long)[0]
        assert append_one(store, lease, frames[:4]) is None
        assert isinstance(append_one(store, lease, frames[4:]), p.RunTooLarge)
        # It keeps its lease, so that its end can be stored.
        assert poll_signal(store, lease) is None
        store.finish(lease, *record_run(lease, [{"type": "RUN_ERROR", "message": "too large"}]))
        assert len(store.read(T1).runs) == 1
        store_run(store, T2)


def _append_all(
    store: RunStore, frames: Mapping[p.Lease, list[bytes]]
) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
    return store.append([p.Batch(lease, batch) for lease, batch in frames.items()])


def _comparable(snapshot: p.ThreadSnapshot) -> tuple[list[p.StoredRun], p.ActiveRun | None]:
    """Returns a snapshot in a form that can be compared, whatever kinds of sequences it has."""
    return list(snapshot.runs), snapshot.live


def _progress(update: p.RunUpdate) -> tuple[list[bytes], set[int], bool]:
    return list(update.frames), set(update.duplicates), update.ended


def _stored_bytes(store: RunStore) -> int:
    """Returns the size of all compacted runs in bytes."""
    keys = _keys(*list_thread_ids(store, include_archived=True))
    return sum(len(record.frame) for key in keys for stored in store.read(key).runs for record in stored.records)


def _begin_concurrently(stores: list[RunStore]) -> None:
    def begin_six(key: p.ThreadKey) -> list[Any]:
        return race(
            6,
            lambda index: stores[index % len(stores)].begin(
                p.NewRun(thread=key, run_id=f"r{index}", agent_id="a"),
            ),
        )

    for number in range(20):
        results = begin_six(p.ThreadKey(ADA, f"race{number}"))
        [winner] = [result for result in results if isinstance(result, p.RunStarted)]
        assert [result.live.run for result in results if isinstance(result, p.ThreadBusy)] == [winner.lease.run] * 5


def _read_while_writing(stores: list[RunStore]) -> None:
    lease = begin(stores[0]).lease
    frames, completion = record_run(
        lease, [STARTED, text_event("START"), *[text_event("CONTENT")] * 200, text_event("END"), FINISHED]
    )
    deadline = time.monotonic() + TIMEOUT_SECONDS

    def work(index: int) -> list[bytes]:
        if index == 0:
            for at in range(len(frames) - 1):
                assert append_one(stores[0], lease, frames[at : at + 1]) is None
            stores[0].finish(lease, frames[-1:], completion)
            return frames
        seen: list[bytes] = []
        while True:
            update = stores[index].follow(lease.run, len(seen))
            seen += update.frames
            assert seen == frames[: len(seen)]
            if update.ended:
                return seen
            assert time.monotonic() < deadline, "the run does not end for a reader that follows it"

    assert race(len(stores), work) == [frames] * len(stores)
