"""Reading a stream on a thread or in a task, and what keeps it alive: sources, logs, rounds, keep-alives."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from copilot_runtime._concurrency import waiters
from copilot_runtime._concurrency.periodic import PeriodicTask
from copilot_runtime._concurrency.wake import Wake
from copilot_runtime._engine import base_reader, held_bytes, run_reader, subscribers
from copilot_runtime._engine.base_reader import BaseReader, ReaderCallbacks
from copilot_runtime._engine.body_reader import BodyReader
from copilot_runtime._engine.replay_reader import ReplayReader
from copilot_runtime._engine.run_log import MAX_CHUNK_BYTES, MAX_CHUNK_PIECES, RunLog
from copilot_runtime._engine.run_reader import RunReader
from copilot_runtime._engine.subscribers import KeepAlive
from copilot_runtime._events import KEEP_ALIVE, Burst
from copilot_runtime._http import stream_iterators
from copilot_runtime._http.stream_iterators import AsyncStreamIterator, SyncStreamIterator, wait_for_start

HANG_SECONDS = 30.0


def log_of(*frames: bytes) -> RunLog:
    log = RunLog(None, "r", "a")
    log.extend(frames)
    return log


class Life:
    """Counts the readers."""

    def __init__(self) -> None:
        self.begun: list[BaseReader] = []
        self.gone: list[BaseReader] = []

    def reader(self, log: RunLog | None, **options: Any) -> RunReader:
        callbacks = ReaderCallbacks(self.begun.append, self.gone.append)
        return ReplayReader(log=log, callbacks=callbacks, **options) if options else RunReader(log, callbacks)


@pytest.fixture
def life() -> Life:
    return Life()


class Thread:
    """A thread that reads a stream to its end."""

    def __init__(self, chunks: SyncStreamIterator) -> None:
        self.pieces: list[bytes] = []
        self.parked = threading.Event()
        self._chunks = chunks
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        self.pieces += self._chunks

    def join(self) -> list[bytes]:
        self._thread.join(HANG_SECONDS)
        assert not self._thread.is_alive()
        return self.pieces


def until(condition: Callable[[], object]) -> None:
    """Gives another thread its turns until something is so."""
    turn = threading.Event()
    while not condition():
        turn.wait(0.001)


# --- on a thread ---


def test_reader_joins_ready_frames_in_one_chunk(life: Life) -> None:
    log = log_of(b"a", b"b")
    log.end()
    assert list(SyncStreamIterator(life.reader(log, history=(b"x", b"y")))) == [b"xy", b"ab"]
    assert life.gone == life.begun


@pytest.mark.parametrize("size", [10, MAX_CHUNK_BYTES // 2])
def test_reader_of_frames_that_came_together_reads_each_once(life: Life, size: int) -> None:
    log = log_of(b"a")
    reader, late = (life.reader(log) for _ in range(2))
    resumed = [life.reader(log, seen=seen) for seen in range(5)]
    assert reader.read_available() == b"a"
    frames = [letter * size + b"\n\n" for letter in (b"b", b"c", b"d")]
    log.extend([Burst(b"".join(frames), len(frames))], has_bursts=True)
    others = b""
    while others.count(b"d") < size:
        others += reader.read_available() or b""
    assert others == b"".join(frames)
    log.extend([b"e"])
    assert reader.read_available() == b"e"
    log.end()
    assert read_to_end(late) == b"a" + b"".join(frames) + b"e"
    for seen, other in enumerate(resumed):
        assert read_to_end(other) == b"".join([b"a", *frames, b"e"][seen:])


def test_sync_reader_is_notified_by_other_threads(life: Life) -> None:
    log = log_of()
    thread = Thread(SyncStreamIterator(life.reader(log)))
    for number in range(50):
        until(lambda: log.has_waiters)
        log.extend([b"%d " % number])
    log.end()
    assert b"".join(thread.join()).split() == [b"%d" % number for number in range(50)]


def test_sync_reader_is_woken_once_for_all_that_came_while_it_was_sending(life: Life) -> None:
    log = log_of(b"a")
    looks: list[None] = []

    class Source(RunReader):
        def read_available(self) -> bytes | None:
            looks.append(None)
            return super().read_available()

    reader = Source(log=log, callbacks=ReaderCallbacks(life.begun.append, life.gone.append))
    chunks = SyncStreamIterator(reader)
    assert next(chunks) == b"a"
    log.extend([b"b"])
    assert next(chunks) == b"b"  # it listens now
    for _ in range(1000):
        log.extend([b"c"])
    log.end()
    del looks[:]
    assert b"".join(chunks) == b"c" * 1000
    assert len(looks) < 10


def test_sync_reader_counts_as_sending_until_it_asks_again(life: Life) -> None:
    log = log_of(b"a")
    reader = life.reader(log)
    chunks = SyncStreamIterator(reader)
    assert next(chunks) == b"a"
    received: list[bytes] = []
    for number in range(3):
        thread = threading.Thread(target=lambda: received.append(next(chunks)), daemon=True)
        thread.start()
        until(lambda: reader.sending_ticks == -1)
        log.extend([b"%d" % number])
        thread.join(HANG_SECONDS)
        assert reader.sending_ticks == 0
    assert received == [b"0", b"1", b"2"]
    log.end()
    assert list(chunks) == []


def test_sync_reader_closes_its_source_once(life: Life) -> None:
    log = log_of(b"a")
    log.end()
    closed: list[None] = []

    class Source(RunReader):
        def close(self) -> None:
            closed.append(None)
            super().close()

    chunks = SyncStreamIterator(Source(log=log, callbacks=ReaderCallbacks(life.begun.append, life.gone.append)))
    assert list(chunks) == [b"a"]
    chunks.close()
    del chunks
    assert len(closed) == 1


def test_wake_is_set_for_one_wait() -> None:
    wake = Wake()
    assert not wake.wait(timeout=0.0)
    wake.set()
    wake.set()
    assert wake.wait(timeout=HANG_SECONDS)
    assert not wake.wait(timeout=0.0)
    # Another thread may set it between the look and the release.
    wake.set()
    wake._lock = FreedLock(wake._lock)  # type: ignore[assignment]
    wake.set()
    assert wake.wait(timeout=HANG_SECONDS)


class FreedLock:
    """A lock that is released by another thread just after somebody has seen that it is locked."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def locked(self) -> bool:
        return True

    def release(self) -> None:
        self._lock.release()

    def acquire(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=timeout)


def test_sync_reader_close_ends_a_wait(life: Life) -> None:
    log = log_of(b"a")
    chunks = SyncStreamIterator(life.reader(log))
    thread = Thread(chunks)
    until(lambda: log.has_waiters)
    chunks.close()
    assert thread.join() == [b"a"]
    assert len(life.gone) == 1


def test_reader_sends_a_first_comment_at_once(life: Life) -> None:
    log = log_of()
    chunks = SyncStreamIterator(life.reader(log), b"hello")
    assert next(chunks) == b"hello"
    log.extend([b"a"])
    assert next(chunks) == b"a"
    log.end()
    assert list(chunks) == []


def test_reader_sends_no_first_comment_with_ready_frames(life: Life) -> None:
    log = log_of(b"a")
    log.end()
    assert list(SyncStreamIterator(life.reader(log), b"hello")) == [b"a"]


def test_reader_close_twice(life: Life) -> None:
    chunks = SyncStreamIterator(life.reader(log_of(b"a")))
    chunks.close()
    chunks.close()
    assert list(chunks) == []
    assert len(life.gone) == 1


# --- in a task ---


def in_task(test: Callable[[], Any]) -> None:
    async def within() -> None:
        async with asyncio.timeout(HANG_SECONDS):
            await test()

    asyncio.run(within())


def test_async_reader_is_notified_by_other_threads(life: Life) -> None:
    async def test() -> None:
        log = log_of()
        chunks = AsyncStreamIterator(life.reader(log))

        def produce() -> None:
            for number in range(200):
                log.extend([b"%d " % number])
            log.end()

        thread = threading.Thread(target=produce)
        thread.start()
        pieces = [piece async for piece in chunks]
        thread.join()
        assert b"".join(pieces).split() == [b"%d" % number for number in range(200)]

    in_task(test)


def test_async_reader_is_notified_by_its_own_loop(life: Life) -> None:
    async def test() -> None:
        log = log_of(b"a")
        chunks = AsyncStreamIterator(life.reader(log))
        loop = asyncio.get_running_loop()
        assert await anext(chunks) == b"a"
        loop.call_soon(log.extend, [b"b"])
        assert await anext(chunks) == b"b"
        loop.call_soon(log.end)
        assert [piece async for piece in chunks] == []

    in_task(test)


def test_async_reader_close_ends_a_wait(life: Life) -> None:
    async def test() -> None:
        chunks = AsyncStreamIterator(life.reader(log_of()))
        waiting = asyncio.ensure_future(anext(chunks, b"ended"))
        await asyncio.sleep(0)
        chunks.close()
        chunks.close()
        assert await waiting == b"ended"
        assert len(life.gone) == 1

    in_task(test)


def test_async_reader_cancelled_wait_loses_nothing(life: Life) -> None:
    async def test() -> None:
        log = log_of()
        chunks = AsyncStreamIterator(life.reader(log))
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        log.extend([b"a"])
        assert await anext(chunks) == b"a"

    in_task(test)


def test_async_reader_notified_after_its_loop_closed(life: Life) -> None:
    log = log_of()

    async def main() -> None:
        waiting = asyncio.ensure_future(anext(AsyncStreamIterator(life.reader(log))))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(main())
    thread = threading.Thread(target=log.extend, args=([b"late"],))
    thread.start()
    thread.join()
    log.end()


# --- the log and its readers ---


@given(
    pieces=st.lists(st.integers(0, 3), max_size=30),
    readers=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=4),
    repeats=st.sets(st.integers(1, 60)),
)
def test_reader_gets_what_follows_its_cursor(
    pieces: list[int], readers: list[tuple[int, bool]], repeats: set[int]
) -> None:
    life = Life()
    log = log_of()
    log.duplicates = repeats
    opened: list[tuple[int, bool, RunReader, list[bytes]]] = []
    number = 0
    for at, count in enumerate(pieces):
        for seen, joining in readers:
            if seen == at:
                opened.append((number, joining, life.reader(log, seen=number, skip_duplicates=joining), []))
        log.extend([b"%d " % (number + one + 1) for one in range(count)])
        number += count
        for _, _, reader, got in opened[::2]:
            got.append(reader.read_available() or b"")
            assert not reader.is_at_end
    log.end()
    for seen, joining, reader, got in opened:
        while not reader.is_at_end and (piece := reader.read_available()) is not None:
            got.append(piece)
        wanted = [request for request in range(seen + 1, number + 1) if not (joining and request in repeats)]
        assert [int(message) for message in b"".join(got).split()] == wanted
        assert reader.read_available() is None


def test_reader_of_a_long_history_gets_several_chunks(life: Life) -> None:
    history = [b"x" * 100] * 5000
    log = log_of(*history)
    log.end()
    pieces = list(SyncStreamIterator(life.reader(log, history=history)))
    assert b"".join(pieces) == b"x" * 1_000_000
    assert max(map(len, pieces)) <= MAX_CHUNK_BYTES


@pytest.mark.parametrize("count", [1, 2])
def test_reader_of_a_run_that_another_process_goes_on_with_repairs_frames(
    life: Life, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """However many come at once: those that come one by one are read in one step as long as they are our own."""
    monkeypatch.setattr(run_reader, "repair_frames", lambda frames: [b"repaired %b" % frame for frame in frames])
    log = log_of(b"1")
    reader = life.reader(log)
    assert reader.read_available() == b"1"
    log.extend([b"2"] * count)
    assert reader.read_available() == b"2" * count
    log.is_foreign = True
    log.extend([b"3"] * count)
    assert reader.read_available() == b"repaired 3" * count


# --- whether there is more to read ---


def read_to_end(reader: BaseReader) -> bytes:
    """Reads until the reader says that it is at its end, which is no sooner than with its last bytes."""
    read = b""
    while not reader.is_at_end:
        chunk = reader.read_available()
        assert chunk, "it says that it is at its end with its last bytes"
        read += chunk
    assert reader.read_available() is None
    return read


def test_reader_is_at_its_end_with_the_last_bytes_of_a_log(life: Life) -> None:
    log = log_of(b"a")
    reader = life.reader(log)
    assert reader.read_available() == b"a"
    assert not reader.is_at_end, "the run goes on"
    log.extend([b"b"])
    log.end()
    assert read_to_end(reader) == b"b"


def test_reader_is_at_its_end_with_the_last_slice_of_a_history_or_a_body(life: Life) -> None:
    large = b"x" * 200_000
    assert read_to_end(life.reader(None, history=[b"a", large])) == b"a" + large
    assert read_to_end(BodyReader(large, ReaderCallbacks(life.begun.append, life.gone.append))) == large


def test_reader_is_at_its_end_with_the_error_that_cuts_it_off(life: Life) -> None:
    reader = life.reader(log_of(b"a"))
    reader.cut()
    assert b"SERVER_SHUTDOWN" in read_to_end(reader)


@pytest.mark.requirement("SSE-08")
@pytest.mark.parametrize("is_read", [False, True])
def test_slow_reader_that_is_evicted_is_at_its_end_with_slow_reader(life: Life, is_read: bool) -> None:
    log = log_of(b"data: " + b"x" * 100_000 + b"\n\n")
    log.end()
    reader = life.reader(log)
    if is_read:
        reader.read_available()
    reader.evict()
    assert b"SLOW_READER" in read_to_end(reader)


def test_reader_that_is_broken_off_is_never_at_its_end(life: Life) -> None:
    """A response that ends there would look complete."""
    body = BodyReader(b"x" * 100_000, ReaderCallbacks(life.begun.append, life.gone.append))
    log = log_of(b"a")
    log.end()
    for reader in (body, life.reader(log)):
        reader.on_stalled(lambda: None)
        reader.read_available()
        reader.tick(0)
        assert not reader.is_at_end


class Unhurried(ReplayReader):
    """Reads each event as if it were the first."""

    def read_available(self) -> bytes | None:
        self._is_following = False
        return super().read_available()


LOG_STEPS = st.lists(
    st.sampled_from(["paced", "one", "two", "burst", "read", "keep alive", "foreign", "duplicate"]), max_size=20
)


@example(["paced", "duplicate", "paced"], "end", [], 0, True)
@example(["paced", "foreign", "paced"], "end", [], 0, False)
@example(["paced", "two", "read"], "end", [], 0, False)
@given(LOG_STEPS, st.sampled_from(["end", "cut", "evict"]), LOG_STEPS, st.integers(0, 2), st.booleans())
def test_reader_of_one_event_more_reads_what_any_reader_does(
    steps: list[str], last: str, more: list[str], seen: int, skip_duplicates: bool
) -> None:
    # Clients reject null here, so these are changed where another version may have written them.
    frames = [
        b'id: 1.%d\ndata: {"type":"RUN_STARTED","threadId":"t","runId":"r","timestamp":null}\n\n' % n
        for n in range(150)
    ]
    log = log_of(*frames[:seen])
    callbacks = ReaderCallbacks(lambda _: None, lambda _: None)
    options: dict[str, Any] = {"log": log, "seen": seen, "skip_duplicates": skip_duplicates, "callbacks": callbacks}
    readers: list[RunReader] = [ReplayReader(**options), Unhurried(**options)]
    if not (seen or skip_duplicates):
        readers.append(RunReader(log, callbacks))
    for step in [*steps, last, *more, "end", "read", "read"]:
        count = len(log.frames)
        if step in ("one", "two", "paced") and not log.ended:
            log.extend(frames[count : count + (2 if step == "two" else 1)])
        elif step == "burst" and not log.ended:
            log.extend([Burst(b"".join(frames[count : count + 3]), 3)], has_bursts=True)
        elif step == "foreign":
            log.is_foreign = True
        elif step == "duplicate":
            log.duplicates = {*log.duplicates, count + 1}
        elif step == "end":
            log.end()
        for reader in readers:
            if step == "keep alive":
                reader.request_keep_alive()
            elif step in ("evict", "cut"):
                getattr(reader, step)()
        if step in ("read", "paced"):
            chunks = [reader.read_available() for reader in readers]
            assert len(set(chunks)) == 1
        assert len({reader.is_at_end for reader in readers}) == 1


def test_reader_reads_the_whole_of_a_run_that_is_over(life: Life) -> None:
    log = log_of(b"a", b"b")
    log.extend([Burst(b"cd", 2)], has_bursts=True)
    reader, other = life.reader(log), life.reader(log)
    assert reader.read_whole() is None
    log.end()
    assert reader.read_whole() == b"abcd"
    assert reader.is_at_end
    assert reader.read_available() is None
    reader.evict()
    assert reader.read_available() is None
    assert other.read_whole() == b"abcd"


@pytest.mark.parametrize(
    "prevent",
    [
        lambda log, reader: reader.read_available(),
        lambda log, reader: log.extend([b"x" * MAX_CHUNK_BYTES]),
        lambda log, reader: log.extend([b"x"] * MAX_CHUNK_PIECES),
        lambda log, reader: setattr(log, "is_foreign", True),
        lambda log, reader: log.pieces.clear(),
        lambda log, reader: reader.evict(),
        lambda log, reader: reader.close(),
    ],
    ids=["read", "large", "long", "foreign", "empty", "evicted", "closed"],
)
def test_reader_reads_nothing_as_a_whole_that_is_not_one_chunk_of_its_run(
    prevent: Callable[[RunLog, RunReader], object], life: Life
) -> None:
    log = log_of(b"a")
    reader, other = life.reader(log), life.reader(log)
    for one in (reader, other):
        prevent(log, one)
    log.end()
    assert reader.read_whole() is None
    assert b"".join(rest_of(reader)) == b"".join(rest_of(other))


@pytest.mark.parametrize("options", [{"history": [b"a"]}, {"seen": 1}, {"skip_duplicates": True}])
def test_reader_that_begins_elsewhere_reads_nothing_as_a_whole(options: dict[str, Any], life: Life) -> None:
    log = log_of(b"b", b"c")
    log.end()
    reader = life.reader(log, **options)
    assert reader.read_whole() is None
    assert b"".join(rest_of(reader)).endswith(b"c")


def rest_of(reader: RunReader) -> Iterator[bytes]:
    while chunk := reader.read_available():
        yield chunk


def test_reader_that_resumes_after_what_was_lost_is_not_at_its_end(life: Life) -> None:
    log = log_of(b"a")
    log.end()
    assert not life.reader(log, seen=5).is_at_end


# --- which readers timers look at ---


def test_reader_is_watched_once_it_waits_or_may_be_kept_waiting(life: Life) -> None:
    watched: list[BaseReader] = []
    callbacks = ReaderCallbacks(lambda _: None, lambda _: None, watched=watched.append)
    log = log_of(b"a")
    reads, waits, sends = (RunReader(log, callbacks) for _ in range(3))
    assert reads.read_available() == waits.read_available() == b"a"
    sends.on_stalled(lambda: None)
    sends.on_stalled(lambda: None)
    assert waits.add_waiter(lambda: None)
    log.end()
    assert reads.is_at_end
    for reader in (reads, waits, sends):
        reader.close()
        reader.watch()
    assert watched == [sends, waits]


def test_reader_that_waits_has_nothing_to_send(life: Life) -> None:
    """Though what aborts a write comes only now: an adapter may watch a stream no sooner than it waits."""
    reader = life.reader(log_of())
    assert reader.add_waiter(lambda: None)
    reader.on_stalled(lambda: None)
    assert reader.sending_ticks < 0


@pytest.mark.requirement("SSE-11")
def test_large_body_that_is_evicted_before_it_is_watched_breaks_off(life: Life) -> None:
    aborted: list[int] = []
    reader = BodyReader(b"x" * 100_000, ReaderCallbacks(life.begun.append, life.gone.append))
    reader.evict()
    reader.on_stalled(lambda: aborted.append(1))
    assert aborted == [1]
    assert life.gone == [reader]


@pytest.mark.requirement("SSE-11")
@pytest.mark.parametrize("is_live", [False, True])
def test_reader_of_a_large_frame_gets_slices_of_it(life: Life, is_live: bool) -> None:
    """All readers share the frame itself, however many of them are in the middle of it."""
    frame, log = b"data: " + b"x" * 8_000_000 + b"\n\n", None
    if is_live:
        log = log_of(frame, b"after")
        log.end()

    def open_readers(count: int) -> tuple[list[RunReader], int]:
        tracemalloc.start()
        try:
            readers = [life.reader(log, history=() if is_live else [frame, b"after"]) for _ in range(count)]
            for reader in readers:
                assert len(reader.read_available() or b"") == MAX_CHUNK_BYTES
            return readers, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    readers, allocated = open_readers(50)
    assert allocated < len(frame)
    reader = readers[0]
    reader.request_keep_alive()
    pieces = list(SyncStreamIterator(reader))
    assert b"".join(pieces) == frame[MAX_CHUNK_BYTES:] + b"after", "and no comment inside of a frame"
    assert max(map(len, pieces)) <= MAX_CHUNK_BYTES


def test_reader_that_is_closed_in_a_large_frame_drops_it(life: Life) -> None:
    chunks = SyncStreamIterator(life.reader(None, history=[b"x" * 1_000_000]))
    next(chunks)
    chunks.close()
    assert list(chunks) == []


def test_slow_reader_that_is_evicted_in_a_large_burst_receives_whole_frames(life: Life) -> None:
    frames = [b'data: {"type":"%d"}\n\n' % number for number in range(MAX_CHUNK_BYTES // 8)]
    log = log_of()
    log.extend([Burst(b"".join(frames), len(frames))], has_bursts=True)
    reader = life.reader(log)
    received = reader.read_available() or b""
    assert len(received) <= MAX_CHUNK_BYTES
    received += reader.read_available() or b""
    reader.evict()
    assert received == b"".join(frames[: received.count(b"data")])
    assert b"SLOW_READER" in (reader.read_available() or b"")


@pytest.mark.requirement("SSE-08")
def test_slow_reader_that_is_evicted_in_a_large_frame_gets_slow_reader(life: Life) -> None:
    """What it has of the frame is ended, so that the error is an event of its own."""
    reader = life.reader(None, history=[b"data: " + b"x" * 1_000_000 + b"\n\n"])
    reader.read_available()
    reader.evict()
    said = reader.read_available()
    assert said is not None
    assert said.startswith(b"\n\ndata: ")
    assert b"SLOW_READER" in said
    assert reader.read_available() is None


@pytest.mark.parametrize("part", ["history", "log"])
def test_slow_reader_that_is_evicted_while_it_reads_gets_slow_reader(part: str, life: Life) -> None:
    """Eviction comes from another OS thread, at any moment: a stream that just ends would look like success."""

    class Evicting(list[bytes]):
        def __len__(self) -> int:
            if part in started:
                started.clear()
                reader.evict()
            return super().__len__()

    log = log_of(b"a" * 40_000, b"b" * 40_000)
    log.end()
    log.pieces = Evicting(log.frames if part == "log" else ())
    started: list[str] = []
    reader = life.reader(log, history=Evicting([b"x"] if part == "history" else ()))
    started.append(part)
    *_, last = list(SyncStreamIterator(reader))
    assert b"SLOW_READER" in last


class DroppedReader(RunReader):
    """Calls something when another thread is about to drop what is still to be read."""

    __slots__ = ("dropping",)

    dropping: Callable[[], object] | None

    def _drop(self) -> None:
        dropping, self.dropping = self.dropping, None
        if dropping is not None:
            dropping()
        super()._drop()


@pytest.mark.parametrize("end", [lambda reader: reader.evict(), lambda reader: reader.tick(0)])
@pytest.mark.parametrize("is_lasting", [True, False])
def test_reader_that_is_ended_as_it_begins_to_wait_is_notified(
    end: Callable[[BaseReader], object], is_lasting: bool, life: Life
) -> None:
    notified: list[None] = []
    reader = DroppedReader(log_of(), ReaderCallbacks(life.begun.append, life.gone.append))
    reader.on_stalled(lambda: None)

    def wait() -> None:
        assert reader.add_waiter(lambda: notified.append(None), is_lasting=is_lasting)

    reader.dropping = wait
    end(reader)
    assert notified


def test_slow_reader_gets_nothing_after_slow_reader(life: Life) -> None:
    chunks: list[bytes | None] = []
    log = log_of(b"a")
    reader = DroppedReader(log, ReaderCallbacks(life.begun.append, life.gone.append))

    def read() -> None:
        chunks.extend([reader.read_available(), reader.read_available()])
        log.extend([b"b"])
        assert not reader.add_waiter(lambda *_: None, is_lasting=True)
        chunks.extend([reader.read_more(), reader.read_available()])

    reader.dropping = read
    reader.evict()
    first, said, *rest = chunks
    assert first == b"a"
    assert said is not None
    assert b"SLOW_READER" in said
    assert rest == [None, None]


class PausedReader(DroppedReader):
    """Calls something when it has read what it is about to send, and when it has found nothing to read."""

    __slots__ = ("finding_nothing", "has_read")

    has_read: Callable[[], object]
    finding_nothing: Callable[[], object]

    def _read(self) -> bytes | None:
        chunk = super()._read()
        self.has_read()
        return chunk

    def _read_nothing(self, *, ended: bool) -> bytes | None:
        self.finding_nothing()
        return super()._read_nothing(ended=ended)


def paused_reader(log: RunLog, life: Life) -> PausedReader:
    reader = PausedReader(log, ReaderCallbacks(life.begun.append, life.gone.append))
    reader.dropping = None
    reader.has_read = reader.finding_nothing = lambda: None
    return reader


@pytest.mark.parametrize("is_dropped_first", [True, False])
def test_slow_reader_that_is_evicted_as_it_begins_a_large_frame_gets_slow_reader(
    is_dropped_first: bool, life: Life
) -> None:
    frame = b"data: " + b"x" * 100_000 + b"\n\n"
    log = log_of(frame)
    log.end()
    reader = paused_reader(log, life)
    dropping, may_drop = threading.Event(), threading.Event()

    def drop() -> None:
        dropping.set()
        assert may_drop.wait(HANG_SECONDS)

    def evict() -> None:
        reader.has_read = lambda: None
        reader.dropping = drop
        evicting.start()
        assert dropping.wait(HANG_SECONDS)
        if is_dropped_first:
            may_drop.set()
            evicting.join(HANG_SECONDS)

    evicting = threading.Thread(target=reader.evict, daemon=True)
    reader.has_read = evict
    chunks = [reader.read_available()]
    may_drop.set()
    evicting.join(HANG_SECONDS)
    assert chunks == [frame[:MAX_CHUNK_BYTES]]
    said = reader.read_available()
    assert said is not None
    assert said.startswith(b"\n\ndata: ")
    assert b"SLOW_READER" in said
    assert reader.read_available() is None


@pytest.mark.parametrize("size", [10, 100_000])
def test_slow_reader_that_reads_the_end_as_it_is_evicted_gets_no_error(size: int, life: Life) -> None:
    """An error after the end of a run would be none of the protocol."""
    log = log_of(b"data: " + b"x" * size + b"\n\n")
    log.end()
    reader = paused_reader(log, life)
    received = [] if size < MAX_CHUNK_BYTES else [reader.read_available() or b""]
    reader.dropping = lambda: received.append(reader.read_available() or b"")
    reader.evict()
    assert b"".join(received) == b"".join(log.frames)
    assert reader.is_at_end
    assert reader.read_available() is None


class Growing(list[bytes]):
    """The frames of a log of which something happens when somebody is about to look at them."""

    looked_at: Callable[[], object] | None = None

    def _look(self) -> None:
        looked_at, self.looked_at = self.looked_at, None
        if looked_at is not None:
            looked_at()

    def __len__(self) -> int:
        self._look()
        return super().__len__()

    def __getitem__(self, key: Any) -> Any:
        self._look()
        return super().__getitem__(key)


@pytest.mark.parametrize("history", [(), (b"h",)])
@pytest.mark.parametrize("is_dropped_first", [True, False])
def test_slow_reader_whose_run_ends_as_it_is_evicted_gets_no_error(
    is_dropped_first: bool, history: tuple[bytes, ...], life: Life
) -> None:
    """Eviction comes from another OS thread: it may find a run that is active, and the reader still read the end."""
    frame = b'data: {"type":"RUN_FINISHED","threadId":"t","runId":"r"}\n\n'
    log = log_of(b"a")
    log.pieces = pieces = Growing(log.pieces)
    reader = life.reader(log, history=history)
    received = [reader.read_available() for _ in range(len(history) + 1)]

    def finish() -> None:
        log.extend([frame])
        log.end()

    def evict_and_finish() -> None:
        reader.evict()
        finish()

    def finish_and_read() -> None:
        finish()
        received.append(reader.read_available())

    if is_dropped_first:
        pieces.looked_at = evict_and_finish
        received.append(reader.read_available())
    else:
        drop = reader._drop
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(type(reader), "_drop", lambda self: (finish_and_read(), drop()))
            reader.evict()
    assert received == [*history, b"a", frame]
    assert reader.is_at_end
    assert reader.read_available() is None


@pytest.mark.parametrize("end", [RunReader.cut, RunReader.evict])
def test_reader_that_is_ended_between_the_last_frame_and_the_end_of_the_log_gets_no_error(
    end: Callable[[RunReader], None], life: Life
) -> None:
    frame = b'data: {"type":"RUN_FINISHED","threadId":"t","runId":"r"}\n\n'
    log = log_of(frame)
    reader = life.reader(log)
    assert reader.read_available() == frame
    end(reader)
    assert reader.read_available() is None


def test_slow_reader_that_is_cut_as_it_is_evicted_gets_one_error(life: Life) -> None:
    reader = paused_reader(log_of(), life)
    reader.cut()
    reader.finding_nothing = reader.evict
    assert read_to_end(reader).count(b"RUN_ERROR") == 1


@pytest.mark.parametrize("history", [(), (b"x",)])
def test_slow_reader_that_has_everything_gets_no_error(history: tuple[bytes, ...], life: Life) -> None:
    """While its last chunk is sent: an error after the end of a run would be none of the protocol."""
    log = None if history else log_of(b"x")
    if log is not None:
        log.end()
    reader = life.reader(log, history=history)
    assert reader.read_available() == b"x"
    reader.evict()
    assert reader.read_available() is None


def test_large_body_that_is_evicted_when_all_of_it_was_read_is_complete(life: Life) -> None:
    aborted: list[int] = []
    reader = BodyReader(b"x" * 100_000, ReaderCallbacks(life.begun.append, life.gone.append))
    reader.on_stalled(lambda: aborted.append(1))
    assert len((reader.read_available() or b"") + (reader.read_available() or b"")) == 100_000
    reader.evict()
    assert reader.read_available() is None
    assert not aborted


def test_large_body_that_is_evicted_after_its_end_aborts_nothing(life: Life) -> None:
    """It may be on its way out on its own OS thread, and the connection may have its next request."""
    aborted: list[int] = []
    reader = BodyReader(b"x" * 100_000, ReaderCallbacks(life.begun.append, life.gone.append))
    reader.on_stalled(lambda: aborted.append(1))
    reader.close()
    reader.evict()
    assert not aborted


def test_async_reader_gives_the_loop_a_turn(life: Life) -> None:
    """However fast a client reads, or if it has disconnected and the server says nothing."""

    async def test() -> None:
        chunks = AsyncStreamIterator(life.reader(None, history=[b"x" * 1_000_000] * 10))
        asyncio.get_running_loop().call_soon(chunks.close)
        assert len([piece async for piece in chunks]) <= 2

    in_task(test)


# --- writes that make no progress ---


def test_send_timeout_seconds_of_a_write_without_progress(life: Life) -> None:
    """A chunk that is taken in time starts it anew, and a reader that waits for its run has none."""
    aborted: list[str] = []
    log = log_of(b"a")
    reader, waiting, other = life.reader(log), life.reader(log_of()), life.reader(log_of(b"a"))
    for one in (reader, waiting):
        one.on_stalled(lambda: aborted.append("aborted"))
    assert (reader.read_available(), other.read_available(), waiting.read_available()) == (b"a", b"a", b"")
    for _ in range(4):
        reader.tick(4)
    log.extend([b"b"])
    assert reader.read_available() == b"b"
    for _ in range(4):
        reader.tick(4)
    assert (aborted, life.gone) == ([], [])
    assert waiting.sending_ticks < 0
    reader.tick(4)
    assert (aborted, life.gone) == (["aborted"], [reader])
    with pytest.raises(ConnectionAbortedError):  # just an end would look like success
        reader.read_available()
    for _ in range(10):
        other.tick(4)
    assert other not in life.gone, "nothing could end the write, so its worker thread is still in use"


@pytest.mark.parametrize("is_cut", [True, False])
def test_headers_of_what_is_starting_are_sent_in_time(
    life: Life, monkeypatch: pytest.MonkeyPatch, is_cut: bool
) -> None:
    """Also those that need not wait, since there is something to send."""
    monkeypatch.setattr(stream_iterators, "HEADERS_SECONDS", 0.001)
    aborted: list[None] = []
    log = log_of()
    log.is_starting = True
    reader = life.reader(log)
    if is_cut:
        reader.cut()
    in_task(lambda: wait_for_start(reader))
    reader.on_stalled(lambda: aborted.append(None))
    reader.tick(0)
    assert aborted


def test_reader_that_has_sent_since_the_timer_looked_is_not_counted_on(life: Life) -> None:
    reader = life.reader(log_of(b"a"))
    aborted: list[None] = []
    reader.on_stalled(lambda: aborted.append(None))
    assert reader.read_available() == b"a"
    reader.mark_sent()
    for _ in range(3):
        reader.tick(1)
    assert (reader.sending_ticks, aborted, life.gone) == (-1, [], [])


def test_sync_reader_whose_write_ends_as_it_is_broken_off_does_not_wait(life: Life) -> None:
    log = log_of(b"a")
    reader = life.reader(log)
    chunks = SyncStreamIterator(reader)
    assert next(chunks) == b"a"
    read: list[bytes | BaseException] = []

    def read_next() -> None:
        try:
            read.append(next(chunks))
        except ConnectionAbortedError as error:
            read.append(error)

    waiting = threading.Thread(target=read_next, daemon=True)
    waiting.start()
    until(lambda: log.has_waiters)
    log.extend([b"b"])
    waiting.join(HANG_SECONDS)
    assert read == [b"b"]
    reader.on_stalled(lambda: None)
    reader.tick(0)
    late = threading.Thread(target=read_next, daemon=True)
    late.start()
    late.join(HANG_SECONDS)
    assert [type(value) for value in read] == [bytes, ConnectionAbortedError]


# --- what readers hold ---


class Holders:
    """Readers that hold something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, life: Life, limit: int) -> None:
        monkeypatch.setattr(held_bytes, "MAX_STALLED_BYTES", limit)
        monkeypatch.setattr(held_bytes, "MAX_HELD_BYTES", 4 * limit)
        monkeypatch.setattr(held_bytes, "SLOW_SECONDS", 0)
        self.held = held_bytes.HeldBytes()
        self._life = life

    def open(self, value: bytes, other: bytes = b"") -> RunReader:
        reader = self._life.reader(None, history=[value])
        reader.sending_ticks = 0  # the same as forever, with SLOW_SECONDS as it is
        self.held.hold(reader, [(one, one.__len__) for one in (value, other) if one])
        return reader


def test_held_bytes_count_once_what_readers_share(monkeypatch: pytest.MonkeyPatch, life: Life) -> None:
    holders = Holders(monkeypatch, life, 1000)
    shared, own = b"x" * 900, b"y" * 50
    readers = [holders.open(shared, own if number == 0 else b"") for number in range(5)]
    assert holders.held.size == 950
    holders.held.hold(readers[0], [(shared, shared.__len__)])
    holders.held.release(readers[0])
    holders.held.release(readers[0])
    assert holders.held.size == 900
    holders.held.evict_slow()
    assert readers[1].read_available() == shared
    for reader in readers[1:]:
        holders.held.release(reader)
    assert holders.held.size == 0


def unlimited_subscribers() -> subscribers.Subscribers:
    return subscribers.Subscribers(
        max_streams=None,
        keep_alive_seconds=0,
        send_timeout_seconds=None,
        on_abandoned=lambda log: None,
        while_open=lambda: None,
    )


@pytest.mark.requirement("SSE-11")
def test_held_bytes_of_a_run_that_ends_while_its_reader_reads_the_history() -> None:
    async def main() -> None:
        readers = unlimited_subscribers()
        log = log_of(b"x" * 100_000)
        reader = ReplayReader(log=log, history=[b"h"], callbacks=readers.callbacks)
        readers.hold_frames(reader, [b"h"])
        log.end()
        readers.run_ended(log, 100_000)
        assert readers._held.size == 100_001
        assert [reader.read_available() for _ in range(2)] == [b"h", b"x" * MAX_CHUNK_BYTES]
        assert readers._held.size == 100_000
        reader.close()
        assert readers._held.size == 0

    asyncio.run(main())


class Freed(RunLog):
    """A log that says when it is freed."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("is_over_first", [True, False])
@pytest.mark.parametrize("reader_class", [RunReader, ReplayReader])
def test_slow_reader_that_is_evicted_keeps_nothing_of_its_run(reader_class: Any, is_over_first: bool) -> None:
    """However long its client takes to read what its server is writing."""

    async def main() -> None:
        readers = unlimited_subscribers()
        log = Freed(None, "r", "a")
        log.extend([b"x" * 100_000])
        reader = reader_class(log=log, callbacks=readers.callbacks)
        assert reader.read_available() == b"x" * MAX_CHUNK_BYTES
        if not is_over_first:
            reader.evict()
        log.end()
        readers.run_ended(log, 100_000)
        if is_over_first:
            readers._held.release(reader)
            reader.evict()
        freed = weakref.ref(log)
        del log
        assert freed() is None
        assert b"SLOW_READER" in (reader.read_available() or b"")
        reader.close()
        assert not readers.has_open
        assert not readers._held.size

    asyncio.run(main())


def test_slow_readers_that_hold_too_much_are_evicted(monkeypatch: pytest.MonkeyPatch, life: Life) -> None:
    holders = Holders(monkeypatch, life, 1000)
    slow = [holders.open(bytes([number]) * 600) for number in range(3)]
    with monkeypatch.context() as patched:
        patched.setattr(held_bytes, "SLOW_SECONDS", 1000)
        holders.held.evict_slow()
        assert holders.held.size == 1800, "none of them is slow"
    holders.held.evict_slow()
    assert holders.held.size == 600
    assert [b"SLOW_READER" in (reader.read_available() or b"") for reader in slow] == [True, True, False]


@pytest.mark.requirement("SSE-11")
def test_readers_that_make_progress_are_evicted_last(monkeypatch: pytest.MonkeyPatch, life: Life) -> None:
    """Many honest ones on slow networks may hold more together than those who have stopped reading."""
    holders = Holders(monkeypatch, life, 1000)
    honest, stalled, shared = (holders.open(bytes([number]) * 600) for number in range(3))
    other = life.reader(None, history=[b"x"])
    holders.held.hold(other, [(shared._history[0], lambda: 0)])
    newest = holders.open(b"x" * 600)
    for reader in (honest, other):
        reader.sending_ticks = -1  # it has just taken what was ready
    holders.held.evict_slow()
    assert holders.held.size == 1800
    assert [reader._is_evicted for reader in (honest, stalled, shared, other)] == [False, True, False, False]
    monkeypatch.setattr(held_bytes, "MAX_HELD_BYTES", 1500)
    holders.held.evict_slow()
    assert [reader._is_evicted for reader in (honest, shared, other, newest)] == [True, False, False, False]


def test_held_bytes_evict_the_newest_never(monkeypatch: pytest.MonkeyPatch, life: Life) -> None:
    holders = Holders(monkeypatch, life, 10)
    reader = holders.open(b"x" * 600)
    holders.held.evict_slow()
    assert reader.read_available() == b"x" * 600


def test_large_body_that_is_evicted_breaks_off(life: Life) -> None:
    """It has a length, so nothing else could be sent in its place."""
    aborted: list[int] = []
    reader = BodyReader(b"x" * 1_000_000, ReaderCallbacks(life.begun.append, life.gone.append))
    reader.on_stalled(lambda: aborted.append(1))
    chunks = SyncStreamIterator(reader)
    next(chunks)
    reader.evict()
    with pytest.raises(ConnectionAbortedError):
        next(chunks)
    assert aborted == [1]
    chunks.close()
    assert life.gone == [reader]


@pytest.mark.requirement("SSE-11", "CONNECT-06")
@pytest.mark.parametrize("is_live", [False, True])
def test_reader_without_duplicates_of_a_large_frame_gets_slices_of_it(life: Life, is_live: bool) -> None:
    """Though its id is another one than that of the frame, which all readers share."""
    frames = [b"id: 2.7\ndata: " + b"x" * 8_000_000 + b"\n\n", b"id: 2.8\ndata: y\n\n", b"data: without an id\n\n"]
    log = log_of(*frames)
    log.duplicates = {99}
    log.end()
    tracemalloc.start()
    try:
        readers = [
            life.reader(log, skip_duplicates=True) if is_live else life.reader(None, history=frames, joined=2)
            for _ in range(50)
        ]
        pieces = [[reader.read_available() or b"", reader.read_available() or b""] for reader in readers]
        assert tracemalloc.get_traced_memory()[1] < len(frames[0])
    finally:
        tracemalloc.stop()
    received = [*pieces[0], *SyncStreamIterator(readers[0])]
    assert max(map(len, received)) <= MAX_CHUNK_BYTES
    expected = [frames[0].replace(b"2.7", b"2.7j"), frames[1].replace(b"2.8", b"2.8j"), frames[2]]
    assert b"".join(received) == b"".join(expected)
    readers[1].evict()
    assert (readers[1].read_available() or b"").startswith(b"\n\n")


def test_reader_of_duplicates_only(life: Life) -> None:
    """However many there are in one go."""
    log = log_of(*[b"x"] * 1_000_000)
    log.duplicates = set(range(1, 1_000_001))
    reader = life.reader(log, skip_duplicates=True)
    assert reader.read_available() == b""
    log.extend([b"new"])
    assert reader.read_available() == b"new"


def test_reader_with_a_cursor_beyond_the_end(life: Life) -> None:
    log = log_of(b"a")
    reader = life.reader(log, seen=99)
    assert reader.read_available() == b""
    log.extend([b"end"])
    log.end()
    assert [reader.read_available(), reader.read_available()] == [b"end", None]


@pytest.mark.requirement("SSE-08")
def test_slow_reader_of_an_evicted_log_gets_slow_reader(life: Life) -> None:
    log = log_of(b"a", b"b")
    log.end()
    reader = life.reader(log)
    reader.evict()
    said = reader.read_available()
    assert said is not None
    assert b'"RUN_ERROR"' in said
    assert b"SLOW_READER" in said
    assert b"id:" not in said, "a cursor stays where it was"
    assert reader.read_available() is None


def test_add_waiter_with_ready_frames(life: Life) -> None:
    log = log_of(b"a")
    woken: list[int] = []
    assert not log.add_waiter(0, lambda: woken.append(1))
    assert log.add_waiter(1, lambda: woken.append(2))
    log.extend([b"b"])
    log.extend([b"c"])
    assert woken == [2]
    log.end()
    assert not log.add_waiter(3, lambda: woken.append(3))
    assert not log.add_end_waiter(lambda: woken.append(4))
    assert woken == [2]


@pytest.mark.parametrize(
    "interrupt", [RunReader.request_keep_alive, RunReader.cut, RunReader.evict, RunReader.close, lambda _: None]
)
@pytest.mark.parametrize("waits_before", [False, True])
def test_lasting_waiter_is_added_whenever_there_is_nothing_to_read(
    life: Life, interrupt: Callable[[RunReader], None], waits_before: bool
) -> None:
    log = log_of(b"a")
    reader = life.reader(log)
    woken: list[int] = []

    def notify(*_: object) -> None:
        woken.append(1)

    assert reader.read_available() == b"a"
    if waits_before:
        assert reader.add_waiter(notify, is_lasting=True)
        log.extend([b"b"])
        assert woken == [1]
        assert not reader.add_waiter(notify, is_lasting=True)
        assert reader.read_available() == b"b"
        assert reader.add_waiter(notify, is_lasting=True)
    interrupt(reader)
    while not reader.add_waiter(notify, is_lasting=True):
        if reader.read_available() is None:
            assert not log.has_waiters
            return
    woken.clear()
    log.extend([b"c" * (MAX_CHUNK_BYTES + 1)])
    assert woken == [1]
    assert len(reader.read_available() or b"") == MAX_CHUNK_BYTES
    assert not reader.add_waiter(notify, is_lasting=True), "there is a rest"
    assert reader.read_available() == b"c"
    assert reader.add_waiter(notify, is_lasting=True)
    log.end()
    assert not reader.add_waiter(notify, is_lasting=True)


def test_add_waiter_while_others_are_notified() -> None:
    """It has loaded the set of waiters, and adds to it while the producer goes through it."""
    log = log_of()
    log.add_waiter(0, lambda: log.add(lambda: None))
    log.add_waiter(0, lambda: log.add(lambda: 1))
    log.extend([b"a"])
    log.end()
    assert log.ended


def test_waiters_may_be_added_by_a_signal_handler_while_others_are() -> None:
    """As `shutdown_sync` does, on the OS thread that may be adding one just then."""
    added: list[object] = []

    def add() -> None:
        with waiters._creating.get():
            log_of().add(print)
        added.append(print)

    thread = threading.Thread(target=add, daemon=True)
    thread.start()
    thread.join(HANG_SECONDS)
    assert added


@pytest.fixture
def often_switching() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("often_switching")
def test_notify_is_never_lost(life: Life) -> None:
    for _ in range(20):
        log = log_of()
        threads = [Thread(SyncStreamIterator(life.reader(log))) for _ in range(4)]
        for number in range(50):
            log.extend([b"%d " % number])
        log.end()
        for thread in threads:
            assert len(b"".join(thread.join()).split()) == 50


# --- keep-alives ---


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (base_reader, run_reader, subscribers):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.requirement("SSE-06")
def test_sse_keep_alive_is_sent_to_silent_readers_only(life: Life, clock: Clock) -> None:
    keep_alive = KeepAlive(15)
    log = log_of()
    silent, lively = life.reader(log_of()), life.reader(log)
    clock.now += 14
    log.extend([b"a"])
    assert lively.read_available() == b"a"
    clock.now += 1
    keep_alive._tick([silent, lively])
    assert silent.read_available() == KEEP_ALIVE
    assert silent.read_available() == b""
    assert lively.read_available() == b""
    clock.now += 15
    keep_alive._tick([silent, lively])
    assert (silent.read_available(), lively.read_available()) == (KEEP_ALIVE, KEEP_ALIVE)


@pytest.mark.requirement("SSE-06")
def test_sse_keep_alive_notifies_waiters_and_yields_to_frames(life: Life, clock: Clock) -> None:
    keep_alive = KeepAlive(15)
    log = log_of()
    reader = life.reader(log)
    woken: list[int] = []
    assert reader.add_waiter(lambda: woken.append(1))
    clock.now += 15
    keep_alive._tick([reader])
    keep_alive._tick([reader])
    assert woken == [1]
    assert not reader.add_waiter(lambda: woken.append(2))
    log.extend([b"a"])
    assert reader.read_available() == b"a"
    assert reader.read_available() == b""
    log.end()
    clock.now += 15
    keep_alive._tick([reader])
    assert reader.read_available() is None


@pytest.mark.requirement("SSE-06")
@pytest.mark.parametrize("is_foreign", [False, True])
def test_sse_keep_alive_counts_what_is_pushed_and_not_what_is_left_out(
    life: Life, clock: Clock, monkeypatch: pytest.MonkeyPatch, is_foreign: bool
) -> None:
    monkeypatch.setattr(run_reader, "repair_frames", lambda frames: [])
    keep_alive = KeepAlive(15)
    log = log_of()
    log.is_foreign = is_foreign
    reader = life.reader(log)
    assert reader.add_waiter(lambda *_: None, is_lasting=True)
    clock.now += 15
    log.extend([b"a"])
    if is_foreign:
        assert reader.read_available() == b""
        assert reader.add_waiter(lambda *_: None, is_lasting=True)
    else:
        assert reader.is_pushed  # and the reader is told of it only when its task wakes
    keep_alive._tick([reader])
    if not is_foreign:
        reader.mark_pushed(1)
        assert reader.add_waiter(lambda *_: None, is_lasting=True)
        clock.now += 15
        keep_alive._tick([reader])
    assert reader.read_available() == KEEP_ALIVE


@pytest.mark.requirement("SSE-06")
def test_sse_keep_alive_comes_by_itself(life: Life) -> None:
    async def test() -> None:
        keep_alive = KeepAlive(0.01)
        loop = asyncio.get_running_loop()
        readers = [life.reader(log_of()) for _ in range(3)]
        for reader in readers:
            keep_alive.add(reader, loop)
        chunks = [AsyncStreamIterator(reader) for reader in readers]
        for _ in range(2):
            assert [await anext(chunk) for chunk in chunks] == [KEEP_ALIVE] * 3
        for reader in readers:
            keep_alive.discard(reader, loop)

    in_task(test)


@pytest.mark.requirement("SSE-06")
def test_sse_keep_alive_seconds_zero(life: Life) -> None:
    keep_alive = KeepAlive(0)
    loop = asyncio.new_event_loop()
    reader = life.reader(log_of())
    keep_alive.add(reader, loop)
    keep_alive.discard(reader, loop)
    keep_alive.after_fork()
    assert not loop._scheduled  # type: ignore[attr-defined] - its timers
    loop.close()


# --- rounds ---


def test_periodic_task_runs_while_it_has_members() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        visits: list[list[str]] = []
        enough = asyncio.Event()

        def visit(members: list[str]) -> None:
            visits.append(sorted(members))
            if len(visits) == 2:
                rounds.discard("a", loop)
            if len(visits) == 4:
                rounds.discard("b", loop)
                enough.set()

        rounds = PeriodicTask(0.001, visit)
        rounds.add("a", loop)
        rounds.add("b", loop)
        rounds.add("b", loop)
        await enough.wait()
        assert visits == [["a", "b"], ["a", "b"], ["b"], ["b"]]
        await settled(lambda: not timers(loop))
        enough.clear()
        visits.clear()
        rounds.add("a", loop)
        await settled(lambda: visits)
        rounds.discard("a", loop)
        rounds.discard("never there", loop)
        await settled(lambda: not timers(loop))

    async def settled(condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110 - a turn of the loop
            await asyncio.sleep(0)

    def timers(loop: Any) -> int:
        # That of the test's own timeout stays.
        return sum(not timer.cancelled() for timer in loop._scheduled) - 1

    in_task(test)


def test_periodic_task_reports_on_its_loop_that_it_starts_and_stops() -> None:
    reported: list[str] = []

    async def test() -> None:
        loop = asyncio.get_running_loop()
        others_were_added = asyncio.Event()

        def report(what: str) -> Callable[[asyncio.AbstractEventLoop], None]:
            def called(of: asyncio.AbstractEventLoop) -> None:
                assert of is loop is asyncio.get_running_loop()
                reported.append(what)

            return called

        def visit(members: list[str]) -> None:
            reported.append("ticked")
            if others_were_added.is_set() and reported.count("ticked") >= 2:
                rounds.discard("a", loop)

        rounds = PeriodicTask(0.001, visit, started=report("started"), stopped=report("stopped"))
        for add in (lambda: rounds.add("a", loop), lambda: asyncio.to_thread(rounds.add, "a", loop)):
            reported.clear()
            others_were_added.clear()
            if (adding := add()) is not None:
                await adding
            rounds.add("b", loop)
            rounds.discard("b", loop)
            others_were_added.set()
            while "stopped" not in reported:  # noqa: ASYNC110 - a turn of the loop
                await asyncio.sleep(0)
            assert reported == ["started", *["ticked"] * max(2, len(reported) - 2), "stopped"]

    in_task(test)


def test_periodic_task_members_from_any_thread() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        seen: set[int] = set()
        everyone = asyncio.Event()

        def visit(members: list[int]) -> None:
            for member in members:
                rounds.discard(member, loop)
            seen.update(members)
            if len(seen) == 800:
                everyone.set()

        rounds = PeriodicTask(0.0005, visit)

        def add(start: int) -> None:
            for member in range(start, start + 200):
                rounds.add(member, loop)

        threads = [threading.Thread(target=add, args=(start,)) for start in range(0, 800, 200)]
        for thread in threads:
            thread.start()
        await everyone.wait()
        for thread in threads:
            thread.join()
        [round_] = rounds._timers.values()
        assert not round_.members

    in_task(test)


def test_periodic_task_continues_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        visits = 0
        again = asyncio.Event()

        def visit(members: list[str]) -> None:
            nonlocal visits
            visits += 1
            if visits == 1:
                raise RuntimeError("broken")
            rounds.discard("a", loop)
            again.set()

        rounds = PeriodicTask(0.001, visit)
        rounds.add("a", loop)
        await again.wait()

    with caplog.at_level(logging.ERROR):
        in_task(test)
    assert "broken" in caplog.text


def test_periodic_task_keeps_no_context() -> None:
    """The first request's would live as long as anything is visited."""

    class Held:
        pass

    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

    async def test() -> None:
        loop = asyncio.get_running_loop()
        visited = asyncio.Event()
        rounds = PeriodicTask(0.001, lambda members: visited.set())

        def request() -> weakref.ref[Held]:
            held = Held()
            variable.set(held)
            rounds.add("a", loop)
            return weakref.ref(held)

        held = contextvars.copy_context().run(request)
        await visited.wait()
        gc.collect()
        assert held() is None
        rounds.discard("a", loop)

    in_task(test)


def test_periodic_task_does_not_keep_a_loop() -> None:
    rounds: PeriodicTask[str] = PeriodicTask(0.001, lambda members: None)
    loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    async def main() -> None:
        loops.add(asyncio.get_running_loop())
        rounds.add("a", asyncio.get_running_loop())

    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert not loops
    assert not rounds._timers


# --- leaving and being cut off ---


def test_readers_that_leave_a_silent_run_leave_nothing_behind() -> None:
    """No callback stays with the run, which its next event would have to call for each."""

    async def leave(log: RunLog) -> None:
        chunks = AsyncStreamIterator(RunReader(log, ReaderCallbacks(lambda _: None, lambda _: None)))
        assert await anext(chunks) == b"1"
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        chunks.close()
        with pytest.raises(StopAsyncIteration):
            await waiting

    def iterators() -> int:
        gc.collect()
        # Not isinstance, to which lazy objects of other libraries respond by setting themselves up.
        return sum(type(thing) is AsyncStreamIterator for thing in gc.get_objects())

    log, before = log_of(b"1"), iterators()
    for _ in range(100):
        asyncio.run(leave(log))
    assert iterators() == before
    assert not log.ended


@pytest.mark.requirement("STOP-07")
def test_reader_that_is_cut_off_ends_with_an_error(life: Life) -> None:
    log = log_of(b"1")
    reader = life.reader(log)
    thread = Thread(SyncStreamIterator(reader))
    until(lambda: thread.pieces)
    reader.cut()
    first, last = thread.join()
    assert first == b"1"
    assert b"SERVER_SHUTDOWN" in last
    assert life.gone == [reader]


@pytest.mark.requirement("STOP-07")
def test_reader_that_is_cut_off_reads_what_is_ready_first(life: Life) -> None:
    log = log_of(b"1", b"2")
    live, ended = life.reader(log), life.reader(log_of(b"1"))
    assert ended._log is not None
    ended._log.end()
    for reader in (live, ended):
        reader.cut()
    assert live.read_available() == b"12"
    assert b"SERVER_SHUTDOWN" in (live.read_available() or b"")
    assert live.read_available() is None
    assert [ended.read_available(), ended.read_available()] == [b"1", None], "it has an end of its own"


class _Collecting(RunLog):
    """A log of which the garbage collector closes a reader while another one is added."""

    abandoned: object = None
    _kept: tuple[object, ...] = ()

    @property
    def _joined(self) -> tuple[object, ...]:
        joined, abandoned = self._kept, self.abandoned
        if abandoned is not None:
            self.abandoned = None
            self.discard_reader(abandoned)
        return joined

    @_joined.setter
    def _joined(self, joined: tuple[object, ...]) -> None:
        self._kept = joined


def test_reader_that_is_collected_while_another_one_joins_is_forgotten() -> None:
    log, abandoned, joining = _Collecting(None, "r", "a"), object(), object()
    log.add_reader(abandoned)
    log.abandoned = abandoned
    log.add_reader(joining)
    assert log.readers == (joining,)


class _Changing(waiters.Waiters):
    """Waiters of which a change on another thread takes all between two looks."""

    _looks = 0

    @property
    def _waiting(self) -> set[waiters.Notify] | None:
        self._looks += 1
        return set() if self._looks == 1 else None

    @_waiting.setter
    def _waiting(self, waiting: set[waiters.Notify] | None) -> None:
        pass


def test_waiter_that_leaves_at_a_change_is_forgotten() -> None:
    _Changing().discard(print)


class _Abandoning(waiters.Waiters):
    """Waiters of which the garbage collector closes a listener while another one comes or goes."""

    abandoned: waiters.Listener | None = None
    looks_before = 0
    _kept: waiters.Listener | None = None

    @property
    def _listener(self) -> waiters.Listener | None:
        listener, abandoned = self._kept, self.abandoned
        if abandoned is not None:
            self.looks_before -= 1
            if self.looks_before < 0:
                self.abandoned = None
                self.discard(abandoned)
        return listener

    @_listener.setter
    def _listener(self, listener: waiters.Listener | None) -> None:
        self._kept = listener


@pytest.mark.parametrize("others", range(3))
@pytest.mark.parametrize(("comes", "looks_before"), [(True, 0), (False, 0), (False, 1)])
def test_listener_that_is_collected_while_another_one_comes_or_goes_is_forgotten(
    comes: bool, looks_before: int, others: int
) -> None:
    changing, heard = _Abandoning(), list[int]()
    abandoned, other, *rest = [lambda number=number: heard.append(number) for number in range(2 + others)]
    for listener in (abandoned, *rest) if comes else (abandoned, *rest, other):
        changing.listen(listener)
    changing.abandoned, changing.looks_before = abandoned, looks_before
    if comes:
        changing.listen(other)
    else:
        changing.discard(other)
    changing.notify()
    assert heard == [*range(2, 2 + others), *([1] if comes else [])]


class _Joined(list[bytes]):
    """Pieces of a log of which a reader on another thread begins to follow it before one is added."""

    def __init__(self, join: Callable[[], object]) -> None:
        super().__init__()
        self._join = join

    def append(self, piece: bytes) -> None:
        self._join()
        super().append(piece)

    def __iadd__(self, pieces: Iterable[bytes]) -> Self:  # type: ignore[override]
        self._join()
        return super().__iadd__(pieces)


@pytest.mark.parametrize("add", [lambda log: log.add_frame(b"1"), lambda log: log.extend([b"1"])])
def test_listener_that_comes_as_a_frame_is_added_is_told_of_it(add: Callable[[RunLog], None]) -> None:
    log, heard = RunLog(None, "r", "a"), list[Any]()
    log.pieces = _Joined(lambda: log.listen(lambda *change: heard.append(change)))  # type: ignore[assignment]
    add(log)
    assert heard == [(b"1", 1)]


def test_only_listener_is_told_what_was_added_and_several_that_something_was() -> None:
    log, heard = RunLog(None, "r", "a"), list[Any]()

    def first(*change: object) -> None:
        heard.append(("first", *change))

    def second(*change: object) -> None:
        heard.append(("second", *change))

    log.listen(first)
    log.add_frame(b"1")
    log.listen(second)
    log.add_frame(b"2")
    log.extend([b"3"])
    log.discard(first)
    log.discard(first)
    log.add_frame(b"4")
    log.discard(second)
    log.add_frame(b"5")
    assert heard == [("first", b"1", 1), ("first",), ("second",), ("first",), ("second",), ("second", b"4", 4)]
    assert not log.has_waiters


def test_listener_that_leaves_leaves_the_others() -> None:
    log, heard = RunLog(None, "r", "a"), list[int]()
    listeners = [lambda *_, number=number: heard.append(number) for number in range(4)]
    for listener in listeners:
        log.listen(listener)
    log.discard(listeners[2])
    log.notify()
    log.discard(listeners[0])
    log.discard(listeners[3])
    log.notify()
    assert heard == [0, 1, 3, 1]
