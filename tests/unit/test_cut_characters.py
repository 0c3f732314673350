"""Characters that are cut in two, between the deltas of an agent or within what a tool returns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, RunContext
from copilot_runtime._events.messages import MessageFold
from copilot_runtime.agents import Tool
from copilot_runtime.agents._tools.toolbox import Toolbox, serialize_result
from copilot_runtime.middleware import use
from copilot_runtime.middleware._server_tools import run_with_tools
from copilot_runtime.testing import TestClient

FIRST, SECOND, WHOLE = "\ud83d", "\ude00", "\U0001f600"


def content(delta: str) -> dict[str, Any]:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": delta}


def test_messages_of_a_run_have_whole_characters_whenever_they_are_read() -> None:
    fold = MessageFold([])
    fold.apply({"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"})
    fold.apply(content(f"a{FIRST}"))
    assert fold.messages()[0]["content"] == "a\ufffd"
    fold.apply(content(f"{SECOND}b{FIRST}"))
    assert fold.messages()[0]["content"] == f"a{WHOLE}b\ufffd"
    assert fold.messages()[0]["content"] == f"a{WHOLE}b\ufffd"
    fold.apply(content("c"))
    assert fold.messages()[0]["content"] == f"a{WHOLE}b\ufffdc"


class Echo:
    """Middleware with a tool of the server, which records its arguments."""

    def __init__(self, result: Any) -> None:
        self.arguments: list[Mapping[str, Any]] = []
        self._result = result

    async def run(self, input: Any, next: Any, context: RunContext) -> AsyncIterator[Any]:
        def call(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
            self.arguments.append(arguments)
            return self._result

        echo = Tool(name="echo", description="", parameters={"type": "object"}, call=call)
        async for event in run_with_tools([echo], input, next, context, max_rounds=2):
            yield event


class Calling:
    """An agent that calls the tool with arguments in pieces, and then ends."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = pieces
        self.inputs: list[Any] = []

    async def run(self, input: Any, context: RunContext | None = None) -> AsyncIterator[dict[str, Any]]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        if not self.inputs:
            yield {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "echo"}
            for piece in self._pieces:
                yield {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": piece}
            yield {"type": "TOOL_CALL_END", "toolCallId": "c"}
        self.inputs.append(input)
        yield {"type": "RUN_FINISHED", **ids}


def test_tools_of_middleware_receive_whole_characters() -> None:
    agent, echo = Calling([f'{{"a": "{FIRST}', f'{SECOND}"}}']), Echo(f"ok{FIRST}")
    with TestClient(CopilotRuntime(agents={"a": use(agent, echo)})) as client:
        events = client.run("a", "hi").events
    assert events[-1]["type"] == "RUN_FINISHED"
    assert echo.arguments == [{"a": WHOLE}]
    assert [event["content"] for event in events if event["type"] == "TOOL_CALL_RESULT"] == ["ok\ufffd"]
    _, call, result = agent.inputs[1].messages
    assert call.tool_calls[0].function.arguments == f'{{"a": "{WHOLE}"}}'
    assert result.content == "ok\ufffd"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (f"a{FIRST}{SECOND}{FIRST}", f"a{WHOLE}\ufffd"),
        ({"file": f"{FIRST}.txt"}, '{"file":"\ufffd.txt"}'),
        ([f"{FIRST}{SECOND}"], f'["{WHOLE}"]'),
    ],
)
def test_results_of_tools_have_whole_characters(value: Any, text: str) -> None:
    assert serialize_result(value) == text


def test_failures_of_tools_have_whole_characters() -> None:
    def call(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        raise ValueError(f"no {FIRST}")

    tool = Tool(name="t", description="", parameters={}, call=call)
    result = asyncio.run(Toolbox([tool], (), debug=True).call(tool, "{}", None))
    assert result.for_model == result.for_client == "Error: ValueError: no \ufffd"


IDS: dict[str, list[dict[str, Any]]] = {
    "text": [
        {"type": "TEXT_MESSAGE_START", "messageId": "ID", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "ID", "delta": "plain"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "ID", "delta": FIRST},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "ID", "delta": SECOND},
        {"type": "TEXT_MESSAGE_END", "messageId": "ID"},
    ],
    "chunks": [
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "ID", "role": "assistant", "delta": f"plain{FIRST}"},
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "ID", "delta": SECOND},
    ],
    "call": [
        {"type": "TOOL_CALL_START", "toolCallId": "ID", "toolCallName": "f"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "ID", "delta": f"plain{FIRST}"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "ID", "delta": SECOND},
        {"type": "TOOL_CALL_END", "toolCallId": "ID"},
        {"type": "TOOL_CALL_RESULT", "messageId": "ID", "toolCallId": "ID", "content": "x"},
    ],
    "reasoning": [
        {"type": "REASONING_MESSAGE_START", "messageId": "ID", "role": "reasoning"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "ID", "delta": f"plain{FIRST}"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "ID", "delta": SECOND},
        {"type": "REASONING_MESSAGE_END", "messageId": "ID"},
    ],
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_with_half_a_character_have_a_replacement_in_all_events(kind: str) -> None:
    async def agent(input: Any) -> AsyncIterator[dict[str, Any]]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        for event in IDS[kind]:
            yield {name: f"a{FIRST}" if value == "ID" else value for name, value in event.items()}
        yield {"type": "RUN_FINISHED", **ids}

    with TestClient(CopilotRuntime(agents={"a": agent})) as client:
        events = client.run("a", "hi").events
    assert events[-1]["type"] == "RUN_FINISHED", events[-1]
    assert {event[name] for event in events for name in ("messageId", "toolCallId") if name in event} == {"a\ufffd"}
    assert "".join(event.get("delta", "") for event in events) == f"plain{WHOLE}"
