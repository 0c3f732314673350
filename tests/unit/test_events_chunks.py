"""Chunk events: what the client gets in their place (docs/protocol.md, section 5, step 1)."""

from __future__ import annotations

from typing import Any

import pytest

from copilot_runtime._events import InvalidEventError, RunEnding

from .recorder_helpers import FINISHED, STARTED, Event, call, custom, recorded, shown, text


def text_chunk(**members: Any) -> Event:
    return {"type": "TEXT_MESSAGE_CHUNK", **members}


def call_chunk(**members: Any) -> Event:
    return {"type": "TOOL_CALL_CHUNK", **members}


def thought_chunk(**members: Any) -> Event:
    return {"type": "REASONING_MESSAGE_CHUNK", **members}


def thought(kind: str, message: str = "th", **members: Any) -> Event:
    more = {"START": {"role": "reasoning"}}.get(kind, {})
    return {"type": f"REASONING_MESSAGE_{kind}", "messageId": message, **more, **members}


RAW: Event = {"type": "RAW", "event": {"n": 1}}
ACTIVITY: Event = {"type": "ACTIVITY_SNAPSHOT", "messageId": "act", "activityType": "PLAN", "content": {}}
ACTIVITY_DELTA: Event = {"type": "ACTIVITY_DELTA", "messageId": "act", "activityType": "PLAN", "patch": []}
ENCRYPTED: Event = {
    "type": "REASONING_ENCRYPTED_VALUE",
    "subtype": "message",
    "entityId": "m",
    "encryptedValue": "e30=",
}

TABLE: dict[str, tuple[list[Event], list[Event]]] = {
    "text": (
        [text_chunk(messageId="m", delta="a"), text_chunk(delta="b"), text_chunk(messageId="m", delta="c"), FINISHED],
        [
            text("START"),
            text("CONTENT", delta="a"),
            text("CONTENT", delta="b"),
            text("CONTENT", delta="c"),
            text("END"),
            FINISHED,
        ],
    ),
    "role and name go to the start": (
        [text_chunk(messageId="m", role="user", name="Ada", delta="a"), FINISHED],
        [text("START", role="user", name="Ada"), text("CONTENT", delta="a"), text("END"), FINISHED],
    ),
    "no content without a delta": ([text_chunk(messageId="m"), FINISHED], [text("START"), text("END"), FINISHED]),
    "an empty delta is a delta": (
        [text_chunk(messageId="m", delta=""), FINISHED],
        [text("START"), text("CONTENT", delta=""), text("END"), FINISHED],
    ),
    "nulls count as absent": (
        [text_chunk(messageId="m", role=None, name=None, delta=None), text_chunk(messageId=None, delta="b"), FINISHED],
        [text("START"), text("CONTENT", delta="b"), text("END"), FINISHED],
    ),
    "metadata goes to every event of its chunk": (
        [text_chunk(messageId="m", delta="a", metadata={"k": 1}), text_chunk(delta="b"), FINISHED],
        [
            text("START", metadata={"k": 1}),
            text("CONTENT", delta="a", metadata={"k": 1}),
            text("CONTENT", delta="b"),
            text("END"),
            FINISHED,
        ],
    ),
    "a chunk of only metadata is an empty delta": (
        [text_chunk(messageId="m", delta="a"), text_chunk(metadata={"k": 1}), FINISHED],
        [
            text("START"),
            text("CONTENT", delta="a"),
            text("CONTENT", delta="", metadata={"k": 1}),
            text("END"),
            FINISHED,
        ],
    ),
    "a new id closes": (
        [text_chunk(messageId="m", delta="a"), text_chunk(messageId="m2", delta="b"), FINISHED],
        [
            text("START"),
            text("CONTENT", delta="a"),
            text("END"),
            text("START", "m2"),
            text("CONTENT", "m2", delta="b"),
            text("END", "m2"),
            FINISHED,
        ],
    ),
    "a chunk of another kind closes": (
        [
            text_chunk(messageId="m", delta="a"),
            call_chunk(toolCallId="c", toolCallName="search", parentMessageId="m", delta="{"),
            call_chunk(delta="}"),
            thought_chunk(messageId="th", delta="h"),
            text_chunk(messageId="m2", delta="b"),
            FINISHED,
        ],
        [
            text("START"),
            text("CONTENT", delta="a"),
            text("END"),
            call("START", parentMessageId="m"),
            call("ARGS", delta="{"),
            call("ARGS", delta="}"),
            call("END"),
            thought("START"),
            thought("CONTENT", delta="h"),
            thought("END"),
            text("START", "m2"),
            text("CONTENT", "m2", delta="b"),
            text("END", "m2"),
            FINISHED,
        ],
    ),
    "a call of the same id as the text's is another kind": (
        [
            text_chunk(messageId="x", delta="a"),
            call_chunk(toolCallId="x", toolCallName="search"),
            text_chunk(messageId="x", delta="b"),
            FINISHED,
        ],
        [
            text("START", "x"),
            text("CONTENT", "x", delta="a"),
            text("END", "x"),
            call("START", "x"),
            call("END", "x"),
            text("START", "x"),
            text("CONTENT", "x", delta="b"),
            text("END", "x"),
            FINISHED,
        ],
    ),
    "any other event closes": (
        [text_chunk(messageId="m", delta="a"), custom(), FINISHED],
        [text("START"), text("CONTENT", delta="a"), text("END"), custom(), FINISHED],
    ),
    "events that are no chunks, next to chunks": (
        [text("START", "p"), text_chunk(messageId="m", delta="a"), text("CONTENT", "p"), text("END", "p"), FINISHED],
        [
            text("START", "p"),
            text("START"),
            text("CONTENT", delta="a"),
            text("END"),
            text("CONTENT", "p"),
            text("END", "p"),
            FINISHED,
        ],
    ),
    **{
        f"{event['type']} passes in between": (
            [text_chunk(messageId="m", delta="a"), event, text_chunk(delta="b"), FINISHED],
            [text("START"), text("CONTENT", delta="a"), event, text("CONTENT", delta="b"), text("END"), FINISHED],
        )
        for event in (RAW, ACTIVITY, ACTIVITY_DELTA, ENCRYPTED)
    },
}


@pytest.mark.requirement("RUN-04")
@pytest.mark.parametrize("name", TABLE)
def test_expansion(name: str) -> None:
    emitted, expected = TABLE[name]
    assert shown([STARTED, *emitted]) == [STARTED, *expected]


@pytest.mark.requirement("RUN-04")
@pytest.mark.parametrize(
    "first",
    [
        text_chunk(delta="whose?"),
        text_chunk(messageId=None, delta="whose?"),
        text_chunk(messageId=7, delta="a"),
        call_chunk(delta="{"),
        call_chunk(toolCallName="search", delta="{"),
        call_chunk(toolCallId="c", delta="{"),
        thought_chunk(delta="hmm"),
    ],
    ids=str,
)
def test_the_first_chunk_requires_its_ids(first: Event) -> None:
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError, match=first["type"]):
        recorder.feed(first)
    assert recorder.drain() == []


def test_a_chunk_without_its_ids_after_another_kind() -> None:
    recorder, _ = recorded([STARTED, text_chunk(messageId="m", delta="a")])
    with pytest.raises(InvalidEventError):
        recorder.feed(call_chunk(delta="{"))


def test_the_first_chunk_of_another_call_requires_a_name() -> None:
    recorder, _ = recorded([STARTED, call_chunk(toolCallId="c", toolCallName="search")])
    with pytest.raises(InvalidEventError, match="toolCallName"):
        recorder.feed(call_chunk(toolCallId="c2", delta="{}"))


@pytest.mark.parametrize("delta", [7, ["x"], {}])
def test_a_delta_that_is_not_a_string(delta: Any) -> None:
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError, match="delta"):
        recorder.feed(text_chunk(messageId="m", delta=delta))


def test_a_chunk_before_run_started_is_refused() -> None:
    recorder, frames = recorded([])
    with pytest.raises(InvalidEventError, match="RUN_STARTED"):
        recorder.feed(text_chunk(messageId="m", delta="a"))
    assert frames == []


def test_an_open_text_is_closed_when_the_agent_returns() -> None:
    events = shown([STARTED, text_chunk(messageId="m", delta="half")], ending=RunEnding())
    assert events[:-1] == [STARTED, text("START"), text("CONTENT", delta="half"), text("END")]
    assert events[-1]["type"] == "RUN_ERROR"


def test_an_open_call_of_chunks_gets_an_end_and_a_result() -> None:
    events = shown([STARTED, call_chunk(toolCallId="c", toolCallName="search", delta="{")], ending=RunEnding())
    assert [event["type"] for event in events[3:]] == ["TOOL_CALL_END", "TOOL_CALL_RESULT", "RUN_ERROR"]


def test_open_messages_are_closed_in_the_order_in_which_they_were_opened() -> None:
    """A text message of plain events and one of chunks: docs/protocol.md, section 5, step 4."""
    events = shown([STARTED, text("START", "first"), text_chunk(messageId="second", delta="x")], ending=RunEnding())
    ends = [event["messageId"] for event in events if event["type"] == "TEXT_MESSAGE_END"]
    assert ends == ["first", "second"]


def test_the_agents_objects_are_not_changed() -> None:
    chunk = text_chunk(messageId="m", delta="a", metadata={"k": 1})
    before = {**chunk, "metadata": {"k": 1}}
    shown([STARTED, chunk, FINISHED])
    assert chunk == before
