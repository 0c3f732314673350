"""Frames that came together and stay in one piece: whoever reads them reads the same as from a list of frames."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime._engine.base_reader import ReaderCallbacks
from copilot_runtime._engine.replay_reader import ReplayReader
from copilot_runtime._engine.run_log import RunLog
from copilot_runtime._events import Burst, Piece, as_frames, count_frames, join_frames, pieces_of_frames
from copilot_runtime._events.frames import frames_after
from copilot_runtime.stores._memory_threads import frames_size

COUNTS = st.lists(st.integers(1, 4), max_size=8)
CALLBACKS = ReaderCallbacks(lambda _: None, lambda _: None)


def pieces_with(counts: list[int]) -> tuple[list[Piece], list[bytes]]:
    frames = [
        b'id: 1.%d\ndata: {"type":"RUN_STARTED","threadId":"t","runId":"r","timestamp":null}\n\n' % number
        for number in range(1, sum(counts) + 1)
    ]
    pieces: list[Piece] = []
    left = list(frames)
    for count in counts:
        taken, left = left[:count], left[count:]
        pieces.append(taken[0] if count == 1 else Burst(b"".join(taken), count))
    return pieces, frames


def log_of(pieces: list[Piece], *, duplicates: set[int], is_foreign: bool) -> RunLog:
    log = RunLog(None, "r", "a")
    log.extend(pieces, has_bursts=True)
    log.duplicates = duplicates
    log.is_foreign = is_foreign
    log.end()
    return log


def read(log: RunLog, seen: int, *, skip_duplicates: bool) -> bytes:
    reader = ReplayReader(log=log, seen=seen, skip_duplicates=skip_duplicates, callbacks=CALLBACKS)
    return b"".join(iter(lambda: reader.read_available() or b"", b""))


@given(COUNTS, st.integers(-30, 30), st.integers(-30, 30), st.sampled_from([1, 2, -1]))
def test_frames_in_pieces_are_a_sequence_of_frames(counts: list[int], start: int, stop: int, step: int) -> None:
    pieces, alone = pieces_with(counts)
    frames = as_frames(pieces, count_frames(pieces))
    assert (frames, list(frames), len(frames), bool(frames)) == (alone, alone, len(alone), bool(alone))
    assert [frames[at] for at in range(-len(alone), len(alone))] == [*alone, *alone]
    assert frames[start:stop:step] == alone[start:stop:step]
    assert join_frames(frames) == join_frames(alone) == b"".join(alone)
    assert sum(map(len, pieces_of_frames(frames))) == len(b"".join(alone))


@given(COUNTS)
def test_frames_after_any_place_are_found_in_pieces(counts: list[int]) -> None:
    pieces, alone = pieces_with(counts)
    log = log_of(pieces, duplicates=set(), is_foreign=False)
    assert (log.frames, log.frame_count) == (alone, len(alone))
    for seen in range(len(alone) + 2):
        assert frames_after(pieces, seen, len(alone)) == alone[seen:]
        assert as_frames(log.pieces_after(seen), len(alone[seen:])) == alone[seen:]


@given(COUNTS, st.sets(st.integers(1, 20)), st.booleans(), st.booleans())
def test_reader_of_frames_in_pieces_reads_the_same_from_any_place(
    counts: list[int], duplicates: set[int], is_foreign: bool, skip_duplicates: bool
) -> None:
    pieces, alone = pieces_with(counts)
    logs = [log_of(frames, duplicates=duplicates, is_foreign=is_foreign) for frames in (pieces, list(alone))]
    for seen in range(len(alone) + 2):
        received = [read(log, seen, skip_duplicates=skip_duplicates) for log in logs]
        assert received[0] == received[1]


def test_memory_of_frames_in_pieces_is_counted() -> None:
    frames = [b"data: %d\n\n" % number for number in range(1000)]
    joined = b"".join(frames)
    tracemalloc.start()
    try:
        pieces: list[Piece] = [Burst(joined[:size], size) for size in range(1000, 2000)]
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held <= frames_size(as_frames(pieces, count_frames(pieces))) <= 1.1 * held
