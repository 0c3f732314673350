"""What holds for agents of every kind within a middleware, on a real server."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from tests.builtin.client import of_type, text_of, user_message
from tests.builtin.fake_provider import Exchange, chunk, tool_call_chunk
from tests.fixtures.framework_configs import USER
from tests.fixtures.frameworks.fake_model import Call
from tests.fixtures.middleware_agents import fake_completion
from tests.http_client import Client, Event, unique


def play_fake_model(exchange: Exchange) -> None:
    """Answers a request to a model server as `fake_model` does."""

    async def collect() -> list[Any]:
        return [piece async for piece in fake_completion(exchange.json()["messages"])]

    pieces = asyncio.run(collect())
    exchange.start_stream()
    for index, piece in enumerate(pieces):
        if isinstance(piece, Call):
            exchange.send(tool_call_chunk(index, piece.arguments, uuid.uuid4().hex, piece.tool))
        else:
            exchange.send(chunk({"content": piece}))
    exchange.finish("tool_calls" if any(isinstance(piece, Call) for piece in pieces) else "stop")


def ask(client: Client, agent: str, *texts: str, user: str = "ann", **members: Any) -> list[Event]:
    """Returns the events of a run with these messages of the user."""
    messages = [user_message(text) for text in texts]
    thread = unique("thread")
    events = client.run(agent, thread, run := unique("run"), headers={USER: user}, messages=messages, **members)
    assert [(event["threadId"], event["runId"]) for event in (events[0], events[-1])] == [(thread, run)] * 2, events
    assert [len(of_type(events, kind)) for kind in ("RUN_STARTED", "RUN_FINISHED")] == [1, 1]
    return events


def check_filter_tool_calls(client: Client, kind: str) -> None:
    events = ask(client, f"{kind}-filter", 'call weather {"city": "Rome"}')
    assert text_of(events) == "the tool said: sunny in Rome"
    assert not [event for event in events if event["type"].startswith("TOOL_CALL")]
    for snapshot in of_type(events, "MESSAGES_SNAPSHOT"):
        assert not [each for each in snapshot["messages"] if each["role"] == "tool" or each.get("toolCalls")]


def check_mcp_tools(client: Client, kind: str) -> None:
    events = ask(client, f"{kind}-mcp", 'call add {"a": 20, "b": 22}')
    (call,), (result,) = of_type(events, "TOOL_CALL_START"), of_type(events, "TOOL_CALL_RESULT")
    assert (call["toolCallName"], result["toolCallId"], result["content"]) == ("add", call["toolCallId"], "42")
    assert text_of(events) == "the tool said: 42"


def check_guardrail(client: Client, kind: str) -> None:
    assert text_of(ask(client, f"{kind}-trim", "secret", "recall")) == "recall"


def check_budget(client: Client, kind: str) -> None:
    users = (unique("user"), unique("user"))
    for text in ("one ", "No more today."):
        for user in users:
            assert text_of(ask(client, f"{kind}-budget", "say one", user=user)) == text


CASES = (check_filter_tool_calls, check_mcp_tools, check_guardrail, check_budget)
