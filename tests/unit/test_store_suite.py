"""What every store must do (stores/protocol.py), and what the memory store promises besides.

The first part knows a store by its protocol alone: a further store joins with one row in
``FACTORIES``. Fresh stores come from the fixture, so no test sees another's threads.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from copilotkit_runtime.stores import LeaseLost, MemoryStore, RunStore, RunTooLarge, memory
from copilotkit_runtime.stores.protocol import (
    Begun,
    Busy,
    Finished,
    Lease,
    Live,
    LiveView,
    NewRun,
    RunKey,
    ThreadKey,
    ThreadQuery,
    ThreadView,
)

from .recording import FINISHED, STARTED, Event, recorded, text

FACTORIES: dict[str, Callable[[], RunStore]] = {"memory": MemoryStore}

ADA, BOB = "ada", "bob"
T1 = ThreadKey(ADA, "t1")
T2 = ThreadKey(ADA, "t2")
QUESTION = {"id": "u1", "role": "user", "content": "hi"}


@pytest.fixture(params=FACTORIES)
def store(request: pytest.FixtureRequest) -> RunStore:
    return FACTORIES[request.param]()


def begin(store: RunStore, thread: ThreadKey = T1, run_id: str = "r", *, agent: str = "a", size: int = 0) -> Begun:
    begun = store.begin(NewRun(thread=thread, run_id=run_id, agent_id=agent, size=size))
    assert isinstance(begun, Begun)
    return begun


def answer(message: str = "m", delta: str = "Hello") -> list[Event]:
    return [STARTED, text("START", message), text("CONTENT", message, delta=delta), text("END", message), FINISHED]


def ended(lease: Lease, events: Sequence[Event], messages: Sequence[Any] = ()) -> tuple[list[bytes], Finished]:
    """A run's frames and its end, as the engine makes them."""
    recorder, frames = recorded(events, ordinal=lease.run.ordinal)
    finished = Finished(
        keep=True,
        records=recorder.records(),
        messages=messages,
        own_events=recorder.last_own,
        event_messages=recorder.message_ids,
        input_messages={message["id"] for message in messages},
    )
    return frames, finished


def run(store: RunStore, thread: ThreadKey = T1, message: str = "m", *, agent: str = "a", size: int = 0) -> list[bytes]:
    """A whole run; gives its frames."""
    lease = begin(store, thread, agent=agent, size=size).lease
    frames, finished = ended(lease, answer(message), [QUESTION])
    store.finish(lease, frames, finished)
    return frames


def listed(store: RunStore, owner: str = ADA, **query: Any) -> list[str]:
    return [info.thread_id for info in store.threads(owner, ThreadQuery(**query)).threads]


# --- every store ---


def test_an_unknown_thread_is_empty(store: RunStore) -> None:
    assert store.read(T1) == ThreadView()
    assert store.read(T1, touch=True) == ThreadView()
    assert store.messages(T1) == []
    assert store.request_stop(T1, None) is None
    assert store.follow(RunKey(T1, 1), 0) == LiveView((), frozenset(), True)
    assert not store.update(T1, name="x")
    assert not store.delete(T1)
    store.clear(ADA)
    assert listed(store) == []


def test_a_run_from_begin_to_finish(store: RunStore) -> None:
    begun = begin(store)
    assert (begun.lease.run.thread, begun.lease.run_id) == (T1, "r")
    assert not begun.event_messages
    assert not begun.input_messages
    assert store.read(T1) == ThreadView((), Live(begun.lease.run, "r", "a", stopping=False))
    frames, finished = ended(begun.lease, answer(), [QUESTION])
    store.append(begun.lease, frames[:2], set())
    assert store.read(T1).runs == ()
    store.finish(begun.lease, frames[2:], finished)
    [stored] = store.read(T1).runs
    assert (stored.ordinal, stored.run_id, stored.agent_id) == (begun.lease.run.ordinal, "r", "a")
    assert list(stored.records) == list(finished.records)
    assert list(stored.raw or ()) == frames
    assert store.read(T1).live is None


def test_ordinals_and_tokens_grow(store: RunStore) -> None:
    leases = []
    for _ in range(3):
        leases.append(begin(store).lease)
        store.finish(leases[-1], *ended(leases[-1], answer()))
    assert [lease.run.ordinal for lease in leases] == list(range(leases[0].run.ordinal, leases[0].run.ordinal + 3))
    assert leases[0].token < leases[1].token < leases[2].token
    assert [run.ordinal for run in store.read(T1).runs] == [lease.run.ordinal for lease in leases]


def test_a_busy_thread(store: RunStore) -> None:
    lease = begin(store).lease
    again = store.begin(NewRun(thread=T1, run_id="r2", agent_id="b"))
    assert again == Busy(Live(lease.run, "r", "a", stopping=False))
    store.request_stop(T1, None)
    again = store.begin(NewRun(thread=T1, run_id="r2", agent_id="b"))
    assert again == Busy(Live(lease.run, "r", "a", stopping=True))
    store.append(lease, [b"x"], set())
    begin(store, T2)


def test_ids_that_a_thread_has_seen(store: RunStore) -> None:
    run(store, message="m1")
    begun = begin(store)
    assert set(begun.event_messages) == {"m1"}
    assert set(begun.input_messages) == {"u1"}
    store.finish(begun.lease, *ended(begun.lease, answer("m2")))
    # What a run was told when it began stays as it was.
    assert set(begun.event_messages) == {"m1"}
    assert set(begin(store).event_messages) == {"m1", "m2"}


def test_threads_of_others_are_not_there(store: RunStore) -> None:
    theirs = ThreadKey(BOB, "t1")
    run(store, T1, "mine")
    lease = begin(store, theirs, "theirs").lease
    assert store.read(T1).live is None
    assert begin(store, T1).lease.run != lease.run
    store.finish(lease, *ended(lease, answer("m-theirs")))
    assert listed(store, BOB) == listed(store, ADA) == ["t1"]
    assert [message["id"] for message in store.messages(theirs)] == ["m-theirs"]
    store.clear(ADA)
    assert listed(store, BOB) == ["t1"]
    assert store.delete(theirs)
    assert listed(store, BOB) == []


# --- fencing ---


def replaced(store: RunStore, lease: Lease) -> None:
    store.finish(lease, (), Finished(keep=False))
    begin(store)


def begun_anew_after_delete(store: RunStore, lease: Lease) -> None:
    store.delete(lease.run.thread)
    begin(store)


LOSING: dict[str, Callable[[RunStore, Lease], object]] = {
    "finished": lambda store, lease: store.finish(lease, (), Finished(keep=False)),
    "finished and kept": lambda store, lease: store.finish(lease, *ended(lease, answer())),
    "finished, and another begun": replaced,
    "deleted": lambda store, lease: store.delete(lease.run.thread),
    "deleted, and another begun": begun_anew_after_delete,
}


@pytest.mark.parametrize("how", LOSING)
def test_an_old_lease_writes_nothing(store: RunStore, how: str) -> None:
    lease = begin(store).lease
    store.append(lease, [b"early"], set())
    LOSING[how](store, lease)
    before = store.read(T1)
    with pytest.raises(LeaseLost):
        store.append(lease, [b"late"], set())
    with pytest.raises(LeaseLost):
        store.finish(lease, [b"late"], ended(lease, answer("late"))[1])
    assert store.renew([lease]) == {}
    after = store.read(T1)
    assert after == before
    if after.live is not None:
        assert b"late" not in store.follow(after.live.run, 0).frames


def test_a_lease_that_never_was(store: RunStore) -> None:
    real = begin(store).lease
    for forged in (Lease(real.run, real.run_id, real.token + 1), Lease(RunKey(T2, 1), "r", real.token)):
        with pytest.raises(LeaseLost):
            store.append(forged, [b"x"], set())
        assert store.renew([forged]) == {}


def test_clearing_leaves_a_live_run_its_lease(store: RunStore) -> None:
    run(store, message="before")
    lease = begin(store).lease
    frames, finished = ended(lease, answer("m"))
    store.append(lease, frames[:2], set())
    store.clear(ADA)
    assert store.read(T1).runs == ()
    assert list(store.follow(lease.run, 0).frames) == frames[:2]
    assert listed(store) == []
    assert lease in store.renew([lease])
    store.finish(lease, frames[2:], finished)
    [stored] = store.read(T1).runs
    assert list(stored.raw or ()) == frames
    assert set(begin(store).event_messages) == {"m"}


@pytest.mark.parametrize("forget", [lambda store: store.delete(T1), lambda store: store.clear(ADA)])
def test_a_thread_that_comes_back_does_not_use_old_ids_again(
    store: RunStore, forget: Callable[[RunStore], Any]
) -> None:
    """An id of the former thread would resume in the middle of a run it does not belong to."""
    run(store)
    run(store)
    old = {stored.ordinal for stored in store.read(T1).runs}
    forget(store)
    assert begin(store).lease.run.ordinal not in old


def test_renewing(store: RunStore) -> None:
    first, second = begin(store, T1).lease, begin(store, T2).lease
    assert store.renew([first, second]) == {first: False, second: False}
    store.request_stop(T2, None)
    assert store.renew([first, second]) == {first: False, second: True}
    store.finish(first, (), Finished(keep=False))
    assert store.renew([first, second]) == {second: True}
    assert store.renew([]) == {}


# --- stopping ---


def test_asking_for_a_stop(store: RunStore) -> None:
    lease = begin(store).lease
    live = Live(lease.run, "r", "a", stopping=False)
    assert store.request_stop(T1, "other") == live
    assert store.renew([lease]) == {lease: False}
    assert store.request_stop(T1, "r") == live
    assert store.renew([lease]) == {lease: True}
    assert store.request_stop(T1, None) == Live(lease.run, "r", "a", stopping=True)
    store.finish(lease, (), Finished(keep=False))
    assert store.request_stop(T1, None) is None


def test_a_stop_is_for_one_run(store: RunStore) -> None:
    lease = begin(store).lease
    store.request_stop(T1, None)
    store.finish(lease, *ended(lease, answer()))
    again = begin(store).lease
    assert store.renew([again]) == {again: False}


# --- following ---


def test_following_a_live_run(store: RunStore) -> None:
    lease = begin(store).lease
    assert store.follow(lease.run, 0) == LiveView([], frozenset(), False)
    frames, finished = ended(lease, answer())
    store.append(lease, frames[:2], {2})
    view = store.follow(lease.run, 0)
    assert (list(view.frames), set(view.repeats), view.ended) == (frames[:2], {2}, False)
    assert list(store.follow(lease.run, 1).frames) == frames[1:2]
    assert list(store.follow(lease.run, 2).frames) == []
    assert list(store.follow(lease.run, 9).frames) == []
    store.append(lease, frames[2:3], {2, 3})
    assert set(store.follow(lease.run, 2).repeats) == {2, 3}
    store.finish(lease, frames[3:], finished)
    view = store.follow(lease.run, 2)
    assert (list(view.frames), view.ended) == (frames[2:], True)
    assert store.follow(lease.run, len(frames)) == LiveView([], frozenset(), True)


def test_following_from_beyond_the_end(store: RunStore) -> None:
    """A crash took the last events: how the run ended is the least to say."""
    lease = begin(store).lease
    frames, finished = ended(lease, [STARTED, FINISHED])
    store.finish(lease, frames, finished)
    view = store.follow(lease.run, 17)
    assert (list(view.frames), view.ended) == (frames[-1:], True)


def test_following_what_is_gone(store: RunStore) -> None:
    lease = begin(store).lease
    store.append(lease, [b"x"], set())
    store.finish(lease, (), Finished(keep=False))
    assert store.follow(lease.run, 0).ended
    begin(store)
    assert store.follow(lease.run, 0).ended


def test_what_was_read_does_not_change(store: RunStore) -> None:
    lease = begin(store).lease
    frames, finished = ended(lease, answer())
    store.append(lease, frames[:1], {1})
    before = (store.read(T1), store.follow(lease.run, 0))
    kept = copy.deepcopy(before)
    store.append(lease, frames[1:2], {1, 2})
    store.finish(lease, frames[2:], finished)
    store.delete(T1)
    assert before == kept


# --- what is kept ---


def test_a_run_of_which_nothing_is_kept(store: RunStore) -> None:
    lease = begin(store).lease
    store.append(lease, [b"x"], set())
    store.finish(lease, [b"y"], Finished(keep=False))
    assert store.read(T1) == ThreadView()
    assert listed(store) == []
    run(store)
    lease = begin(store).lease
    store.finish(lease, (), Finished(keep=False))
    assert len(store.read(T1).runs) == 1


def test_messages(store: RunStore) -> None:
    run(store)
    assert store.messages(T1) == [QUESTION, {"id": "m", "role": "assistant", "content": "Hello"}]
    assert store.messages(T1) == store.messages(T1)
    # A run whose list is empty leaves the former one in place.
    lease = begin(store).lease
    store.finish(lease, *ended(lease, [STARTED, FINISHED]))
    assert len(store.messages(T1)) == 2
    # The list is that of the last run alone: history that the client did not send is gone.
    lease = begin(store).lease
    store.finish(lease, *ended(lease, answer("m2")))
    assert [message["id"] for message in store.messages(T1)] == ["m2"]


def test_messages_while_a_run_goes_on(store: RunStore) -> None:
    run(store)
    lease = begin(store).lease
    store.append(lease, ended(lease, answer("m2"))[0], set())
    assert [message["id"] for message in store.messages(T1)] == ["u1", "m"]


def test_what_completed_a_run_leaves_no_message(store: RunStore) -> None:
    lease = begin(store).lease
    frames, finished = ended(lease, answer())
    # Only the first three events were the agent's own.
    finished = Finished(keep=True, records=finished.records, messages=[QUESTION], own_events=1)
    store.finish(lease, frames, finished)
    assert store.messages(T1) == [QUESTION]


def test_messages_come_in_the_order_they_began(store: RunStore) -> None:
    events = [STARTED, text("START", "a"), text("START", "b"), text("END", "b"), text("END", "a"), FINISHED]
    lease = begin(store).lease
    store.finish(lease, *ended(lease, events))
    assert [message["id"] for message in store.messages(T1)] == ["a", "b"]


# --- lists of threads ---


def test_only_threads_with_a_run_that_ended_are_listed(store: RunStore) -> None:
    lease = begin(store).lease
    assert listed(store) == []
    assert not store.update(T1, name="x")
    store.finish(lease, *ended(lease, answer()))
    [info] = store.threads(ADA, ThreadQuery()).threads
    assert (info.thread_id, info.agent_id, info.name, info.archived) == ("t1", "a", None, False)
    assert 0 < info.created_at <= info.updated_at


def test_the_agent_is_that_of_the_last_run(store: RunStore) -> None:
    run(store, agent="a")
    run(store, agent="b")
    assert listed(store, agent_id="a") == []
    assert listed(store, agent_id="b") == ["t1"]


def test_changes(store: RunStore) -> None:
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


def test_deleting(store: RunStore) -> None:
    run(store, T1)
    run(store, T2)
    assert store.delete(T1)
    assert not store.delete(T1)
    assert listed(store) == ["t2"]
    assert store.read(T1) == ThreadView()
    assert store.messages(T1) == []
    assert not begin(store, T1).event_messages


@given(
    threads=st.lists(st.tuples(st.sampled_from((ADA, BOB)), st.integers(0, 30), st.sampled_from("ab")), max_size=30),
    archived=st.sets(st.integers(0, 30)),
    limit=st.integers(1, 7),
    agent=st.sampled_from((None, "a", "b")),
    include_archived=st.booleans(),
)
@settings(max_examples=60)
@pytest.mark.parametrize("kind", FACTORIES)
def test_pages_are_the_list_in_pieces(
    kind: str,
    threads: list[tuple[str, int, str]],
    archived: set[int],
    limit: int,
    agent: str | None,
    include_archived: bool,
) -> None:
    store = FACTORIES[kind]()
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


@pytest.mark.parametrize(
    "cursor", ["", "x", "[]", "[1]", "[1,2,3]", "{}", "null", "7", '["a","b"]', "[" * 100_000, f"[1{'0' * 400},1]"]
)
def test_a_cursor_that_is_none(store: RunStore, cursor: str) -> None:
    run(store)
    with pytest.raises(ValueError, match="cursor"):
        store.threads(ADA, ThreadQuery(cursor=cursor))


# --- threads of the operating system ---


def race(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What so many threads get that begin at the same moment."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def one(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work(index)
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_one_of_many_gets_the_thread(store: RunStore) -> None:
    for number in range(30):
        key = ThreadKey(ADA, f"race{number}")
        results = race(6, lambda index, key=key: store.begin(NewRun(thread=key, run_id=f"r{index}", agent_id="a")))
        [won] = [result for result in results if isinstance(result, Begun)]
        assert [result.live.run for result in results if isinstance(result, Busy)] == [won.lease.run] * 5


def test_one_of_many_asks_first_for_the_stop(store: RunStore) -> None:
    for _ in range(30):
        lease = begin(store).lease
        results = race(6, lambda index: store.request_stop(T1, None))
        assert sorted(result.stopping for result in results) == [False, *[True] * 5]
        store.finish(lease, (), Finished(keep=False))


def test_one_of_many_finishes(store: RunStore) -> None:
    for _ in range(30):
        lease = begin(store).lease
        frames, finished = ended(lease, answer())
        results = race(4, lambda index, lease=lease, end=(frames, finished): store.finish(lease, *end))
        assert [type(result) for result in results].count(LeaseLost) == 3
    assert [len(stored.raw or ()) for stored in store.read(T1).runs] == [5] * len(store.read(T1).runs)


def test_readers_beside_a_writer(store: RunStore) -> None:
    """Whoever follows sees a prefix, and in the end everything."""
    lease = begin(store).lease
    frames, finished = ended(lease, [STARTED, text("START"), *[text("CONTENT")] * 200, text("END"), FINISHED])

    def work(index: int) -> list[bytes]:
        if index == 0:
            for at in range(len(frames) - 1):
                store.append(lease, frames[at : at + 1], set())
            store.finish(lease, frames[-1:], finished)
            return frames
        seen: list[bytes] = []
        while True:
            view = store.follow(lease.run, len(seen))
            seen += view.frames
            assert seen == frames[: len(seen)]
            if view.ended:
                return seen

    assert race(4, work) == [frames] * 4


# --- the memory store's own promises ---


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(memory, "time", clock)
    return clock


@pytest.mark.parametrize("name", ["max_threads", "max_runs_per_thread", "max_bytes"])
def test_a_negative_bound_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*-1"):
        MemoryStore(**{name: -1})


def keys(*names: str) -> list[ThreadKey]:
    return [ThreadKey(ADA, name) for name in names]


def test_the_least_recently_used_thread_goes() -> None:
    store = MemoryStore(max_threads=2)
    a, b, c = keys("a", "b", "c")
    for key in (a, b, c):
        run(store, key)
    assert set(listed(store)) == {"b", "c"}


# What is done with thread a before a third one comes, and whether it counts as use.
USES: dict[str, tuple[Callable[[MemoryStore, ThreadKey], object], bool]] = {
    "a run": (run, True),
    "a run that begins": (begin, True),
    "connecting": (lambda store, key: store.read(key, touch=True), True),
    "reading its events": (lambda store, key: store.read(key), False),
    "reading its messages": (lambda store, key: store.messages(key), False),
    "being listed": (lambda store, key: store.threads(ADA, ThreadQuery()), False),
    "a name": (lambda store, key: store.update(key, name="x"), False),
    "a stop without a run": (lambda store, key: store.request_stop(key, None), False),
}


@pytest.mark.parametrize("name", USES)
def test_what_counts_as_use(name: str) -> None:
    use, counts = USES[name]
    store = MemoryStore(max_threads=2)
    a, b, c = keys("a", "b", "c")
    run(store, a)
    run(store, b)
    use(store, a)
    run(store, c)
    assert bool(store.read(a).runs) == counts
    assert bool(store.read(b).runs) != counts


def test_finishing_counts_as_use() -> None:
    store = MemoryStore(max_threads=2)
    a, b, c = keys("a", "b", "c")
    lease = begin(store, a).lease
    run(store, b)
    store.finish(lease, *ended(lease, answer()))
    run(store, c)
    assert set(listed(store)) == {"a", "c"}


def test_a_thread_with_a_live_run_stays() -> None:
    store = MemoryStore(max_threads=1)
    a, b, c = keys("a", "b", "c")
    leases = [begin(store, key).lease for key in (a, b)]
    store.request_stop(b, None)
    run(store, c)
    assert list(store.renew(leases)) == leases
    for lease in leases:
        store.finish(lease, *ended(lease, answer()))
    assert len(listed(store)) == 1


def test_the_oldest_run_goes() -> None:
    store = MemoryStore(max_runs_per_thread=2)
    for message in ("m1", "m2", "m3"):
        run(store, message=message)
    assert len(store.read(T1).runs) == 2
    assert set(begin(store).event_messages) == {"m2", "m3"}


@pytest.mark.parametrize("bound", ["max_threads", "max_runs_per_thread", "max_bytes"])
def test_zero_is_no_bound(bound: str) -> None:
    store = MemoryStore(**{bound: 0})
    for number in range(120):
        run(store, T1 if bound == "max_runs_per_thread" else ThreadKey(ADA, f"t{number}"))
    assert sum(len(store.read(ThreadKey(ADA, name)).runs) for name in listed(store)) == 120


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
    store.append(lease, [b"x" * 900], set())
    with pytest.raises(RunTooLarge):
        store.append(lease, [b"x" * 200], set())
    assert listed(store) == []
    # It still has its lease, to say how it ended.
    store.finish(lease, *ended(lease, [{"type": "RUN_ERROR", "message": "too large"}]))
    assert store._size <= 1000


def test_the_input_counts() -> None:
    store = MemoryStore(max_bytes=1000)
    lease = begin(store, size=900).lease
    with pytest.raises(RunTooLarge):
        store.append(lease, [b"x" * 200], set())


def test_eviction_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(max_threads=1)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            run(store, ThreadKey(ADA, f"t{number}"))
    [record] = caplog.records
    assert "max_threads=1" in record.getMessage()


def test_nothing_is_said_without_eviction(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    run(store)
    assert not caplog.records


def test_raw_frames_are_kept_for_a_while(clock: Clock) -> None:
    store = MemoryStore()
    first = run(store)
    clock.now += memory.RAW_SECONDS / 2
    second = run(store)
    assert [list(stored.raw or ()) for stored in store.read(T1).runs] == [first, second]
    clock.now += memory.RAW_SECONDS / 2
    assert [stored.raw is None for stored in store.read(T1).runs] == [True, False]
    clock.now += memory.RAW_SECONDS
    size = store._size
    assert [stored.raw for stored in store.read(T1).runs] == [None, None]
    assert store._size == size - sum(map(len, second))
    assert not store._raw


def test_what_is_dropped_early_is_not_dropped_again(clock: Clock) -> None:
    store = MemoryStore(max_runs_per_thread=1)
    for _ in range(3):
        run(store)
    run(store, T2)
    store.delete(T2)
    kept = store._size
    clock.now += memory.RAW_SECONDS
    [stored] = store.read(T1).runs
    assert store._size == kept - sum(len(frame) for frame in recorded(answer(), ordinal=stored.ordinal)[1])
    assert not store._raw


def test_a_live_run_keeps_its_frames(clock: Clock) -> None:
    store = MemoryStore()
    lease = begin(store).lease
    store.append(lease, [b"x"], set())
    clock.now += 100 * memory.RAW_SECONDS
    store.read(T1)
    assert list(store.follow(lease.run, 0).frames) == [b"x"]


def test_after_a_fork_nothing_runs() -> None:
    store = MemoryStore()
    run(store)
    live, alone = begin(store, T1).lease, begin(store, T2).lease
    store.append(live, [b"x"], set())
    held = store._lock
    with held:  # as some thread of the parent's may
        store.after_fork()
        assert store.read(T1).live is None
    assert store.renew([live, alone]) == {}
    assert listed(store) == ["t1"]
    assert store.read(T2) == ThreadView()
    with pytest.raises(LeaseLost):
        store.append(live, [b"y"], set())
    begin(store, T1)
    assert recomputed(store) == store._size


def recomputed(store: MemoryStore) -> int:
    """The bytes that a store keeps, counted from what can be read of it."""
    size = 0
    for key, thread in store._threads.items():
        view = store.read(key)
        for stored in view.runs:
            size += sum(len(record.frame) for record in stored.records)
            size += sum(map(len, stored.raw or ()))
        if thread.live is not None:
            size += SIZES[thread.live.lease] + sum(map(len, thread.live.frames))
        if thread.messages_run is not None:
            size += SIZES[Lease(RunKey(key, thread.messages_run.ordinal), thread.messages_run.run_id, -1)]
    return size


# What each run was given, by its lease; by one without a token once it has ended.
SIZES: Any = type("Sizes", (dict,), {"__missing__": lambda self, lease: 0})()


class MemoryStoreMachine(RuleBasedStateMachine):
    """Anything in any order; what is counted must be what is kept."""

    leases = Bundle("leases")

    @initialize(threads=st.integers(0, 3), runs=st.integers(0, 3), size=st.sampled_from((0, 600, 1500, 4000)))
    def make(self, threads: int, runs: int, size: int) -> None:
        SIZES.clear()
        self.clock = Clock()
        self.former, memory.time = memory.time, self.clock  # type: ignore[assignment] - a clock that is told
        self.bounds = (threads, runs, size)
        self.store = MemoryStore(max_threads=threads, max_runs_per_thread=runs, max_bytes=size)
        self.valid: set[Lease] = set()

    def teardown(self) -> None:
        if hasattr(self, "former"):
            memory.time = self.former

    @rule(target=leases, owner=st.sampled_from((ADA, ADA, BOB)), name=st.integers(0, 2), size=st.integers(0, 300))
    def begin(self, owner: str, name: int, size: int) -> Any:
        key = ThreadKey(owner, f"t{name}")
        begun = self.store.begin(NewRun(thread=key, run_id="r", agent_id="a", size=size))
        busy = any(lease.run.thread == key for lease in self.valid)
        assert isinstance(begun, Busy if busy else Begun)
        if isinstance(begun, Busy):
            return multiple()
        SIZES[begun.lease] = SIZES[Lease(begun.lease.run, "r", -1)] = size
        self.valid.add(begun.lease)
        return begun.lease

    @rule(lease=leases, count=st.integers(0, 3), length=st.integers(0, 200))
    def append(self, lease: Lease, count: int, length: int) -> None:
        try:
            self.store.append(lease, [b"x" * length] * count, set())
            assert lease in self.valid
        except LeaseLost:
            assert lease not in self.valid
        except RunTooLarge:
            assert self.bounds[2] > 0

    @rule(lease=consumes(leases), keep=st.booleans(), given_messages=st.booleans(), says=st.booleans())
    def finish(self, lease: Lease, keep: bool, given_messages: bool, says: bool) -> None:
        frames, finished = ended(lease, answer() if says else [STARTED, FINISHED], [QUESTION] if given_messages else [])
        if not keep:
            finished = Finished(keep=False)
        try:
            self.store.finish(lease, frames, finished)
            assert lease in self.valid
        except LeaseLost:
            assert lease not in self.valid
        self.valid.discard(lease)

    @rule(owner=st.sampled_from((ADA, ADA, BOB)), name=st.integers(0, 2))
    def delete(self, owner: str, name: int) -> None:
        self.store.delete(ThreadKey(owner, f"t{name}"))
        self.valid = {lease for lease in self.valid if lease.run.thread != (owner, f"t{name}")}

    @rule(owner=st.sampled_from((ADA, BOB)))
    def clear(self, owner: str) -> None:
        self.store.clear(owner)
        assert listed(self.store, owner) == []

    @rule(owner=st.sampled_from((ADA, ADA, BOB)), name=st.integers(0, 2))
    def connect(self, owner: str, name: int) -> None:
        self.store.read(ThreadKey(owner, f"t{name}"), touch=True)

    @rule(seconds=st.sampled_from((1.0, 30.0, 61.0)))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def fork(self) -> None:
        self.store.after_fork()
        self.valid.clear()

    @invariant()
    def nothing_drifts(self) -> None:
        if not hasattr(self, "store"):
            return
        assert recomputed(self.store) == self.store._size
        assert set(self.store.renew(list(self.valid))) == self.valid
        threads, runs, size = self.bounds
        live = len(self.valid)
        if threads:
            assert len(self.store._threads) <= max(threads, live + 1)
        for thread in self.store._threads.values():
            assert not runs or len(thread.runs) <= runs
            assert thread.runs or thread.live is not None
        if size and not live and len(self.store._threads) > 1:
            assert self.store._size <= size


TestMemoryStoreMachine = MemoryStoreMachine.TestCase
TestMemoryStoreMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
