"""The frontend's tools in an agent of LangChain's ``create_agent``, beyond what all frameworks share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http_client import Client, types, unique

from .conftest import Started
from .helpers import import_framework, of_type, prompt, text_of, user_message

pytestmark = pytest.mark.requirement("AGENT-04")

import_framework("langchain.agents")
import_framework("ag_ui_langgraph")

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
CONFIRM = {"name": "confirm", "description": "Asks the user", "parameters": PARAMETERS}
WEATHER = {"name": "weather", "description": "The frontend's own", "parameters": PARAMETERS}


@pytest.fixture
def client(adapter: str, started: Started) -> Client:
    return started(adapter, "langchain")


def called(events: Any) -> list[str]:
    return [event["toolCallName"] for event in of_type(events, "TOOL_CALL_START")]


def test_frontend_tool_of_an_agent_without_other_tools(client: Client) -> None:
    events = prompt(client, "frontend-tools-alone", "call confirm {}", tools=[CONFIRM])
    assert called(events) == ["confirm"]
    assert types(events)[-1] == "RUN_FINISHED"


def test_frontend_tool_that_is_no_longer_there_is_not_offered(client: Client) -> None:
    thread = unique("thread")
    prompt(client, "fake-model", "say one", thread, tools=[CONFIRM])
    assert types(prompt(client, "fake-model", "call confirm {}", thread))[-1] == "RUN_ERROR"


def test_frontend_tool_with_the_name_of_a_servers_tool_is_the_servers(client: Client) -> None:
    events = prompt(client, "fake-model", 'call weather {"city": "Rome"}', tools=[WEATHER])
    assert text_of(events) == "the tool said: sunny in Rome"


def test_frontend_tool_beside_a_servers_tool_is_left_to_the_client(client: Client) -> None:
    thread, question = unique("thread"), user_message("both")
    first = prompt(client, "calling-both", "", thread, messages=[question], tools=[CONFIRM])
    assert sorted(called(first)) == ["confirm", "weather"]
    results = {event["toolCallId"]: event["content"] for event in of_type(first, "TOOL_CALL_RESULT")}
    assert results == {"weather-1": "sunny in Rome"}
    assert types(first)[-1] == "RUN_FINISHED"
    history = of_type(first, "MESSAGES_SNAPSHOT")[-1]["messages"]
    calls = [call["id"] for message in history for call in message.get("toolCalls", ())]
    assert sorted(calls) == ["confirm-1", "weather-1"]

    answer = {"id": unique("result"), "role": "tool", "toolCallId": "confirm-1", "content": "confirmed"}
    second = prompt(client, "calling-both", "", thread, messages=[*history, answer], tools=[CONFIRM])
    assert text_of(second) == "confirmed and sunny in Rome"
