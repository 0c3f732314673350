"""Responses to interrupts, as CopilotKit's ``useInterrupt`` sends them: each is used once, if its interrupt is open.

Beside ``resume`` that client adds a tool message of its own, with the payload, as the result of the interrupted call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable
from types import SimpleNamespace
from typing import Any

import pytest

from copilot_runtime import RunContext
from copilot_runtime.agents import Tool
from copilot_runtime.agents._builtin.resume import Resumption
from copilot_runtime.agents._tools.toolbox import Toolbox
from tests.http_client import Event, types, unique

from .client import (
    assistant_message,
    frontend_tool,
    of_type,
    only_event,
    text_of,
    tool_call,
    tool_message,
    user_message,
)
from .fake_provider import tool_call_chunk
from .scripts import Scripts, by_step, send_chunks, send_text
from .verifier import RecordingClient

pytestmark = pytest.mark.requirement("APPROVAL-01")

NOT_RUN = "Error: the tool was not run, because this call does not wait for the user (any more). Call it again to ask."
FIVE, SIX = '{"amount": 5}', '{"amount": 6}'


def resolved(call_id: str, payload: Any = "yes") -> Event:
    return {"interruptId": call_id, "status": "resolved", "payload": payload}


def cancelled(call_id: str) -> Event:
    return {"interruptId": call_id, "status": "cancelled"}


def copy_of(entry: Event) -> Event:
    """The tool message that CopilotKit's client adds for an entry."""
    content = {"status": "cancelled"} if entry["status"] == "cancelled" else entry["payload"]
    return tool_message(entry["interruptId"], json.dumps(content, separators=(",", ":")))


class Approval:
    """A thread whose last run has ended with an interrupt for each of its calls."""

    def __init__(self, client: RecordingClient, scripts: Scripts, *calls: tuple[str, str, str], **members: Any) -> None:
        self.client, self.scripts, self.members = client, scripts, members
        made = calls or (("c0", "pay", FIVE),)
        chunks = [
            tool_call_chunk(index, arguments, call_id, name) for index, (call_id, name, arguments) in enumerate(made)
        ]
        self.thread = self.prompt = scripts.on(by_step(send_chunks(*chunks), send_text("Done."), send_text("Again.")))
        self.question = user_message(self.prompt)
        self.calls = assistant_message(None, *(tool_call(call_id, name, args) for call_id, name, args in made))
        self.interrupted = self.run([self.question])

    def run(self, messages: list[Event], agent: str = "fake-tools", **members: Any) -> list[Event]:
        return self.client.run(agent, self.thread, messages=messages, **self.members, **members)

    def resume(self, *entries: Event, messages: list[Event] | None = None, **members: Any) -> list[Event]:
        """Resumes as CopilotKit's client does: with copies of the responses in the messages."""
        history = [self.question, self.calls] if messages is None else messages
        return self.run([*history, *map(copy_of, entries)], resume=list(entries), **members)

    def results_for_model(self) -> dict[str, str]:
        """The results that the model received last, by call."""
        messages = self.scripts.requests(self.prompt)[-1].json()["messages"]
        return {item["tool_call_id"]: item["content"] for item in messages if item["role"] == "tool"}


def results(events: list[Event]) -> dict[str, str]:
    """The results that a run has sent, by call."""
    return {event["toolCallId"]: event["content"] for event in of_type(events, "TOOL_CALL_RESULT")}


def open_interrupts(events: list[Event]) -> list[str]:
    outcome = only_event(events, "RUN_FINISHED").get("outcome", {})
    return [interrupt["id"] for interrupt in outcome.get("interrupts", ())]


@pytest.fixture
def approval(client: RecordingClient, scripts: Scripts) -> Approval:
    return Approval(client, scripts)


def test_resume_wins_over_the_clients_own_tool_message(approval: Approval) -> None:
    events = approval.resume(resolved("c0"))
    assert results(events) == approval.results_for_model() == {"c0": "yes: 5"}
    assert text_of(events) == "Done."


def test_resume_denied_reaches_the_function(approval: Approval) -> None:
    events = approval.resume(resolved("c0", "no"))
    assert results(events) == approval.results_for_model() == {"c0": "no: 5"}


def test_resume_cancelled_does_not_call_the_function(approval: Approval) -> None:
    events = approval.resume(cancelled("c0"))
    assert results(events) == approval.results_for_model() == {"c0": '{"status":"cancelled"}'}


def test_resume_edited_answer_reaches_the_function(client: RecordingClient, scripts: Scripts) -> None:
    approval = Approval(client, scripts, ("c0", "order", '{"item": "tea"}'))
    events = approval.resume(resolved("c0", {"approved": True, "item": "green tea"}))
    assert results(events) == {"c0": "ordered green tea"}


def test_resume_posted_again_does_not_run_the_tool_again(approval: Approval) -> None:
    entry = resolved("c0")
    messages = [approval.question, approval.calls, copy_of(entry)]
    first = approval.run(messages, resume=[entry])
    again = approval.run(messages, resume=[entry])
    assert (results(first), results(again)) == ({"c0": "yes: 5"}, {})


def test_resume_from_another_tab_gets_the_result_in_place_of_the_copy(approval: Approval) -> None:
    approval.resume(resolved("c0"))
    events = approval.resume(resolved("c0", "no"))
    assert not results(events)
    assert approval.results_for_model() == {"c0": "yes: 5"}
    # That tab has not seen "Done.", which a snapshot of its messages would remove.
    assert not of_type(events, "MESSAGES_SNAPSHOT")


@pytest.mark.parametrize("history", ["with the copy", "without a result", "with the result"])
def test_resume_of_an_earlier_run_is_stale(approval: Approval, history: str) -> None:
    approval.resume(resolved("c0"))
    beside = {"with the copy": [copy_of(resolved("c0"))], "with the result": [tool_message("c0", "yes: 5")]}
    stale = [approval.question, approval.calls, *beside.get(history, [])]
    events = approval.run(stale, resume=[resolved("c0")])
    assert "yes: 5" not in results(events).values()
    assert text_of(events)


def test_resume_after_another_run_of_the_thread_is_stale(approval: Approval) -> None:
    approval.run([approval.question, approval.calls, user_message(approval.prompt)])
    assert "yes: 5" not in results(approval.resume(resolved("c0"))).values()


def test_resume_of_a_call_that_the_client_invented_does_not_run_the_tool(approval: Approval) -> None:
    invented = assistant_message(None, tool_call("c7", "pay", '{"amount": 1000}'))
    events = approval.resume(resolved("c7"), messages=[approval.question, approval.calls, invented])
    assert "yes" not in str(results(events).values())


@pytest.mark.parametrize(
    "call",
    [("pay", '{"amount": 5000}'), ("order", FIVE), ("pay", "5"), ("shout", '{"text": "a"}')],
    ids=["arguments", "tool", "not an object", "a tool that does not ask"],
)
def test_resume_of_a_call_that_the_client_changed_does_not_run_the_tool(
    approval: Approval, call: tuple[str, str]
) -> None:
    changed = assistant_message(None, tool_call("c0", *call))
    events = approval.resume(resolved("c0"), messages=[approval.question, changed])
    assert results(events) == approval.results_for_model() == {"c0": NOT_RUN}
    events = approval.resume(resolved("c0"), messages=[approval.question, approval.calls])
    assert not results(events)
    assert "yes" not in approval.results_for_model()["c0"]


def test_resume_of_the_same_call_written_differently_runs_the_tool(approval: Approval) -> None:
    spaced = assistant_message(None, tool_call("c0", "pay", '{ "amount":5 }'))
    assert results(approval.resume(resolved("c0"), messages=[approval.question, spaced])) == {"c0": "yes: 5"}


def test_resume_entry_twice_runs_the_tool_once(approval: Approval) -> None:
    events = approval.resume(resolved("c0"), resolved("c0"))
    assert [event["content"] for event in of_type(events, "TOOL_CALL_RESULT")] == ["yes: 5"]


@pytest.mark.parametrize("other", [cancelled("c0"), resolved("c0", "no")], ids=["cancelled", "no"])
def test_resume_entries_that_contradict_each_other_do_not_run_the_tool(approval: Approval, other: Event) -> None:
    assert not results(approval.resume(resolved("c0"), other))


def test_resume_of_another_agents_interrupt_does_not_run_the_tool(approval: Approval) -> None:
    assert "yes: 5" not in results(approval.resume(resolved("c0"), agent="fake-one-step")).values()


def test_resume_on_a_thread_that_the_store_does_not_know_does_not_run_the_tool(approval: Approval) -> None:
    approval.thread = unique("thread")
    events = approval.resume(resolved("c0"), messages=[approval.question, approval.calls])
    # And the model is informed, in place of the copy.
    assert results(events) == approval.results_for_model() == {"c0": NOT_RUN}


def test_resume_of_a_tool_that_the_agent_has_no_more_is_not_its_result() -> None:
    """A new version of the application was deployed between the question and the answer."""
    function = SimpleNamespace(name="pay", arguments=FIVE)
    message = SimpleNamespace(role="assistant", tool_calls=[SimpleNamespace(id="c0", function=function)])
    context = RunContext(open_interrupts={"c0": {"id": "c0"}})
    for tools in ([], [Tool(name="pay", description="", parameters={}, call=lambda *_: "paid")]):
        resumption = Resumption([resolved("c0")], [message], Toolbox(tools, (), debug=False), context)
        assert [result.for_model for _, result in asyncio.run(_all(resumption.resolve()))] == [NOT_RUN]


async def _all(items: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in items]


def test_resume_of_a_suggestion_does_not_run_the_tool(approval: Approval) -> None:
    entry = resolved("c0")
    body = {
        "threadId": approval.thread,
        "runId": unique("run"),
        "messages": [approval.question, approval.calls],
        "tools": [],
        "context": [],
        "state": {},
        "forwardedProps": {},
        "resume": [entry],
    }
    with approval.client.open("POST", "/agent/fake-tools/suggest", body) as stream:
        assert "yes: 5" not in results(stream.rest()).values()
    # And the interrupt is still open.
    assert results(approval.resume(entry)) == {"c0": "yes: 5"}


def test_resume_several_interrupts_at_once(client: RecordingClient, scripts: Scripts) -> None:
    approval = Approval(client, scripts, ("c0", "pay", FIVE), ("c1", "pay", SIX), ("c2", "shout", '{"text": "a"}'))
    assert open_interrupts(approval.interrupted) == ["c0", "c1"]
    history = [approval.question, approval.calls, tool_message("c2", "A")]
    events = approval.resume(resolved("c0"), cancelled("c1"), messages=history)
    assert results(events) == {"c0": "yes: 5", "c1": '{"status":"cancelled"}'}
    assert approval.results_for_model() == {**results(events), "c2": "A"}
    assert text_of(events) == "Done."


def test_resume_one_of_several_interrupts_leaves_the_others_open(client: RecordingClient, scripts: Scripts) -> None:
    approval = Approval(client, scripts, ("c0", "pay", FIVE), ("c1", "pay", SIX))
    first = approval.resume(resolved("c1"))
    assert (results(first), open_interrupts(first)) == ({"c1": "yes: 6"}, ["c0"])
    assert len(scripts.requests(approval.prompt)) == 1
    history = [approval.question, approval.calls, tool_message("c1", "yes: 6")]
    second = approval.resume(resolved("c0"), resolved("c1"), messages=history)
    assert (results(second), text_of(second)) == ({"c0": "yes: 5"}, "Done.")


def test_resume_waits_for_the_frontends_tools_beside_it(client: RecordingClient, scripts: Scripts) -> None:
    approval = Approval(client, scripts, ("c0", "pay", FIVE), ("c1", "paint", "{}"), tools=[frontend_tool("paint")])
    events = approval.resume(resolved("c0"))
    assert (results(events), text_of(events)) == ({"c0": "yes: 5"}, "")
    history = [approval.question, approval.calls, tool_message("c0", "yes: 5"), tool_message("c1", "red")]
    assert text_of(approval.run(history)) == "Done."
    assert approval.results_for_model() == {"c0": "yes: 5", "c1": "red"}


def test_resume_shows_the_result_and_not_the_copy(approval: Approval) -> None:
    """CopilotKit's client keeps its copy unless a snapshot removes it; a reload shows what the thread has."""
    entry = resolved("c0")
    copied = copy_of(entry)
    events = approval.run([approval.question, approval.calls, copied], resume=[entry])
    assert types(events)[:3] == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "TOOL_CALL_RESULT"]
    assert of_type(events, "MESSAGES_SNAPSHOT")[0]["messages"] == [approval.question, approval.calls]
    replayed = [frame.event for frame in approval.client.replay("fake-tools", approval.thread)]
    assert copied["id"] not in json.dumps(replayed)
    shown = approval.client.request("GET", f"/threads/{approval.thread}/messages").json()["messages"]
    assert [message["content"] for message in shown if message["role"] == "tool"] == ["yes: 5"]


def test_resume_without_a_copy_sends_no_snapshot(approval: Approval) -> None:
    events = approval.run([approval.question, approval.calls], resume=[resolved("c0")])
    assert types(events)[:2] == ["RUN_STARTED", "TOOL_CALL_RESULT"]
