"""Tools of the frontend whose names and schemas no maker of models accepts."""

from __future__ import annotations

import pytest

from .client import assistant_message, event_types, frontend_tool, tool_call, tool_calls, tool_message
from .fake_provider import tool_call_chunk
from .scripts import Scripts, send_chunks, send_text
from .verifier import RecordingClient

pytestmark = pytest.mark.requirement("AGENT-11")

TOOLS = [
    frontend_tool("docs.read/all", path={"type": "string"}),
    frontend_tool("x" * 80),
    {"name": "no_parameters", "description": ""},
    {"name": "recursive", "description": "", "parameters": {"anyOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {}}}},
]


def test_odd_tools_are_offered_and_calls_mapped_back(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(
        send_chunks(
            tool_call_chunk(0, '{"path": "a"}', "c1", "docs_read_all"), tool_call_chunk(1, "{}", "c2", "docs.read/all")
        )
    )
    events = client.chat("fake-plain", prompt, tools=TOOLS)
    assert tool_calls(events) == {"c1": ("docs.read/all", '{"path": "a"}'), "c2": ("docs.read/all", "{}")}
    assert event_types(events)[-1] == "RUN_FINISHED"
    (request,) = scripts.requests(prompt)
    offered = [tool["function"] for tool in request.json()["tools"]]
    assert [tool["name"] for tool in offered][::2] == ["docs_read_all", "no_parameters"]
    assert all(len(tool["name"]) <= 64 for tool in offered)
    assert all(tool["parameters"]["type"] == "object" for tool in offered)


def test_odd_tool_of_the_history_has_the_name_that_is_offered(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(send_text("ok"))
    before = [assistant_message(None, tool_call("c1", "docs.read/all")), tool_message("c1", "read")]
    client.chat("fake-plain", prompt, before=before, tools=TOOLS)
    (request,) = scripts.requests(prompt)
    assert request.json()["messages"][0]["tool_calls"][0]["function"]["name"] == "docs_read_all"


def test_odd_tool_can_be_chosen(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(send_chunks(tool_call_chunk(0, "{}", "c1", "docs_read_all")))
    choice = {"type": "function", "function": {"name": "docs.read/all"}}
    client.chat("fake-plain", prompt, tools=TOOLS, forwardedProps={"toolChoice": choice})
    (request,) = scripts.requests(prompt)
    assert request.json()["tool_choice"]["function"]["name"] == "docs_read_all"
