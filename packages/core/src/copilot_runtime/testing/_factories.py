"""Creates runs for tests of stores, in the way in which the engine does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from .._events import InputMessages, RunRecorder
from ..stores import RunStore
from ..stores import protocol as p

Event = dict[str, Any]

ADA, BOB = "ada", "bob"
T1 = p.ThreadKey(ADA, "t1")
T2 = p.ThreadKey(ADA, "t2")
QUESTION: Mapping[str, Any] = {"id": "u1", "role": "user", "content": "hi"}

STARTED: Event = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
FINISHED: Event = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}
EMPTY_SNAPSHOT: Event = {"type": "MESSAGES_SNAPSHOT", "messages": []}


def text_event(kind: str, message: str = "m", **members: Any) -> Event:
    """Returns a text message event. ``kind`` is START, CONTENT or END."""
    more = {"START": {"role": "assistant"}, "CONTENT": {"delta": "x"}}.get(kind, {})
    return {"type": f"TEXT_MESSAGE_{kind}", "messageId": message, **more, **members}


def message_events(message: str = "m", delta: str = "Hello") -> list[Event]:
    """Returns the events of a run that consists of one text message: five events."""
    return [
        STARTED,
        text_event("START", message),
        text_event("CONTENT", message, delta=delta),
        text_event("END", message),
        FINISHED,
    ]


def begin(
    store: RunStore, thread: p.ThreadKey = T1, run_id: str = "r", *, agent: str = "a", size: int = 0
) -> p.RunStarted:
    """Begins a run on a thread that has no active run."""
    started = store.begin(p.NewRun(thread=thread, run_id=run_id, agent_id=agent, size=size))
    assert isinstance(started, p.RunStarted)
    return started


def record_run(
    lease: p.Lease, events: Sequence[Event], messages: Sequence[Mapping[str, Any]] = ()
) -> tuple[list[bytes], p.RunCompletion]:
    """Returns the frames and the final state of a run with these events, and with ``messages`` in its input."""
    # As much of the input as the recorder reads.
    echo = {"messages": [{"id": message["id"]} for message in messages]}
    recorder = RunRecorder(ordinal=lease.run.ordinal, input_echo=(lambda: echo) if messages else None)
    for event in events:
        recorder.feed(event)
    sent = InputMessages({"messages": messages}, None)
    return recorder.drain(), p.RunCompletion.from_recorder(recorder, sent, recorder.last_agent_event)


def store_run(
    store: RunStore, thread: p.ThreadKey = T1, message: str = "m", *, agent: str = "a", size: int = 0
) -> list[bytes]:
    """Stores a whole run, and returns its frames."""
    lease = begin(store, thread, agent=agent, size=size).lease
    frames, completion = record_run(lease, message_events(message), [QUESTION])
    store.finish(lease, frames, completion)
    return frames


def append_one(
    store: RunStore, lease: p.Lease, frames: Sequence[bytes], duplicates: Set[int] = frozenset()
) -> p.LeaseLost | p.RunTooLarge | None:
    """Appends frames to one run. Returns why they were refused or are the last that are accepted, or None."""
    return store.append([p.Batch(lease, frames, duplicates)]).get(lease)


def poll_signal(store: RunStore, lease: p.Lease) -> p.LeaseSignal | None:
    """Returns the signal of one lease, or None if it has none."""
    return store.poll_signals([lease]).get(lease)


def list_thread_ids(store: RunStore, owner: str = ADA, **query: Any) -> list[str]:
    """Returns the ids of an owner's threads. ``query`` is for `ThreadQuery`."""
    return [info.thread_id for info in store.threads(owner, p.ThreadQuery(**query)).threads]


def clear_all(store: RunStore, owner: str = ADA) -> int:
    """Deletes an owner's threads. Returns how many calls that took."""
    cursor = store.clear(owner)
    calls = 1
    while cursor is not None:
        cursor = store.clear(owner, cursor)
        calls += 1
    return calls


def race(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Calls ``work`` with 0 to ``count - 1``, each in a worker thread, all at the same moment.

    Returns what the calls have returned or raised.
    """
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work(index)
        except Exception as error:
            results[index] = error

    workers = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results
