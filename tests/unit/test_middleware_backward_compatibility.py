"""`BackwardCompatibility`: agents that speak an older AG-UI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, RunContext
from copilot_runtime.middleware import BackwardCompatibility, use
from copilot_runtime.testing import TestClient

from .middleware_helpers import STACKS, ids, run_once

pytestmark = pytest.mark.requirement("MIDDLEWARE-04")

Event = dict[str, Any]


def thinking(input: Any) -> Iterator[Event]:
    yield {"type": "RUN_STARTED", **ids(input)}
    yield {"type": "THINKING_START", "title": "Plan"}
    for text in ("a", "b"):
        yield {"type": "THINKING_TEXT_MESSAGE_START"}
        yield {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": text, "timestamp": 5}
        yield {"type": "THINKING_TEXT_MESSAGE_END"}
    yield {"type": "THINKING_END"}
    yield {"type": "RUN_FINISHED", **ids(input)}


async def async_thinking(input: Any) -> AsyncIterator[Event]:
    for event in thinking(input):
        yield event


def sparse(input: Any) -> Iterator[Event]:
    """Leaves out what begins and ends."""
    yield {"type": "RUN_STARTED", **ids(input)}
    yield {"type": "THINKING_TEXT_MESSAGE_END"}
    yield {"type": "THINKING_END"}
    yield {"type": "THINKING_START"}
    yield {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": "a"}
    yield {"type": "THINKING_START"}
    yield {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": "b"}
    yield {"type": "THINKING_END"}
    yield {"type": "RUN_FINISHED", **ids(input)}


MESSAGE = ["REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END"]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("agent", [thinking, async_thinking])
def test_backward_compatibility_of_thinking_events(agent: Any, stack: str) -> None:
    events = run_once(stack, use(agent, BackwardCompatibility())).events[1:-1]
    assert [event["type"] for event in events] == ["REASONING_START", *MESSAGE, *MESSAGE, "REASONING_END"]
    block, one, other = events[0]["messageId"], events[1]["messageId"], events[4]["messageId"]
    assert [event["messageId"] for event in events] == [block, one, one, one, other, other, other, block]
    assert len({block, one, other}) == 3
    assert events[2]["timestamp"] == 5


def test_backward_compatibility_completes_thinking_events() -> None:
    events = run_once("sync", use(sparse, BackwardCompatibility())).events[1:-1]
    block = ["REASONING_START", *MESSAGE, "REASONING_END"]
    assert [event["type"] for event in events] == [*block, *block]


IMAGE = {"type": "image", "source": {"type": "data", "value": "QUJD", "mimeType": "image/png"}}
DOCUMENT = {"type": "document", "source": {"type": "url", "value": "https://files.example/a.pdf"}}


def test_backward_compatibility_leaves_out_what_old_servers_refuse() -> None:
    bodies: list[Any] = []

    async def agent(input: Any, context: RunContext) -> AsyncIterator[Event]:
        bodies.append(dict(context.body))
        yield {"type": "RUN_STARTED", **ids(input)}
        yield {"type": "RUN_FINISHED", **ids(input)}

    function = {"name": "search", "arguments": "{}"}
    messages = [
        {"id": "u1", "role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"id": "u2", "role": "user", "content": [{"type": "text", "text": "see"}, IMAGE, DOCUMENT], "new": 1},
        {"id": "r", "role": "reasoning", "content": "hm", "encryptedValue": "x"},
        {
            "id": "a",
            "role": "assistant",
            "content": "ok",
            "encryptedValue": "x",
            "toolCalls": [{"id": "c", "type": "function", "function": function, "encryptedValue": "y"}],
        },
        {"id": "t", "role": "tool", "toolCallId": "c", "content": "found", "subagentRunId": "s"},
    ]
    runtime = CopilotRuntime(agents={"a": use(agent, BackwardCompatibility())})
    with TestClient(runtime) as client:
        client.run(
            "a",
            messages,
            thread_id="t",
            run_id="r",
            state={"n": None},
            tools=[{"name": "search", "description": "d", "parameters": {}, "metadata": {}}],
            context=[{"description": "d", "value": "v"}],
            forwarded_props={"x": None},
            extra={"parentRunId": "p", "unknown": 1},
        )
    assert bodies == [
        {
            "threadId": "t",
            "runId": "r",
            "state": {"n": None},
            "messages": [
                {"id": "u1", "role": "user", "content": "a\nb"},
                {
                    "id": "u2",
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "see"},
                        {"type": "binary", "mimeType": "image/png", "data": "QUJD"},
                        {
                            "type": "binary",
                            "mimeType": "application/octet-stream",
                            "url": "https://files.example/a.pdf",
                        },
                    ],
                },
                {
                    "id": "a",
                    "role": "assistant",
                    "content": "ok",
                    "toolCalls": [{"id": "c", "type": "function", "function": function}],
                },
                {"id": "t", "role": "tool", "toolCallId": "c", "content": "found"},
            ],
            "tools": [{"name": "search", "description": "d", "parameters": {}}],
            "context": [{"description": "d", "value": "v"}],
            "forwardedProps": {"x": None},
        }
    ]
