"""How a run ends whose agent did not end it (docs/protocol.md, sections 5 and 7)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from copilot_runtime._events import NO_TERMINAL_EVENT, STOPPED, InvalidEventError, RunEnding

from .recorder_helpers import FINISHED, STARTED, Event, call, events_of, recorded, shown, step, text

RETURN = RunEnding()
FAIL = RunEnding("it broke", failed=True)
STOP = RunEnding(STOPPED, stopped=True)

ERROR: Event = {"type": "RUN_ERROR", "message": NO_TERMINAL_EVENT, "code": "INCOMPLETE_STREAM"}


def result(
    identity: str = "c", status: str = "error", reason: str = "missing_terminal_event", message: str = NO_TERMINAL_EVENT
) -> Event:
    content = json.dumps({"status": status, "reason": reason, "message": message}, separators=(",", ":"))
    return {
        "type": "TOOL_CALL_RESULT",
        "toolCallId": identity,
        "messageId": f"{identity}-result",
        "role": "tool",
        "content": content,
    }


# The events that the agent emitted, and those that are added when it has returned.
RETURNED_TABLE: dict[str, tuple[list[Event], list[Event]]] = {
    "nothing at all": ([], [ERROR]),
    "only the start": ([STARTED], [ERROR]),
    "all closed": ([STARTED, text("START"), text("END")], [ERROR]),
    "an open text": ([STARTED, text("START")], [text("END"), ERROR]),
    "open texts, in order of opening": (
        [STARTED, text("START", "b"), text("START", "a"), text("START", "c"), text("END", "a")],
        [text("END", "b"), text("END", "c"), ERROR],
    ),
    "an open call": ([STARTED, call("START")], [call("END"), result(), ERROR]),
    "an ended call without a result": ([STARTED, call("START"), call("END")], [result(), ERROR]),
    "an open call with a result": ([STARTED, call("START"), call("RESULT")], [call("END"), ERROR]),
    "a call with both": ([STARTED, call("START"), call("END"), call("RESULT")], [ERROR]),
    "a result before the end, then the end": ([STARTED, call("START"), call("RESULT"), call("END")], [ERROR]),
    "a result of an unknown call": ([STARTED, call("RESULT", "other"), call("START")], [call("END"), result(), ERROR]),
    "calls, in order of opening": (
        [STARTED, call("START", "z"), call("START", "a"), call("END", "z"), call("START", "m"), call("RESULT", "m")],
        [result("z"), call("END", "a"), result("a"), call("END", "m"), ERROR],
    ),
    "a call started again still waits for its result": (
        [STARTED, call("START"), call("END"), call("START", "d"), call("START"), call("END")],
        [result(), call("END", "d"), result("d"), ERROR],
    ),
    "texts before calls": (
        [STARTED, call("START"), text("START")],
        [text("END"), call("END"), result(), ERROR],
    ),
    "steps and reasoning": (
        [
            STARTED,
            step("STARTED", "outer"),
            step("STARTED", "inner"),
            {"type": "REASONING_START", "messageId": "th"},
            {"type": "REASONING_MESSAGE_START", "messageId": "th", "role": "reasoning"},
        ],
        [
            {"type": "REASONING_MESSAGE_END", "messageId": "th"},
            {"type": "REASONING_END", "messageId": "th"},
            step("FINISHED", "outer"),
            step("FINISHED", "inner"),
            ERROR,
        ],
    ),
    "subagents have failed too, and each finishes its own steps": (
        [
            STARTED,
            {"type": "SUBAGENT_STARTED", "subagentRunId": "sub", "name": "helper"},
            step("STARTED"),
            {**step("STARTED"), "subagentRunId": "sub"},
        ],
        [
            {"type": "SUBAGENT_ERROR", "subagentRunId": "sub", "message": NO_TERMINAL_EVENT},
            step("FINISHED"),
            {**step("FINISHED"), "subagentRunId": "sub"},
            ERROR,
        ],
    ),
    "finished by the agent": ([STARTED, call("START"), call("END"), FINISHED], []),
    "failed by the agent": ([STARTED, {"type": "RUN_ERROR", "message": "mine"}], []),
    "failed by the agent after the end": ([STARTED, FINISHED, {"type": "RUN_ERROR", "message": "mine"}], []),
    "started again, and left unfinished": ([STARTED, FINISHED, STARTED, text("START")], [text("END"), ERROR]),
    "started again after an error": ([STARTED, {"type": "RUN_ERROR", "message": "mine"}, STARTED], [ERROR]),
}


@pytest.mark.requirement("RUN-07")
@pytest.mark.parametrize("name", RETURNED_TABLE)
def test_returned(name: str) -> None:
    emitted, added = RETURNED_TABLE[name]
    assert shown(emitted, ending=RETURN) == emitted + added


MINE: Event = {"type": "RUN_ERROR", "message": "mine", "code": "MINE"}
MY_RESULT = {"reason": "run_error", "message": "mine"}

# The events that the agent emitted before its own RUN_ERROR, and those that are added before that.
FAILED_BY_AGENT_TABLE: dict[str, tuple[list[Event], list[Event]]] = {
    "first": ([], []),
    "after a run, whose calls are the client's": ([STARTED, call("START"), call("END"), FINISHED], []),
    "an open text": ([STARTED, text("START")], [text("END")]),
    # The client would run it, with what there is of its arguments.
    "an open call": ([STARTED, call("START"), call("ARGS")], [call("END"), result(**MY_RESULT)]),
    "a call without a result": ([STARTED, call("START"), call("END")], [result(**MY_RESULT)]),
    "a call with a result": ([STARTED, call("START"), call("END"), call("RESULT")], []),
    "a step": ([STARTED, step("STARTED")], [step("FINISHED")]),
}


@pytest.mark.requirement("RUN-07")
@pytest.mark.parametrize("name", FAILED_BY_AGENT_TABLE)
def test_failed_by_the_agent_with_something_open(name: str) -> None:
    emitted, added = FAILED_BY_AGENT_TABLE[name]
    recorder, frames = recorded([*emitted, MINE], ending=FAIL)
    assert events_of(frames) == [*emitted, *added, MINE]
    assert recorder.last_agent_event == len(emitted)  # the thread's messages have no results that nobody gave


def test_failed_by_the_agent_with_open_chunks() -> None:
    emitted = [STARTED, {"type": "TOOL_CALL_CHUNK", "toolCallId": "c", "toolCallName": "search", "delta": "{}"}, MINE]
    assert shown(emitted) == [STARTED, call("START"), call("ARGS"), call("END"), result(**MY_RESULT), MINE]
    emitted = [STARTED, {"type": "REASONING_MESSAGE_CHUNK", "messageId": "th", "delta": "hm"}, MINE]
    assert [event["type"] for event in shown(emitted)][-2:] == ["REASONING_MESSAGE_END", "RUN_ERROR"]


def test_failed_by_the_agent_with_an_invalid_event() -> None:
    recorder, frames = recorded([STARTED, text("START")])
    with pytest.raises(InvalidEventError):
        recorder.feed({"type": "RUN_ERROR"})
    assert (len(frames), recorder.drain()) == (2, [])


@pytest.mark.requirement("RUN-07")
def test_failed() -> None:
    emitted = [STARTED, text("START"), call("START")]
    assert shown(emitted, ending=FAIL) == [
        *emitted,
        text("END"),
        call("END"),
        result(message="it broke"),
        {"type": "RUN_ERROR", "message": "it broke", "code": "INCOMPLETE_STREAM"},
    ]


def test_failed_with_a_code_of_its_own() -> None:
    assert shown([STARTED], ending=RunEnding("too long", "RUN_TIMEOUT", failed=True))[-1] == {
        "type": "RUN_ERROR",
        "message": "too long",
        "code": "RUN_TIMEOUT",
    }


def reasoning(kind: str, **members: str) -> Event:
    return {"type": f"REASONING_{kind}", "messageId": "th", **members}


def subagent(kind: str, **members: str) -> Event:
    return {"type": f"SUBAGENT_{kind}", "subagentRunId": "sub", **members}


STOPPED_RESULT = {"status": "stopped", "reason": "stop_requested", "message": STOPPED}

STOPPED_TABLE: dict[str, tuple[list[Event], list[Event]]] = {
    "only the start": ([STARTED], [FINISHED]),
    "before the start": ([], [STARTED, FINISHED]),
    "an open text": ([STARTED, text("START")], [text("END"), FINISHED]),
    "an open call": ([STARTED, call("START")], [call("END"), result(**STOPPED_RESULT), FINISHED]),
    "an ended call": ([STARTED, call("START"), call("END")], [result(**STOPPED_RESULT), FINISHED]),
    # Clients reject RUN_FINISHED while a step is open.
    "an open step": ([STARTED, step("STARTED")], [step("FINISHED"), FINISHED]),
    "open reasoning, the inner one first": (
        [STARTED, reasoning("START"), reasoning("MESSAGE_START", role="reasoning")],
        [reasoning("MESSAGE_END"), reasoning("END"), FINISHED],
    ),
    "ended reasoning": ([STARTED, reasoning("START"), reasoning("END")], [FINISHED]),
    "an open subagent": (
        [STARTED, subagent("STARTED", name="helper")],
        [subagent("FINISHED"), FINISHED],
    ),
    "a failed subagent": ([STARTED, subagent("STARTED", name="helper"), subagent("ERROR", message="no")], [FINISHED]),
    "started again": ([STARTED, {"type": "RUN_ERROR", "message": "mine"}, STARTED], [FINISHED]),
    "finished already": ([STARTED, FINISHED], []),
    "failed already": ([STARTED, {"type": "RUN_ERROR", "message": "mine"}], []),
}


def test_stopped_in_a_chunk_of_reasoning() -> None:
    """Clients of AG-UI 1.0 reject RUN_FINISHED while reasoning is open."""
    chunk = {"type": "REASONING_MESSAGE_CHUNK", "messageId": "th", "delta": "hmm"}
    assert shown([STARTED, chunk], ending=STOP)[-2:] == [reasoning("MESSAGE_END"), FINISHED]


@pytest.mark.requirement("STOP-03")
@pytest.mark.parametrize("name", STOPPED_TABLE)
def test_stopped(name: str) -> None:
    emitted, added = STOPPED_TABLE[name]
    assert shown(emitted, ending=STOP) == emitted + added


def test_stopped_with_a_failure() -> None:
    events = shown([STARTED, call("START"), call("END")], ending=RunEnding("it broke", stopped=True))
    assert json.loads(events[-2]["content"]) == {**STOPPED_RESULT, "message": "it broke"}
    assert events[-1] == FINISHED


@pytest.mark.requirement("STOP-03")
def test_a_stopped_run_finishes_with_its_ids() -> None:
    """A RUN_FINISHED without ids would end the client's stream silently."""
    recorder, _ = recorded([STARTED])
    recorder.complete(STOP, "thread", "run")
    assert b'"threadId":"thread","runId":"run"' in recorder.drain()[-1]


def test_completing_twice_adds_nothing() -> None:
    recorder, _ = recorded([STARTED], ending=RETURN)
    recorder.complete(STOP, "t", "r")
    assert recorder.drain() == []


@pytest.mark.parametrize("ending", [RETURN, FAIL, STOP])
def test_completing_events_are_not_counted_as_the_agents(ending: Any) -> None:
    recorder, frames = recorded([STARTED, text("START")], ending=ending)
    assert recorder.last_agent_event == 2
    assert len(frames) > 2
    assert recorder.number == len(frames)


@pytest.mark.requirement("RUN-07")
def test_the_content_of_tool_results_is_json() -> None:
    events = shown([STARTED, call("START")], ending=RunEnding('a "quoted" \n line', failed=True))
    assert json.loads(events[-2]["content"])["message"] == 'a "quoted" \n line'


@pytest.mark.parametrize(
    ("earlier", "chunk"),
    [
        ([], {"type": "REASONING_MESSAGE_CHUNK", "messageId": "th", "delta": "hm"}),
        ([], {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "hi"}),
        ([], {"type": "TOOL_CALL_CHUNK", "toolCallId": "c", "toolCallName": "f"}),
        ([STARTED], {"type": "REASONING_MESSAGE_CHUNK", "messageId": "th", "metadata": {"a": object()}}),
        ([STARTED], {"type": "REASONING_MESSAGE_CHUNK", "messageId": "th", "metadata": 7}),
    ],
)
def test_a_chunk_that_is_refused_has_opened_nothing(earlier: list[Event], chunk: Event) -> None:
    recorder, _ = recorded(earlier)
    with pytest.raises(InvalidEventError):
        recorder.feed(chunk)
    recorder.complete(FAIL, "t", "r")
    assert [event["type"] for event in events_of(recorder.drain())] == ["RUN_ERROR"]
