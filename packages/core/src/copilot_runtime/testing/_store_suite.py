"""What every store must do (stores/protocol.py), known by its protocol alone."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest

from ..stores.protocol import (
    ActiveRun,
    Batch,
    ClaimedRun,
    Lease,
    LeaseLost,
    LeaseSignal,
    NewRun,
    RunCompletion,
    RunKey,
    RunStarted,
    RunStore,
    RunTooLarge,
    RunUpdate,
    StoredRun,
    ThreadBusy,
    ThreadKey,
    ThreadQuery,
    ThreadSnapshot,
)
from ._factories import (
    ADA,
    BOB,
    FINISHED,
    QUESTION,
    STARTED,
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
    text,
)

PATIENCE_SECONDS = 30.0
"""How long anything is waited for. Only a store that fails takes so long."""


def _replaced(store: RunStore, lease: Lease) -> None:
    store.finish(lease, (), RunCompletion(persist=False))
    begin(store)


def _begun_anew_after_delete(store: RunStore, lease: Lease) -> None:
    store.delete(lease.run.thread)
    begin(store)


_WAYS_TO_LOSE_LEASE: Mapping[str, Callable[[RunStore, Lease], object]] = {
    "finished": lambda store, lease: store.finish(lease, (), RunCompletion(persist=False)),
    "finished and kept": lambda store, lease: store.finish(lease, *completed(lease, answer())),
    "finished, and another begun": _replaced,
    "deleted": lambda store, lease: store.delete(lease.run.thread),
    "deleted, and another begun": _begun_anew_after_delete,
    "claimed": lambda store, lease: store.claim(lease.run, force=True),
}

# What is done with a thread, and whether that counts as use.
_USES: Mapping[str, tuple[Callable[[RunStore, ThreadKey], object], bool]] = {
    "a run": (run, True),
    "a run that begins": (begin, True),
    "connecting": (lambda store, key: store.read(key, touch=True), True),
    "reading its events": (lambda store, key: store.read(key), False),
    "reading its messages": (lambda store, key: store.messages(key), False),
    "being listed": (lambda store, key: store.threads(ADA, ThreadQuery()), False),
    "a name": (lambda store, key: store.update(key, name="x"), False),
    "a stop without a run": (lambda store, key: store.request_stop(key, None), False),
}

_INVALID_CURSORS = ("", "x", "[]", "[1]", "[1,2,3]", "{}", "null", "7", '["a","b"]', "[" * 100_000, f"[1{'0' * 400},1]")


def _keys(*names: str) -> list[ThreadKey]:
    return [ThreadKey(ADA, name) for name in names]


class RunStoreSuite:
    """The tests that a store has to pass. Derive a class whose name begins with Test, and override `make_store`.

    Override more of the first methods where the store can more: tests of what it cannot
    are skipped. Where they need a fixture, such as ``tmp_path``, have an autouse fixture
    of your class put it into an attribute.
    """

    bounds: Collection[str] = ()
    """Which of max_threads, max_runs_per_thread and max_bytes the store has."""

    def make_store(self) -> RunStore:
        """A store, fresh and empty each time."""
        raise NotImplementedError("make_store() has to give a store, fresh and empty each time")

    def make_bounded(self, **bounds: int) -> RunStore:
        """A fresh store with some of ``bounds``; 0 is no bound."""
        raise NotImplementedError("a store with bounds needs make_bounded()")

    def make_leasing(self, lease_seconds: float) -> RunStore:
        """A fresh store whose leases run out after so many seconds."""
        pytest.skip("leases of this store do not run out")

    def open_second(self, store: RunStore) -> RunStore:
        """A second object over what ``store`` keeps, as another process has it."""
        pytest.skip("this store is seen by one process alone")

    def expire(self, store: RunStore, lease: Lease, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Returns once a lease has run out, having called ``meanwhile`` again and again.

        Override it where the time can be set.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            meanwhile()
            live = store.read(lease.run.thread).live
            assert live is not None, "a run whose lease has run out stays until somebody claims it"
            if live.expired:
                return
            assert time.monotonic() < deadline, "a lease that nobody renews has not run out"
            time.sleep(0.01)

    @pytest.fixture
    def store(self) -> RunStore:
        return self.make_store()

    def _bounded(self, **bounds: int) -> RunStore:
        for name in bounds:
            if name not in self.bounds:
                pytest.skip(f"the store has no {name}")
        return self.make_bounded(**bounds)

    # --- runs ---

    def test_what_a_store_says_of_itself(self, store: RunStore) -> None:
        assert store.blocking in (True, False)
        assert store.poll_seconds is None or store.poll_seconds > 0
        assert store.lease_seconds is None or store.lease_seconds > 0

    def test_an_unknown_thread_is_empty(self, store: RunStore) -> None:
        for view in (store.read(T1), store.read(T1, touch=True), store.read(T1, raw_ordinal=1)):
            assert not view.runs
            assert view.live is None
        assert list(store.messages(T1)) == []
        assert store.request_stop(T1, None) is None
        assert store.claim(RunKey(T1, 1)) is None
        assert store.claim(RunKey(T1, 1), force=True) is None
        view_of_none = store.follow(RunKey(T1, 1), 0)
        assert (list(view_of_none.frames), view_of_none.ended, view_of_none.expired) == ([], True, False)
        assert not store.update(T1, name="x")
        assert not store.delete(T1)
        store.clear(ADA)
        assert listed(store) == []

    def test_a_run_from_begin_to_finish(self, store: RunStore) -> None:
        begun = begin(store)
        assert (begun.lease.run.thread, begun.lease.run_id) == (T1, "r")
        assert not begun.event_messages
        assert not begun.input_messages
        assert not store.read(T1).runs
        assert store.read(T1).live == ActiveRun(begun.lease.run, "r", "a", stopping=False)
        frames, finished = completed(begun.lease, answer(), [QUESTION])
        assert append_one(store, begun.lease, frames[:2]) is None
        assert not store.read(T1).runs
        store.finish(begun.lease, frames[2:], finished)
        [stored] = store.read(T1, raw_ordinal=begun.lease.run.ordinal).runs
        assert (stored.ordinal, stored.run_id, stored.agent_id) == (begun.lease.run.ordinal, "r", "a")
        assert list(stored.records) == list(finished.records)
        assert list(stored.raw or ()) == frames
        assert store.read(T1).live is None

    def test_raw_frames_are_given_of_the_asked_run_alone(self, store: RunStore) -> None:
        frames = [run(store, message=f"m{number}") for number in range(3)]
        asked = store.read(T1).runs[1].ordinal
        assert [
            None if stored.raw is None else list(stored.raw) for stored in store.read(T1, raw_ordinal=asked).runs
        ] == [
            None,
            frames[1],
            None,
        ]
        assert [stored.raw for stored in store.read(T1).runs] == [None] * 3
        assert [stored.raw for stored in store.read(T1, raw_ordinal=asked + 17).runs] == [None] * 3

    def test_many_runs_grow_in_one_go(self, store: RunStore) -> None:
        leases = [begin(store, key).lease for key in _keys("a", "b", "c")]
        made = [completed(lease, answer(f"m{at}")) for at, lease in enumerate(leases)]
        store.delete(leases[1].run.thread)
        refused = _append(store, {lease: frames[:2] for lease, (frames, _) in zip(leases, made, strict=True)})
        assert {lease: type(why) for lease, why in refused.items()} == {leases[1]: LeaseLost}
        for at in (0, 2):
            assert list(store.follow(leases[at].run, 0).frames) == made[at][0][:2]
        assert not _append(store, {})

    def test_ordinals_and_tokens_grow(self, store: RunStore) -> None:
        leases = []
        for _ in range(3):
            leases.append(begin(store).lease)
            store.finish(leases[-1], *completed(leases[-1], answer()))
        first = leases[0].run.ordinal
        assert first > 0
        assert [lease.run.ordinal for lease in leases] == [first, first + 1, first + 2]
        assert leases[0].token < leases[1].token < leases[2].token
        assert [stored.ordinal for stored in store.read(T1).runs] == [first, first + 1, first + 2]

    def test_a_busy_thread(self, store: RunStore) -> None:
        lease = begin(store).lease
        again = store.begin(NewRun(thread=T1, run_id="r2", agent_id="b"))
        assert again == ThreadBusy(ActiveRun(lease.run, "r", "a", stopping=False))
        store.request_stop(T1, None)
        again = store.begin(NewRun(thread=T1, run_id="r2", agent_id="b"))
        assert again == ThreadBusy(ActiveRun(lease.run, "r", "a", stopping=True))
        assert append_one(store, lease, completed(lease, answer())[0][:1]) is None
        begin(store, T2)

    def test_ids_that_a_thread_has_seen(self, store: RunStore) -> None:
        run(store, message="m1")
        begun = begin(store)
        assert set(begun.event_messages) == {"m1"}
        assert set(begun.input_messages) == {"u1"}
        store.finish(begun.lease, *completed(begun.lease, answer("m2")))
        # What a run was told when it began stays as it was.
        assert set(begun.event_messages) == {"m1"}
        assert set(begin(store).event_messages) == {"m1", "m2"}

    def test_threads_of_others_are_not_there(self, store: RunStore) -> None:
        theirs = ThreadKey(BOB, "t1")
        run(store, T1, "mine")
        lease = begin(store, theirs, "theirs").lease
        assert store.read(T1).live is None
        assert store.request_stop(T1, None) is None
        mine = begin(store, T1).lease
        assert mine.run != lease.run
        frames, finished = completed(lease, answer("m-theirs"))
        assert append_one(store, lease, frames[:2]) is None
        assert list(store.follow(mine.run, 0).frames) == []
        store.finish(lease, frames[2:], finished)
        assert listed(store, BOB) == listed(store, ADA) == ["t1"]
        assert [message["id"] for message in store.messages(theirs)] == ["m-theirs"]
        store.clear(ADA)
        assert listed(store, BOB) == ["t1"]
        assert store.delete(theirs)
        assert listed(store, BOB) == []
        assert signal(store, mine) is None

    def test_any_text_is_an_id(self, store: RunStore) -> None:
        names = ["", " ", "a'b\"c", "%_*", "ü\u2028\x00\x7f", "T1", "t1", "../x", "x" * 5000]
        for name in names:
            run(store, ThreadKey(ADA, name), message=f"m-{name}")
        assert sorted(listed(store)) == sorted(names)
        for name in names:
            assert store.messages(ThreadKey(ADA, name))[-1]["id"] == f"m-{name}"
        assert listed(store, "Ada") == listed(store, "") == []

    # --- fencing ---

    @pytest.mark.parametrize("how", _WAYS_TO_LOSE_LEASE)
    def test_an_old_lease_writes_nothing(self, store: RunStore, how: str) -> None:
        lease = begin(store).lease
        early, late = completed(lease, answer("early"))[0], completed(lease, answer("late"))
        assert append_one(store, lease, early[:2]) is None
        _WAYS_TO_LOSE_LEASE[how](store, lease)
        before = store.read(T1)
        assert isinstance(append_one(store, lease, late[0][2:]), LeaseLost)
        with pytest.raises(LeaseLost):
            store.finish(lease, late[0][2:], late[1])
        with pytest.raises(LeaseLost):
            store.finish(lease, (), RunCompletion(persist=False))
        store.renew([lease])
        assert signal(store, lease) is LeaseSignal.LOST
        after = store.read(T1)
        assert _shape(after) == _shape(before)
        if after.live is not None:
            assert not set(late[0][2:]) & set(store.follow(after.live.run, 0).frames)

    def test_a_lease_that_never_was(self, store: RunStore) -> None:
        real = begin(store).lease
        forged = Lease(real.run, real.run_id, real.token + 1)
        frames = completed(real, answer())[0]
        assert isinstance(append_one(store, forged, frames[:1]), LeaseLost)
        assert signal(store, forged) is LeaseSignal.LOST
        assert append_one(store, real, frames[:1]) is None
        assert list(store.follow(real.run, 0).frames) == frames[:1]

    def test_deleting_drops_a_live_run(self, store: RunStore) -> None:
        run(store)
        lease = begin(store).lease
        frames = completed(lease, answer("m2"))[0]
        assert append_one(store, lease, frames[:2]) is None
        assert store.delete(T1)
        assert signal(store, lease) is LeaseSignal.LOST
        view = store.read(T1)
        assert (list(view.runs), view.live) == ([], None)
        assert store.follow(lease.run, 0).ended
        assert store.claim(lease.run, force=True) is None
        assert begin(store).lease.run != lease.run

    def test_clearing_leaves_a_live_run_its_lease(self, store: RunStore) -> None:
        run(store, message="before")
        lease = begin(store).lease
        frames, finished = completed(lease, answer("m"))
        assert append_one(store, lease, frames[:2]) is None
        store.clear(ADA)
        assert not store.read(T1).runs
        assert list(store.messages(T1)) == []
        assert list(store.follow(lease.run, 0).frames) == frames[:2]
        assert listed(store) == []
        assert signal(store, lease) is None
        store.finish(lease, frames[2:], finished)
        [stored] = store.read(T1, raw_ordinal=lease.run.ordinal).runs
        assert list(stored.raw or ()) == frames
        assert set(begin(store).event_messages) == {"m"}

    @pytest.mark.parametrize("forget", ["delete", "clear"])
    def test_a_thread_that_comes_back_does_not_use_old_ids_again(self, store: RunStore, forget: str) -> None:
        """An id of the former thread would resume in the middle of a run it does not belong to."""
        run(store)
        run(store)
        old = {stored.ordinal for stored in store.read(T1).runs}
        if forget == "delete":
            store.delete(T1)
        else:
            store.clear(ADA)
        assert begin(store).lease.run.ordinal not in old

    # --- stopping ---

    def test_signals(self, store: RunStore) -> None:
        first, second = begin(store, T1).lease, begin(store, T2).lease
        assert store.poll_signals([first, second]) == {}
        store.request_stop(T2, None)
        assert store.poll_signals([first, second]) == {second: LeaseSignal.STOP}
        store.finish(first, (), RunCompletion(persist=False))
        assert store.poll_signals([first, second]) == {first: LeaseSignal.LOST, second: LeaseSignal.STOP}
        assert store.poll_signals([]) == {}
        store.renew([])

    def test_asking_for_a_stop(self, store: RunStore) -> None:
        lease = begin(store).lease
        live = ActiveRun(lease.run, "r", "a", stopping=False)
        assert store.request_stop(T1, "other") == live
        assert signal(store, lease) is None
        assert store.request_stop(T1, "r") == live
        assert signal(store, lease) is LeaseSignal.STOP
        assert store.request_stop(T1, None) == ActiveRun(lease.run, "r", "a", stopping=True)
        store.finish(lease, (), RunCompletion(persist=False))
        assert store.request_stop(T1, None) is None

    def test_a_stop_is_for_one_run(self, store: RunStore) -> None:
        lease = begin(store).lease
        store.request_stop(T1, None)
        store.finish(lease, *completed(lease, answer()))
        assert signal(store, begin(store).lease) is None

    # --- following ---

    def test_following_a_live_run(self, store: RunStore) -> None:
        lease = begin(store).lease
        assert _seen(store.follow(lease.run, 0)) == ([], set(), False)
        frames, finished = completed(lease, answer())
        append_one(store, lease, frames[:2], {2})
        assert _seen(store.follow(lease.run, 0)) == (frames[:2], {2}, False)
        assert list(store.follow(lease.run, 1).frames) == frames[1:2]
        assert list(store.follow(lease.run, 2).frames) == []
        assert list(store.follow(lease.run, 9).frames) == []
        append_one(store, lease, frames[2:3], {2, 3})
        assert set(store.follow(lease.run, 2).duplicates) == {2, 3}
        store.finish(lease, frames[3:], finished)
        view = store.follow(lease.run, 2)
        assert (list(view.frames), view.ended) == (frames[2:], True)
        view = store.follow(lease.run, len(frames))
        assert (list(view.frames), view.ended) == ([], True)

    def test_what_is_left_out_stays_known_while_nothing_happens(self, store: RunStore) -> None:
        lease = begin(store).lease
        append_one(store, lease, completed(lease, answer())[0][:2], {2})
        for after in (0, 2, 2, 2, 0):
            assert set(store.follow(lease.run, after).duplicates) == {2}

    def test_what_is_left_out_of_a_run_that_ended(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, finished = completed(lease, answer())
        store.finish(
            lease,
            frames,
            RunCompletion(persist=True, records=finished.records, last_agent_event=5, duplicates={2, 3, 4}),
        )
        assert set(store.follow(lease.run, 0).duplicates) == {2, 3, 4}

    def test_following_in_pieces_of_any_size(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, finished = completed(lease, [STARTED, text("START"), *[text("CONTENT")] * 20, text("END"), FINISHED])
        at = 0
        for size in (1, 3, 0, 7, 2, 5):
            append_one(store, lease, frames[at : at + size])
            at += size
            for after in range(at + 2):
                assert list(store.follow(lease.run, after).frames) == frames[after:at]
        store.finish(lease, frames[at:], finished)
        for after in range(len(frames) + 1):
            assert list(store.follow(lease.run, after).frames) == frames[after:]

    def test_following_from_beyond_the_end(self, store: RunStore) -> None:
        """A crash took the last events: how the run ended is the least to say."""
        lease = begin(store).lease
        frames, finished = completed(lease, [STARTED, FINISHED])
        store.finish(lease, frames, finished)
        view = store.follow(lease.run, 17)
        assert (list(view.frames), view.ended) == (frames[-1:], True)

    def test_following_what_is_gone(self, store: RunStore) -> None:
        lease = begin(store).lease
        append_one(store, lease, completed(lease, answer())[0][:1])
        store.finish(lease, (), RunCompletion(persist=False))
        assert store.follow(lease.run, 0).ended
        begin(store)
        assert store.follow(lease.run, 0).ended

    def test_what_was_read_does_not_change(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, finished = completed(lease, answer())
        append_one(store, lease, frames[:1], {1})
        before = (store.read(T1), store.follow(lease.run, 0))
        kept = copy.deepcopy(before)
        append_one(store, lease, frames[1:2], {1, 2})
        store.finish(lease, frames[2:], finished)
        store.delete(T1)
        assert before == kept

    # --- what is kept ---

    def test_a_run_of_which_nothing_is_kept(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames = completed(lease, answer())[0]
        append_one(store, lease, frames[:1])
        store.finish(lease, frames[1:2], RunCompletion(persist=False))
        view = store.read(T1)
        assert (list(view.runs), view.live) == ([], None)
        assert listed(store) == []
        run(store)
        lease = begin(store).lease
        store.finish(lease, (), RunCompletion(persist=False))
        assert len(store.read(T1).runs) == 1

    def test_messages(self, store: RunStore) -> None:
        run(store)
        assert store.messages(T1) == [QUESTION, {"id": "m", "role": "assistant", "content": "Hello"}]
        assert store.messages(T1) == store.messages(T1)
        # A run whose list is empty leaves the former one in place.
        lease = begin(store).lease
        store.finish(lease, *completed(lease, [STARTED, FINISHED]))
        assert len(store.messages(T1)) == 2
        # The list is that of the last run alone: history that the client did not send is gone.
        lease = begin(store).lease
        store.finish(lease, *completed(lease, answer("m2")))
        assert [message["id"] for message in store.messages(T1)] == ["m2"]

    def test_a_message_that_has_changed(self, store: RunStore) -> None:
        run(store)
        lease = begin(store).lease
        changed = {"id": "u1", "role": "user", "content": "hi again"}
        store.finish(
            lease, *completed(lease, answer("m2"), [changed, {"id": "m", "role": "assistant", "content": "Hello"}])
        )
        assert store.messages(T1) == [
            changed,
            {"id": "m", "role": "assistant", "content": "Hello"},
            {"id": "m2", "role": "assistant", "content": "Hello"},
        ]

    def test_messages_while_a_run_goes_on(self, store: RunStore) -> None:
        run(store)
        lease = begin(store).lease
        append_one(store, lease, completed(lease, answer("m2"))[0])
        assert [message["id"] for message in store.messages(T1)] == ["u1", "m"]

    def test_what_completed_a_run_leaves_no_message(self, store: RunStore) -> None:
        lease = begin(store).lease
        frames, finished = completed(lease, answer())
        # Only the first event was the agent's own.
        finished = RunCompletion(persist=True, records=finished.records, messages=[QUESTION], last_agent_event=1)
        store.finish(lease, frames, finished)
        assert store.messages(T1) == [QUESTION]

    def test_messages_come_in_the_order_they_began(self, store: RunStore) -> None:
        events = [STARTED, text("START", "a"), text("START", "b"), text("END", "b"), text("END", "a"), FINISHED]
        lease = begin(store).lease
        store.finish(lease, *completed(lease, events))
        assert [message["id"] for message in store.messages(T1)] == ["a", "b"]

    def test_what_was_given_is_kept_as_it_was(self, store: RunStore) -> None:
        """Any JSON comes back the same, a text with anything in it, too."""
        content = "ü \U0001f600 \u2028 \\n\n\n\ndata: x\n\nid: 9.9\r\n \x00 ' \""
        message = {"id": "u1", "role": "user", "content": content, "more": {"n": [1, 2.5, None, True, {}]}}
        lease = begin(store).lease
        frames, finished = completed(lease, answer("m", content), [message])
        append_one(store, lease, frames[:3])
        store.finish(lease, frames[3:], finished)
        [stored] = store.read(T1, raw_ordinal=lease.run.ordinal).runs
        assert list(stored.raw or ()) == frames
        assert list(stored.records) == list(finished.records)
        assert store.messages(T1) == [message, {"id": "m", "role": "assistant", "content": content}]

    # --- lists of threads ---

    def test_only_threads_with_a_run_that_ended_are_listed(self, store: RunStore) -> None:
        lease = begin(store).lease
        assert listed(store) == []
        assert not store.update(T1, name="x")
        store.finish(lease, *completed(lease, answer()))
        [info] = store.threads(ADA, ThreadQuery()).threads
        assert (info.thread_id, info.agent_id, info.name, info.archived) == ("t1", "a", None, False)
        assert 0 < info.created_at <= info.updated_at

    def test_the_agent_is_that_of_the_last_run(self, store: RunStore) -> None:
        run(store, agent="a")
        run(store, agent="b")
        assert listed(store, agent_id="a") == []
        assert listed(store, agent_id="b") == ["t1"]

    def test_changes(self, store: RunStore) -> None:
        run(store)
        assert store.update(T1, name="Weather")
        assert store.update(T1, archived=True)
        assert listed(store) == []
        [info] = store.threads(ADA, ThreadQuery(include_archived=True)).threads
        assert (info.name, info.archived) == ("Weather", True)
        assert store.update(T1, archived=False)
        [info] = store.threads(ADA, ThreadQuery()).threads
        assert (info.name, info.archived) == ("Weather", False)
        run(store)
        assert store.threads(ADA, ThreadQuery()).threads[0].name == "Weather"
        assert not store.update(ThreadKey(BOB, "t1"), name="mine now")

    def test_deleting(self, store: RunStore) -> None:
        run(store, T1)
        run(store, T2)
        store.update(T1, name="gone", archived=True)
        assert store.delete(T1)
        assert not store.delete(T1)
        assert listed(store) == ["t2"]
        assert not store.read(T1).runs
        assert store.messages(T1) == []
        assert not begin(store, T1).event_messages
        store.delete(T1)
        run(store, T1, "m2")
        [info, _] = store.threads(ADA, ThreadQuery()).threads
        assert (info.thread_id, info.name, info.archived) == ("t1", None, False)

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
    @pytest.mark.parametrize("agent", [None, "a", "b"])
    @pytest.mark.parametrize("include_archived", [False, True])
    def test_pages_are_the_list_in_pieces(
        self, store: RunStore, limit: int, agent: str | None, include_archived: bool
    ) -> None:
        agents = {f"t{number}": "ab"[number % 3 % 2] for number in range(8)}
        archived = {"t1", "t3", "t6"}
        for name, agent_id in agents.items():
            run(store, ThreadKey(ADA, name), agent=agent_id)
            run(store, ThreadKey(BOB, name), agent=agent_id)
        for name in archived:
            store.update(ThreadKey(ADA, name), archived=True)
        options: dict[str, Any] = {"agent_id": agent, "include_archived": include_archived}
        whole = store.threads(ADA, ThreadQuery(**options))
        assert whole.next_cursor is None
        assert {info.thread_id for info in whole.threads} == {
            name
            for name, agent_id in agents.items()
            if agent in (None, agent_id) and (include_archived or name not in archived)
        }
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

    @pytest.mark.parametrize("cursor", _INVALID_CURSORS, ids=range(len(_INVALID_CURSORS)))
    def test_a_cursor_that_is_none(self, store: RunStore, cursor: str) -> None:
        run(store)
        with pytest.raises(ValueError, match="cursor"):
            store.threads(ADA, ThreadQuery(cursor=cursor))

    # --- taking a run from its owner ---

    def test_taking_a_run_by_force(self, store: RunStore) -> None:
        run(store)
        lease = begin(store, agent="b").lease
        frames, finished = completed(lease, answer("m2"))
        append_one(store, lease, frames[:2])
        assert store.claim(lease.run) is None
        assert store.claim(RunKey(T1, lease.run.ordinal - 1), force=True) is None
        assert store.claim(RunKey(T2, lease.run.ordinal), force=True) is None
        claimed = store.claim(lease.run, force=True)
        assert claimed is not None
        assert (claimed.lease.run, claimed.lease.run_id, claimed.agent_id) == (lease.run, "r", "b")
        assert claimed.lease.token > lease.token
        assert claimed.started_at >= store.threads(ADA, ThreadQuery()).threads[0].updated_at
        assert list(claimed.frames) == frames[:2]
        assert [message["id"] for message in claimed.messages] == ["u1", "m"]
        assert claimed.event_messages == {"m"}
        # The thread is not free before the run has been ended.
        assert isinstance(store.begin(NewRun(thread=T1, run_id="r2", agent_id="a")), ThreadBusy)
        assert signal(store, lease) is LeaseSignal.LOST
        assert isinstance(append_one(store, lease, frames[2:3]), LeaseLost)
        store.finish(claimed.lease, frames[2:], finished)
        stored = store.read(T1, raw_ordinal=lease.run.ordinal).runs[-1]
        assert list(stored.raw or ()) == frames
        assert stored.agent_id == "b"
        assert store.claim(lease.run, force=True) is None
        begin(store)

    def test_a_lease_runs_out(self) -> None:
        store = self.make_leasing(1.0)
        lease = begin(store).lease
        frames, finished = completed(lease, answer())
        append_one(store, lease, frames[:2])
        assert store.follow(lease.run, 0).expired is False
        self.expire(store, lease)
        gone = ActiveRun(lease.run, "r", "a", stopping=False, expired=True)
        assert store.read(T1).live == gone
        assert store.begin(NewRun(thread=T1, run_id="r2", agent_id="a")) == ThreadBusy(gone)
        assert store.request_stop(T1, None) == gone
        for _ in range(2):
            assert store.follow(lease.run, 2).expired is True
        claimed = store.claim(lease.run)
        assert claimed is not None
        # Who has claimed it holds it: the next one comes too late.
        assert store.claim(lease.run) is None
        assert list(claimed.frames) == frames[:2]
        assert isinstance(append_one(store, lease, frames[2:3]), LeaseLost)
        with pytest.raises(LeaseLost):
            store.finish(lease, frames[2:], finished)
        assert signal(store, lease) is LeaseSignal.LOST
        store.finish(claimed.lease, frames[2:], finished)
        assert store.read(T1).live is None
        assert len(store.read(T1).runs) == 1

    def test_a_lease_that_is_renewed_holds(self) -> None:
        store = self.make_leasing(1.0)
        kept, left = begin(store, T1).lease, begin(store, T2).lease
        self.expire(store, left, meanwhile=lambda: store.renew([kept]))
        live = store.read(T1).live
        assert live is not None
        assert not live.expired
        assert store.claim(kept.run) is None

    def test_following_tells_that_a_lease_has_run_out(self) -> None:
        """Though nobody has written since."""
        store = self.make_leasing(1.0)
        lease = begin(store).lease
        append_one(store, lease, completed(lease, answer())[0][:2])
        assert _seen(store.follow(lease.run, 0))[0]
        assert not store.follow(lease.run, 2).expired
        self.expire(store, lease)
        assert store.follow(lease.run, 2).expired

    def test_one_of_many_claims_a_run(self) -> None:
        store = self.make_leasing(1.0)
        for number in range(3):
            lease = begin(store, ThreadKey(ADA, f"t{number}")).lease
            self.expire(store, lease)
            results = race(6, lambda index, lease=lease: store.claim(lease.run))  # type: ignore[misc]
            assert [type(result) for result in results if result is not None] == [ClaimedRun]

    # --- threads of the operating system ---

    def test_one_of_many_gets_the_thread(self, store: RunStore) -> None:
        for number in range(20):
            key = ThreadKey(ADA, f"race{number}")
            results = race(6, lambda index, key=key: store.begin(NewRun(thread=key, run_id=f"r{index}", agent_id="a")))  # type: ignore[misc]
            [won] = [result for result in results if isinstance(result, RunStarted)]
            assert [result.live.run for result in results if isinstance(result, ThreadBusy)] == [won.lease.run] * 5

    def test_one_of_many_asks_first_for_the_stop(self, store: RunStore) -> None:
        for _ in range(20):
            lease = begin(store).lease
            results = race(6, lambda index: store.request_stop(T1, None))
            assert sorted(result.stopping for result in results) == [False, *[True] * 5]
            store.finish(lease, (), RunCompletion(persist=False))

    def test_one_of_many_finishes(self, store: RunStore) -> None:
        for _ in range(20):
            lease = begin(store).lease
            end = completed(lease, answer())
            results = race(4, lambda index, lease=lease, end=end: store.finish(lease, *end))  # type: ignore[misc]
            assert [type(result) for result in results].count(LeaseLost) == 3
            assert len(store.read(T1, raw_ordinal=lease.run.ordinal).runs[-1].raw or ()) == 5

    def test_readers_beside_a_writer(self, store: RunStore) -> None:
        """Whoever follows sees a prefix, and in the end everything."""
        _read_beside_a_writer([store] * 4)

    # --- several processes ---

    def test_another_process_sees_everything(self, store: RunStore) -> None:
        there = self.open_second(store)
        frames = run(store)
        lease = begin(store, T2, "r2").lease
        append_one(store, lease, completed(lease, answer())[0][:2], {2})
        [stored] = there.read(T1, raw_ordinal=store.read(T1).runs[0].ordinal).runs
        assert list(stored.raw or ()) == frames
        assert there.read(T2) == store.read(T2)
        assert _seen(there.follow(lease.run, 0)) == _seen(store.follow(lease.run, 0))
        assert there.messages(T1) == store.messages(T1)
        assert there.threads(ADA, ThreadQuery()) == store.threads(ADA, ThreadQuery())
        assert there.begin(NewRun(thread=T2, run_id="r3", agent_id="a")) == ThreadBusy(
            ActiveRun(lease.run, "r2", "a", False)
        )

    def test_what_one_process_does_the_other_hears_of(self, store: RunStore) -> None:
        there = self.open_second(store)
        lease = begin(store).lease
        assert signal(store, lease) is None
        assert there.request_stop(T1, "r") == ActiveRun(lease.run, "r", "a", stopping=False)
        assert signal(store, lease) is LeaseSignal.STOP
        frames, finished = completed(lease, answer())
        for at in range(4):
            append_one(store, lease, frames[at : at + 1])
            assert list(there.follow(lease.run, at).frames) == frames[at : at + 1]
            assert list(there.follow(lease.run, at + 1).frames) == []
        store.finish(lease, frames[4:], finished)
        view = there.follow(lease.run, 4)
        assert (list(view.frames), view.ended) == (frames[4:], True)
        second = begin(there).lease
        assert second.run.ordinal == lease.run.ordinal + 1
        assert second.token > lease.token
        assert store.delete(T1)
        assert signal(there, second) is LeaseSignal.LOST

    def test_one_of_many_in_two_processes_gets_the_thread(self, store: RunStore) -> None:
        both = [store, self.open_second(store)]
        for number in range(20):
            key = ThreadKey(ADA, f"race{number}")
            results = race(
                6,
                lambda index, key=key: both[index % 2].begin(NewRun(thread=key, run_id=f"r{index}", agent_id="a")),  # type: ignore[misc]
            )
            [won] = [result for result in results if isinstance(result, RunStarted)]
            assert [result.live.run for result in results if isinstance(result, ThreadBusy)] == [won.lease.run] * 5

    def test_readers_in_another_process(self, store: RunStore) -> None:
        _read_beside_a_writer([store, self.open_second(store), self.open_second(store), store])

    # --- bounds ---

    def test_the_least_recently_used_thread_goes(self) -> None:
        store = self._bounded(max_threads=2)
        for key in _keys("a", "b", "c"):
            run(store, key)
        assert set(listed(store)) == {"b", "c"}

    @pytest.mark.parametrize("name", _USES)
    def test_what_counts_as_use(self, name: str) -> None:
        use, counts = _USES[name]
        store = self._bounded(max_threads=2)
        a, b, c = _keys("a", "b", "c")
        run(store, a)
        run(store, b)
        use(store, a)
        run(store, c)
        assert bool(store.read(a).runs) == counts
        assert bool(store.read(b).runs) != counts

    def test_finishing_counts_as_use(self) -> None:
        store = self._bounded(max_threads=2)
        a, b, c = _keys("a", "b", "c")
        lease = begin(store, a).lease
        run(store, b)
        store.finish(lease, *completed(lease, answer()))
        run(store, c)
        assert set(listed(store)) == {"a", "c"}

    def test_a_thread_with_a_live_run_stays(self) -> None:
        store = self._bounded(max_threads=1)
        a, b, c = _keys("a", "b", "c")
        leases = [begin(store, key).lease for key in (a, b)]
        run(store, c)
        assert store.poll_signals(leases) == {}
        for lease in leases:
            store.finish(lease, *completed(lease, answer()))
        assert len(listed(store)) == 1

    def test_the_oldest_run_goes(self) -> None:
        store = self._bounded(max_runs_per_thread=2)
        for message in ("m1", "m2", "m3"):
            run(store, message=message)
        assert len(store.read(T1).runs) == 2
        assert set(begin(store).event_messages) == {"m2", "m3"}

    @pytest.mark.parametrize("bound", ["max_threads", "max_runs_per_thread", "max_bytes"])
    def test_zero_is_no_bound(self, bound: str) -> None:
        store = self._bounded(**{bound: 0})
        for number in range(120):
            run(store, T1 if bound == "max_runs_per_thread" else ThreadKey(ADA, f"t{number}"))
        assert sum(len(store.read(ThreadKey(ADA, name)).runs) for name in listed(store)) == 120

    def test_bytes_are_bounded(self) -> None:
        store = self._bounded(max_bytes=5000)
        for number in range(30):
            run(store, ThreadKey(ADA, f"t{number}"))
            assert f"t{number}" in listed(store)
            assert _kept_bytes(store) <= 5000
        assert 1 <= len(listed(store)) < 30

    def test_one_thread_beyond_the_bytes_loses_its_oldest_runs(self) -> None:
        store = self._bounded(max_bytes=3000)
        for number in range(20):
            run(store, message=f"m{number}")
            assert _kept_bytes(store) <= 3000
        assert 1 <= len(store.read(T1).runs) < 20
        assert store.messages(T1)[-1]["id"] == "m19"

    def test_a_run_in_flight_counts(self) -> None:
        store = self._bounded(max_bytes=5000)
        run(store, T2)
        lease = begin(store).lease
        frames, finished = completed(lease, [STARTED, text("START"), *[text("CONTENT", delta="x" * 1000)] * 4])
        assert append_one(store, lease, frames) is None
        assert listed(store) == []
        store.finish(lease, (), finished)
        assert listed(store) == ["t1"]

    def test_a_run_that_outgrows_the_store(self) -> None:
        store = self._bounded(max_bytes=3000)
        lease = begin(store).lease
        long = [STARTED, text("START"), *[text("CONTENT", delta="x" * 1000)] * 4]
        frames = completed(lease, long)[0]
        assert append_one(store, lease, frames[:4]) is None
        assert isinstance(append_one(store, lease, frames[4:]), RunTooLarge)
        # It still has its lease, to say how it ended.
        assert signal(store, lease) is None
        store.finish(lease, *completed(lease, [{"type": "RUN_ERROR", "message": "too large"}]))
        assert len(store.read(T1).runs) == 1
        run(store, T2)


def _append(store: RunStore, frames: Mapping[Lease, list[bytes]]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
    return store.append([Batch(lease, some) for lease, some in frames.items()])


def _shape(view: ThreadSnapshot) -> tuple[list[StoredRun], ActiveRun | None]:
    """A view, whatever kinds of sequences it is made of."""
    return list(view.runs), view.live


def _seen(view: RunUpdate) -> tuple[list[bytes], set[int], bool]:
    return list(view.frames), set(view.duplicates), view.ended


def _kept_bytes(store: RunStore) -> int:
    """The bytes of all runs that can be read, compacted."""
    keys = _keys(*listed(store, include_archived=True))
    return sum(len(record.frame) for key in keys for stored in store.read(key).runs for record in stored.records)


def _read_beside_a_writer(stores: list[RunStore]) -> None:
    lease = begin(stores[0]).lease
    frames, finished = completed(lease, [STARTED, text("START"), *[text("CONTENT")] * 200, text("END"), FINISHED])
    deadline = time.monotonic() + PATIENCE_SECONDS

    def work(index: int) -> list[bytes]:
        if index == 0:
            for at in range(len(frames) - 1):
                assert append_one(stores[0], lease, frames[at : at + 1]) is None
            stores[0].finish(lease, frames[-1:], finished)
            return frames
        seen: list[bytes] = []
        while True:
            view = stores[index].follow(lease.run, len(seen))
            seen += view.frames
            assert seen == frames[: len(seen)]
            if view.ended:
                return seen
            assert time.monotonic() < deadline, "the run does not end for one who follows it"

    assert race(len(stores), work) == [frames] * len(stores)
