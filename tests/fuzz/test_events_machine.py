"""A thread's runs and its readers, who come, leave and resume at any moment: all know the same in the end.

What a reader knows is computed by `Client`, which shares nothing with the recorder, the compaction and the replay.
Where groups do not overlap, the compacted runs are also compared with those of `compaction_oracle`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import jsonpatch
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from copilot_runtime._engine.replay import replay
from copilot_runtime._events import Cursor, RunRecorder
from copilot_runtime.stores.protocol import ActiveRun, RunKey, StoredRun, ThreadKey, ThreadSnapshot

from ..compaction_oracle import compact
from ..unit.random_run_helpers import runs, verify
from ..unit.recorder_helpers import Event, events_of, read_frame
from ..unit.test_events_cursor import Client

THREAD = ThreadKey("", "t")
READERS = 3
_IDS = ("messageId", "toolCallId", "stepName")


def own_ids(event: Event, ordinal: int) -> Event:
    """Returns an event with ids that no other run has: repeated ones are left out for some readers, on purpose."""
    return {name: f"{ordinal}-{value}" if name in _IDS else value for name, value in event.items()}


@dataclasses.dataclass(eq=False)
class Run:
    """A run that is recorded event by event."""

    ordinal: int
    events: Sequence[Event]
    recorder: RunRecorder
    frames: list[bytes] = dataclasses.field(default_factory=list)
    """As they were sent."""
    fed: int = 0
    is_raw: bool = True
    """Whether the store still has them, once the run has ended."""

    def emit(self, count: int) -> None:
        for event in self.events[self.fed : self.fed + count]:
            self.recorder.feed(event)
        self.fed = min(self.fed + count, len(self.events))
        self.frames += self.recorder.drain()

    def stored(self) -> StoredRun:
        records, raw = self.recorder.records(), tuple(self.frames) if self.is_raw else None
        return StoredRun(self.ordinal, f"r{self.ordinal}", "a", records, raw, self.recorder.has_run_error)


@dataclasses.dataclass
class ThreadReader:
    """A connection and what came over it, and over those before it."""

    history: list[bytes] = dataclasses.field(default_factory=list)
    live: Run | None = None
    offset: int = 0
    received: list[bytes] = dataclasses.field(default_factory=list)

    def receive(self, count: int) -> None:
        taken, self.history = self.history[:count], self.history[count:]
        self.received += taken
        if self.live is not None and not self.history:
            new = self.live.frames[self.offset : self.offset + count - len(taken)]
            self.received += new
            self.offset += len(new)

    @property
    def cursor(self) -> Cursor | None:
        return Cursor.parse(read_frame(self.received[-1]).id) if self.received else None


class EventsMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.ended: list[Run] = []
        self.live: Run | None = None
        self.readers = [ThreadReader() for _ in range(READERS)]

    def snapshot(self) -> ThreadSnapshot:
        live = self.live
        active = None
        if live is not None:
            active = ActiveRun(RunKey(THREAD, live.ordinal), f"r{live.ordinal}", "a", stopping=False)
        last = len(self.ended) + (live is not None)
        return ThreadSnapshot([run.stored() for run in self.ended], active, last)

    # --- runs ---

    @precondition(lambda self: self.live is None)
    @rule(events=runs(endings=0))
    def start(self, events: list[Event]) -> None:
        ordinal = len(self.ended) + 1
        self.live = Run(ordinal, [own_ids(event, ordinal) for event in events], RunRecorder(ordinal=ordinal))

    @precondition(lambda self: self.live is None)
    @rule(events=runs(endings=0))
    def run(self, events: list[Event]) -> None:
        self.start(events)
        self.end()

    @precondition(lambda self: self.live is not None)
    @rule(count=st.integers(1, 12))
    def emit(self, count: int) -> None:
        if self.live is not None:
            self.live.emit(count)

    @precondition(lambda self: self.live is not None)
    @rule()
    def end(self) -> None:
        live = self.live
        if live is not None:
            live.emit(len(live.events))
            self.live = None
            self.ended.append(live)
            self.check_compaction(live)

    @precondition(lambda self: self.ended)
    @rule(which=st.integers(0, 5))
    def forget_raw_frames(self, which: int) -> None:
        self.ended[which % len(self.ended)].is_raw = False

    def check_compaction(self, run: Run) -> None:
        sent = events_of(run.frames)
        kept = events_of(record.frame for record in run.recorder.records() if record.frame)
        verify(kept)
        assert Client().read(kept) == Client().read(sent)
        with contextlib.suppress(jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
            assert overlap(sent) or kept == compact(sent)  # which is not defined for deltas that do not apply

    # --- readers ---

    @rule(which=st.integers(0, READERS - 1), resumes=st.booleans())
    def connect(self, which: int, resumes: bool) -> None:
        """Connects anew, with the last event's id as a browser does, or without one as after a reload."""
        reader, thread = self.readers[which], self.snapshot()
        cursor = reader.cursor if resumes else None
        replayed = replay(thread, cursor)
        whole = replay(thread, None).history
        is_whole = cursor is None or (replayed.live_offset == 0 and list(replayed.history) == list(whole))
        self.readers[which] = ThreadReader(
            history=list(replayed.history),
            live=self.live,
            offset=replayed.live_offset,
            received=[] if is_whole else reader.received,
        )

    @rule(which=st.integers(0, READERS - 1), count=st.integers(1, 30))
    def receive(self, which: int, count: int) -> None:
        self.readers[which].receive(count)

    @rule(which=st.integers(0, READERS - 1), count=st.integers(1, 12))
    def reload_and_leave(self, which: int, count: int) -> None:
        self.connect(which, False)
        self.receive(which, count)

    @precondition(lambda self: self.live is None)
    @rule(reads_on=st.booleans())
    def compare(self, reads_on: bool) -> None:
        """Readers who read on, or resume, know what a new one does."""
        thread = self.snapshot()
        expected = known(replay(thread, None).history)
        for which, reader in enumerate(self.readers):
            if reader.received or reader.history or reader.live is not None:
                self.receive(which, 10_000 if reads_on else 0)
                self.connect(which, True)
                self.receive(which, 10_000)
                assert known(self.readers[which].received) == expected, which


def overlap(events: Sequence[Event]) -> bool:
    """Returns whether a text or a call begins while another one is open."""
    is_open = 0
    for event in events:
        if event["type"] in ("TEXT_MESSAGE_START", "TOOL_CALL_START"):
            is_open += 1
        elif event["type"] in ("TEXT_MESSAGE_END", "TOOL_CALL_END"):
            is_open -= 1
        if is_open > 1 or (is_open and event["type"] in ("STATE_SNAPSHOT", "STATE_DELTA")):
            return True
    return False


def known(frames: Sequence[bytes]) -> Any:
    return Client().read(events_of(frames))


TestEvents = pytest.mark.requirement("CONNECT-06")(EventsMachine.TestCase)
TestEvents.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
