"""The bytes that a memory store counts are those that it takes, whatever it is filled with."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest
from pydantic_core import to_json

from copilot_runtime._events import InputEcho, InputMessages, RunRecorder, as_frames, count_frames
from copilot_runtime.stores import MemoryStore
from copilot_runtime.stores.protocol import Batch, Lease, NewRun, RunCompletion, RunStarted, ThreadKey
from copilot_runtime.testing._factories import append_one, begin

from .recorder_helpers import FINISHED, STARTED, Event, call, custom, run_input, text

MAX_RATIO = 1.5
"""How much more than it counts a store may take, and how much less."""


@pytest.fixture(scope="module", autouse=True)
def _few_objects_to_collect() -> None:
    """Leaves what there is already out of the many collections here, each of which would look at all of it."""
    gc.collect()
    gc.freeze()


def play(store: MemoryStore, key: ThreadKey, events: Iterable[Event], body: bytes = b"{}", **members: Any) -> None:
    """Stores a run, all of whose objects are its own, as in a server."""
    wire = json.loads(body)
    new = NewRun(
        thread=ThreadKey(*(part + "" for part in key)), run_id=members.get("run_id", "r"), agent_id="a", size=len(body)
    )
    started = store.begin(new)
    assert isinstance(started, RunStarted)
    recorder = RunRecorder(
        ordinal=started.lease.run.ordinal,
        input_echo=lambda: run_input(**wire),
        known_message_ids=started.event_messages,
    )
    for event in events:
        recorder.feed(json.loads(json.dumps(event)))
        if recorder.pending_bytes > 50_000:
            store.append([Batch(started.lease, recorder.drain(), recorder.duplicates)])
    completion = RunCompletion.from_recorder(recorder, wire.get("messages", []), recorder.number)
    store.finish(started.lease, recorder.drain(), completion)


def play_as_sent(
    store: MemoryStore, key: ThreadKey, run_id: str, messages: list[Mapping[str, Any]], words: int = 2
) -> list[bytes]:
    """Stores a run whose RUN_STARTED repeats its body as it was sent. Returns its frames."""
    data = body(messages)
    started = store.begin(NewRun(thread=key, run_id=run_id, agent_id="a", size=len(data)))
    assert isinstance(started, RunStarted)
    ids = tuple(sent["id"] for sent in messages)
    recorder = RunRecorder(ordinal=started.lease.run.ordinal, input_echo=lambda: InputEcho(data, ids))
    for event in said(words, f"answer-{run_id}"):
        recorder.feed(event)
    frames = recorder.drain()
    sent = InputMessages({"messages": messages}, data)
    store.finish(started.lease, frames, RunCompletion.from_recorder(recorder, sent, recorder.number))
    return list(frames)


def message(number: int, content: Any = "Hello", **members: Any) -> Mapping[str, Any]:
    return {"id": f"message-{number}", "role": "user", "content": content, **members}


def body(messages: Iterable[Mapping[str, Any]], **members: Any) -> bytes:
    return json.dumps({"messages": list(messages), **members}).encode()


def key(number: int = 0, owner: str = "") -> ThreadKey:
    return ThreadKey(owner, f"thread-{number}")


def said(words: int, identity: str = "m", delta: str = "word ") -> list[Event]:
    return [
        STARTED,
        text("START", identity),
        *[text("CONTENT", identity, delta=delta)] * words,
        text("END", identity),
        FINISHED,
    ]


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def long_conversations(store: MemoryStore) -> None:
    for number in range(100):
        play_as_sent(store, key(number), "r", [message(at, f"{at} of {number} " * 20) for at in range(20)])


def small_threads(store: MemoryStore) -> None:
    for number in range(150):
        play(store, key(number), said(3), body([message(number)]))


def small_threads_of_many_users(store: MemoryStore) -> None:
    for number in range(300):
        play(store, key(number, f"user-{number}"), said(3), body([message(number)]))


def a_long_answer(store: MemoryStore) -> None:
    play(store, key(), said(5000), body([message(1)]))


def a_large_answer(store: MemoryStore) -> None:
    play(store, key(), said(2, delta="x" * 1_000_000), body([message(1)]))


def many_tiny_events(store: MemoryStore) -> None:
    play(store, key(), [STARTED, *[custom(1)] * 4000, FINISHED])


def large_events(store: MemoryStore) -> None:
    play(store, key(), [STARTED, *[custom("x" * 100_000)] * 20, FINISHED])


def many_messages_of_an_agent(store: MemoryStore) -> None:
    events = [event for number in range(1000) for event in said(1, f"m{number}")[1:-1]]
    play(store, key(), [STARTED, *events, FINISHED])


def many_calls(store: MemoryStore) -> None:
    events = [
        event
        for number in range(700)
        for event in (call("START", f"c{number}"), call("ARGS", f"c{number}"), call("END", f"c{number}"))
    ]
    play(store, key(), [STARTED, *events, FINISHED])


def a_conversation(store: MemoryStore) -> None:
    history: list[Mapping[str, Any]] = []
    for number in range(40):
        history.append(message(2 * number, "What about this one? " * 5))
        play(store, key(), said(20, f"message-{2 * number + 1}"), body(history))
        history.append(message(2 * number + 1, "word " * 20, role="assistant"))


def a_long_history_sent_with_every_run(store: MemoryStore) -> None:
    data = body(message(number) for number in range(1000))
    for _ in range(10):
        play(store, key(), said(1), data)


def deep_messages(store: MemoryStore) -> None:
    play(store, key(), said(1), body([message(number, nested(60)) for number in range(500)]))


def many_small_parts(store: MemoryStore) -> None:
    parts = [{"type": "text", "text": ""}] * 20
    play(store, key(), said(1), body([message(number, parts) for number in range(500)]))


def many_short_strings(store: MemoryStore) -> None:
    play(store, key(), said(1), body([message(number, metadata=["a"] * 50) for number in range(300)]))


def other_alphabets(store: MemoryStore) -> None:
    play(
        store,
        key(),
        said(500, delta="\U0001f600\u4f60"),
        body([message(number, "\u4f60" * 200) for number in range(500)]),
    )


def states(store: MemoryStore) -> None:
    state = {f"key-{number}": [number, {"a": {}}] for number in range(500)}
    snapshots = [{"type": "STATE_SNAPSHOT", "snapshot": state}] * 30
    play(store, key(), [STARTED, *snapshots, FINISHED], body([message(1)], state=state))


def metadata(store: MemoryStore) -> None:
    extra = {f"key-{number}": {} for number in range(200)}
    events = [STARTED, text("START"), *[text("CONTENT", metadata=extra)] * 10, text("END"), FINISHED]
    for number in range(10):  # since little is left of each once its frames have expired
        play(store, key(number), events)


def repeated_messages(store: MemoryStore) -> None:
    for _ in range(3):
        play(store, key(), said(1500))


def long_names(store: MemoryStore) -> None:
    for number in range(40):
        play(store, key(number), said(1))
        store.update(key(number), name=f"{number}" + "n" * 100_000)


def long_thread_ids(store: MemoryStore) -> None:
    for number in range(40):
        play(store, ThreadKey(f"{number}" + "u" * 10_000, f"{number}" + "t" * 10_000), said(1))


def long_run_ids(store: MemoryStore) -> None:
    for number in range(40):
        play(store, key(), said(1), run_id=f"{number}" + "r" * 100_000)


def long_run_ids_with_an_emoji(store: MemoryStore) -> None:
    for number in range(40):
        play(store, key(), said(1), run_id=f"{number}\U0001f600" + "r" * 100_000)


def active_runs(store: MemoryStore) -> None:
    for number in range(100):
        lease = store.begin(NewRun(thread=key(number), run_id="r", agent_id="a"))
        assert isinstance(lease, RunStarted)
        store.append([Batch(lease.lease, [f"data: {index} {number}\n\n".encode() for index in range(100)])])


def active_runs_that_repeat_messages(store: MemoryStore) -> None:
    for number in range(20):
        lease = begin(store, key(number)).lease
        for at in range(0, 2000, 100):
            frames = [b"id: 1.%d\ndata: {}\n\n" % event for event in range(at, at + 100)]
            append_one(store, lease, frames, {10_000 + event for event in range(at + 100)})


def begin_bursts(store: MemoryStore) -> Iterator[tuple[Lease, RunRecorder]]:
    """Yields active runs, each with long and short bursts, in which deltas are long or short."""
    for number in range(10):
        lease = begin(store, key(number)).lease
        recorder = RunRecorder(ordinal=lease.run.ordinal)
        for event in (STARTED, text("START")):
            recorder.feed(event)
        for count, delta in ((10, "x"), (40, "word "), (100, "word " * 20), (1000, '"')):
            for _ in range(count):
                recorder.feed(text("CONTENT", delta=delta))
            pieces = recorder.take()[0]
            store.append([Batch(lease, as_frames(pieces, count_frames(pieces)))])
        yield lease, recorder


def active_bursts(store: MemoryStore) -> None:
    for _ in begin_bursts(store):
        pass


def bursts(store: MemoryStore) -> None:
    for lease, recorder in begin_bursts(store):
        recorder.feed(text("END"))
        recorder.feed(FINISHED)
        frames = recorder.drain()
        store.finish(lease, frames, RunCompletion.from_recorder(recorder, [], recorder.number))


def a_run_without_messages_after_a_large_one(store: MemoryStore) -> None:
    play(store, key(), said(2, delta="x" * 500_000))
    for _ in range(3):
        play(store, key(), [STARTED, FINISHED])


CONTENTS: list[Callable[[MemoryStore], None]] = [
    long_conversations,
    small_threads,
    small_threads_of_many_users,
    a_long_answer,
    a_large_answer,
    many_tiny_events,
    large_events,
    many_messages_of_an_agent,
    many_calls,
    a_conversation,
    a_long_history_sent_with_every_run,
    deep_messages,
    many_small_parts,
    many_short_strings,
    other_alphabets,
    states,
    metadata,
    repeated_messages,
    long_names,
    long_thread_ids,
    long_run_ids,
    long_run_ids_with_an_emoji,
    active_runs,
    active_runs_that_repeat_messages,
    active_bursts,
    bursts,
    a_run_without_messages_after_a_large_one,
]


@pytest.mark.requirement("STORE-10")
@pytest.mark.parametrize("fill", CONTENTS)
def test_max_bytes_counts_the_memory_that_is_taken(fill: Callable[[MemoryStore], None]) -> None:
    fill(MemoryStore())  # what is cached at first use is not the store's
    store = MemoryStore(max_runs_per_thread=2 if fill is a_run_without_messages_after_a_large_one else 100)

    def check() -> None:
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
        assert store._table.size / MAX_RATIO < taken < store._table.size * MAX_RATIO

    gc.collect()
    tracemalloc.start()
    try:
        fill(store)
        check()
        for run in list(store._table.raw):  # whose frames expire
            store._table.drop_raw_frames(run)
        check()
    finally:
        tracemalloc.stop()


def test_max_bytes_bounds_long_names_of_threads() -> None:
    store = MemoryStore(max_bytes=1_000_000)
    for number in range(40):
        play(store, key(number), said(1))
    for number in range(40):
        store.update(key(number), name="n" * 100_000)
        assert store._table.size <= 1_000_000


def test_max_bytes_counts_names_that_replace_names_in_any_alphabet() -> None:
    store = MemoryStore()
    play(store, key(1), said(1))
    before = store._table.size
    for _ in range(20):
        name = "名" * 1000
        store.update(key(1), name=name)
        to_json(name)  # as for a response: CPython keeps what was encoded, with the string
    store.update(key(1), name="")
    assert store._table.size == before


@pytest.mark.parametrize("length", [1, 100_000])
@pytest.mark.parametrize("words", [1, 20_000])
def test_long_input_is_kept_once(length: int, words: int) -> None:
    store = MemoryStore(max_runs_per_thread=1)
    first = [message(1, "x" * length)]
    frames = play_as_sent(store, key(), "r1", first, words)
    answer = {"id": "answer-r1", "role": "assistant", "content": "word " * words}
    thread = store._table.by_key[key()]

    def check(expected: list[Mapping[str, Any]], frames: list[bytes]) -> None:
        assert store.messages(key()) == expected
        ordinal = thread.ordinal
        assert list(store.read(key(), raw_ordinal=ordinal).runs[-1].raw or ()) == frames
        assert store._table.size == thread.size == thread.measured_size()

    check([*first, answer], frames)
    if length > 1 and words == 1:
        assert thread.size // length == 1
    exported = store.export_thread(key())
    assert exported is not None
    assert exported.messages == [*first, answer]

    second = [*first, answer, message(2, "y" * length)]
    frames = play_as_sent(store, key(), "r2", second)  # in place of the first run
    last = {"id": "answer-r2", "role": "assistant", "content": "word word "}
    check([*second, last], frames)
    play(store, key(), [STARTED, FINISHED])  # which has no messages
    assert store.messages(key()) == [*second, last]
    assert store._table.size == thread.size == thread.measured_size()
    store._table.drop_raw_frames(next(iter(store._table.raw)))
    assert store._table.size == thread.size == thread.measured_size()


def test_input_that_an_agent_has_elsewhere_in_its_first_event_is_not_that_of_the_run() -> None:
    store = MemoryStore()
    messages = [message(1, "x" * 10_000)]
    data = to_json({"messages": messages})
    lease = begin(store, key()).lease
    recorder = RunRecorder(ordinal=lease.run.ordinal)
    # As JSON, it ends like an event with this input.
    recorder.feed({**STARTED, "input": {"messages": []}, 'other"input': json.loads(data)})
    recorder.feed(FINISHED)
    sent = InputMessages({"messages": messages}, data)
    store.finish(lease, recorder.drain(), RunCompletion.from_recorder(recorder, sent, recorder.number))
    assert store.messages(key()) == messages
