"""`PydanticAIAgent` beyond what all frameworks share: dependencies, state, and what is kept."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from copilot_runtime.agents import PydanticAIAgent
from tests.http_client import Client, run_input, unique

from .conftest import Started
from .helpers import import_framework, of_type, prompt, set_event, text_of, user_message

pydantic_ai = import_framework("pydantic_ai")
import_framework("pydantic_ai.ui.ag_ui")


@pytest.fixture
def client(adapter: str, started: Started) -> Client:
    return started(adapter, "pydantic-ai")


def test_pydantic_ais_own_test_model(client: Client) -> None:
    assert text_of(prompt(client, "test-model", "how is it?")) == "all is well"


@pytest.mark.parametrize(
    ("agent", "expected"), [("fake-model", "bob"), ("deps-async", "bob"), ("deps-value", "a value")]
)
def test_a_run_gets_the_deps_of_its_request(client: Client, agent: str, expected: str) -> None:
    assert text_of(prompt(client, agent, "call whoami {}", user="bob")) == f"the tool said: {expected}"


def test_runs_with_one_deps_object_have_a_state_each(client: Client) -> None:
    latches = {unique("latch"): count for count in (10, 20, 30)}
    with contextlib.ExitStack() as open_streams:
        streams = {}
        for latch, count in latches.items():
            messages = [user_message(f'call add {{"number": 1, "at": "{latch}"}}')]
            body = run_input(unique("thread"), messages=messages, state={"count": count})
            streams[latch] = open_streams.enter_context(client.open("POST", "/agent/counting/run", body))
            streams[latch].until("TOOL_CALL_END")
        for latch, count in reversed(latches.items()):
            set_event(client, latch)
            events = list(streams[latch].events())
            assert [event["snapshot"] for event in of_type(events, "STATE_SNAPSHOT")] == [{"count": count + 1}]
            assert text_of(events) == f"the tool said: it is {count + 1}"


def test_a_state_that_does_not_fit_fails_the_run(client: Client) -> None:
    events = prompt(client, "counting", "say hello", state={"count": "many"})
    assert events[-1]["type"] == "RUN_ERROR"
    assert "hello" not in text_of(events)


def test_a_stored_conversation_is_its_users_own(client: Client) -> None:
    thread = unique("thread")
    prompt(client, "stored", "say secret", thread, user="ann")
    assert text_of(prompt(client, "stored", "recall", thread, user="ann")) == "say secret"
    assert "secret" not in str(prompt(client, "stored", "recall", thread, user="bob"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"run": {"usage_limit": 1}}, "usage_limit"),
        ({"adapter": {"scheme": 1}}, "scheme"),
        ({"run": {"deps": 1}}, "deps"),
    ],
)
def test_options_that_pydantic_ai_does_not_have_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        PydanticAIAgent(pydantic_ai.Agent("test"), **options)


def test_what_is_no_agent_is_refused() -> None:
    with pytest.raises(TypeError, match=r"agent must be a pydantic_ai\.Agent"):
        PydanticAIAgent("openai:gpt-4o-mini")
