"""Tools that ask a person: the run ends with the question, and a later one brings the answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http_client import Event

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

pytestmark = pytest.mark.requirement("AGENT-02")

PAY = send_chunks(tool_call_chunk(0, '{"amount": 5}', "c0", "pay"))


def interrupts(events: list[Event]) -> list[dict[str, Any]]:
    """The questions that a run has left."""
    outcome = only_event(events, "RUN_FINISHED")["outcome"]
    assert outcome["type"] == "interrupt"
    questions: list[dict[str, Any]] = outcome["interrupts"]
    return questions


def history(prompt: str) -> list[dict[str, Any]]:
    """What a client has after the run with the question."""
    return [user_message(prompt), assistant_message(None, tool_call("c0", "pay", '{"amount": 5}'))]


def test_interrupt_ends_the_run_with_the_question(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(PAY)
    events = client.chat("fake-tools", prompt)
    (question,) = interrupts(events)
    assert question["toolCallId"] == "c0"
    assert question["message"] == "Really?"
    assert question["reason"] == "approval"
    assert question["responseSchema"]["enum"] == ["yes", "no"]
    assert of_type(events, "TOOL_CALL_RESULT") == []
    assert len(scripts.requests(prompt)) == 1
    offered = next(
        tool["function"] for tool in scripts.requests(prompt)[0].json()["tools"] if tool["function"]["name"] == "pay"
    )
    assert set(offered["parameters"]["properties"]) == {"amount"}


def test_interrupt_resume_passes_the_answer_to_the_tool(client: RecordingClient, scripts: Scripts) -> None:
    """The whole way, with the interrupted run's own id, as CopilotKit's client resumes."""
    prompt = scripts.on(by_step(PAY, send_text("Paid.")))
    (question,) = interrupts(client.run("fake-tools", prompt, "run-" + prompt, messages=[user_message(prompt)]))
    resume = [{"interruptId": question["id"], "status": "resolved", "payload": "yes"}]
    events = client.run("fake-tools", prompt, "run-" + prompt, messages=history(prompt), resume=resume)
    assert only_event(events, "TOOL_CALL_RESULT")["content"] == "yes: 5"
    assert text_of(events) == "Paid."
    assert scripts.requests(prompt)[-1].json()["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "c0",
        "content": "yes: 5",
    }


def resumed(client: RecordingClient, scripts: Scripts, **entry: Any) -> tuple[list[Event], str]:
    """Resumes a run; returns its events and the result that the model received."""
    prompt = scripts.on(send_text("I see."))
    resume = [{"interruptId": "c0", "status": "resolved", **entry}]
    events = client.run("fake-tools", prompt, messages=history(prompt), resume=resume)
    (request,) = scripts.requests(prompt)
    (result,) = [message["content"] for message in request.json()["messages"] if message["role"] == "tool"]
    return events, result


def test_interrupt_cancelled_does_not_call_the_tool(client: RecordingClient, scripts: Scripts) -> None:
    events, result = resumed(client, scripts, status="cancelled")
    assert "cancelled" in result
    assert text_of(events) == "I see."


def test_interrupt_invalid_answer_is_an_error_for_the_model(client: RecordingClient, scripts: Scripts) -> None:
    events, result = resumed(client, scripts, payload="maybe")
    assert result.startswith("Error")
    assert text_of(events) == "I see."


def test_interrupt_invalid_arguments_ask_no_question(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(by_step(send_chunks(tool_call_chunk(0, '{"amount": "all"}', "c0", "pay")), send_text("Sorry.")))
    events = client.chat("fake-tools", prompt)
    assert only_event(events, "RUN_FINISHED").get("outcome", {}).get("type", "success") == "success"
    assert only_event(events, "TOOL_CALL_RESULT")["content"].startswith("Error")
    assert text_of(events) == "Sorry."


def test_interrupt_beside_another_tool_call(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(
        send_chunks(
            tool_call_chunk(0, '{"amount": 5}', "c0", "pay"), tool_call_chunk(1, '{"text": "a"}', "c1", "shout")
        )
    )
    events = client.chat("fake-tools", prompt)
    assert [interrupt["toolCallId"] for interrupt in interrupts(events)] == ["c0"]
    assert only_event(events, "TOOL_CALL_RESULT")["toolCallId"] == "c1"
    assert len(scripts.requests(prompt)) == 1


def test_interrupt_two_in_one_completion(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(
        send_chunks(tool_call_chunk(0, '{"amount": 5}', "c0", "pay"), tool_call_chunk(1, '{"amount": 6}', "c1", "pay"))
    )
    questions = interrupts(client.chat("fake-tools", prompt))
    assert [interrupt["toolCallId"] for interrupt in questions] == ["c0", "c1"]


@pytest.mark.parametrize("call_id", ["c9", "c1"])
def test_interrupt_resume_without_an_open_question_changes_nothing(
    client: RecordingClient, scripts: Scripts, call_id: str
) -> None:
    prompt = scripts.on(send_text("Fine."))
    messages = [
        user_message(prompt),
        assistant_message(None, tool_call("c1", "shout", '{"text": "a"}')),
        tool_message("c1", "A"),
    ]
    resume = [{"interruptId": call_id, "status": "resolved", "payload": "yes"}]
    events = client.run("fake-tools", prompt, messages=messages, resume=resume)
    assert of_type(events, "TOOL_CALL_RESULT") == []
    (request,) = scripts.requests(prompt)
    assert [message["content"] for message in request.json()["messages"] if message["role"] == "tool"] == ["A"]


def test_interrupt_resume_of_a_frontend_tool_is_its_result(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(send_text("Fine."))
    messages = [user_message(prompt), assistant_message(None, tool_call("c1", "paint"))]
    resume = [{"interruptId": "c1", "status": "resolved", "payload": {"colour": "red"}}]
    client.run("fake-tools", prompt, messages=messages, resume=resume, tools=[frontend_tool("paint")])
    (request,) = scripts.requests(prompt)
    assert request.json()["messages"][-1]["content"] == '{"colour":"red"}'
