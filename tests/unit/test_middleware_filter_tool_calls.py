"""`FilterToolCalls`: which tools an agent is offered, and which calls its client sees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.middleware import FilterToolCalls, use
from copilot_runtime.testing import TestClient

from .middleware_helpers import STACKS, ids, run_once

pytestmark = pytest.mark.requirement("MIDDLEWARE-03")

Event = dict[str, Any]


def call(call_id: str, name: str) -> Event:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def events(input: Any) -> Iterator[Event]:
    """Two calls at the same time with their results, and a snapshot of the messages with both."""
    names = {"c1": "search", "c2": "delete"}
    yield {"type": "RUN_STARTED", **ids(input)}
    yield {"type": "CUSTOM", "name": "offered", "value": [tool.name for tool in input.tools]}
    for call_id, name in names.items():
        yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name, "parentMessageId": "p"}
    for call_id in names:
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": "{}"}
    for call_id in names:
        yield {"type": "TOOL_CALL_END", "toolCallId": call_id}
    for call_id in names:
        yield {"type": "TOOL_CALL_RESULT", "toolCallId": call_id, "messageId": f"r{call_id}", "content": "ok"}
    for call_id in names:
        yield {
            "type": "REASONING_ENCRYPTED_VALUE",
            "subtype": "tool-call",
            "entityId": call_id,
            "encryptedValue": "x",
        }
    yield {"type": "TOOL_CALL_CHUNK", "toolCallId": "c3", "toolCallName": "delete", "delta": "{}"}
    yield {"type": "MESSAGES_SNAPSHOT", "messages": SNAPSHOT}
    yield {"type": "RUN_FINISHED", **ids(input)}


SNAPSHOT: list[Event] = [
    {"id": "u", "role": "user", "content": "hi"},
    {"id": "p", "role": "assistant", "toolCalls": [call("c1", "search"), call("c2", "delete")]},
    {"id": "rc1", "role": "tool", "toolCallId": "c1", "content": "ok"},
    {"id": "rc2", "role": "tool", "toolCallId": "c2", "content": "ok"},
    {"id": "q", "role": "assistant", "toolCalls": [call("c4", "delete")]},
    {"id": "rc4", "role": "tool", "toolCallId": "c4", "content": "ok"},
    {"id": "s", "role": "assistant", "content": "text", "toolCalls": [call("c5", "delete")]},
]


async def async_agent(input: Any) -> AsyncIterator[Event]:
    for event in events(input):
        yield event


def tool(name: str) -> Event:
    return {"name": name, "description": "", "parameters": {}}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("options", [{"allow": ["search"]}, {"deny": ["delete"]}], ids=["allow", "deny"])
@pytest.mark.parametrize("agent", [events, async_agent])
def test_filter_tool_calls(agent: Any, options: Any, stack: str) -> None:
    filtered = run_once(stack, use(agent, FilterToolCalls(**options)), tools=[tool("search"), tool("delete")]).events
    assert [event["value"] for event in filtered if event["type"] == "CUSTOM"] == [["search"]]
    calls = [event for event in filtered if event["type"].startswith("TOOL_CALL")]
    assert [event["type"].removeprefix("TOOL_CALL_") for event in calls] == ["START", "ARGS", "END", "RESULT"]
    assert {event["toolCallId"] for event in calls} == {"c1"}
    assert [event["entityId"] for event in filtered if "entityId" in event] == ["c1"]
    (snapshot,) = [event["messages"] for event in filtered if event["type"] == "MESSAGES_SNAPSHOT"]
    assert snapshot == [
        SNAPSHOT[0],
        {**SNAPSHOT[1], "toolCalls": [call("c1", "search")]},
        SNAPSHOT[2],
        {"id": "s", "role": "assistant", "content": "text"},
    ]


def test_filter_tool_calls_of_several_runs_have_nothing_in_common() -> None:
    """The same ids in two runs, of which one is filtered."""
    middleware = FilterToolCalls(deny=["delete"])
    runtime = CopilotRuntime(agents={"a": events, "b": use(events, FilterToolCalls(deny=[]))}, middleware=[middleware])
    with TestClient(runtime) as client:
        for _ in range(2):
            kept = {event["toolCallId"] for event in client.run("a", "hi").events if "toolCallId" in event}
            assert kept == {"c1"}


def test_filter_tool_calls_is_called_on_the_event_loop_of_asynchronous_agents() -> None:
    """It does not wait, so it needs no worker thread."""
    import threading

    threads: set[str] = set()

    async def agent(input: Any) -> AsyncIterator[Event]:
        for event in events(input):
            threads.add(threading.current_thread().name)
            yield event

    class Noting(FilterToolCalls):
        def allows(self, name: object) -> bool:
            threads.add(threading.current_thread().name)
            return super().allows(name)

    run_once("async", use(agent, Noting(deny=["delete"])))
    assert len(threads) == 1


@pytest.mark.parametrize("options", [{}, {"allow": ["a"], "deny": ["b"]}])
def test_filter_tool_calls_takes_one_list(options: Any) -> None:
    with pytest.raises(ValueError, match=r"use either allow=\[...\] or deny=\[...\]"):
        FilterToolCalls(**options)


@pytest.mark.parametrize("options", [{"allow": "search"}, {"deny": [1]}])
def test_filter_tool_calls_takes_names(options: Any) -> None:
    with pytest.raises(TypeError, match="must be a list of strings"):
        FilterToolCalls(**options)


def snapshot(**members: Any) -> Event:
    return {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "m", **members}]}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "TOOL_CALL_START", "toolCallName": "denied"},
        {"type": "TOOL_CALL_START", "toolCallName": [], "toolCallId": "c"},
        {"type": "TOOL_CALL_RESULT", "toolCallId": None, "messageId": "m", "content": "x"},
        snapshot(role="assistant", toolCalls=[{"type": "function", "function": {"name": "denied", "arguments": ""}}]),
        snapshot(role="assistant", toolCalls=[{"id": "c", "type": "function", "function": {"name": []}}]),
        snapshot(role="tool", toolCallId=[], content="x"),
    ],
)
def test_filter_tool_calls_leaves_invalid_events_for_the_run_to_fail_with(event: Event) -> None:
    def agent(input: Any) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        yield event
        yield {"type": "RUN_FINISHED", **ids(input)}

    bare = run_once("sync", agent).events[-1]
    assert bare["type"] == "RUN_ERROR"
    assert run_once("sync", use(agent, FilterToolCalls(deny=["denied"]))).events[-1] == bare
