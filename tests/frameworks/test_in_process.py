"""What holds for every framework whose agents run in process, by the same cases over real servers."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import pytest

from tests.fixtures.frameworks.fake_model import CANCELLED, CAUSE
from tests.http_client import Client, run_input, unique

from .conftest import Started
from .helpers import import_framework, of_type, prompt, set_event, text_of, user_message, wait_for_event

pytestmark = pytest.mark.requirement("AGENT-04")


class Subject(NamedTuple):
    """An agent to be tested, by the configuration that has it, and the package that it needs."""

    package: str
    config: str
    agent: str = "fake-model"


SUBJECTS = {
    "pydantic-ai": Subject("pydantic_ai.ui.ag_ui", "pydantic-ai"),
    "langgraph": Subject("ag_ui_langgraph", "langgraph"),
    "langchain": Subject("langchain.agents", "langchain"),
    # AG-UI's own class, unadapted; and the same in the function that docs/agents.md shows.
    "langgraph-as-it-is": Subject("ag_ui_langgraph", "langgraph", "as-it-is"),
    "langgraph-for-each-user": Subject("ag_ui_langgraph", "langgraph", "as-it-is-for-each-user"),
}
OURS = ("pydantic-ai", "langgraph")

CONFIRM = {"name": "confirm", "description": "Asks the user", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Subject:
    found = SUBJECTS[request.param]
    import_framework(found.package)
    return found


@pytest.fixture
def client(adapter: str, subject: Subject, started: Started) -> Client:
    return started(adapter, subject.config)


def test_framework_text_streams_with_the_ids_of_the_input(client: Client, subject: Subject) -> None:
    events = prompt(client, subject.agent, "say one two", thread := unique("thread"))
    assert [event["delta"] for event in of_type(events, "TEXT_MESSAGE_CONTENT")] == ["one ", "two "]
    assert {event["threadId"] for event in (events[0], events[-1])} == {thread}
    assert (events[0]["type"], events[-1]["type"]) == ("RUN_STARTED", "RUN_FINISHED")
    assert events[0]["runId"] == events[-1]["runId"] == events[0]["input"]["runId"]


def test_framework_text_is_sent_as_the_model_generates_it(client: Client, subject: Subject) -> None:
    name = unique("event")
    with client.start_run(subject.agent, unique("thread"), messages=[user_message(f"wait {name}")], state={}) as stream:
        assert text_of(stream.until("TEXT_MESSAGE_CONTENT")) == "before "
        set_event(client, name)
        assert text_of(stream.events()) == f"after {name}"


def test_framework_server_tool_is_called(client: Client, subject: Subject) -> None:
    events = prompt(client, subject.agent, 'call weather {"city": "Rome"}')
    (call,), (result,) = of_type(events, "TOOL_CALL_START"), of_type(events, "TOOL_CALL_RESULT")
    assert call["toolCallName"] == "weather"
    assert "".join(event["delta"] for event in of_type(events, "TOOL_CALL_ARGS")) == '{"city": "Rome"}'
    assert (result["toolCallId"], result["content"]) == (call["toolCallId"], "sunny in Rome")
    assert text_of(events) == "the tool said: sunny in Rome"


def test_framework_frontend_tool_is_left_to_the_client(client: Client, subject: Subject) -> None:
    thread, question = unique("thread"), user_message('call confirm {"what": "all"}')
    events = prompt(client, subject.agent, "", thread, messages=[question], tools=[CONFIRM])
    (call,) = of_type(events, "TOOL_CALL_START")
    assert call["toolCallName"] == "confirm"
    assert not of_type(events, "TOOL_CALL_RESULT")
    assert events[-1]["type"] == "RUN_FINISHED"
    function = {"name": "confirm", "arguments": '{"what": "all"}'}
    history = [
        question,
        {
            "id": call["parentMessageId"],
            "role": "assistant",
            "toolCalls": [{"id": call["toolCallId"], "type": "function", "function": function}],
        },
        {"id": unique("result"), "role": "tool", "toolCallId": call["toolCallId"], "content": "do it"},
    ]
    assert (
        text_of(prompt(client, subject.agent, "", thread, messages=history, tools=[CONFIRM])) == "the tool said: do it"
    )


def test_framework_stop_reaches_the_model(client: Client, subject: Subject) -> None:
    thread, name = unique("thread"), unique("event")
    with client.start_run(subject.agent, thread, messages=[user_message(f"wait {name}")], state={}) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert client.stop(subject.agent, thread)["stopped"] is True
        rest = stream.rest()
    wait_for_event(client, f"{name}-{CANCELLED}")
    assert "after" not in text_of(rest)
    assert rest[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")
    # The thread is free, and what was stopped has left nothing in the next run's way.
    assert text_of(prompt(client, subject.agent, "say again", thread)) == "again "


@pytest.mark.parametrize("text", ["fail badly", 'call explode {"why": "badly"}'], ids=["model", "tool"])
def test_framework_failure_ends_in_run_error(client: Client, subject: Subject, text: str) -> None:
    assert prompt(client, subject.agent, text)[-1]["type"] == "RUN_ERROR"


@pytest.mark.parametrize("text", ["fail badly", 'call explode {"why": "badly"}'], ids=["model", "tool"])
@pytest.mark.parametrize("subject", OURS, indirect=True)
def test_framework_failure_cause_is_sent_with_debug_only(
    adapter: str, subject: Subject, started: Started, text: str
) -> None:
    events = prompt(started(adapter, subject.config), subject.agent, text)
    assert CAUSE not in str(events)
    assert events[-1]["message"] == "The agent failed"
    events = prompt(started(adapter, f"{subject.config}-debug"), subject.agent, text)
    assert f"{CAUSE} badly" in events[-1]["message"]


def test_framework_concurrent_runs_do_not_mix(client: Client, subject: Subject) -> None:
    event_names = [unique("event") for _ in range(8)]
    with contextlib.ExitStack() as open_streams:
        streams = {}
        for name in event_names:
            body = run_input(f"thread-{name}", unique("run"), messages=[user_message(f"wait {name}")], state={})
            streams[name] = open_streams.enter_context(client.open("POST", f"/agent/{subject.agent}/run", body))
            streams[name].until("TEXT_MESSAGE_CONTENT")  # so all of them are inside the model at once
        for name in reversed(event_names):
            set_event(client, name)
            events = list(streams[name].events())
            assert text_of(events) == f"after {name}"
            assert (events[-1]["type"], events[-1]["threadId"]) == ("RUN_FINISHED", f"thread-{name}")
