"""A failed run in a thread that went on: a replay reports it only where it is the last thing that happened."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime._engine.replay import replay
from copilot_runtime._events import Cursor, RunEnding, without_past_errors
from copilot_runtime.stores.protocol import ActiveRun, RunKey, StoredRun, ThreadKey, ThreadSnapshot

from .random_run_helpers import runs, verify
from .recorder_helpers import FINISHED, STARTED, Event, call, events_of, read_frame, recorded, step, text

pytestmark = pytest.mark.requirement("CONNECT-08")

ERROR: Event = {"type": "RUN_ERROR", "message": "no"}
ANSWER = [text("START"), text("CONTENT"), text("END")]
LIVE = ActiveRun(RunKey(ThreadKey("", "t"), 9), "r9", "a", stopping=False)


def stored(ordinal: int, events: Iterable[Event], *, raw: bool = False, ending: RunEnding | None = None) -> StoredRun:
    recorder, frames = recorded(events, ordinal=ordinal, ending=ending)
    return StoredRun(ordinal, "r", "a", recorder.records(), frames if raw else None, recorder.has_run_error)


def shown(runs: Iterable[StoredRun], cursor: Cursor | None = None, live: ActiveRun | None = None) -> list[Event]:
    return events_of(replay(ThreadSnapshot(tuple(runs), live), cursor).history)


def verify_for_old_clients(events: list[Event]) -> None:
    """As clients up to @ag-ui/client 0.0.57 do: nothing at all is accepted after RUN_ERROR."""
    verify(events)
    assert "RUN_ERROR" not in [event["type"] for event in events[:-1]]


RUN = [STARTED, *ANSWER, FINISHED]

# The runs of a thread, and what is replayed of it.
REPLAYED: dict[str, tuple[list[list[Event]], list[Event]]] = {
    "the last run": ([RUN, [STARTED, ERROR]], [*RUN, STARTED, ERROR]),
    "an earlier run": ([[STARTED, *ANSWER, ERROR], RUN], [STARTED, *ANSWER, FINISHED, *RUN]),
    "several in a row": ([[STARTED, ERROR]] * 3, [STARTED, FINISHED, STARTED, FINISHED, STARTED, ERROR]),
    "before any start": ([[ERROR], RUN], RUN),
    "before any start, and last": ([RUN, [ERROR]], [*RUN, ERROR]),
    "nothing but errors": ([[ERROR], [ERROR]], [ERROR]),
    "after the end of an earlier run": ([[STARTED, FINISHED, ERROR], RUN], [STARTED, FINISHED, *RUN]),
    "after the end of the last run": ([[STARTED, FINISHED, ERROR]], [STARTED, FINISHED, ERROR]),
    "an agent that began again": ([[STARTED, ERROR, *RUN]], [STARTED, FINISHED, *RUN]),
    "an agent that began again, and failed again": (
        [[ERROR, STARTED, ERROR, STARTED, ERROR]],
        [STARTED, FINISHED, STARTED, ERROR],
    ),
    "its text is not an event": (
        [[STARTED, text("START"), text("CONTENT", delta='"RUN_ERROR"'), text("END"), ERROR], RUN],
        [STARTED, text("START"), text("CONTENT", delta='"RUN_ERROR"'), text("END"), FINISHED, *RUN],
    ),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_failed_run_in_a_replay(name: str) -> None:
    emitted, expected = REPLAYED[name]
    thread = [stored(ordinal, events) for ordinal, events in enumerate(emitted, 1)]
    assert shown(thread) == expected
    verify_for_old_clients(shown(thread))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    "events",
    [
        [STARTED, text("START"), text("CONTENT"), ERROR],
        [STARTED, call("START"), call("ARGS"), step("STARTED"), ERROR],
        [STARTED, {"type": "REASONING_START", "messageId": "th"}, ERROR],
    ],
)
def test_failed_run_with_something_open(events: list[Event], raw: bool) -> None:
    thread = [stored(1, events, raw=raw), stored(2, RUN)]
    for cursor in (None, Cursor(1, 1), Cursor(1, 3)):
        replayed = shown(thread, cursor)
        assert "RUN_ERROR" not in str(replayed)
    verify_for_old_clients(shown(thread))


@pytest.mark.parametrize("ending", [RunEnding(), RunEnding("The run was lost", "RUN_LOST", failed=True)])
def test_failed_run_that_the_runtime_ended(ending: RunEnding) -> None:
    thread = [stored(1, [STARTED, text("START"), step("STARTED")], ending=ending), stored(2, RUN)]
    verify_for_old_clients(shown(thread))
    assert shown(thread)[-len(RUN) :] == RUN


def test_failed_run_before_an_active_run() -> None:
    thread = [stored(1, [STARTED, ERROR]), stored(2, [ERROR])]
    assert shown(thread, live=LIVE) == [STARTED, FINISHED]
    assert shown(thread, Cursor(1, 1), live=LIVE) == [FINISHED]
    assert shown(thread, Cursor(9, 1), live=LIVE) == []


def test_failed_run_of_another_runs_ids() -> None:
    """As of an agent behind a URL that has ids of its own."""
    started = {**STARTED, "threadId": "theirs", "runId": "its"}
    [_, finished, *_] = shown([stored(1, [started, ERROR]), stored(2, RUN)])
    assert finished == {"type": "RUN_FINISHED", "threadId": "theirs", "runId": "its"}


@pytest.mark.parametrize("raw", [False, True])
def test_failed_run_keeps_the_ids_of_its_frames(raw: bool) -> None:
    events = [ERROR, STARTED, ERROR, STARTED, *ANSWER, ERROR]
    thread = [stored(4, events, raw=raw), stored(5, [STARTED, FINISHED])]
    later = ["5.1", "5.2"]

    def ids(cursor: Cursor | None) -> list[str | None]:
        return [read_frame(frame).id for frame in replay(ThreadSnapshot(tuple(thread)), cursor).history]

    assert ids(None) == ["4.2", "4.3", "4.4", "4.5", "4.6", "4.7", "4.8", *later]
    for number, rest in ((1, ["4.2", "4.3", "4.4"]), (2, ["4.3", "4.4"]), (3, ["4.4"])):
        assert ids(Cursor(4, number)) == [*rest, "4.5", "4.6", "4.7", "4.8", *later]
    assert ids(Cursor(4, 7)) == ["4.8", *later]
    assert ids(Cursor(4, 8)) == later  # which a reader may have received as a RUN_ERROR
    assert ids(Cursor(5, 1)) == ["5.2"]


@given(st.lists(runs(), min_size=1, max_size=3), st.booleans())
def test_random_threads(threads: list[list[Event]], raw: bool) -> None:
    thread = [stored(ordinal, events, raw=raw) for ordinal, events in enumerate(threads, 1)]
    verify_for_old_clients(shown(thread))
    verify_for_old_clients(shown(thread, live=LIVE))
    sent = without_past_errors(thread[0].raw or (), is_last=len(thread) == 1)
    for number in range(1, len(sent) + 1):
        before = events_of(filter(None, sent[:number]))
        verify_for_old_clients(before + shown(thread, Cursor(1, number)))


@given(runs(endings=0))
def test_runs_without_failures_are_not_looked_at(events: list[Event]) -> None:
    run = stored(1, events)
    assert not run.has_run_error
    frames = [record.frame for record in run.records]
    assert replay(ThreadSnapshot((run, stored(2, RUN))), None).history[: len(frames)] == frames
