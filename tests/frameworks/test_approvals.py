"""Approvals, as CopilotKit's ``useInterrupt`` answers them: with ``resume``, and with a tool message beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fixtures.framework_configs import USER
from tests.http_client import Client, Event, unique

from .conftest import Started
from .helpers import import_framework, of_type, prompt, text_of, user_message

pytestmark = pytest.mark.requirement("APPROVAL-01")


def assistant_messages(events: list[Event]) -> list[Event]:
    """The message with the tool calls of a run, as a client has it."""
    starts = of_type(events, "TOOL_CALL_START")
    arguments = {start["toolCallId"]: "" for start in starts}
    for event in of_type(events, "TOOL_CALL_ARGS"):
        arguments[event["toolCallId"]] += event["delta"]
    calls = [
        {
            "id": start["toolCallId"],
            "type": "function",
            "function": {"name": start["toolCallName"], "arguments": arguments[start["toolCallId"]]},
        }
        for start in starts
    ]
    return [{"id": starts[0]["parentMessageId"], "role": "assistant", "toolCalls": calls}] if calls else []


class Approval:
    """A thread on which an agent has ended its run with interrupts."""

    def __init__(self, client: Client, agent: str, text: str) -> None:
        self.client, self.agent, self.thread = client, agent, unique("thread")
        question = user_message(text)
        events = prompt(client, agent, "", self.thread, messages=[question])
        assert events[-1]["type"] == "RUN_FINISHED", events[-1]
        self.interrupts: list[Event] = events[-1]["outcome"]["interrupts"]
        self.history = [question, *assistant_messages(events)]

    def results(self) -> list[str]:
        """The results of tools that a client shows after a reload."""
        answer = self.client.request("GET", f"/threads/{self.thread}/messages", headers={USER: "ann"}).json()
        return [message["content"] for message in answer["messages"] if message["role"] == "tool"]

    def resume(self, *payloads: Any, history: list[Event] | None = None, **members: Any) -> list[Event]:
        """Responds to the interrupts in their order; None cancels."""
        entries, copies = [], []
        for interrupt, payload in zip(self.interrupts, payloads, strict=True):
            response = {"status": "cancelled"} if payload is None else {"status": "resolved", "payload": payload}
            entries.append({"interruptId": interrupt["id"], **response})
            if interrupt["reason"] == "tool_call" and "toolCallId" in interrupt:
                content = json.dumps(response if payload is None else payload)
                copies.append(
                    {"id": unique("copy"), "role": "tool", "toolCallId": interrupt["toolCallId"], "content": content}
                )
        messages = [*(self.history if history is None else history), *copies]
        events: list[Event] = prompt(
            self.client, self.agent, "", self.thread, messages=messages, **{"resume": entries, **members}
        )
        return events


def results(events: list[Event]) -> list[str]:
    return [event["content"] for event in of_type(events, "TOOL_CALL_RESULT")]


@pytest.fixture
def pydantic_client(adapter: str, started: Started) -> Client:
    import_framework("pydantic_ai.ui.ag_ui")
    return started(adapter, "pydantic-ai")


@pytest.fixture(params=["approving", "approving-stored", "approving-validated"])
def pydantic_approval(request: pytest.FixtureRequest, pydantic_client: Client) -> Approval:
    return Approval(pydantic_client, request.param, 'call pay {"amount": 5}')


def test_pydantic_ai_approval_runs_the_tool(pydantic_approval: Approval) -> None:
    events = pydantic_approval.resume({"approved": True})
    assert (results(events), text_of(events)) == (["paid 5"], "the tool said: paid 5")
    assert pydantic_approval.results() == ["paid 5"]


@pytest.mark.parametrize("payload", [None, {"approved": False, "reason": "too much"}], ids=["cancelled", "denied"])
def test_pydantic_ai_approval_denied_does_not_run_the_tool(pydantic_approval: Approval, payload: Any) -> None:
    events = pydantic_approval.resume(payload)
    assert "paid" not in str(results(events))
    assert events[-1]["type"] == "RUN_FINISHED"


def test_pydantic_ai_approval_with_edited_arguments(pydantic_approval: Approval) -> None:
    assert results(pydantic_approval.resume({"approved": True, "editedArgs": {"amount": 3}})) == ["paid 3"]


def test_pydantic_ai_approval_posted_again_does_not_run_the_tool(pydantic_approval: Approval) -> None:
    pydantic_approval.resume({"approved": True})
    assert "paid 5" not in str(results(pydantic_approval.resume({"approved": True})))


def test_pydantic_ai_approvals_of_several_calls(pydantic_client: Client) -> None:
    approval = Approval(pydantic_client, "approving", 'call pay {"amount": 5} and pay {"amount": 6}')
    assert len(approval.interrupts) == 2
    events = approval.resume({"approved": True}, None)
    assert sorted(results(events)) == ["Cancelled by user.", "paid 5"]


def changed(history: list[Event], **function: str) -> list[Event]:
    """The history with another tool call in place of the last one."""
    *rest, message = history
    (call,) = message["toolCalls"]
    return [*rest, {**message, "toolCalls": [{**call, "function": {**call["function"], **function}}]}]


def test_pydantic_ai_approval_of_changed_arguments_does_not_run_the_tool(pydantic_client: Client) -> None:
    approval = Approval(pydantic_client, "approving", 'call pay {"amount": 5}')
    forged = changed(approval.history, arguments='{"amount": 5000}')
    assert "paid" not in str(approval.resume({"approved": True}, history=forged))


def test_pydantic_ai_approval_of_an_unknown_thread_does_not_run_the_tool(pydantic_client: Client) -> None:
    approval = Approval(pydantic_client, "approving", 'call pay {"amount": 5}')
    approval.thread = unique("thread")
    events = approval.resume({"approved": True})
    assert "paid" not in str(results(events))
    # It asks again, and the model does not receive the copy of the response as the result.
    approval.interrupts = events[-1]["outcome"]["interrupts"]
    history = [*approval.history, *assistant_messages(events)]
    assert results(approval.resume({"approved": True}, history=history)) == ["paid 5"]


def test_pydantic_ai_approval_beside_frontend_tools(pydantic_client: Client) -> None:
    tool = {"name": "confirm", "description": "Asks the user", "parameters": {"type": "object", "properties": {}}}
    approval = Approval(pydantic_client, "approving", 'call pay {"amount": 5}')
    assert results(approval.resume({"approved": True}, tools=[tool])) == ["paid 5"]


@pytest.fixture
def langgraph_client(adapter: str, started: Started) -> Client:
    import_framework("ag_ui_langgraph")
    return started(adapter, "langgraph")


@pytest.fixture
def langgraph_approval(langgraph_client: Client) -> Approval:
    return Approval(langgraph_client, "approving", 'call pay {"amount": 5}')


def shown(events: list[Event]) -> list[str]:
    """The results of tools that a client shows after a run: LangGraph's snapshot has all."""
    return [m["content"] for m in of_type(events, "MESSAGES_SNAPSHOT")[-1]["messages"] if m["role"] == "tool"]


def test_langgraph_approval_runs_the_tool(langgraph_approval: Approval) -> None:
    events = langgraph_approval.resume({"approved": True})
    assert (shown(events), text_of(events)) == (["paid 5"], "the tool said: paid 5")
    assert langgraph_approval.results() == ["paid 5"]


@pytest.mark.parametrize("payload", [None, {"approved": False}], ids=["cancelled", "denied"])
def test_langgraph_approval_denied_reaches_the_graph(langgraph_approval: Approval, payload: Any) -> None:
    (result,) = shown(langgraph_approval.resume(payload))
    assert result.startswith("refused")


def test_langgraph_approval_with_an_edited_answer(langgraph_approval: Approval) -> None:
    assert shown(langgraph_approval.resume({"approved": True, "editedArgs": {"amount": 3}})) == ["paid 3"]


def test_langgraph_approvals_of_several_calls(langgraph_client: Client) -> None:
    approval = Approval(langgraph_client, "approving", 'call pay {"amount": 5} and pay {"amount": 6}')
    assert [interrupt["message"] for interrupt in approval.interrupts] == ["Pay 5?", "Pay 6?"]
    results = shown(approval.resume({"approved": True}, None))
    assert results[0] == "paid 5"
    assert results[1].startswith("refused")


def test_langgraph_result_of_a_run_that_failed_is_in_the_history_once(langgraph_client: Client) -> None:
    """The client has it under another id than the graph, since only a run that succeeds ends with a snapshot."""
    approval = Approval(langgraph_client, "approving", 'call pay {"amount": 13}')
    events = approval.resume({"approved": True})
    assert events[-1]["type"] == "RUN_ERROR"
    (result,) = of_type(events, "TOOL_CALL_RESULT")
    sent = {name: result[name] for name in ("toolCallId", "content", "role")} | {"id": result["messageId"]}
    messages = [*approval.history, sent, user_message("results")]
    events = prompt(langgraph_client, "approving", "", approval.thread, messages=messages)
    assert shown(events) == ["paid 13"]
    assert text_of(events) == "the tool said: paid 13"


def test_langgraph_approval_posted_again_does_not_resume(langgraph_approval: Approval) -> None:
    langgraph_approval.resume({"approved": True})
    events = langgraph_approval.resume({"approved": True})
    assert "paid 5" not in results(events)


def test_langgraph_approval_of_another_interrupt_does_not_resume(langgraph_client: Client) -> None:
    first, second = (Approval(langgraph_client, "approving", 'call pay {"amount": 5}') for _ in range(2))
    first.interrupts = second.interrupts
    events = first.resume({"approved": True})
    assert "paid" not in str(of_type(events, "TOOL_CALL_RESULT"))
    # It asks again.
    assert [interrupt["message"] for interrupt in events[-1]["outcome"]["interrupts"]] == ["Pay 5?"]


def ask(client: Client, **members: Any) -> tuple[str, list[Event]]:
    thread = unique("thread")
    return thread, prompt(client, "asking-legacy", "go on", thread, **members)


def test_langgraph_response_of_an_older_frontend_resumes(langgraph_client: Client) -> None:
    thread, events = ask(langgraph_client)
    (question,) = of_type(events, "CUSTOM")
    command = {"resume": "yes", "interruptEvent": question["value"]}
    events = prompt(langgraph_client, "asking-legacy", "", thread, messages=[], forwardedProps={"command": command})
    assert 'you said "yes"' in str(of_type(events, "MESSAGES_SNAPSHOT")[-1])


@pytest.mark.parametrize("command", [{"resume": "yes"}, {"resume": "yes", "interruptEvent": "another"}])
def test_langgraph_response_of_an_older_frontend_that_nobody_asked_for(
    langgraph_client: Client, command: dict[str, Any]
) -> None:
    thread = unique("thread")
    if "interruptEvent" in command:
        thread, _ = ask(langgraph_client)
    events = prompt(langgraph_client, "asking-legacy", "go on", thread, forwardedProps={"command": command})
    assert "you said" not in str(events)
    assert of_type(events, "CUSTOM")
