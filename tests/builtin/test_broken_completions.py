"""Completions that break off or are malformed: the run fails, or the model is told, but no tool runs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from tests.client.test_client import HERE as CLIENT
from tests.http_client import Event
from tests.servers import RunningServer

from .aimock import needs_node
from .client import (
    CALL,
    TEXT,
    event_types,
    finished_run,
    frontend_tool,
    of_type,
    only_event,
    text_of,
    tool_calls,
)
from .fake_provider import chunk, tool_call_chunk
from .scripts import Scripts, breaks_off, by_step, ends, roles, send_chunks, send_text, stays_open
from .verifier import RecordingClient

pytestmark = pytest.mark.requirement("AGENT-06")

HELLO = chunk({"content": "Hello"})
FAILED = ["error", "network_error", "abort", "insufficient_system_resource", "ERROR", "something_new"]
WHOLE = '{"text": "a"}'
CUT = '{"text": "'
TOOLS = ["shout", "paint"]
"""One of the server, one of the frontend."""


def results(events: Sequence[Event]) -> dict[str, str]:
    return {event["toolCallId"]: event["content"] for event in of_type(events, "TOOL_CALL_RESULT")}


# --- a completion that failed ------------------------------------------------


@pytest.mark.parametrize("reason", FAILED)
def test_finish_reason_of_a_failure_is_run_error(client: RecordingClient, scripts: Scripts, reason: str) -> None:
    prompt = scripts.on(ends(HELLO, chunk({}, reason), "[DONE]"))
    events = client.chat("fake-plain", prompt)
    assert event_types(events) == ["RUN_STARTED", *TEXT, "RUN_ERROR"]
    assert only_event(events, "RUN_ERROR")["code"] == "provider_error"
    assert text_of(events) == "Hello"


@pytest.mark.parametrize("reason", ["end_turn", "eos", "STOP", "tool_use"])
def test_finish_reason_of_another_spelling_is_no_failure(
    client: RecordingClient, scripts: Scripts, reason: str
) -> None:
    prompt = scripts.on(ends(HELLO, chunk({}, reason), "[DONE]"))
    assert event_types(client.chat("fake-plain", prompt)) == finished_run(*TEXT)


@pytest.mark.parametrize("broken", [ends, breaks_off])
@pytest.mark.parametrize("reason", ["", None])
def test_finish_reason_that_is_empty_is_none(
    client: RecordingClient, scripts: Scripts, broken: Any, reason: str | None
) -> None:
    prompt = scripts.on(broken(chunk({"content": "Hel"}, reason), chunk({"content": "lo"}, reason)))
    events = client.chat("fake-plain", prompt)
    assert event_types(events) == ["RUN_STARTED", *TEXT, "RUN_ERROR"]
    assert only_event(events, "RUN_ERROR")["code"] == "network_error"


BREAKS = {
    **{reason: lambda *items, reason=reason: ends(*items, chunk({}, reason), "[DONE]") for reason in FAILED},
    "content_filter": lambda *items: ends(*items, chunk({}, "content_filter"), "[DONE]"),
    "connection": breaks_off,
    "end of the stream": ends,
    "error in the stream": lambda *items: ends(*items, {"error": {"message": "oh", "code": 500}}),
}


@pytest.mark.parametrize("arguments", [CUT, WHOLE, ""])
@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_tool_call_of_a_failed_completion_has_an_error_as_its_result(
    client: RecordingClient, scripts: Scripts, broken: Any, arguments: str
) -> None:
    """A call without a result is run by the frontend, even if the run has failed."""
    prompt = scripts.on(broken(*(tool_call_chunk(n, arguments, f"c{n}", name) for n, name in enumerate(TOOLS))))
    events = client.chat("fake-tools", prompt, tools=[frontend_tool("paint")])
    assert events[-1]["type"] == "RUN_ERROR"
    assert [name for name, _ in tool_calls(events).values()] == TOOLS
    assert list(results(events)) == ["c0", "c1"]
    assert all(text.startswith("Error: ") for text in results(events).values())
    assert len(scripts.requests(prompt)) == 1


# --- a completion at its token limit -----------------------------------------


@pytest.mark.parametrize("arguments", [CUT, WHOLE, ""])
@pytest.mark.parametrize("name", TOOLS)
def test_length_inside_a_tool_call_is_sent_to_the_model(
    client: RecordingClient, scripts: Scripts, name: str, arguments: str
) -> None:
    first = send_chunks(tool_call_chunk(0, arguments, "c0", name), reason="length")
    prompt = scripts.on(by_step(first, send_text("Shorter, then.")))
    events = client.chat("fake-tools", prompt, tools=[frontend_tool("paint")])
    assert events[-1]["type"] == "RUN_FINISHED"
    assert text_of(events) == "Shorter, then."
    assert "token limit" in results(events)["c0"]
    _, second = scripts.requests(prompt)
    messages = second.json()["messages"]
    assert roles(messages) == ["user", "assistant", "tool"]
    assert "token limit" in messages[-1]["content"]
    json.loads(messages[1]["tool_calls"][0]["function"]["arguments"])


def test_length_after_a_tool_call_runs_it(client: RecordingClient, scripts: Scripts) -> None:
    first = send_chunks(
        tool_call_chunk(0, WHOLE, "c0", "shout"), tool_call_chunk(1, CUT, "c1", "shout"), reason="length"
    )
    prompt = scripts.on(by_step(first, send_text("done")))
    found = results(client.chat("fake-tools", prompt))
    assert found["c0"] == "A"
    assert found["c1"].startswith("Error: ")


# --- a completion that is over, though its stream is not ---------------------

USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@pytest.mark.parametrize("agent", ["fake-plain", "fake-hurried"])
@pytest.mark.parametrize(
    "after",
    [
        pytest.param(breaks_off, id="breaks off"),
        pytest.param(ends, id="no DONE"),
        pytest.param(stays_open, id="stays open"),
        pytest.param(lambda *items: stays_open(*items, "[DONE]"), id="stays open after DONE"),
        pytest.param(lambda *items: ends(*items, '{"id": '), id="junk"),
        pytest.param(lambda *items: ends(*items, {"error": {"message": "no usage"}}), id="error"),
    ],
)
def test_finish_reason_completes_the_completion(
    client: RecordingClient, scripts: Scripts, after: Any, agent: str
) -> None:
    prompt = scripts.on(after(HELLO, chunk({}, "stop"), {**chunk({}), "choices": [], "usage": USAGE}))
    events = client.chat(agent, prompt)
    assert event_types(events) == finished_run(*TEXT)
    assert events[-1].get("usage", [{"totalTokens": 3}])[0]["totalTokens"] == 3


def test_finish_reason_completes_a_tool_call(client: RecordingClient, scripts: Scripts) -> None:
    first = stays_open(tool_call_chunk(0, WHOLE, "c0", "shout"), chunk({}, "tool_calls"))
    prompt = scripts.on(by_step(first, breaks_off(HELLO, chunk({}, "stop"))))
    events = client.chat("fake-tools", prompt)
    assert event_types(events) == finished_run(*CALL, "TOOL_CALL_RESULT", *TEXT)
    assert results(events) == {"c0": "A"}


def test_stop_while_the_stream_stays_open_after_the_completion(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(stays_open(HELLO, chunk({}, "stop")))
    with client.start_chat("fake-plain", prompt) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        client.stop("fake-plain", prompt)
        assert stream.rest()[-1]["type"] == "RUN_FINISHED"


# --- pieces of tool calls ----------------------------------------------------


def piece(**members: Any) -> Any:
    return chunk({"tool_calls": [members]})


def function(name: Any = None, arguments: Any = None) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


MEANT: dict[str, list[Any]] = {
    "index runs on": [
        piece(index=0, id="a", function=function("shout", "")),
        piece(index=1, function=function(None, WHOLE)),
    ],
    "index missing": [piece(id="a", function=function("shout", "")), piece(function=function(None, WHOLE))],
    "index starts at 1": [
        piece(index=1, id="a", function=function("shout", "")),
        piece(index=1, function=function(None, WHOLE)),
    ],
    "arguments as an object": [piece(index=0, id="a", function=function("shout", {"text": "a"}))],
    "name in pieces": [
        piece(index=0, id="a", function=function("sho", "")),
        piece(index=0, function=function("ut", "")),
        piece(index=0, function=function(None, WHOLE)),
    ],
    "message in place of the delta": [
        {
            **chunk({}),
            "choices": [{"index": 0, "message": {"tool_calls": [{"id": "a", "function": function("shout", WHOLE)}]}}],
        }
    ],
}


@pytest.mark.parametrize("items", MEANT.values(), ids=MEANT)
def test_tool_call_pieces_of_the_call_that_was_meant(
    client: RecordingClient, scripts: Scripts, items: list[Any]
) -> None:
    prompt = scripts.on(by_step(send_chunks(*items), send_text("done")))
    events = client.chat("fake-tools", prompt)
    assert list(results(events).values()) == ["A"]
    assert text_of(events) == "done"


HALVES = ("\ud83d", "\ude00")


def test_character_cut_in_two_by_the_model_server_in_text(client: RecordingClient, scripts: Scripts) -> None:
    events = client.chat("fake-tools", scripts.on(send_text("a", *HALVES, "b")))
    assert text_of(events) == "a😀b"


@pytest.mark.parametrize("tool", TOOLS)
def test_character_cut_in_two_by_the_model_server_in_a_tool_call(
    client: RecordingClient, scripts: Scripts, tool: str
) -> None:
    first, second = HALVES
    items = [
        tool_call_chunk(0, '{"text": "' + first, "c0", tool),
        tool_call_chunk(0, second + '"}'),
    ]
    prompt = scripts.on(by_step(send_chunks(*items), send_text("done")))
    events = client.chat("fake-tools", prompt, tools=[frontend_tool("paint")])
    assert "".join(event["delta"] for event in of_type(events, "TOOL_CALL_ARGS")) == '{"text": "😀"}'
    # A tool of the server runs with it, and the model reads it in its own call.
    assert results(events) == ({"c0": "😀"} if tool == "shout" else {})
    if tool == "shout":
        messages = scripts.requests(prompt)[-1].json()["messages"]
        (call,) = next(message["tool_calls"] for message in messages if message["role"] == "assistant")
        assert call["function"]["arguments"] == '{"text": "😀"}'


LOST: dict[str, list[Any]] = {
    "no name": [piece(index=0, id="a", function=function(None, WHOLE))],
    "arguments under another id": [
        piece(index=0, id="a", function=function("linger", "")),
        piece(index=1, id="b", function=function(None, WHOLE)),
    ],
    "two objects": [piece(index=0, id="a", function=function("linger", "{}" + WHOLE))],
    "arguments as a list": [piece(index=0, id="a", function=function("linger", ["a"]))],
}


@pytest.mark.parametrize("items", LOST.values(), ids=LOST)
def test_tool_call_pieces_that_are_lost_are_an_error_for_the_model(
    client: RecordingClient, scripts: Scripts, items: list[Any]
) -> None:
    """The tool named here never returns by itself."""
    prompt = scripts.on(by_step(send_chunks(*items), send_text("Once more.")))
    events = client.chat("fake-tools", prompt)
    assert text_of(events) == "Once more."
    assert all(text.startswith("Error: ") for text in results(events).values())
    _, second = scripts.requests(prompt)
    result = second.json()["messages"][-1]
    assert result["content"].startswith("Error: ")


@pytest.mark.parametrize("arguments", [CUT, "[1]", "{}" + WHOLE])
def test_tool_call_of_the_frontend_with_invalid_arguments_has_a_result(
    client: RecordingClient, scripts: Scripts, arguments: str
) -> None:
    prompt = scripts.on(by_step(send_chunks(tool_call_chunk(0, arguments, "c0", "paint")), send_text("Sorry.")))
    events = client.chat("fake-tools", prompt, tools=[frontend_tool("paint")])
    assert results(events)["c0"].startswith("Error: ")
    assert text_of(events) == "Sorry."


# --- the frontend ------------------------------------------------------------

PROGRAM = CLIENT / "broken_call.mjs"


@dataclasses.dataclass(frozen=True)
class Played:
    """What CopilotKit's client did in a conversation of two messages, and after a reload."""

    ran: list[str]
    errors: list[str]
    roles: list[str]
    reloaded: list[str]


def play(runtime: RunningServer, agent: str, *prompts: str) -> Played:
    needs_node()
    command = ["node", str(PROGRAM), runtime.base_url, agent, *prompts]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return Played(**json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.client
@pytest.mark.parametrize(
    ("name", "broken", "arguments"),
    [
        pytest.param("paint", BREAKS["error"], WHOLE, id="tool of that name"),
        pytest.param("paint", breaks_off, CUT, id="tool of that name, arguments cut"),
        pytest.param("ask", BREAKS["error"], WHOLE, id="tool that waits for the user"),
        pytest.param("unknown", breaks_off, WHOLE, id="tool for all names"),
    ],
)
def test_frontend_runs_no_tool_of_a_failed_completion(
    runtime: RunningServer, scripts: Scripts, name: str, broken: Any, arguments: str
) -> None:
    first, second = scripts.on(broken(tool_call_chunk(0, arguments, "c0", name))), scripts.on(send_text("Again."))
    played = play(runtime, "fake-plain", first, second)
    assert played.ran == []
    assert played.errors == ["agent_run_error_event"]
    assert played.roles == ["user", "assistant", "tool", "user", "assistant"]
    assert played.reloaded == played.roles
    (request,) = scripts.requests(second)
    assert roles(request.json()["messages"]) == ["user", "assistant", "tool", "user"]
    assert request.json()["messages"][2]["content"].startswith("Error: ")


@pytest.mark.client
@pytest.mark.parametrize("arguments", [CUT, ""])
def test_frontend_runs_no_tool_whose_call_was_truncated(
    runtime: RunningServer, scripts: Scripts, arguments: str
) -> None:
    first = scripts.on(send_chunks(tool_call_chunk(0, arguments, "c0", "paint"), reason="length"))
    played = play(runtime, "fake-plain", first, scripts.on(send_text("Again.")))
    assert played.ran == []
    assert played.errors == []
    assert played.roles == ["user", "assistant", "tool", "user", "assistant"]
