"""The deltas of a burst are encoded in one step, and what is packed is unpacked to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime._events import (
    Burst,
    Piece,
    RunRecorder,
    join_pieces,
    pack_frames,
    pack_pieces,
    split_packed,
    split_pieces,
)
from copilot_runtime._events.bursts import encode_burst
from copilot_runtime._events.frames import Frames
from copilot_runtime.stores import MemoryStore
from copilot_runtime.stores.protocol import Batch, RunCompletion, ThreadKey
from copilot_runtime.testing._factories import begin

from .recorder_helpers import FINISHED, STARTED, text

BEFORE = "id: 1."
AFTER = '\ndata: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m\\"\\n\x7f","delta":'

DELTAS = st.lists(st.text(st.sampled_from('ab",\\\n\r\x00\x1f\x7f\x80é\u2028😀[]')), min_size=1, max_size=8)
FIRSTS = st.sampled_from([1, 2, 990, 999, 1000, 1001, 999_999, 1_000_000_003])


def frame(number: int, delta: str) -> bytes:
    return f"{BEFORE}{number}{AFTER}{json.dumps(delta, ensure_ascii=False)}}}\n\n".encode()


def burst(deltas: Sequence[str], first: int = 1) -> Burst:
    return encode_burst(BEFORE, AFTER, deltas, first)


@given(DELTAS, FIRSTS, st.sampled_from([1, 20, 300]))
def test_burst_is_the_frames_of_its_deltas(some: list[str], first: int, times: int) -> None:
    deltas = some * times
    encoded = burst(deltas, first)
    assert encoded.data == b"".join([frame(first + place, delta) for place, delta in enumerate(deltas)])
    assert encoded.count == len(deltas)


@given(DELTAS, FIRSTS, st.sampled_from([1, 20, 300]))
def test_what_is_packed_is_unpacked_to_the_same_frames(some: list[str], first: int, times: int) -> None:
    alone = b'id: 1.0\ndata: {"type":"RUN_STARTED","threadId":"[t]","runId":"r"}\n\n'
    some_burst = burst(some * times, first)
    orders: list[list[Piece]] = [
        [alone, some_burst],
        [some_burst, alone],
        [some_burst],
        [alone, burst(["x"] * 100)] * 2,
    ]
    for pieces in orders:
        assert split_packed(pack_pieces(pieces)) == split_pieces(pieces)
        frames = Frames(pieces, len(split_pieces(pieces)))
        assert pack_frames(frames) == pack_pieces(pieces)
        assert split_packed(pack_frames(list(frames))) == list(frames)


def test_packed_burst_is_much_smaller() -> None:
    pieces: list[Piece] = [frame(1, "a"), burst(["token "] * 1000, 2)]
    assert len(pack_pieces(pieces)) < len(join_pieces(pieces)) / 9


@pytest.mark.parametrize(
    "deltas", [["a"] * 2, [*["a"] * 1000, "\x7f"], ["a" * 1000] * 100], ids=["small", "separator", "long"]
)
def test_burst_that_is_not_packed_stays_as_it_is(deltas: list[str]) -> None:
    encoded = burst(deltas)
    assert encoded.packed == b""
    assert pack_pieces([encoded]) == encoded.data == pack_frames(Frames([encoded], len(deltas)))


@pytest.mark.parametrize("code", [0xD83D, 0xDE00])
def test_half_a_character_is_refused(code: int) -> None:
    with pytest.raises(UnicodeEncodeError):
        burst(["a", chr(code)])


def test_memory_store_returns_the_frames_of_a_run_that_it_keeps_packed() -> None:
    store, key = MemoryStore(), ThreadKey("", "t")
    lease = begin(store, key).lease
    recorder = RunRecorder(ordinal=lease.run.ordinal)
    for event in (STARTED, text("START"), *[text("CONTENT", delta="one\n")] * 2000, text("END"), FINISHED):
        recorder.feed(event)
    pieces, size, _ = recorder.take()
    frames = split_pieces(pieces)
    store.finish(lease, Frames(pieces, len(frames)), RunCompletion.from_recorder(recorder, [], recorder.number))
    assert list(store.read(key, raw_ordinal=lease.run.ordinal).runs[-1].raw or ()) == frames
    assert store._table.size < size / 4


@pytest.mark.parametrize("length", [1, 25, 100, 10_000])
def test_active_run_takes_little_more_than_its_frames(length: int) -> None:
    store = MemoryStore()
    started = begin(store, ThreadKey("", "t"))
    before = store._table.size
    encoded = burst(["a" * length] * 1000)
    store.append([Batch(started.lease, Frames([encoded], encoded.count))])
    assert store._table.size - before < 1.3 * len(encoded)
