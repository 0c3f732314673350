"""A model's completions as events; aimock is the model."""

from __future__ import annotations

import pytest
from ag_ui.core import RunFinishedEvent

from tests.http_client import unique

from .aimock import Aimock
from .client import (
    CALL,
    TEXT,
    assistant_message,
    event_types,
    finished_run,
    frontend_tool,
    of_type,
    only_event,
    text_of,
    tool_call,
    tool_calls,
    tool_message,
    user_message,
)
from .scripts import roles
from .verifier import RecordingClient

pytestmark = [pytest.mark.client, pytest.mark.requirement("AGENT-02")]

REASONING = [
    "REASONING_START",
    "REASONING_MESSAGE_START",
    "REASONING_MESSAGE_CONTENT",
    "REASONING_MESSAGE_END",
    "REASONING_END",
]


@pytest.fixture
def prompt() -> str:
    """A message that no other test sends, and that is part of no other one."""
    return f"{unique('question')}."


def test_completion_text_is_streamed_in_the_models_chunks(client: RecordingClient, mock: Aimock, prompt: str) -> None:
    mock.add_fixture(prompt, {"content": "Grüße, and so on"}, chunkSize=6)
    events = client.chat("plain", prompt)
    assert event_types(events) == finished_run(*TEXT)
    assert [event["delta"] for event in of_type(events, "TEXT_MESSAGE_CONTENT")] == ["Grüße,", " and s", "o on"]
    assert len({event["messageId"] for event in events if "messageId" in event}) == 1


def test_completion_request(client: RecordingClient, mock: Aimock, prompt: str) -> None:
    mock.add_fixture(prompt, {"content": "yes"})
    client.chat("prompted", prompt, before=[user_message("Before"), assistant_message("Indeed")])
    (request,) = mock.requests(prompt)
    assert request["model"] == "gpt-4o-mini"
    assert request["stream"] is True
    assert request["messages"] == [
        {"role": "system", "content": "You are the test's assistant."},
        {"role": "user", "content": "Before"},
        {"role": "assistant", "content": "Indeed"},
        {"role": "user", "content": prompt},
    ]
    assert "tools" not in request
    assert "tool_choice" not in request


def test_completion_reasoning_events(client: RecordingClient, mock: Aimock, prompt: str) -> None:
    mock.add_fixture(prompt, {"content": "Blue.", "reasoning": "Skies are blue, mostly."}, chunkSize=10)
    events = client.chat("plain", prompt)
    assert event_types(events) == finished_run(*REASONING, *TEXT)
    assert text_of(events, "REASONING_MESSAGE_CONTENT") == "Skies are blue, mostly."
    assert text_of(events) == "Blue."


@pytest.mark.skipif("usage" not in RunFinishedEvent.model_fields, reason="this line of AG-UI has no place for usage")
def test_completion_usage_is_in_run_finished(client: RecordingClient, mock: Aimock, prompt: str) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    mock.add_fixture(prompt, {"content": "yes", "usage": usage})
    (usage_of_run,) = client.chat("plain", prompt)[-1]["usage"]
    assert usage_of_run["model"] == "gpt-4o-mini"
    assert [usage_of_run[name] for name in ("inputTokens", "outputTokens", "totalTokens")] == [11, 5, 16]


def test_completion_prompt_is_followed_by_context_and_state(client: RecordingClient, mock: Aimock, prompt: str) -> None:
    mock.add_fixture(prompt, {"content": "yes"})
    client.chat(
        "prompted",
        prompt,
        context=[{"description": "The user's city", "value": "Köln"}],
        state={"count": 41},
    )
    system = mock.requests(prompt)[0]["messages"][0]
    assert system["role"] == "system"
    places = [system["content"].index(part) for part in ("You are the test's", "The user's city", "Köln", "41")]
    assert places == sorted(places)


# --- tools of the frontend ---------------------------------------------------


def test_completion_calls_of_frontend_tools_are_left_to_the_client(
    client: RecordingClient, mock: Aimock, prompt: str
) -> None:
    mock.add_fixture(
        prompt, {"toolCalls": [{"id": "call_1", "name": "paint", "arguments": {"colour": "red"}}]}, chunkSize=5
    )
    tool = frontend_tool("paint", colour={"type": "string"})
    events = client.chat("plain", prompt, tools=[tool])
    assert event_types(events) == finished_run(*CALL)
    assert tool_calls(events) == {"call_1": ("paint", '{"colour":"red"}')}
    assert len(of_type(events, "TOOL_CALL_ARGS")) > 1
    (request,) = mock.requests(prompt)
    (offered,) = request["tools"]
    assert offered["type"] == "function"
    assert offered["function"]["name"] == "paint"
    assert offered["function"]["description"] == "Does paint."
    assert offered["function"]["parameters"]["properties"] == {"colour": {"type": "string"}}


def test_completion_request_has_the_result_of_a_frontend_tool(
    client: RecordingClient, mock: Aimock, prompt: str
) -> None:
    mock.add_fixture({"userMessage": prompt, "hasToolResult": True}, {"content": "It is red now."})
    messages = [
        user_message(prompt),
        assistant_message(None, tool_call("call_1", "paint", '{"colour":"red"}')),
        tool_message("call_1", "painted"),
    ]
    events = client.run("plain", prompt, messages=messages, tools=[frontend_tool("paint")])
    assert text_of(events) == "It is red now."
    (request,) = mock.requests(prompt)
    assert roles(request["messages"]) == ["user", "assistant", "tool"]
    assert request["messages"][1]["tool_calls"] == [tool_call("call_1", "paint", '{"colour":"red"}')]
    assert request["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": "painted"}


def test_completion_parallel_tool_calls(client: RecordingClient, mock: Aimock, prompt: str) -> None:
    calls = [{"id": f"call_{n}", "name": "paint", "arguments": {"n": n}} for n in range(3)]
    mock.add_fixture(prompt, {"content": "Three at once.", "toolCalls": calls}, chunkSize=4)
    events = client.chat("plain", prompt, tools=[frontend_tool("paint")])
    assert tool_calls(events) == {f"call_{n}": ("paint", f'{{"n":{n}}}') for n in range(3)}
    assert text_of(events) == "Three at once."
    assert len(of_type(events, "TOOL_CALL_END")) == 3


def test_completion_tool_call_before_text(client: RecordingClient, mock: Aimock, prompt: str) -> None:
    blocks = [{"type": "toolCall", "name": "paint", "arguments": {}, "id": "call_1"}, {"type": "text", "text": "Done."}]
    mock.add_fixture(prompt, {"blocks": blocks})
    events = client.chat("plain", prompt, tools=[frontend_tool("paint")])
    assert tool_calls(events) == {"call_1": ("paint", "{}")}
    assert text_of(events) == "Done."
    assert only_event(events, "TEXT_MESSAGE_START")["messageId"] != only_event(events, "TOOL_CALL_START").get(
        "parentMessageId"
    )


# --- suggestions -------------------------------------------------------------


SUGGEST = frontend_tool("copilotkitSuggest", suggestions={"type": "array"})
FORCED = {"toolChoice": {"type": "function", "function": {"name": "copilotkitSuggest"}}}


@pytest.mark.parametrize(("endpoint", "is_kept"), [("suggest", False), ("run", True)])
def test_suggest_with_the_builtin_agent(
    client: RecordingClient, mock: Aimock, prompt: str, endpoint: str, is_kept: bool
) -> None:
    """By the endpoint for them, which leaves no thread behind, or as an ordinary run, as over single-route."""
    suggested = {"suggestions": [{"title": "Again", "message": "Once more"}]}
    mock.add_fixture(prompt, {"toolCalls": [{"id": "call_1", "name": "copilotkitSuggest", "arguments": suggested}]})
    body = {
        "threadId": prompt,
        "runId": unique("run"),
        "messages": [user_message(prompt)],
        "tools": [SUGGEST],
        "context": [],
        "forwardedProps": FORCED,
    }
    with client.open("POST", f"/agent/plain/{endpoint}", body) as stream:
        events = stream.rest()
    assert event_types(events) == finished_run(*CALL)
    assert [name for name, _ in tool_calls(events).values()] == ["copilotkitSuggest"]
    (request,) = mock.requests(prompt)
    assert request["tool_choice"] == {"type": "function", "function": {"name": "copilotkitSuggest"}}
    assert bool(client.replay("plain", prompt)) is is_kept
