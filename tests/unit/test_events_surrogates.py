"""Characters that an agent has cut in two: each half is a surrogate, which UTF-8 cannot represent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from ag_ui.core import TextMessageContentEvent
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime import CopilotRuntime
from copilot_runtime._events import NO_TERMINAL_EVENT, InvalidEventError, RunEnding
from copilot_runtime.testing import TestClient

from .recorder_helpers import FINISHED, STARTED, Event, call, custom, events_of, recorded, shown, text

HIGH, LOW = "\ud83d", "\ude00"
EMOJI = "\N{GRINNING FACE}"
LOST = "\N{REPLACEMENT CHARACTER}"

# By kind of text: the events before a delta, one with the delta, and the events after it.
STREAMS: dict[str, tuple[Event, Event, Event]] = {
    "text": (text("START"), text("CONTENT"), text("END")),
    "arguments": (call("START"), call("ARGS"), call("END")),
    "reasoning": (
        {"type": "REASONING_MESSAGE_START", "messageId": "m", "role": "reasoning"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "m"},
        {"type": "REASONING_MESSAGE_END", "messageId": "m"},
    ),
    "thinking": (
        {"type": "THINKING_TEXT_MESSAGE_START"},
        {"type": "THINKING_TEXT_MESSAGE_CONTENT"},
        {"type": "THINKING_TEXT_MESSAGE_END"},
    ),
}
CHUNKS: dict[str, Event] = {
    "text": {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m"},
    "arguments": {"type": "TOOL_CALL_CHUNK", "toolCallId": "c", "toolCallName": "search"},
    "reasoning": {"type": "REASONING_MESSAGE_CHUNK", "messageId": "m"},
}
TABLE: dict[str, tuple[list[str], list[str]]] = {
    "cut in two": (["a" + HIGH, LOW + "b"], ["a", EMOJI + "b"]),
    "nothing but halves": ([HIGH, LOW], [EMOJI]),
    "two in a row": ([HIGH, LOW + HIGH, LOW], [EMOJI, EMOJI]),
    "an empty delta between": (["a" + HIGH, "", LOW], ["a", EMOJI]),
    "both in one delta": (["a" + HIGH + LOW], ["a" + EMOJI]),
    "without its other half": (["a" + HIGH, "b"], ["a", LOST + "b"]),
    "without its first half": ([LOW + "b"], [LOST + "b"]),
    "at the end": (["a" + HIGH], ["a", LOST]),
    "in the wrong order": ([LOW, HIGH], [LOST, LOST]),
    "two first halves": ([HIGH, HIGH + LOW], [LOST + EMOJI]),
}


def deltas(events: Sequence[Event]) -> list[str]:
    return [event["delta"] for event in events if "delta" in event]


@pytest.mark.requirement("EVENT-04")
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("name", TABLE)
def test_a_character_cut_in_two_is_joined(stream: str, name: str) -> None:
    start, content, end = STREAMS[stream]
    cut, expected = TABLE[name]
    events = shown([STARTED, start, *({**content, "delta": delta} for delta in cut), end, FINISHED])
    assert deltas(events) == expected
    assert [event["type"] for event in events][-2:] == [end["type"], "RUN_FINISHED"]


@pytest.mark.requirement("EVENT-04")
@pytest.mark.parametrize("stream", CHUNKS)
@pytest.mark.parametrize("name", TABLE)
def test_a_character_cut_in_two_is_joined_across_chunks(stream: str, name: str) -> None:
    cut, expected = TABLE[name]
    events = shown([STARTED, *({**CHUNKS[stream], "delta": delta} for delta in cut), FINISHED])
    assert deltas(events) == expected


@pytest.mark.requirement("EVENT-04")
def test_a_character_cut_in_two_is_joined_in_a_model() -> None:
    # Not validated: the models of AG-UI before 1.0 accept no halves.
    whole = TextMessageContentEvent(message_id="m", delta="whole")
    cut = [whole.model_copy(update={"delta": delta}) for delta in ("a" + HIGH, LOW)]
    assert deltas(shown([STARTED, text("START"), *cut, text("END"), FINISHED])) == ["a", EMOJI]


@pytest.mark.requirement("EVENT-04")
def test_a_character_cut_in_two_is_joined_in_its_own_message() -> None:
    emitted = [
        STARTED,
        text("START", "m"),
        text("START", "n"),
        call("START"),
        text("CONTENT", "m", delta=HIGH),
        call("ARGS", delta=HIGH),
        text("CONTENT", "n", delta="n" + HIGH),
        custom(),
        text("CONTENT", "n", delta="\ude01"),
        call("ARGS", delta=LOW),
        text("CONTENT", "m", delta=LOW),
        text("END", "n"),
        text("END", "m"),
        call("END"),
        FINISHED,
    ]
    events = shown(emitted)
    assert deltas([event for event in events if event.get("messageId") == "m"]) == [EMOJI]
    assert deltas([event for event in events if event.get("messageId") == "n"]) == ["n", "\U0001f601"]
    assert deltas([event for event in events if event.get("toolCallId") == "c"]) == [EMOJI]


@pytest.mark.requirement("EVENT-04")
@pytest.mark.parametrize("next_event", [text("END", "n"), text("CONTENT", "m", delta=LOW)], ids=["end", "other half"])
def test_the_delta_of_another_message_after_a_half_stays_in_its_own_message(next_event: Event) -> None:
    """Both are plain deltas of messages that are known to be open, so that the half is found with the other delta."""
    emitted = [
        STARTED,
        text("START", "m"),
        text("START", "n"),
        text("CONTENT", "m"),
        text("CONTENT", "n", delta="n"),
        text("CONTENT", "m", delta="m" + HIGH),
        text("CONTENT", "n", delta="o"),
        next_event,
    ]
    recorder, frames = recorded(emitted, ending=RunEnding())
    for events in (events_of(frames), events_of(record.frame for record in recorder.records())):
        assert "".join(deltas([event for event in events if event.get("messageId") == "n"])) == "no"
        assert [event["type"] for event in events if event.get("messageId") == "n"][-1] == "TEXT_MESSAGE_END"


@pytest.mark.requirement("EVENT-04")
@pytest.mark.parametrize("last", [{"type": "RUN_ERROR", "message": "no"}, None], ids=["failed", "unfinished"])
def test_a_half_at_the_end_of_a_run_is_replaced(last: Event | None) -> None:
    ending = RunEnding(NO_TERMINAL_EVENT)
    events = [STARTED, text("START"), text("CONTENT", delta="a" + HIGH), *([] if last is None else [last])]
    recorder, frames = recorded(events, ending=ending)
    assert deltas(events_of(frames)) == ["a", LOST]
    assert events_of(frames)[-1]["type"] == "RUN_ERROR"
    assert b"".join(record.frame for record in recorder.records()).count(LOST.encode()) == 1


@pytest.mark.requirement("EVENT-04")
@pytest.mark.parametrize(("message", "received"), [("no" + HIGH, "no" + LOST), (HIGH + LOW, EMOJI)])
def test_halves_in_the_message_of_an_error_that_leaves_something_open(message: str, received: str) -> None:
    """Whatever is open ends with the message of the error."""
    started = {"type": "SUBAGENT_STARTED", "subagentRunId": "s", "name": "n"}
    events = shown([STARTED, started, call("START"), {"type": "RUN_ERROR", "message": message}])
    result, failed, error = events[-3:]
    assert json.loads(result["content"])["message"] == received
    assert failed == {"type": "SUBAGENT_ERROR", "subagentRunId": "s", "message": received}
    assert error == {"type": "RUN_ERROR", "message": received}


@pytest.mark.requirement("EVENT-04")
def test_a_half_for_a_message_that_is_not_open_is_refused() -> None:
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError, match="not open"):
        recorder.feed(text("CONTENT", delta=HIGH))
    recorder.complete(RunEnding(), "t", "r")
    assert [event["type"] for event in events_of(recorder.drain())] == ["RUN_ERROR"]


def test_a_half_with_metadata_keeps_it() -> None:
    events = shown([STARTED, text("START"), text("CONTENT", delta=HIGH, metadata={"k": 1}), text("CONTENT", delta=LOW)])
    assert events[2:] == [text("CONTENT", delta="", metadata={"k": 1}), text("CONTENT", delta=EMOJI)]


ELSEWHERE: dict[str, tuple[Event, Event]] = {
    "a result": (call("RESULT", content="a" + HIGH), call("RESULT", content="a" + LOST)),
    "a value": (custom({"a": [HIGH + LOW, LOW]}), custom({"a": [EMOJI, LOST]})),
    "a name": (custom({HIGH: 1}), custom({LOST: 1})),
    "a tuple": (custom((1, HIGH)), custom([1, LOST])),
    "a message": (
        {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "u", "role": "user", "content": HIGH + LOW + HIGH}]},
        {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "u", "role": "user", "content": EMOJI + LOST}]},
    ),
    "an id": (text("START", HIGH), text("START", LOST)),
}


@pytest.mark.requirement("EVENT-04")
@pytest.mark.parametrize("name", ELSEWHERE)
def test_halves_outside_of_deltas_are_joined_or_replaced(name: str) -> None:
    event, expected = ELSEWHERE[name]
    assert shown([STARTED, event])[1] == expected


@pytest.mark.parametrize("value", [object(), {"a": HIGH, "b": object()}])
def test_other_values_that_json_cannot_represent_are_refused(value: Any) -> None:
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError, match="CUSTOM"):
        recorder.feed(custom(value))


@given(st.lists(st.text(alphabet=st.sampled_from(["a", HIGH, LOW, EMOJI]), max_size=3), max_size=6))
def test_random_cuts(cut: list[str]) -> None:
    """Wherever a text is cut, a client receives the same text."""
    whole = "".join(cut).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    events = shown([STARTED, text("START"), *(text("CONTENT", delta=delta) for delta in cut), text("END"), FINISHED])
    assert "".join(deltas(events)) == whole


def cut_text() -> list[Event]:
    return [
        STARTED,
        text("START"),
        text("CONTENT", delta="a" + HIGH),
        text("CONTENT", delta=LOW),
        text("END"),
        FINISHED,
    ]


def sync_agent(input: Any) -> Iterator[Event]:
    yield from cut_text()


async def async_agent(input: Any) -> AsyncIterator[Event]:
    for event in cut_text():
        yield event


@pytest.mark.requirement("EVENT-04")
@pytest.mark.parametrize("agent", [sync_agent, async_agent])
def test_a_character_cut_in_two_is_joined_in_a_run_and_its_replay(agent: Any) -> None:
    with TestClient(CopilotRuntime(agents={"a": agent})) as client:
        result = client.run("a", "hi", thread_id="t")
        assert result.text == "a" + EMOJI
        assert result.events[-1]["type"] == "RUN_FINISHED"
        assert client.connect("a", thread_id="t").messages[-1]["content"] == "a" + EMOJI
