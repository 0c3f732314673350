"""Readers that resume where a process has died: whatever was stored of a run, and wherever a reader is.

A model of what happened: an owner has sent all events of a run, and stored a part of them. A reaper has ended the run.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot_runtime._engine.base_reader import ReaderCallbacks
from copilot_runtime._engine.endings import LOST, STOPPED_BY_USER
from copilot_runtime._engine.reaper import reap
from copilot_runtime._engine.replay import replay
from copilot_runtime._engine.replay_reader import ReplayReader
from copilot_runtime._engine.run_log import RunLog
from copilot_runtime._events import Cursor, RunEnding, RunRecorder, is_terminal
from copilot_runtime.stores import MemoryStore, RunStore, SqliteStore
from copilot_runtime.stores.protocol import Batch, NewRun, RunCompletion, RunStarted, ThreadKey, ThreadSnapshot

from .random_run_helpers import runs, verify
from .recorder_helpers import FINISHED, STARTED, Event, events_of, read_frame, text

pytestmark = [pytest.mark.requirement("CONNECT-09")]

ENDINGS = [LOST, STOPPED_BY_USER]

names = (f"thread-{number}" for number in itertools.count())


@dataclasses.dataclass(frozen=True)
class Crash:
    """What an owner has ``sent``, how much of that was ``stored``, and what the store has after the reaper."""

    key: ThreadKey
    sent: Sequence[bytes]
    stored: int
    raw: Sequence[bytes]
    thread: ThreadSnapshot

    def exact_rest(self, cursor: str) -> Sequence[bytes] | None:
        """Returns what follows an event; None if the store does not have that event."""
        ids = [read_frame(frame).id for frame in self.raw]
        return self.raw[ids.index(cursor) + 1 :] if cursor in ids else None

    def check_end(self, cursor: str, end: Sequence[bytes]) -> None:
        """Checks how the stream of a reader ends that has received events which were never stored."""
        ids = [read_frame(frame).id for frame in self.sent]
        verify(events_of([*self.sent[: ids.index(cursor) + 1], *end]))
        assert read_frame(end[-1]).event["type"] == "RUN_ERROR"
        if self.raw and read_frame(self.raw[-1]).event["type"] == "RUN_ERROR":
            assert end == self.raw[-1:]

    def cursors(self) -> set[str]:
        """Returns the ids of all events that any reader may have received."""
        found = {read_frame(frame).id for frame in (*self.sent, *self.raw)}
        return {cursor for cursor in found if cursor is not None}


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path_factory.mktemp("crash") / "threads.db")


def crash(store: RunStore, events: Sequence[Event], stored: int, ending: object) -> Crash:
    key = ThreadKey("", next(names))
    started = store.begin(NewRun(thread=key, run_id="r", agent_id="a"))
    assert isinstance(started, RunStarted)
    run = started.lease.run
    recorder = RunRecorder(ordinal=run.ordinal)
    for event in events:
        recorder.feed(event)
    sent = recorder.drain()
    store.append([Batch(started.lease, sent[:stored])])
    assert reap(store, run, ending, force=True) is not None  # type: ignore[arg-type]
    thread = store.read(key, raw_ordinal=run.ordinal)
    raw = list(thread.runs[0].raw or ()) if thread.runs else []
    return Crash(key, sent, stored, raw, thread)


@st.composite
def crashes(draw: st.DrawFn) -> tuple[list[Event], int, object]:
    """Events that were sent, how many of them were stored, and what the reaper says."""
    complete = draw(runs(endings=0))
    events = complete[: draw(st.integers(1, len(complete)))]
    return events, draw(st.integers(0, len(events))), draw(st.sampled_from(ENDINGS))


@settings(deadline=None)
@given(crashes())
def test_resume_after_a_crash_no_id_names_two_events(store: RunStore, given_: tuple[list[Event], int, object]) -> None:
    found = crash(store, *given_)
    named: dict[str, bytes] = {}
    for frame in (*found.sent, *found.raw):
        identity = read_frame(frame).id
        assert identity is not None
        assert named.setdefault(identity, frame) == frame
    assert found.raw[: found.stored] == found.sent[: found.stored]


@settings(deadline=None)
@given(crashes(), st.booleans())
def test_resume_after_a_crash_every_reader_receives_the_end(
    store: RunStore, given_: tuple[list[Event], int, object], is_compacted: bool
) -> None:
    found = crash(store, *given_)
    thread = found.thread
    if is_compacted:
        thread = dataclasses.replace(thread, runs=[dataclasses.replace(run, raw=None) for run in thread.runs])
    for cursor in found.cursors():
        received = list(replay(thread, Cursor.parse(cursor)).history)
        exact = found.exact_rest(cursor)
        if exact is None:
            # The rest would contradict what the reader has: it receives nothing but the end.
            assert len(received) == 1
            found.check_end(cursor, received)
        elif not is_compacted:
            assert received == exact
        else:
            # The rest, or everything.
            assert received == [] == exact or is_terminal(received[-1])
            everything = [record.frame for record in thread.runs[0].records]
            assert everything[len(everything) - len(received) :] == received


@settings(deadline=None)
@given(crashes(), st.data())
def test_resume_before_the_run_is_reaped_every_reader_receives_the_end(
    store: RunStore, given_: tuple[list[Event], int, object], data: st.DataObject
) -> None:
    """The log of a remote run grows by what the owner has stored, and then by what the reaper has added."""
    found = crash(store, *given_)
    if not found.raw:
        return
    first = data.draw(st.integers(0, found.stored))
    for frame in found.sent:
        cursor = Cursor.parse(read_frame(frame).id)
        assert cursor is not None
        log = RunLog(None, "r", "a")
        log.extend(found.raw[:first])
        reader = ReplayReader(log=log, seen=cursor.number, callbacks=ReaderCallbacks(id, id))
        received = reader.read_available() or b""
        log.extend(found.raw[first:])
        received += reader.read_available() or b""
        log.end()
        while (chunk := reader.read_available()) is not None:
            received += chunk
        exact = found.exact_rest(str(read_frame(frame).id))
        if exact is None:
            found.check_end(str(read_frame(frame).id), [received])
        else:
            assert received == b"".join(exact)
    assert is_terminal(found.raw[-1])


def test_resume_of_a_run_of_which_nothing_was_stored(store: RunStore) -> None:
    found = crash(store, [{"type": "RUN_STARTED", "threadId": "t", "runId": "r"}], 0, LOST)
    assert list(found.thread.runs) == []
    assert list(replay(found.thread, None).history) == []
    [cursor] = found.cursors()
    [end] = replay(found.thread, Cursor.parse(cursor)).history
    assert read_frame(end).event["code"] == "RUN_LOST"
    # An event that there cannot have been is unknown, as on any other thread.
    later = Cursor(found.thread.last_ordinal + 1, 1)
    assert list(replay(found.thread, later).history) == []


@pytest.mark.requirement("CONNECT-08")
@pytest.mark.parametrize("is_live", [True, False], ids=["active", "ended"])
@pytest.mark.parametrize("ending", ENDINGS, ids=["lost", "superseded"])
def test_resume_after_a_lost_event_on_a_thread_that_went_on_receives_everything(
    store: RunStore, ending: RunEnding, is_live: bool
) -> None:
    """Clients up to 1.69 accept nothing after RUN_ERROR, so the end of the lost run cannot come before what follows."""
    found = crash(store, [STARTED, text("START", "m"), text("CONTENT", "m", delta="a")], 2, ending)
    key = found.key
    started = store.begin(NewRun(thread=key, run_id="later", agent_id="a"))
    assert isinstance(started, RunStarted)
    if not is_live:
        recorder = RunRecorder(ordinal=started.lease.run.ordinal)
        for event in (STARTED, FINISHED):
            recorder.feed(event)
        completion = RunCompletion.from_recorder(recorder, [], recorder.number, persist=True)
        store.finish(started.lease, recorder.drain(), completion)
    cursor = Cursor.parse(read_frame(found.sent[-1]).id)
    thread = store.read(key, raw_ordinal=cursor and cursor.ordinal)
    received = list(replay(thread, cursor).history)
    assert received == list(replay(thread, None).history)
    assert "RUN_ERROR" not in [event["type"] for event in events_of(received)]
