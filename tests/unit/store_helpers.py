"""What tests of the stores share."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from copilot_runtime._engine.endings import LOST
from copilot_runtime._engine.reaper import reap
from copilot_runtime.stores import MemoryStore, RunStore
from copilot_runtime.stores._memory_threads import _DUPLICATE_BYTES, frames_size
from copilot_runtime.stores.protocol import Lease, LeaseSignal, ThreadKey, ThreadSnapshot, ThreadUnreadable
from copilot_runtime.testing._factories import (
    ADA,
    T1,
    T2,
    append_one,
    begin,
    list_thread_ids,
    message_events,
    record_run,
    store_run,
)


def lose_run(store: RunStore) -> Lease:
    """Leaves a thread whose second run nobody runs any more, as soon as its lease has expired. Returns that lease."""
    store_run(store, T1)
    lease = begin(store, T1).lease
    for frame in record_run(lease, message_events("m2"))[0][:3]:
        append_one(store, lease, [frame])
    return lease


def check_lost_run_is_ended(store: RunStore, lease: Lease) -> None:
    """Fails unless a run whose lease has expired can be ended, however much of its thread is damaged."""
    ended = reap(store, lease.run, LOST)
    assert ended is not None
    assert (ended.thread_id, ended.run_id, ended.outcome) == (T1.thread_id, "r", "failed")
    assert store.request_stop(T1, None) is None


def check_only_the_run_is_lost(store: RunStore, lease: Lease) -> None:
    """Fails unless the thread of a lost run goes on, of which only the run was damaged."""
    messages = store.messages(T1)
    check_lost_run_is_ended(store, lease)
    assert store.messages(T1) == messages
    started = begin(store, T1)
    assert started.event_messages == {"m"}
    store.finish(started.lease, *record_run(started.lease, message_events("m3"), messages))
    assert [message["id"] for message in store.messages(T1)] == ["u1", "m", "m3"]


def check_run_stays_with_its_process(store: RunStore, lease: Lease) -> None:
    """Fails unless a run that is alive stays as it is when it is to be taken over, since something is damaged."""
    with pytest.raises(ThreadUnreadable):
        reap(store, lease.run, LOST, force=True)
    assert store.poll_signals([lease]).get(lease) is not LeaseSignal.LOST
    store.renew([lease])


class Clock:
    """Time that passes when told to; each look at it takes a moment, so that no two things happen at once."""

    def __init__(self, moment: float = 0.0) -> None:
        self.now = 1_000_000.0
        self.moment = moment

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        self.now += self.moment
        return self.now


def live_frames(store: RunStore, thread: ThreadKey) -> list[bytes]:
    """Returns what is stored of a thread's active run."""
    live = store.read(thread).live
    return [] if live is None else list(store.follow(live.run, 0).frames)


def read_raw(store: RunStore, thread: ThreadKey) -> ThreadSnapshot:
    """Returns a thread with the raw frames of its first run, as far as they are kept."""
    runs = store.read(thread).runs
    return store.read(thread, raw_ordinal=runs[0].ordinal if runs else None)


def raws(store: RunStore, thread: ThreadKey) -> list[list[bytes]]:
    """The raw frames of a thread's runs; none where they are no longer kept."""
    ordinals = [stored.ordinal for stored in store.read(thread).runs]
    return [list(store.read(thread, raw_ordinal=ordinal).runs[at].raw or ()) for at, ordinal in enumerate(ordinals)]


def recomputed(store: MemoryStore, input_sizes: Mapping[Lease, int] | None = None) -> int:
    """Returns the bytes that a store keeps, counted from what it has.

    ``input_sizes`` has the size of each active run's input by its lease; one that is missing has an input of 0 bytes.
    """
    sizes = input_sizes or {}
    by_owner: dict[str, int] = {}
    for key, thread in store._table.by_key.items():
        if thread.live is not None:
            repeated = _DUPLICATE_BYTES * len(thread.live.duplicates)
            frames = frames_size(thread.live.frames)
            assert thread.live.size == sizes.get(thread.live.lease, 0) + frames + repeated
        assert thread.size == thread.measured_size()
        by_owner[key.owner] = by_owner.get(key.owner, 0) + thread.size
        kept = [run for run in thread.runs if run.raw is not None]
        assert set(kept) == {run for run, of in store._table.raw.items() if of is thread}
    assert {name: owner.size for name, owner in store._table.owners.items()} == by_owner
    assert {thread for owner in store._table.owners.values() for thread in owner.threads} == set(
        store._table.by_key.values()
    )
    idle = {thread for thread in store._table.by_key.values() if thread.live is None}
    assert idle == set(store._table.idle)
    assert idle == {thread for owner in store._table.owners.values() for thread in owner.idle}
    return sum(by_owner.values())


def check_fork(store: RunStore) -> None:
    """Checks that a store is used by a process and its child at the same time, and that the parent keeps its lease."""
    store_run(store)
    lease = begin(store, T2).lease
    frames, completion = record_run(lease, message_events("m2"))
    append_one(store, lease, frames[:2])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        report = "raised"
        try:
            store.after_fork()
            live = store.read(T2).live
            store_run(store, ThreadKey(ADA, "t3"))
            report = f"{list_thread_ids(store)} {live is not None and not live.expired}"
        finally:
            os.write(writing, report.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "['t3', 't1'] True"
    os.waitpid(child, 0)
    assert append_one(store, lease, frames[2:3]) is None
    store.finish(lease, frames[3:], completion)
    assert list_thread_ids(store) == ["t2", "t3", "t1"]
