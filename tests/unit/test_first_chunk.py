"""The first chunk on a worker thread: what an agent has ready leaves with the headers, and nobody's headers wait."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from copilot_runtime._concurrency import driver, loops
from copilot_runtime._engine import Engine
from copilot_runtime._engine import persistence as persistence_module
from copilot_runtime._engine.base_reader import ReaderCallbacks
from copilot_runtime._engine.run_log import RunLog
from copilot_runtime._engine.run_reader import RunReader
from copilot_runtime._http import stream_iterators
from copilot_runtime._http.stream_iterators import SyncStreamIterator
from copilot_runtime._http.streaming import CONNECTED, EventStream
from copilot_runtime._http.types import Response
from copilot_runtime._server.response_body import begin_response
from copilot_runtime.stores import MemoryStore, RunStore, SqliteStore, StoreError

from .engine_helpers import HANG_SECONDS, answers, engine_on, given
from .recorder_helpers import FINISHED, STARTED, Event, text
from .test_stream_readers import until


def stream_of(engine: Engine, agent: Any) -> EventStream:
    stream = driver.run_sync(engine.run(given(agent)))
    assert isinstance(stream, EventStream)
    return stream


def chunks_of(engine: Engine, agent: Any) -> list[bytes]:
    """Returns all chunks, read on another thread, so that a test cannot hang."""
    chunks: list[bytes] = []
    stream = stream_of(engine, agent)
    thread = threading.Thread(target=lambda: chunks.extend(stream), daemon=True)
    thread.start()
    thread.join(HANG_SECONDS)
    assert not thread.is_alive()
    return chunks


def first_chunk(stream: EventStream) -> bytes:
    chunks: list[bytes] = []
    thread = threading.Thread(target=lambda: chunks.append(next(iter(stream))), daemon=True)
    thread.start()
    thread.join(HANG_SECONDS)
    assert not thread.is_alive(), "the headers wait"
    return chunks[0]


def answers_at_once(input: Any) -> Iterator[Event]:
    yield from (STARTED, text("START"), text("CONTENT"), text("END"), FINISHED)


def first_and_rest(stream: EventStream, may_go_on: threading.Event) -> tuple[bytes, bytes]:
    """Returns the first chunk, and all others, which come once the run may go on."""
    chunks = iter(stream)
    first = next(chunks)
    may_go_on.set()
    return first, b"".join(chunks)


def over_memory(_: Any) -> RunStore:
    return MemoryStore()


def over_sqlite(path: Any) -> RunStore:
    return SqliteStore(path / "runs.db")


@pytest.mark.parametrize("create_store", [over_memory, over_sqlite])
def test_first_chunk_of_a_run_that_never_waits_is_the_only_one(
    create_store: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_iterators, "HEADERS_SECONDS", HANG_SECONDS)
    [chunk] = chunks_of(engine_on(create_store(tmp_path)), answers)
    assert chunk.count(b"\n\n") == 5
    assert b"RUN_FINISHED" in chunk


def test_begin_of_a_run_that_never_waits_is_the_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader is closed then, and no timer has ever looked at it."""
    monkeypatch.setattr(stream_iterators, "HEADERS_SECONDS", HANG_SECONDS)
    engine = engine_on(MemoryStore())
    watched: list[object] = []
    monkeypatch.setattr(RunReader, "watch", watched.append)
    begun = stream_of(engine, answers).begin()
    [whole] = begun
    assert whole.count(b"\n\n") == 5
    assert begun.length == len(whole)
    assert not engine._subscribers.has_open
    assert not watched


class CountedResponse(Response):
    """A response of a user's own class, which has one member more."""

    def __init__(self, **members: Any) -> None:
        super().__init__(**members)
        self.__dict__["count"] = 1


def test_begin_of_a_response_of_another_class_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_iterators, "HEADERS_SECONDS", HANG_SECONDS)
    response = CountedResponse(status=201, headers={"a": "b"}, body=stream_of(engine_on(MemoryStore()), answers))
    begun = begin_response(response)
    assert type(begun) is CountedResponse
    assert (begun.status, begun.headers, begun.__dict__["count"]) == (201, response.headers, 1)
    assert ("content-length", str(len(b"".join(begun.body)))) in begun.wire_headers()  # type: ignore[arg-type]


def test_begin_of_a_stream_that_is_dropped_closes_its_source() -> None:
    """A framework may put another response in its place: after a wait, too, the source does not keep its reader."""
    engine = engine_on(MemoryStore())
    begun = stream_of(engine, waits_first).begin()
    assert engine._subscribers.has_open
    gc.disable()
    try:
        del begun
        assert not engine._subscribers.has_open
    finally:
        gc.enable()
    engine.close()


def test_begin_of_a_run_that_waits_is_a_stream_with_all_of_it() -> None:
    may_end = threading.Event()

    async def agent(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        await asyncio.to_thread(may_end.wait)
        yield FINISHED

    begun = stream_of(engine_on(MemoryStore()), agent).begin()
    assert begun.length is None
    first, rest = first_and_rest(begun, may_end)
    assert b"RUN_STARTED" in first
    assert b"RUN_FINISHED" in rest


def test_begin_of_more_than_one_chunk_is_a_stream_with_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_iterators, "HEADERS_SECONDS", HANG_SECONDS)

    async def agent(input: Any) -> AsyncIterator[Event]:
        for event in (STARTED, text("START"), text("CONTENT", delta="x" * 200_000), text("END"), FINISHED):
            yield event

    begun = stream_of(engine_on(MemoryStore()), agent).begin()
    assert begun.length is None
    chunks = list(begun)
    assert len(chunks) > 2
    assert b"".join(chunks).count(b"\n\n") == 5


def test_begin_of_a_chunk_that_its_client_may_keep_waiting_is_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a client that does not read holds its worker thread for as long as the connection lasts."""
    monkeypatch.setattr(stream_iterators, "HEADERS_SECONDS", HANG_SECONDS)

    async def agent(input: Any) -> AsyncIterator[Event]:
        for event in (STARTED, text("START"), text("CONTENT", delta="x" * 40_000), text("END"), FINISHED):
            yield event

    engine = engine_on(MemoryStore())
    begun = stream_of(engine, agent).begin()
    assert begun.length is None
    aborted: list[bool] = []
    begun.on_stalled(lambda: aborted.append(True))
    [reader] = engine._subscribers._open
    reader.tick(0)
    assert aborted
    begun.close()


def test_first_chunk_has_what_is_ready_before_the_first_wait() -> None:
    may_end = threading.Event()

    async def agent(input: Any) -> AsyncIterator[Event]:
        for event in (STARTED, text("START"), text("CONTENT")):
            yield event
        await asyncio.to_thread(may_end.wait)
        yield text("END")
        yield FINISHED

    stream = stream_of(engine_on(MemoryStore()), agent)
    first, rest = first_and_rest(stream, may_end)
    assert first.count(b"\n\n") == 3
    assert b"RUN_FINISHED" in rest


async def waits_first(input: Any) -> AsyncIterator[Event]:
    await asyncio.Event().wait()
    yield STARTED


async def waits_in_a_function(input: Any) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize("agent", [waits_first, waits_in_a_function])
def test_first_chunk_of_an_agent_that_waits_is_a_comment(agent: Any) -> None:
    engine = engine_on(MemoryStore())
    assert first_chunk(stream_of(engine, agent)) == CONNECTED
    engine.close()


def test_first_chunk_of_a_synchronous_agent_that_blocks_is_a_comment() -> None:
    may_go = threading.Event()

    def agent(input: Any) -> Iterator[Event]:
        may_go.wait(HANG_SECONDS)
        yield from answers_at_once(input)

    stream = stream_of(engine_on(MemoryStore()), agent)
    first, rest = first_and_rest(stream, may_go)
    assert first == CONNECTED
    assert b"RUN_FINISHED" in rest


def test_first_chunk_of_a_run_that_waits_for_an_agent_thread_is_a_comment() -> None:
    may_go = threading.Event()

    def agent(input: Any) -> Iterator[Event]:
        may_go.wait(HANG_SECONDS)
        yield from answers_at_once(input)

    engine = engine_on(MemoryStore(), max_agent_threads=1)
    busy = stream_of(engine, agent)
    waiting = driver.run_sync(engine.run(given(agent, thread_id="other")))
    assert isinstance(waiting, EventStream)
    assert first_chunk(waiting) == CONNECTED
    may_go.set()
    for stream in (busy, waiting):
        stream.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_iterators, "HEADERS_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
def test_first_chunk_does_not_wait_for_an_agent_that_blocks_the_event_loop() -> None:
    blocks, may_go = threading.Event(), threading.Event()

    async def agent(input: Any) -> AsyncIterator[Event]:
        blocks.set()
        may_go.wait(HANG_SECONDS)
        for event in answers_at_once(input):
            yield event

    engine = engine_on(MemoryStore())
    streams = [stream_of(engine, agent)]
    assert blocks.wait(HANG_SECONDS)
    try:
        other = driver.run_sync(engine.run(given(answers, thread_id="other")))
        assert isinstance(other, EventStream)
        streams.append(other)
        assert [first_chunk(stream) for stream in streams] == [CONNECTED, CONNECTED]
    finally:
        may_go.set()


@pytest.mark.usefixtures("impatient")
def test_first_chunk_does_not_wait_for_a_store_that_does_not_answer() -> None:
    may_store = threading.Event()

    class Slow(MemoryStore):
        def finish(self, *values: Any) -> None:
            may_store.wait(HANG_SECONDS)
            super().finish(*values)

    stream = stream_of(engine_on(Slow()), answers)
    try:
        assert first_chunk(stream) == CONNECTED
    finally:
        may_store.set()


def test_first_chunk_does_not_wait_for_a_store_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    may_store = threading.Event()

    class Failing(MemoryStore):
        def finish(self, *values: Any) -> None:
            if not may_store.is_set():
                raise StoreError("it is down")
            super().finish(*values)

    monkeypatch.setattr(persistence_module, "FINISH_RETRY_INTERVAL", 0.01)
    stream = stream_of(engine_on(Failing()), answers)
    first, rest = first_and_rest(stream, may_store)
    assert first == CONNECTED
    assert b"RUN_FINISHED" in rest


def test_first_chunk_of_a_run_that_another_process_has_taken_over_is_a_comment() -> None:
    class Taken(MemoryStore):
        def finish(self, lease: Any, *values: Any) -> None:
            self.claim(lease.run, force=True)
            super().finish(lease, *values)

        def follow(self, *values: Any) -> Any:
            return None

    assert first_chunk(stream_of(engine_on(Taken()), answers)) == CONNECTED


def test_first_chunk_of_a_reader_that_is_closed_meanwhile_does_not_wait() -> None:
    log = RunLog(None, "r", "a", is_starting=True)
    chunks = SyncStreamIterator(RunReader(log, ReaderCallbacks(lambda _: None, lambda _: None)), CONNECTED)
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.extend(chunks), daemon=True)
    thread.start()
    until(lambda: log._waiting)
    chunks.close()
    thread.join(HANG_SECONDS)
    assert read == [CONNECTED]


def _start_with_frames(log: RunLog) -> None:
    log.extend([b"a"])
    log.mark_started()


@pytest.mark.parametrize("at", range(1, 8))
@pytest.mark.parametrize(
    ("start", "expected"),
    [(RunLog.mark_started, [CONNECTED]), (_start_with_frames, [b"a"]), (RunLog.end, [CONNECTED])],
)
def test_first_chunk_when_the_run_starts_between_any_two_looks(
    at: int, start: Callable[[RunLog], None], expected: list[bytes]
) -> None:
    """The run starts at the n-th look of the reader, for every n: whether it waits then or not, it is not forgotten."""
    log = RunLog(None, "r", "a", is_starting=True)
    looks = itertools.count(1)
    starts = [start]

    class Source(RunReader):
        def __getattribute__(self, name: str) -> Any:
            if name in ("is_starting", "read_available", "add_waiter") and next(looks) == at and starts:
                starts.pop()(log)
            return super().__getattribute__(name)

    source = Source(log, ReaderCallbacks(lambda _: None, lambda _: None))
    chunks = SyncStreamIterator(source, CONNECTED)
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.append(next(chunks)), daemon=True)
    thread.start()
    until(lambda: not thread.is_alive() or log._waiting)
    if starts:
        starts.pop()(log)
    thread.join(HANG_SECONDS)
    assert read == expected


def test_task_reports_its_first_step() -> None:
    loop = loops.background_loop()
    order: list[str] = []
    started, ended = threading.Event(), threading.Event()

    async def work() -> None:
        order.append("step")
        await asyncio.sleep(0)
        order.append("end")
        ended.set()

    def after_first_step() -> None:
        order.append("started")
        started.set()

    loops.create_task_threadsafe(loop, work(), after_first_step=after_first_step)
    assert started.wait(HANG_SECONDS)
    assert ended.wait(HANG_SECONDS)
    assert order == ["step", "started", "end"]


def test_run_that_has_ended_wakes_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that begins a run looks whether it was stopped meanwhile, and finds it ended where the loop is fast."""
    wakes: list[Callable[..., object]] = []

    class Slow(MemoryStore):
        def poll_signals(self, leases: Any) -> Any:
            until(lambda: not engine._runs.all())
            return super().poll_signals(leases)

    engine = engine_on(Slow())
    call_soon_threadsafe = loops.call_soon_threadsafe

    def counted(loop: Any, function: Callable[..., object], *values: Any) -> bool:
        wakes.append(function)
        return call_soon_threadsafe(loop, function, *values)

    monkeypatch.setattr(loops, "call_soon_threadsafe", counted)
    assert b"RUN_FINISHED" in b"".join(chunks_of(engine, answers))
    assert not [wake for wake in wakes if "stop" in wake.__qualname__]
