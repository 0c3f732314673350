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


def test_the_run_ends_with_the_question(client: RecordingClient, scripts: Scripts) -> None:
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
        one["function"] for one in scripts.requests(prompt)[0].json()["tools"] if one["function"]["name"] == "pay"
    )
    assert set(offered["parameters"]["properties"]) == {"amount"}


def test_the_answer_reaches_the_tool_and_its_result_the_model(client: RecordingClient, scripts: Scripts) -> None:
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
    """A run that resumes; gives its events and what the model was told of the call."""
    prompt = scripts.on(send_text("I see."))
    resume = [{"interruptId": "c0", "status": "resolved", **entry}]
    events = client.run("fake-tools", prompt, messages=history(prompt), resume=resume)
    (request,) = scripts.requests(prompt)
    (told,) = [one["content"] for one in request.json()["messages"] if one["role"] == "tool"]
    return events, told


def test_a_cancelled_question_does_not_call_the_tool(client: RecordingClient, scripts: Scripts) -> None:
    events, told = resumed(client, scripts, status="cancelled")
    assert "cancelled" in told
    assert text_of(events) == "I see."


def test_an_answer_that_is_not_valid_is_told_to_the_model(client: RecordingClient, scripts: Scripts) -> None:
    events, told = resumed(client, scripts, payload="maybe")
    assert told.startswith("Error")
    assert text_of(events) == "I see."


def test_arguments_that_are_not_valid_ask_nobody(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(by_step(send_chunks(tool_call_chunk(0, '{"amount": "all"}', "c0", "pay")), send_text("Sorry.")))
    events = client.chat("fake-tools", prompt)
    assert only_event(events, "RUN_FINISHED").get("outcome", {}).get("type", "success") == "success"
    assert only_event(events, "TOOL_CALL_RESULT")["content"].startswith("Error")
    assert text_of(events) == "Sorry."


def test_a_question_beside_another_call(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(
        send_chunks(
            tool_call_chunk(0, '{"amount": 5}', "c0", "pay"), tool_call_chunk(1, '{"text": "a"}', "c1", "shout")
        )
    )
    events = client.chat("fake-tools", prompt)
    assert [one["toolCallId"] for one in interrupts(events)] == ["c0"]
    assert only_event(events, "TOOL_CALL_RESULT")["toolCallId"] == "c1"
    assert len(scripts.requests(prompt)) == 1


def test_two_questions_of_one_answer(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(
        send_chunks(tool_call_chunk(0, '{"amount": 5}', "c0", "pay"), tool_call_chunk(1, '{"amount": 6}', "c1", "pay"))
    )
    questions = interrupts(client.chat("fake-tools", prompt))
    assert [one["toolCallId"] for one in questions] == ["c0", "c1"]


@pytest.mark.parametrize("call_id", ["c9", "c1"])
def test_an_answer_to_what_was_not_asked_changes_nothing(
    client: RecordingClient, scripts: Scripts, call_id: str
) -> None:
    prompt = scripts.on(send_text("Fine."))
    said = [
        user_message(prompt),
        assistant_message(None, tool_call("c1", "shout", '{"text": "a"}')),
        tool_message("c1", "A"),
    ]
    resume = [{"interruptId": call_id, "status": "resolved", "payload": "yes"}]
    events = client.run("fake-tools", prompt, messages=said, resume=resume)
    assert of_type(events, "TOOL_CALL_RESULT") == []
    (request,) = scripts.requests(prompt)
    assert [one["content"] for one in request.json()["messages"] if one["role"] == "tool"] == ["A"]


def test_an_answer_to_a_frontends_call_is_its_result(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(send_text("Fine."))
    said = [user_message(prompt), assistant_message(None, tool_call("c1", "paint"))]
    resume = [{"interruptId": "c1", "status": "resolved", "payload": {"colour": "red"}}]
    client.run("fake-tools", prompt, messages=said, resume=resume, tools=[frontend_tool("paint")])
    (request,) = scripts.requests(prompt)
    assert request.json()["messages"][-1]["content"] == '{"colour":"red"}'
