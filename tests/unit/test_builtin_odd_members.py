"""Frames of model servers in which any member has another type, or is missing: a run must not fail on them."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from copilot_runtime.agents._builtin._apis.anthropic_messages.events import EventReader as MessagesReader
from copilot_runtime.agents._builtin._apis.chat.chunks import ChunkParser
from copilot_runtime.agents._builtin._apis.google_content.chunk_repair import repair_chunk
from copilot_runtime.agents._builtin._apis.google_content.chunks import ChunkReader
from copilot_runtime.agents._builtin._apis.responses.events import EventReader as ResponsesReader
from copilot_runtime.agents._builtin.completion_stream import CompletionTranslator
from copilot_runtime.agents._builtin.errors import ModelError
from copilot_runtime.agents._tools.arguments import arguments_json, parse_arguments
from copilot_runtime.agents._tools.tool import ToolError
from tests.builtin.frames import APIS, FRAMES, Call, Frame, Reasoning, Text

from .json_members import paths, with_member

TYPES: Any = None
with contextlib.suppress(ImportError):  # it needs a newer pydantic than the core does
    TYPES = importlib.import_module("google.genai.types")

PARTS = [
    Reasoning(["hm"], "c2ln"),
    Text(["Hi"], "c2ln"),
    Call("c1", "paint", ['{"text": "a"}'], "c2ln"),
]
JUNK = [None, 1.5, "x", [[]], {"a": None}, "\ud83d"]


def google_deltas() -> Callable[[Frame], Any]:
    reader = ChunkReader()
    return lambda frame: reader.deltas(TYPES.GenerateContentResponse.model_validate(repair_chunk(frame)))


READERS: Mapping[str, Callable[[], Callable[[Frame], Any]]] = {
    "chat": lambda: ChunkParser().deltas,
    "responses": lambda: ResponsesReader().deltas,
    "messages": lambda: MessagesReader().deltas,
    "generate_content": google_deltas,
}
apis = pytest.mark.parametrize(
    "api",
    [
        pytest.param(api, marks=pytest.mark.skipif(api == "generate_content" and TYPES is None, reason="no SDK"))
        for api in APIS
    ],
)


def events_of(api: str, frames: list[Frame]) -> list[dict[str, Any]]:
    deltas = READERS[api]()
    translator = CompletionTranslator("openai", tool_names={"paint": "paint"})
    events = [event for frame in frames for event in translator.feed(deltas(frame))]
    events += translator.close()
    translator.message()
    return events


@apis
def test_odd_members_fail_no_run(api: str) -> None:
    frames = list(FRAMES[api](PARTS))
    for index, frame in enumerate(frames):
        for path in paths(frame):
            for junk in JUNK if path[-1] != "finishReason" else ():  # of which the SDK has a list
                with contextlib.suppress(ModelError):
                    events_of(api, [*frames[:index], with_member(frame, path, junk), *frames[index + 1 :]])


UNKNOWN = {
    "safetyRatings": 1,
    "citationMetadata": [],
    "groundingMetadata": "x",
    "logprobsResult": 1,
    "avgLogprobs": "x",
    "tokenCount": "x",
    "modelVersion": 1,
    "responseId": 1,
    "createTime": "x",
    "inlineData": "x",
    "executableCode": "x",
    "promptTokensDetails": {},
    "trafficType": 1,
}


@pytest.mark.skipif(TYPES is None, reason="no SDK")
def test_odd_members_of_google_that_nobody_reads() -> None:
    def spoil(value: Any) -> Any:
        if isinstance(value, list):
            return [spoil(item) for item in value]
        return {**UNKNOWN, **{name: spoil(item) for name, item in value.items()}} if isinstance(value, dict) else value

    frames = list(FRAMES["generate_content"]([Text(["H", "i"])]))
    assert [event.get("delta") for event in events_of("generate_content", list(map(spoil, frames)))] == [
        event.get("delta") for event in events_of("generate_content", frames)
    ]


ARGUMENTS = {"text": "a\ud83d", "\ude00": ["\ud83d\ude00"]}
REPAIRED = {"text": "a\ufffd", "\ufffd": ["\U0001f600"]}
WHOLE_CALLS: Mapping[str, Frame] = {
    "chat": {
        "choices": [{"delta": {"tool_calls": [{"id": "c1", "function": {"name": "paint", "arguments": ARGUMENTS}}]}}]
    },
    "responses": {
        "type": "response.output_item.done",
        "item": {"type": "function_call", "call_id": "c1", "name": "paint", "arguments": json.dumps(ARGUMENTS)},
    },
    "messages": {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "c1", "name": "paint", "input": ARGUMENTS},
    },
    "generate_content": {
        "candidates": [{"content": {"parts": [{"functionCall": {"name": "paint", "args": ARGUMENTS}}]}}]
    },
}


@apis
def test_half_a_character_in_the_arguments_of_a_whole_call(api: str) -> None:
    deltas = READERS[api]()
    translator = CompletionTranslator("openai", tool_names={"paint": "paint"})
    stop = {"type": "content_block_stop", "index": 0}
    for frame in (WHOLE_CALLS[api], *([stop] if api == "messages" else []), *list(FRAMES[api]([]))[-2:]):
        list(translator.feed(deltas(frame)))
    list(translator.close())
    (call,) = translator.calls
    assert call.fault is None
    message = translator.message()
    assert message is not None
    assert [json.loads(each.arguments) for each in message.calls] == [REPAIRED]


def test_half_a_character_in_the_id_of_a_call() -> None:
    events = events_of("chat", list(FRAMES["chat"]([Call("c\ud83d1", "paint", ["{", "}"])])))
    assert {event["toolCallId"] for event in events} == {"c\ufffd1"}


def test_arguments_of_a_whole_call_that_are_nested_too_deeply() -> None:
    value: Any = {}
    for _ in range(700):
        value = {"a": value}
    with pytest.raises(ToolError, match="must be a JSON object"):
        parse_arguments(arguments_json(value))


def without(frames: list[Frame], kind: str) -> list[Frame]:
    return [frame for frame in frames if frame["type"] != kind]


MESSAGES, RESPONSES = (list(FRAMES[api](PARTS)) for api in ("messages", "responses"))
WHOLE_ITEMS: list[Frame] = []
for frame in RESPONSES:
    if frame["type"] == "response.output_item.done":
        texts = {
            "reasoning": {"summary": [{"type": "summary_text", "text": "hm"}]},
            "message": {"content": [{"type": "output_text", "text": "Hi"}]},
        }
        WHOLE_ITEMS.append({**frame, "item": {**frame["item"], **texts.get(frame["item"]["type"], {})}})
INCOMPLETE: Mapping[str, tuple[str, list[Frame]]] = {
    "Messages without indexes": (
        "messages",
        [{name: value for name, value in frame.items() if name != "index"} for frame in MESSAGES],
    ),
    "Messages without the ends of blocks": ("messages", without(MESSAGES, "content_block_stop")),
    "Messages with the input twice": (
        "messages",
        [
            with_member(frame, ("content_block", "input"), {"text": "a"})
            if frame.get("content_block", {}).get("type") == "tool_use"
            else frame
            for frame in MESSAGES
        ],
    ),
    "Responses without the beginnings of items": ("responses", without(RESPONSES, "response.output_item.added")),
    "Responses with whole items only": ("responses", [*WHOLE_ITEMS, RESPONSES[-1]]),
    "Responses with the whole response only": (
        "responses",
        [
            {
                "type": "response.completed",
                "response": {**RESPONSES[-1]["response"], "output": [frame["item"] for frame in WHOLE_ITEMS]},
            }
        ],
    ),
    "Responses without the pieces of arguments": (
        "responses",
        without(RESPONSES, "response.function_call_arguments.delta"),
    ),
}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_odd_members_that_are_missing_everywhere(case: str) -> None:
    """Reasoning keeps what is attached to it, and calls their names and arguments."""
    api, frames = INCOMPLETE[case]
    assert summary(events_of(api, frames)) == summary(events_of(api, list(FRAMES[api](PARTS))))


def summary(events: list[dict[str, Any]]) -> list[Any]:
    """What a client has of events, but for ids."""
    texts: dict[str, str] = {}
    for event in events:
        if "delta" in event:
            texts[event["type"]] = texts.get(event["type"], "") + event["delta"]
    return [
        texts,
        [event["toolCallName"] for event in events if event["type"] == "TOOL_CALL_START"],
        [event["encryptedValue"] for event in events if event["type"] == "REASONING_ENCRYPTED_VALUE"],
    ]
