"""The order of events: what clients accept and what they do not (docs/protocol.md, section 5, step 2)."""

from __future__ import annotations

import pytest

from copilot_runtime._events import InvalidEventError, RunEnding

from .recorder_helpers import FINISHED, STARTED, Event, call, custom, events_of, recorded, started, step, text

ERROR: Event = {"type": "RUN_ERROR", "message": "no"}
THOUGHT: Event = {"type": "REASONING_MESSAGE_START", "messageId": "th", "role": "reasoning"}

ACCEPTED: dict[str, list[Event]] = {
    "a run": [STARTED, FINISHED],
    "an error first": [ERROR],
    "an error in a run": [STARTED, ERROR],
    "a run after an error": [STARTED, ERROR, STARTED, FINISHED],
    "a run after a first error": [ERROR, STARTED, FINISHED],
    "a run after a run": [STARTED, FINISHED, STARTED, FINISHED],
    "an error after a run": [STARTED, FINISHED, ERROR],
    "a run after that": [STARTED, FINISHED, ERROR, STARTED, FINISHED],
    "a message twice, one after the other": [STARTED, text("START"), text("END"), text("START"), text("END"), FINISHED],
    "two messages at once": [STARTED, text("START", "a"), text("START", "b"), text("END", "a"), text("END", "b")],
    "a message and a call of one id": [STARTED, text("START", "x"), call("START", "x"), text("END", "x")],
    "a message without content": [STARTED, text("START"), text("END"), FINISHED],
    "a call twice, one after the other": [STARTED, call("START"), call("END"), call("START"), call("END"), FINISHED],
    "a call without a result": [STARTED, call("START"), call("END"), FINISHED],
    "a result before the end": [STARTED, call("START"), call("RESULT"), call("ARGS"), call("END"), FINISHED],
    "a result of an unknown call": [STARTED, call("RESULT"), FINISHED],
    "a step twice, one after the other": [STARTED, *[step("STARTED"), step("FINISHED")] * 2, FINISHED],
    "steps that overlap": [STARTED, step("STARTED", "a"), step("STARTED", "b"), step("FINISHED", "a")],
    "steps of one name in two subagents": [
        *[STARTED, step("STARTED"), {**step("STARTED"), "subagentRunId": "s"}],
        *[step("FINISHED"), {**step("FINISHED"), "subagentRunId": "s"}, FINISHED],
    ],
    "reasoning is not checked": [STARTED, THOUGHT, THOUGHT, FINISHED],
    "reasoning content without a start": [
        STARTED,
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "th", "delta": "x"},
        FINISHED,
    ],
}


@pytest.mark.requirement("RUN-05")
@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    _, frames = recorded(ACCEPTED[name])
    assert events_of(frames) == ACCEPTED[name]


# The events so far, an event that is not allowed next, and a word of the message.
REFUSED: dict[str, tuple[list[Event], Event, str]] = {
    "content first": ([], text("START"), "TEXT_MESSAGE_START"),
    "finished first": ([], FINISHED, "RUN_FINISHED"),
    "a custom event first": ([], custom(), "CUSTOM"),
    "a start in a run": ([STARTED], started(runId="r2"), "RUN_STARTED"),
    "text content without a start": ([STARTED], text("CONTENT", "orphan"), "orphan"),
    "text end without a start": ([STARTED], text("END", "orphan"), "orphan"),
    "text content after its end": ([STARTED, text("START"), text("END")], text("CONTENT"), "'m'"),
    "a second end": ([STARTED, text("START"), text("END")], text("END"), "'m'"),
    "a second start of an open message": ([STARTED, text("START")], text("START"), "'m'"),
    "content of another message": ([STARTED, text("START")], text("CONTENT", "other"), "other"),
    "arguments without a start": ([STARTED], call("ARGS", "orphan"), "orphan"),
    "a call's end without a start": ([STARTED], call("END", "orphan"), "orphan"),
    "arguments after the end": ([STARTED, call("START"), call("END")], call("ARGS"), "'c'"),
    "a call's second end": ([STARTED, call("START"), call("END")], call("END"), "'c'"),
    "a second start of an open call": ([STARTED, call("START")], call("START"), "'c'"),
    "a call's second start after its result": ([STARTED, call("START"), call("RESULT")], call("START"), "'c'"),
    "text content for a call": ([STARTED, call("START", "x")], text("CONTENT", "x"), "'x'"),
    "arguments for a message": ([STARTED, text("START", "x")], call("ARGS", "x"), "'x'"),
    "a second start of an open step": ([STARTED, step("STARTED")], step("STARTED"), "plan"),
    "a step's end without a start": ([STARTED], step("FINISHED"), "plan"),
    "a step's second end": ([STARTED, step("STARTED"), step("FINISHED")], step("FINISHED"), "plan"),
    "finished with an open message": ([STARTED, text("START")], FINISHED, "'m'"),
    "finished with an open call": ([STARTED, call("START")], FINISHED, "'c'"),
    "finished with an open step": ([STARTED, step("STARTED")], FINISHED, "plan"),
    "custom after the end": ([STARTED, FINISHED], custom(), "RUN_FINISHED"),
    "finished after the end": ([STARTED, FINISHED], FINISHED, "RUN_FINISHED"),
    "content after an error": ([STARTED, ERROR], text("CONTENT"), "RUN_ERROR"),
    "finished after an error": ([STARTED, ERROR], FINISHED, "RUN_ERROR"),
    "an error after an error": ([STARTED, ERROR], ERROR, "RUN_ERROR"),
    "an error after a first error": ([ERROR], ERROR, "RUN_ERROR"),
    "a step's end by another subagent": (
        [STARTED, step("STARTED")],
        {**step("FINISHED"), "subagentRunId": "s"},
        "plan",
    ),
}


@pytest.mark.requirement("RUN-05")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    before, event, word = REFUSED[name]
    recorder, frames = recorded(before)
    assert events_of(frames) == before
    with pytest.raises(InvalidEventError, match=word):
        recorder.feed(event)
    assert recorder.drain() == []
    assert recorder.number == len(before)


@pytest.mark.requirement("RUN-05")
def test_an_error_ends_everything_that_is_open() -> None:
    everything = [STARTED, text("START"), call("START"), step("STARTED"), ERROR]
    again = [STARTED, text("START"), call("START"), step("STARTED"), text("END"), call("END"), step("FINISHED")]
    _, frames = recorded([*everything, *again, FINISHED])
    assert events_of(frames)[-len(again) - 1 :] == [*again, FINISHED]
    recorder, _ = recorded([*everything, STARTED])
    for event in (text("CONTENT"), call("ARGS"), step("FINISHED")):
        with pytest.raises(InvalidEventError):
            recorder.feed(event)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_changes_nothing(name: str) -> None:
    """The same events are allowed before and after the refused one."""
    before, event, _ = REFUSED[name]
    recorder, _ = recorded(before)
    with pytest.raises(InvalidEventError):
        recorder.feed(event)
    plain, _ = recorded(before)
    for candidate in (STARTED, text("CONTENT"), text("END"), call("ARGS"), step("FINISHED"), custom(), ERROR, FINISHED):
        outcomes = []
        for candidate_recorder in (recorder, plain):
            try:
                candidate_recorder.feed(candidate)
                outcomes.append(True)
            except InvalidEventError:
                outcomes.append(False)
        assert outcomes[0] == outcomes[1], candidate


UNREADABLE = 10**5000
"""A number that JSON can represent, and that Python refuses to read."""


def test_a_delta_whose_metadata_cannot_be_read_is_not_in_a_replay() -> None:
    recorder, sent = recorded([STARTED, text("START")])
    with pytest.raises(ValueError, match="digits"):
        recorder.feed({**text("CONTENT", delta="lost"), "metadata": {"n": UNREADABLE}})
    recorder.feed(text("END"))
    recorder.feed(FINISHED)
    sent += recorder.drain()
    assert [record.frame for record in recorder.records()] == sent


@pytest.mark.parametrize("end", [FINISHED, ERROR], ids=["finished", "error"])
def test_a_terminal_event_for_which_there_is_no_memory_does_not_end_the_run(
    end: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, sent = recorded([STARTED, {"type": "STATE_SNAPSHOT", "snapshot": {}}])
    with monkeypatch.context() as patch:
        patch.setattr("copilot_runtime._events.compaction.apply_state_events", _no_memory)
        with pytest.raises(MemoryError):
            recorder.feed(end)
    recorder.complete(RunEnding(), "t", "r")
    kinds = [event["type"] for event in events_of(sent + recorder.drain())]
    assert kinds == ["RUN_STARTED", "STATE_SNAPSHOT", "RUN_ERROR"]


def test_a_message_that_there_is_no_memory_to_merge_is_still_open(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, sent = recorded([STARTED, text("START"), text("CONTENT"), text("CONTENT")])
    with monkeypatch.context() as patch:
        patch.setattr("copilot_runtime._events.deltas.DeltaStream.merged_frame", _no_memory)
        with pytest.raises(MemoryError):
            recorder.feed(text("END"))
    recorder.complete(RunEnding(), "t", "r")
    kinds = [event["type"] for event in events_of(sent + recorder.drain())]
    assert kinds[-2:] == ["TEXT_MESSAGE_END", "RUN_ERROR"]


def _no_memory(*args: object) -> None:
    raise MemoryError
