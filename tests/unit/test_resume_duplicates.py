"""A connection to an active run that repeats messages of the thread's history, cut at any place and resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from copilot_runtime._engine.base_reader import ReaderCallbacks
from copilot_runtime._engine.replay import replay
from copilot_runtime._engine.replay_reader import ReplayReader
from copilot_runtime._engine.run_log import RunLog
from copilot_runtime._engine.run_reader import RunReader
from copilot_runtime._events import Cursor, RunRecorder
from copilot_runtime.stores.protocol import ActiveRun, RunKey, StoredRun, ThreadKey, ThreadSnapshot

from .random_run_helpers import verify
from .recorder_helpers import FINISHED, STARTED, Event, call, custom, events_of, read_frame, step, text

THREAD = ThreadKey("", "t")

HISTORY: Sequence[Event] = [STARTED, text("START", "old"), text("CONTENT", "old"), text("END", "old"), FINISHED]

AMID_OTHERS = [
    STARTED,
    step("STARTED"),
    text("START", "new"),
    text("CONTENT", "new"),
    text("START", "old"),
    text("CONTENT", "old", delta="again"),
    custom(1),
    call("START"),
    text("CONTENT", "new"),
    text("CONTENT", "old", delta="and again"),
    text("END", "new"),
    call("ARGS"),
    {"type": "REASONING_MESSAGE_START", "messageId": "old", "role": "reasoning"},
    custom(2),
    {"type": "REASONING_MESSAGE_CONTENT", "messageId": "old", "delta": "hm"},
    text("END", "old"),
    call("END"),
    {"type": "REASONING_MESSAGE_END", "messageId": "old"},
    call("RESULT", messageId="old"),
    text("START", "old"),
    step("FINISHED"),
    text("END", "old"),
    FINISHED,
]
ALONE = [
    STARTED,
    text("START", "old"),
    custom(1),
    text("CONTENT", "old"),
    custom(2),
    text("END", "old"),
    FINISHED,
]
RUNS: dict[str, list[Event]] = {"amid others": AMID_OTHERS, "alone": ALONE}
CALLBACKS = ReaderCallbacks(lambda _: None, lambda _: None)
CURSORS = {"connect": None, "connect after a cursor": Cursor(1, 2)}
BEFORE = {"connect": 0, "connect after a cursor": 2}
"""How many frames of the history were received earlier."""
KINDS = ["run", *CURSORS]


class Thread:
    """A thread with one stored run and another one, whose agent is held after some of its events."""

    def __init__(self, events: Sequence[Event]) -> None:
        first = RunRecorder(ordinal=1)
        for event in HISTORY:
            first.feed(event)
        self.history = StoredRun(1, "r1", "a", first.records(), None)
        recorder = RunRecorder(ordinal=2, known_message_ids=first.message_ids)
        for event in events:
            recorder.feed(event)
        self.frames = recorder.drain()
        self.duplicates = frozenset(recorder.duplicates)
        self.records = recorder.records()
        self.active = ThreadSnapshot([self.history], ActiveRun(RunKey(THREAD, 2), "r2", "a", stopping=False), 2)

    def log(self, count: int) -> RunLog:
        """The log of the active run when it has so many events."""
        log = RunLog(RunKey(THREAD, 2), "r2", "a")
        self.go_on(log, count)
        return log

    def go_on(self, log: RunLog, count: int) -> None:
        log.duplicates = {number for number in self.duplicates if number <= count}
        log.extend(self.frames[len(log.frames) : count])

    def ended(self, *, raw: bool) -> ThreadSnapshot:
        frames, duplicates = (self.frames, self.duplicates) if raw else (None, frozenset[int]())
        run = StoredRun(2, "r2", "a", self.records, frames, duplicates=duplicates)
        return ThreadSnapshot([self.history, run], None, 2)

    def cuts(self, kind: str) -> Iterator[tuple[int, list[bytes]]]:
        """With the agent held at every place, every place at which a connection can be cut.

        Yields how many events there were, and what was received.
        """
        had: set[bytes] = set()
        for step_by_step in (True, False):
            for held in range(1, len(self.frames) + 1):
                log = self.log(0 if step_by_step else held)
                if kind == "run":
                    received, reader = [], RunReader(log, CALLBACKS)
                else:
                    before = [record.frame for record in self.history.records]
                    received, reader = before[: BEFORE[kind]], connect(self.active, log, CURSORS[kind])
                first = len(received) + 1
                received += read(reader)
                for count in range(1, held + 1 if step_by_step else 0):
                    self.go_on(log, count)
                    received += read(reader)
                for cut in range(first, len(received) + 1):
                    if received[cut - 1] not in had:
                        had.add(received[cut - 1])
                        yield held, received[:cut]

    def leaves_out(self, kind: str, held: int, received: Sequence[bytes]) -> bool:
        """Whether a reader that was cut is to resume without duplicates.

        Before the first of them, one that has joined the run has received the same as the one that began it.
        """
        return cursor_after(received).ordinal == 1 or (kind != "run" and min(self.duplicates) <= held)

    def expected(self, kind: str, *, leaves_out: bool) -> list[Event]:
        """What a reader has to have received of both runs in the end."""
        history = [] if kind == "run" else HISTORY
        left_out = self.duplicates if leaves_out else frozenset[int]()
        return [*history, *events_of(frame for at, frame in enumerate(self.frames, 1) if at not in left_out)]


def connect(thread: ThreadSnapshot, log: RunLog, cursor: Cursor | None) -> RunReader:
    replayed = replay(thread, cursor)
    return ReplayReader(
        log=log if thread.live else None,
        seen=replayed.live_offset,
        history=replayed.history,
        skip_duplicates=replayed.skip_duplicates,
        joined=replayed.joined,
        callbacks=CALLBACKS,
    )


def read(reader: RunReader) -> list[bytes]:
    """Everything that is ready, as frames."""
    chunks = b"".join(iter(lambda: reader.read_available() or b"", b""))
    return [frame + b"\n\n" for frame in chunks.split(b"\n\n")[:-1]]


def cursor_after(received: Sequence[bytes]) -> Cursor:
    cursor = Cursor.parse(read_frame(received[-1]).id)
    assert cursor is not None
    return cursor


@pytest.mark.requirement("CONNECT-04", "CONNECT-06")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RUNS)
def test_duplicates_of_an_active_run_that_is_cut_and_resumed_at_every_place(name: str, kind: str) -> None:
    thread = Thread(RUNS[name])
    for held, received in thread.cuts(kind):
        log = thread.log(held)
        resumed = connect(thread.active, log, cursor_after(received))
        frames = [*received, *read(resumed)]
        thread.go_on(log, len(thread.frames))
        frames += read(resumed)
        verify(events_of(frames))
        assert events_of(frames) == thread.expected(kind, leaves_out=thread.leaves_out(kind, held, received)), received


@pytest.mark.requirement("CONNECT-04", "CONNECT-06")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("has_ended", [False, True], ids=["active", "ended"])
def test_duplicates_of_a_run_that_is_cut_twice_at_every_place(name: str, kind: str, has_ended: bool) -> None:
    """At first while it is active, and then before or after its end."""
    thread = Thread(RUNS[name])
    log = thread.log(len(thread.frames))
    ended = thread.ended(raw=True)
    for held, received in thread.cuts(kind):
        if cursor_after(received).ordinal == 1 and has_ended:
            continue  # then it is a stored run, which is replayed compacted
        rest = read(connect(ended if has_ended else thread.active, log, cursor_after(received)))
        expected = thread.expected(kind, leaves_out=thread.leaves_out(kind, held, received))
        for cut in range(len(rest) + 1):
            frames = [*received, *rest[:cut]]
            if cursor_after(frames).ordinal == 2:
                frames += read(connect(ended, log, cursor_after(frames)))
                verify(events_of(frames))
                assert events_of(frames) == expected, (held, received, cut)


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RUNS)
def test_duplicates_of_a_run_that_is_cut_and_of_which_only_compacted_frames_are_kept(name: str, kind: str) -> None:
    """A reader that has received the run without them receives the whole thread; others that, or exactly the rest."""
    thread = Thread(RUNS[name])
    ended, log = thread.ended(raw=False), thread.log(0)
    whole = read(connect(ended, log, None))
    for held, received in thread.cuts(kind):
        rest = read(connect(ended, log, cursor_after(received)))
        if cursor_after(received).ordinal == 2 and thread.leaves_out(kind, held, received):
            assert rest == whole
        elif rest != whole:
            verify(events_of([*received, *rest]))
