"""Resuming after an event: a reader receives exactly what it lacks, or everything."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

import jsonpatch
import pytest
from hypothesis import given

from copilot_runtime._engine.replay import replay
from copilot_runtime._events import CompactedFrames, Cursor, CursorKind, RunEnding, frames_of, is_lost, resume_index
from copilot_runtime.stores.protocol import (
    ActiveRun,
    RunKey,
    StoredRun,
    ThreadKey,
    ThreadSnapshot,
)

from .random_run_helpers import runs, verify
from .recorder_helpers import FINISHED, STARTED, Event, custom, events_of, read_frame, recorded, run_input, text

THREAD = ThreadKey("", "t")


@dataclasses.dataclass
class Client:
    """What a reader of a stream knows in the end. Every event must come exactly once."""

    texts: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    starts: Counter[str] = dataclasses.field(default_factory=Counter)
    others: Counter[str] = dataclasses.field(default_factory=Counter)
    state: Any = None
    last: str = ""

    def read(self, events: Iterable[Event]) -> Client:
        for event in copy.deepcopy(list(events)):
            kind = event["type"]
            self.last = kind
            if kind == "STATE_SNAPSHOT":
                self.state = event["snapshot"]
            elif kind == "STATE_DELTA":
                try:
                    self.state = jsonpatch.apply_patch(self.state, event["delta"])
                except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
                    self.state = "out of step"
            elif kind in ("TEXT_MESSAGE_CONTENT", "TOOL_CALL_ARGS"):
                key = (kind, event.get("messageId") or event["toolCallId"])
                self.texts[key] = self.texts.get(key, "") + event["delta"]
            elif kind.endswith(("_START", "_END")):
                self.starts[str(event)] += 1
            else:
                self.others[str(event)] += 1
                if kind == "RUN_STARTED":
                    self.state = (event.get("input") or {}).get("state") or {}
        return self


@pytest.mark.requirement("CONNECT-06")
@given(runs())
def test_resuming_after_any_number_is_exact_or_refused(events: list[Event]) -> None:
    recorder, frames = recorded(events)
    records = recorder.records()
    events = events_of(frames)  # with an end for what a RUN_ERROR would have left open
    # State whose deltas do not apply is replayed as deltas, so its value depends on the state that the client had.
    whole = Client().read(events)
    for number in range(1, len(frames) + 2):
        at = resume_index(records, Cursor(1, number))
        if at is None:
            continue
        rest = [read_frame(record.frame).event for record in records[at:]]
        resumed = Client().read(events[:number]).read(rest)
        assert resumed == whole, number


@pytest.mark.requirement("CONNECT-06")
@given(runs(endings=0))
def test_resuming_without_merged_events_is_exact(events: list[Event]) -> None:
    """Where compaction changed nothing, every number resumes exactly."""
    plain = [event for event in events if event["type"] in ("RUN_STARTED", "CUSTOM", "STEP_STARTED", "STEP_FINISHED")]
    recorder, frames = recorded([*plain, FINISHED])
    records = recorder.records()
    numbers = range(1, len(frames) + 1)
    assert [resume_index(records, Cursor(1, number)) for number in numbers] == list(numbers)
    assert resume_index(records, Cursor(1, len(frames) + 1)) is None
    assert resume_index(records, Cursor(1, 0)) is None


def stored(ordinal: int, events: list[Event], *, raw: bool) -> StoredRun:
    recorder, frames = recorded(events, ordinal=ordinal)
    return StoredRun(ordinal, f"r{ordinal}", "a", recorder.records(), frames if raw else None, recorder.has_run_error)


MESSAGE = [
    STARTED,
    text("START"),
    text("CONTENT", delta="a"),
    text("CONTENT", delta="b"),
    text("END"),
    custom(),
    FINISHED,
]


def ids(frames: Iterable[bytes]) -> list[str | None]:
    return [read_frame(frame).id for frame in frames]


@pytest.mark.parametrize("number", range(1, len(MESSAGE) + 1))
def test_raw_frames_resume_exactly(number: int) -> None:
    snapshot = ThreadSnapshot((stored(1, MESSAGE, raw=True),))
    assert events_of(replay(snapshot, Cursor(1, number)).history) == MESSAGE[number:]


@given(runs())
def test_random_raw_frames_resume_exactly(events: list[Event]) -> None:
    run = dataclasses.replace(stored(1, events, raw=True), has_run_error=False)
    sent = events_of(run.raw or ())
    for number in range(1, len(sent) + 1):
        assert events_of(replay(ThreadSnapshot((run,)), Cursor(1, number)).history) == sent[number:]


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.parametrize("raw", [True, False], ids=["sent frames kept", "compacted only"])
@given(runs())
def test_a_replay_that_is_cut_resumes_exactly_at_every_place(raw: bool, events: list[Event]) -> None:
    """Also where groups interleave, so that compaction has changed the order of the events."""
    run = dataclasses.replace(stored(1, events, raw=raw), has_run_error=False)
    thread = ThreadSnapshot((run,))
    complete = list(replay(thread, None).history)
    whole = Client().read(events_of(complete))
    for cut, last in enumerate(complete, 1):
        received, rest = complete[:cut], list(replay(thread, Cursor.parse(read_frame(last).id)).history)
        events = events_of([*received, *rest])
        verify(events)
        assert Client().read(events) == whole, cut
        assert raw or rest == complete[cut:]


@pytest.mark.requirement("CONNECT-06")
@given(runs())
def test_a_replay_that_is_cut_twice_resumes_exactly(events: list[Event]) -> None:
    """First while the frames are kept as they were sent, and again when they no longer are."""
    run = dataclasses.replace(stored(1, events, raw=True), has_run_error=False)
    complete = list(replay(ThreadSnapshot((run,)), None).history)
    whole = Client().read(events_of(complete))
    later = ThreadSnapshot((dataclasses.replace(run, raw=None),))
    for cut, last in enumerate(complete, 1):
        rest = list(replay(ThreadSnapshot((run,)), Cursor.parse(read_frame(last).id)).history)
        for again in range(1, len(rest) + 1):
            received = [*complete[:cut], *rest[:again]]
            final = list(replay(later, Cursor.parse(read_frame(received[-1]).id)).history)
            if final[:1] != complete[:1]:  # otherwise the reader receives everything once more
                events = events_of([*received, *final])
                verify(events)
                assert Client().read(events) == whole, (cut, again)


@pytest.mark.requirement("CONNECT-06")
def test_a_replay_that_is_cut_before_a_state_shows_the_state_that_the_client_of_the_run_has() -> None:
    """Deltas change the state that the run's own client has sent, which no client takes from RUN_STARTED."""
    started = {**STARTED, "input": run_input(state={"n": 0, "kept": True})}
    delta = {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/n", "value": 1}]}
    run = stored(1, [started, custom(1), delta, FINISHED], raw=True)
    thread = ThreadSnapshot((run,))
    complete = list(replay(thread, None).history)
    assert events_of(complete)[2] == {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1, "kept": True}}
    for cut, last in enumerate(complete, 1):
        assert replay(thread, Cursor.parse(read_frame(last).id)).history == complete[cut:]
    assert run.raw is not None
    for number in range(1, len(run.raw) + 1):
        assert replay(thread, Cursor(1, number)).history == run.raw[number:]


REPLAYED: dict[str, tuple[Cursor | None, list[str]]] = {
    "no cursor": (None, ["1.1", "1.2", "1.4", "1.5", "1.6", "1.7"]),
    "before a group": (Cursor(1, 1), ["1.2", "1.4", "1.5", "1.6", "1.7"]),
    "a group's start": (Cursor(1, 2), ["1.4", "1.5", "1.6", "1.7"]),
    "inside a group": (Cursor(1, 3), ["1.1", "1.2", "1.4", "1.5", "1.6", "1.7"]),
    "the last of a group": (Cursor(1, 4), ["1.5", "1.6", "1.7"]),
    "the end": (Cursor(1, 7), []),
    "beyond the end": (Cursor(1, 8), ["1.7"]),
    "far beyond the end": (Cursor(1, 10**12), ["1.7"]),
    "an unknown run": (Cursor(9, 1), ["1.1", "1.2", "1.4", "1.5", "1.6", "1.7"]),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_a_compacted_run(name: str) -> None:
    cursor, expected = REPLAYED[name]
    snapshot = ThreadSnapshot((stored(1, MESSAGE, raw=False),))
    assert ids(replay(snapshot, cursor).history) == expected


@pytest.mark.parametrize("raw", [False, True])
def test_later_runs_follow(raw: bool) -> None:
    short = [STARTED, FINISHED]
    snapshot = ThreadSnapshot((stored(3, short, raw=False), stored(4, MESSAGE, raw=raw), stored(6, short, raw=False)))
    assert ids(replay(snapshot, Cursor(4, 5)).history) == ["4.6", "4.7", "6.1", "6.2"]
    assert ids(replay(snapshot, Cursor(4, 7)).history) == ["6.1", "6.2"]
    assert ids(replay(snapshot, Cursor(6, 2)).history) == []
    # Run 2 is no longer kept, so everything is replayed.
    assert len(replay(snapshot, Cursor(2, 1)).history) == len(replay(snapshot, None).history)


def test_an_active_run_continues_after_the_cursor() -> None:
    live = ActiveRun(RunKey(THREAD, 2), "r2", "a", stopping=False)
    snapshot = ThreadSnapshot((stored(1, MESSAGE, raw=False),), live)
    assert replay(snapshot, Cursor(2, 5))[:2] == ((), 5)
    full = replay(snapshot, None)
    assert (ids(full.history)[0], full.live_offset, full.skip_duplicates) == ("1.1", 0, True)
    later = replay(snapshot, Cursor(1, 7))
    assert (later.history, later.live_offset) == ([], 0)


@pytest.mark.parametrize(
    "ending", [RunEnding(), RunEnding("x", failed=True), RunEnding("Run stopped by user", stopped=True)]
)
def test_a_completed_run_ends_with_its_terminal_event(ending: RunEnding) -> None:
    recorder, frames = recorded([STARTED, text("START")], ending=ending)
    run = StoredRun(1, "r", "a", recorder.records(), None)
    assert ids(replay(ThreadSnapshot((run,)), Cursor(1, len(frames) + 3)).history) == [f"1.{len(frames)}"]


@pytest.mark.requirement("CONNECT-03")
def test_an_empty_thread() -> None:
    assert replay(ThreadSnapshot(), None).history == []
    assert replay(ThreadSnapshot(), Cursor(1, 1)).history == []


@given(runs())
def test_stored_records_are_those_of_the_recorder(events: list[Event]) -> None:
    records = recorded(events)[0].records()
    stored = CompactedFrames(frames_of(records))
    assert list(stored) == list(records)
    assert [stored[index] for index in range(len(stored))] == list(records)
    assert list(stored[1:-1]) == list(records[1:-1])
    assert len(stored) == len(records)
    assert stored == CompactedFrames(list(stored.frames))
    for number in range(1, len(events) + 3):
        assert is_lost(stored, number) == is_lost(records, number)
        for kind in CursorKind:
            assert resume_index(stored, Cursor(1, number, kind)) == resume_index(records, Cursor(1, number, kind))
