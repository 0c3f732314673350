"""Tools that ask a person: the run ends with the question, and a later one brings the answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http_client import Event

from .client import assistant, called, frontend_tool, of_type, only, result, text_of, user
from .fake_provider import call
from .scripts import Scenes, says, sends, steps
from .verifier import NotingClient

PAY = sends(call(0, '{"amount": 5}', "c0", "pay"))


def interrupts(events: list[Event]) -> list[dict[str, Any]]:
    """The questions that a run has left."""
    outcome = only(events, "RUN_FINISHED")["outcome"]
    assert outcome["type"] == "interrupt"
    questions: list[dict[str, Any]] = outcome["interrupts"]
    return questions


def history(scene: str) -> list[dict[str, Any]]:
    """What a client has after the run with the question."""
    return [user(scene), assistant(None, called("c0", "pay", '{"amount": 5}'))]


def test_the_run_ends_with_the_question(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(PAY)
    events = client.ran("fake-tools", scene, messages=[user(scene)])
    (question,) = interrupts(events)
    assert question["toolCallId"] == "c0"
    assert question["message"] == "Really?"
    assert question["reason"] == "approval"
    assert question["responseSchema"]["enum"] == ["yes", "no"]
    assert of_type(events, "TOOL_CALL_RESULT") == []
    assert len(scenes.asked(scene)) == 1
    offered = next(
        one["function"] for one in scenes.asked(scene)[0].json()["tools"] if one["function"]["name"] == "pay"
    )
    assert set(offered["parameters"]["properties"]) == {"amount"}


def test_the_answer_reaches_the_tool_and_its_result_the_model(client: NotingClient, scenes: Scenes) -> None:
    """The whole way, with the interrupted run's own id, as CopilotKit's client resumes."""
    scene = scenes.on(steps(PAY, says("Paid.")))
    (question,) = interrupts(client.ran("fake-tools", scene, "run-" + scene, messages=[user(scene)]))
    resume = [{"interruptId": question["id"], "status": "resolved", "payload": "yes"}]
    events = client.ran("fake-tools", scene, "run-" + scene, messages=history(scene), resume=resume)
    assert only(events, "TOOL_CALL_RESULT")["content"] == "yes: 5"
    assert text_of(events) == "Paid."
    assert scenes.asked(scene)[-1].json()["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "c0",
        "content": "yes: 5",
    }


def resumed(client: NotingClient, scenes: Scenes, **entry: Any) -> tuple[list[Event], str]:
    """A run that resumes; gives its events and what the model was told of the call."""
    scene = scenes.on(says("I see."))
    resume = [{"interruptId": "c0", "status": "resolved", **entry}]
    events = client.ran("fake-tools", scene, messages=history(scene), resume=resume)
    (asked,) = scenes.asked(scene)
    (told,) = [one["content"] for one in asked.json()["messages"] if one["role"] == "tool"]
    return events, told


def test_a_cancelled_question_does_not_call_the_tool(client: NotingClient, scenes: Scenes) -> None:
    events, told = resumed(client, scenes, status="cancelled")
    assert "cancelled" in told
    assert text_of(events) == "I see."


def test_an_answer_that_is_not_valid_is_told_to_the_model(client: NotingClient, scenes: Scenes) -> None:
    events, told = resumed(client, scenes, payload="maybe")
    assert told.startswith("Error")
    assert text_of(events) == "I see."


def test_arguments_that_are_not_valid_ask_nobody(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(steps(sends(call(0, '{"amount": "all"}', "c0", "pay")), says("Sorry.")))
    events = client.ran("fake-tools", scene, messages=[user(scene)])
    assert only(events, "RUN_FINISHED").get("outcome", {}).get("type", "success") == "success"
    assert only(events, "TOOL_CALL_RESULT")["content"].startswith("Error")
    assert text_of(events) == "Sorry."


def test_a_question_beside_another_call(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(sends(call(0, '{"amount": 5}', "c0", "pay"), call(1, '{"text": "a"}', "c1", "shout")))
    events = client.ran("fake-tools", scene, messages=[user(scene)])
    assert [one["toolCallId"] for one in interrupts(events)] == ["c0"]
    assert only(events, "TOOL_CALL_RESULT")["toolCallId"] == "c1"
    assert len(scenes.asked(scene)) == 1


def test_two_questions_of_one_answer(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(sends(call(0, '{"amount": 5}', "c0", "pay"), call(1, '{"amount": 6}', "c1", "pay")))
    questions = interrupts(client.ran("fake-tools", scene, messages=[user(scene)]))
    assert [one["toolCallId"] for one in questions] == ["c0", "c1"]


@pytest.mark.parametrize("call_id", ["c9", "c1"])
def test_an_answer_to_what_was_not_asked_changes_nothing(client: NotingClient, scenes: Scenes, call_id: str) -> None:
    scene = scenes.on(says("Fine."))
    said = [user(scene), assistant(None, called("c1", "shout", '{"text": "a"}')), result("c1", "A")]
    resume = [{"interruptId": call_id, "status": "resolved", "payload": "yes"}]
    events = client.ran("fake-tools", scene, messages=said, resume=resume)
    assert of_type(events, "TOOL_CALL_RESULT") == []
    (asked,) = scenes.asked(scene)
    assert [one["content"] for one in asked.json()["messages"] if one["role"] == "tool"] == ["A"]


def test_an_answer_to_a_frontends_call_is_its_result(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(says("Fine."))
    said = [user(scene), assistant(None, called("c1", "paint"))]
    resume = [{"interruptId": "c1", "status": "resolved", "payload": {"colour": "red"}}]
    client.ran("fake-tools", scene, messages=said, resume=resume, tools=[frontend_tool("paint")])
    (asked,) = scenes.asked(scene)
    assert asked.json()["messages"][-1]["content"] == '{"colour":"red"}'
