"""What the model says, as events; aimock is the model."""

from __future__ import annotations

import pytest
from ag_ui.core import RunFinishedEvent

from tests.http_client import fresh

from .aimock import Aimock
from .client import (
    CALL,
    TEXT,
    assistant,
    called,
    calls_of,
    frontend_tool,
    of_type,
    only,
    outline,
    result,
    text_of,
    user,
    whole,
)
from .scripts import roles
from .verifier import NotingClient

pytestmark = pytest.mark.client

REASONING = [
    "REASONING_START",
    "REASONING_MESSAGE_START",
    "REASONING_MESSAGE_CONTENT",
    "REASONING_MESSAGE_END",
    "REASONING_END",
]


@pytest.fixture
def ask() -> str:
    """A message that no other test sends, and that is part of no other one."""
    return f"{fresh('question')}."


def test_text_comes_in_the_models_own_pieces(client: NotingClient, mock: Aimock, ask: str) -> None:
    mock.on(ask, {"content": "Grüße, and so on"}, chunkSize=6)
    events = client.ran("plain", "t-" + ask, messages=[user(ask)])
    assert outline(events) == whole(*TEXT)
    assert [event["delta"] for event in of_type(events, "TEXT_MESSAGE_CONTENT")] == ["Grüße,", " and s", "o on"]
    assert len({event["messageId"] for event in events if "messageId" in event}) == 1


def test_what_the_model_is_sent(client: NotingClient, mock: Aimock, ask: str) -> None:
    mock.on(ask, {"content": "yes"})
    client.ran("prompted", "t-" + ask, messages=[user("Before"), assistant("Indeed"), user(ask)])
    (asked,) = mock.asked(ask)
    assert asked["model"] == "gpt-4o-mini"
    assert asked["stream"] is True
    assert asked["messages"] == [
        {"role": "system", "content": "You are the test's assistant."},
        {"role": "user", "content": "Before"},
        {"role": "assistant", "content": "Indeed"},
        {"role": "user", "content": ask},
    ]
    assert "tools" not in asked
    assert "tool_choice" not in asked


def test_reasoning(client: NotingClient, mock: Aimock, ask: str) -> None:
    mock.on(ask, {"content": "Blue.", "reasoning": "Skies are blue, mostly."}, chunkSize=10)
    events = client.ran("plain", "t-" + ask, messages=[user(ask)])
    assert outline(events) == whole(*REASONING, *TEXT)
    assert text_of(events, "REASONING_MESSAGE_CONTENT") == "Skies are blue, mostly."
    assert text_of(events) == "Blue."


@pytest.mark.skipif("usage" not in RunFinishedEvent.model_fields, reason="this line of AG-UI has no place for usage")
def test_usage_is_told_at_the_end(client: NotingClient, mock: Aimock, ask: str) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    mock.on(ask, {"content": "yes", "usage": usage})
    (told,) = client.ran("plain", "t-" + ask, messages=[user(ask)])[-1]["usage"]
    assert told["model"] == "gpt-4o-mini"
    assert (told["inputTokens"], told["outputTokens"], told["totalTokens"]) == (11, 5, 16)


def test_context_and_state_follow_the_prompt(client: NotingClient, mock: Aimock, ask: str) -> None:
    mock.on(ask, {"content": "yes"})
    client.ran(
        "prompted",
        "t-" + ask,
        messages=[user(ask)],
        context=[{"description": "The user's city", "value": "Köln"}],
        state={"count": 41},
    )
    system = mock.asked(ask)[0]["messages"][0]
    assert system["role"] == "system"
    places = [system["content"].index(part) for part in ("You are the test's", "The user's city", "Köln", "41")]
    assert places == sorted(places)


# --- tools of the frontend ---------------------------------------------------


def test_a_frontends_tool_is_offered_and_its_call_left_to_the_client(
    client: NotingClient, mock: Aimock, ask: str
) -> None:
    mock.on(ask, {"toolCalls": [{"id": "call_1", "name": "paint", "arguments": {"colour": "red"}}]}, chunkSize=5)
    tool = frontend_tool("paint", colour={"type": "string"})
    events = client.ran("plain", "t-" + ask, messages=[user(ask)], tools=[tool])
    assert outline(events) == whole(*CALL)
    assert calls_of(events) == {"call_1": ("paint", '{"colour":"red"}')}
    assert len(of_type(events, "TOOL_CALL_ARGS")) > 1
    (asked,) = mock.asked(ask)
    (offered,) = asked["tools"]
    assert offered["type"] == "function"
    assert offered["function"]["name"] == "paint"
    assert offered["function"]["description"] == "Does paint."
    assert offered["function"]["parameters"]["properties"] == {"colour": {"type": "string"}}


def test_the_run_after_a_frontends_tool_has_its_result(client: NotingClient, mock: Aimock, ask: str) -> None:
    mock.on({"userMessage": ask, "hasToolResult": True}, {"content": "It is red now."})
    said = [user(ask), assistant(None, called("call_1", "paint", '{"colour":"red"}')), result("call_1", "painted")]
    events = client.ran("plain", "t-" + ask, messages=said, tools=[frontend_tool("paint")])
    assert text_of(events) == "It is red now."
    (asked,) = mock.asked(ask)
    assert roles(asked["messages"]) == ["user", "assistant", "tool"]
    assert asked["messages"][1]["tool_calls"] == [called("call_1", "paint", '{"colour":"red"}')]
    assert asked["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": "painted"}


def test_calls_in_parallel(client: NotingClient, mock: Aimock, ask: str) -> None:
    calls = [{"id": f"call_{n}", "name": "paint", "arguments": {"n": n}} for n in range(3)]
    mock.on(ask, {"content": "Three at once.", "toolCalls": calls}, chunkSize=4)
    events = client.ran("plain", "t-" + ask, messages=[user(ask)], tools=[frontend_tool("paint")])
    assert calls_of(events) == {f"call_{n}": ("paint", f'{{"n":{n}}}') for n in range(3)}
    assert text_of(events) == "Three at once."
    assert len(of_type(events, "TOOL_CALL_END")) == 3


def test_a_call_before_the_text(client: NotingClient, mock: Aimock, ask: str) -> None:
    blocks = [{"type": "toolCall", "name": "paint", "arguments": {}, "id": "call_1"}, {"type": "text", "text": "Done."}]
    mock.on(ask, {"blocks": blocks})
    events = client.ran("plain", "t-" + ask, messages=[user(ask)], tools=[frontend_tool("paint")])
    assert calls_of(events) == {"call_1": ("paint", "{}")}
    assert text_of(events) == "Done."
    assert only(events, "TEXT_MESSAGE_START")["messageId"] != only(events, "TOOL_CALL_START").get("parentMessageId")


# --- suggestions -------------------------------------------------------------


SUGGEST = frontend_tool("copilotkitSuggest", suggestions={"type": "array"})
FORCED = {"toolChoice": {"type": "function", "function": {"name": "copilotkitSuggest"}}}


@pytest.mark.parametrize(("endpoint", "is_kept"), [("suggest", False), ("run", True)])
def test_suggestions(client: NotingClient, mock: Aimock, ask: str, endpoint: str, is_kept: bool) -> None:
    """By the endpoint for them, which leaves no thread behind, or as an ordinary run, as over single-route."""
    suggested = {"suggestions": [{"title": "Again", "message": "Once more"}]}
    mock.on(ask, {"toolCalls": [{"id": "call_1", "name": "copilotkitSuggest", "arguments": suggested}]})
    body = {
        "threadId": "t-" + ask,
        "runId": fresh("run"),
        "messages": [user(ask)],
        "tools": [SUGGEST],
        "context": [],
        "forwardedProps": FORCED,
    }
    with client.ask("POST", f"/agent/plain/{endpoint}", body) as stream:
        events = list(stream.events())
    assert outline(events) == whole(*CALL)
    assert [name for name, _ in calls_of(events).values()] == ["copilotkitSuggest"]
    (asked,) = mock.asked(ask)
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "copilotkitSuggest"}}
    assert bool(client.replay("plain", "t-" + ask)) is is_kept
