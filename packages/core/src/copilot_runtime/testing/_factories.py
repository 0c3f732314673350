"""Runs for a store to keep, made as the engine makes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from .._events import RunRecorder
from ..stores.protocol import (
    Batch,
    Lease,
    LeaseLost,
    LeaseSignal,
    NewRun,
    RunCompletion,
    RunStarted,
    RunStore,
    RunTooLarge,
    ThreadKey,
    ThreadQuery,
)

Event = dict[str, Any]

ADA, BOB = "ada", "bob"
T1 = ThreadKey(ADA, "t1")
T2 = ThreadKey(ADA, "t2")
QUESTION: Mapping[str, Any] = {"id": "u1", "role": "user", "content": "hi"}

STARTED: Event = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
FINISHED: Event = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}


def text(kind: str, message: str = "m", **members: Any) -> Event:
    """A text event: ``kind`` is START, CONTENT or END."""
    more = {"START": {"role": "assistant"}, "CONTENT": {"delta": "x"}}.get(kind, {})
    return {"type": f"TEXT_MESSAGE_{kind}", "messageId": message, **more, **members}


def answer(message: str = "m", delta: str = "Hello") -> list[Event]:
    """The events of a run that says one thing: five of them."""
    return [STARTED, text("START", message), text("CONTENT", message, delta=delta), text("END", message), FINISHED]


def begin(store: RunStore, thread: ThreadKey = T1, run_id: str = "r", *, agent: str = "a", size: int = 0) -> RunStarted:
    """Begins a run on a thread that is free."""
    begun = store.begin(NewRun(thread=thread, run_id=run_id, agent_id=agent, size=size))
    assert isinstance(begun, RunStarted)
    return begun


def completed(
    lease: Lease, events: Sequence[Event], messages: Sequence[Mapping[str, Any]] = ()
) -> tuple[list[bytes], RunCompletion]:
    """A run's frames and its end."""
    recorder = RunRecorder(ordinal=lease.run.ordinal)
    for event in events:
        recorder.feed(event)
    finished = RunCompletion(
        persist=True,
        records=recorder.records(),
        messages=messages,
        last_agent_event=recorder.last_agent_event,
        event_messages=recorder.message_ids,
        input_messages={message["id"] for message in messages},
    )
    return recorder.drain(), finished


def run(store: RunStore, thread: ThreadKey = T1, message: str = "m", *, agent: str = "a", size: int = 0) -> list[bytes]:
    """A whole run; gives its frames."""
    lease = begin(store, thread, agent=agent, size=size).lease
    frames, finished = completed(lease, answer(message), [QUESTION])
    store.finish(lease, frames, finished)
    return frames


def append_one(
    store: RunStore, lease: Lease, frames: Sequence[bytes], repeats: Set[int] = frozenset()
) -> LeaseLost | RunTooLarge | None:
    """Adds frames to one run; gives why they were not taken, or were the last."""
    return store.append([Batch(lease, frames, repeats)]).get(lease)


def signal(store: RunStore, lease: Lease) -> LeaseSignal | None:
    """What there is to know of one lease."""
    return store.poll_signals([lease]).get(lease)


def listed(store: RunStore, owner: str = ADA, **query: Any) -> list[str]:
    """The ids of an owner's threads."""
    return [info.thread_id for info in store.threads(owner, ThreadQuery(**query)).threads]


def race(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What so many threads get, or raise, that begin at the same moment."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def one(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work(index)
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=one, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
