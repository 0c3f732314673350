"""The same agent over the APIs of all makers, through a real server: aimock, or a fake where aimock cannot do it."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from ag_ui.core import RunFinishedEvent

from tests.http_client import Event, run_input, unique

from .aimock import Aimock
from .client import (
    CALL,
    TEXT,
    assistant_message,
    event_types,
    finished_run,
    frontend_tool,
    of_type,
    only_event,
    text_of,
    tool_call,
    tool_calls,
    tool_message,
    user_message,
)
from .fake_provider import TIMEOUT_SECONDS, Exchange, Script
from .frames import APIS, Call, Part, Reasoning, Text, beginning_of
from .scripts import Scripts, answer_over
from .verifier import RecordingClient

pytestmark = [
    pytest.mark.requirement("AGENT-10"),
    # The adapters do not differ in what they know of models.
    pytest.mark.parametrize("runtime", ["asgi"], indirect=True),
    pytest.mark.parametrize("api", APIS),
]

REASONING = [
    "REASONING_START",
    "REASONING_MESSAGE_START",
    "REASONING_MESSAGE_CONTENT",
    "REASONING_MESSAGE_END",
    "REASONING_END",
]


@pytest.fixture
def prompt() -> str:
    """A message that no other test sends, and that is part of no other one."""
    return f"{unique('question')}."


# --- against aimock ----------------------------------------------------------


@pytest.mark.client
def test_api_text_and_reasoning_are_streamed(client: RecordingClient, mock: Aimock, prompt: str, api: str) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    mock.add_fixture(prompt, {"content": "Grüße, all", "reasoning": "Hm, so be it.", "usage": usage}, chunkSize=5)
    events = client.chat(f"{api}-tools", prompt)
    assert [kind for kind in event_types(events) if kind != "REASONING_ENCRYPTED_VALUE"] == finished_run(
        *REASONING, *TEXT
    )
    assert [event["delta"] for event in of_type(events, "TEXT_MESSAGE_CONTENT")] == ["Grüße", ", all"]
    assert text_of(events, "REASONING_MESSAGE_CONTENT") == "Hm, so be it."
    if "usage" in RunFinishedEvent.model_fields:
        (counts,) = events[-1]["usage"]
        assert [counts[name] for name in ("inputTokens", "outputTokens", "totalTokens")] == [11, 5, 16]


@pytest.mark.client
def test_api_server_tools_in_parallel(client: RecordingClient, mock: Aimock, prompt: str, api: str) -> None:
    calls = [{"id": f"call_{n}", "name": "shout", "arguments": {"text": f"word {n}"}} for n in range(3)]
    mock.add_fixture({"userMessage": prompt, "hasToolResult": True}, {"content": "Done.", "reasoning": "So."})
    mock.add_fixture(prompt, {"content": "Three at once.", "reasoning": "Hm.", "toolCalls": calls}, chunkSize=4)
    events = client.chat(f"{api}-tools", prompt)
    assert [name for name, _ in tool_calls(events).values()] == ["shout"] * 3
    assert [event["content"] for event in of_type(events, "TOOL_CALL_RESULT")] == ["WORD 0", "WORD 1", "WORD 2"]
    assert text_of(events) == "Three at once.Done."
    first, second = mock.requests(prompt)
    assert "shout" in json.dumps(first["tools"])
    assert [message["role"] for message in second["messages"] if message["role"] == "tool"] == ["tool"] * 3


@pytest.mark.client
def test_api_frontend_tool_and_its_result(client: RecordingClient, mock: Aimock, prompt: str, api: str) -> None:
    mock.add_fixture({"userMessage": prompt, "hasToolResult": True}, {"content": "It is red now."})
    mock.add_fixture(prompt, {"toolCalls": [{"id": "call_1", "name": "paint", "arguments": {"colour": "red"}}]})
    tools = [frontend_tool("paint", colour={"type": "string"})]
    events = client.chat(f"{api}-tools", prompt, tools=tools)
    assert [kind for kind in event_types(events) if not kind.startswith("REASONING")] == finished_run(*CALL)
    ((call_id, (name, arguments)),) = tool_calls(events).items()
    assert (name, json.loads(arguments)) == ("paint", {"colour": "red"})
    messages = [
        user_message(prompt),
        assistant_message(None, tool_call(call_id, name, arguments)),
        tool_message(call_id, "painted"),
    ]
    assert text_of(client.run(f"{api}-tools", prompt, messages=messages, tools=tools)) == "It is red now."
    assert "painted" in json.dumps(mock.requests(prompt)[-1]["messages"])


@pytest.mark.client
def test_api_interrupt_and_resume(client: RecordingClient, mock: Aimock, prompt: str, api: str) -> None:
    mock.add_fixture({"userMessage": prompt, "hasToolResult": True}, {"content": "Paid."})
    mock.add_fixture(prompt, {"toolCalls": [{"id": "call_1", "name": "pay", "arguments": {"amount": 5}}]})
    asked = client.chat(f"{api}-tools", prompt)
    (interrupt,) = asked[-1]["outcome"]["interrupts"]
    assert interrupt["message"] == "Really?"
    call_id = interrupt["id"]
    messages = [user_message(prompt), assistant_message(None, tool_call(call_id, "pay", '{"amount": 5}'))]
    resume = [{"interruptId": call_id, "status": "resolved", "payload": "yes"}]
    events = client.run(f"{api}-tools", prompt, messages=messages, resume=resume)
    assert only_event(events, "TOOL_CALL_RESULT")["content"] == "yes: 5"
    assert text_of(events) == "Paid."


@pytest.mark.client
def test_api_state_tools(client: RecordingClient, mock: Aimock, prompt: str, api: str) -> None:
    call = {"id": "c0", "name": "AGUISendStateSnapshot", "arguments": {"snapshot": {"count": 2}}}
    mock.add_fixture({"userMessage": prompt, "hasToolResult": True}, {"content": "Two."})
    mock.add_fixture(prompt, {"toolCalls": [call]})
    events = client.chat(f"{api}-tools", prompt, state={"count": 1})
    assert only_event(events, "STATE_SNAPSHOT")["snapshot"] == {"count": 2}
    assert text_of(events) == "Two."
    assert '{\\"count\\":1}' in json.dumps(mock.requests(prompt)[0]["messages"][0])


@pytest.mark.client
def test_api_images_reach_the_model(client: RecordingClient, mock: Aimock, prompt: str, api: str) -> None:
    mock.add_fixture(prompt, {"content": "A dot."})
    source = {"type": "data", "value": "QUJD", "mimeType": "image/png"}
    message = user_message([{"type": "text", "text": prompt}, {"type": "image", "source": source}])
    assert text_of(client.run(f"{api}-tools", prompt, messages=[message])) == "A dot."


@pytest.mark.client
def test_api_key_that_is_rejected(client: RecordingClient, mock: Aimock, prompt: str, api: str) -> None:
    (error,) = of_type(client.chat(f"{api}-wrong-key", prompt), "RUN_ERROR")
    assert error["code"] == "auth_failed"
    assert "sk-wrong" not in json.dumps(error)


@pytest.mark.client
@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(429, "rate_limit_error", "rate_limited"), (500, "api_error", "provider_error"), (504, "x", "timeout")],
)
def test_api_errors_have_codes(
    client: RecordingClient, mock: Aimock, prompt: str, api: str, status: int, kind: str, code: str
) -> None:
    mock.add_fixture(prompt, {"error": {"message": "words of the provider", "type": kind}, "status": status})
    (error,) = of_type(client.chat(f"{api}-tools", prompt), "RUN_ERROR")
    assert error["code"] == code
    assert "words" not in error["message"]


@pytest.mark.client
def test_api_stream_that_breaks_off(client: RecordingClient, mock: Aimock, prompt: str, api: str) -> None:
    mock.add_fixture(prompt, {"content": "one two three"}, chunkSize=4, truncateAfterChunks=2)
    events = client.chat(f"{api}-tools", prompt)
    assert only_event(events, "RUN_ERROR")["code"] in ("network_error", "provider_error")


# --- against the fake --------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "last"),
    [
        (Text(["one ", "two"]), "TEXT_MESSAGE_CONTENT"),
        (Reasoning(["Hm, ", "so"]), "REASONING_MESSAGE_CONTENT"),
        (Call("c0", "shout", ['{"text": ', '"a"}']), "TOOL_CALL_START"),
    ],
)
def test_api_stop_closes_the_connection_to_the_model(
    client: RecordingClient, scripts: Scripts, api: str, part: Part, last: str
) -> None:
    request, disconnected = threading.Event(), threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send(*beginning_of(api, part))
        request.set()
        exchange.wait_for_disconnect()
        disconnected.set()

    prompt = scripts.on(script)
    with client.start_chat(f"fake-{api}-tools", prompt) as stream:
        stream.until(last)
        assert request.wait(TIMEOUT_SECONDS)
        assert client.stop(f"fake-{api}-tools", prompt)["stopped"] is True
        assert disconnected.wait(TIMEOUT_SECONDS)
        assert stream.rest()[-1]["type"] == "RUN_FINISHED"


CROWD = 100


@pytest.mark.requirement("FORWARD-05")
def test_api_concurrent_runs_keep_tools_headers_and_keys_apart(
    client: RecordingClient, scripts: Scripts, api: str
) -> None:
    # The model sends no response before all requests have arrived, so that all runs are active at once.
    together = threading.Barrier(CROWD)

    def script(number: int) -> Script:
        def play(exchange: Exchange) -> None:
            if number not in seen:
                seen.add(number)
                together.wait(TIMEOUT_SECONDS)
                return answer_over(api, Call(f"c{number}", "whoami", ["{}"]))(exchange)
            return answer_over(api, Call(f"p{number}", f"paint_{number}", [f'{{"n":{number}}}']))(exchange)

        return play

    seen: set[int] = set()
    prompts = [scripts.on(script(number)) for number in range(CROWD)]

    def run(number: int) -> list[Event]:
        messages, tools = [user_message(prompts[number])], [frontend_tool(f"paint_{number}")]
        body = run_input(prompts[number], unique("run"), messages=messages, tools=tools, state={"n": number})
        agent = f"fake-{api}-{'tools' if number % 2 else 'other-key'}"
        with client.open("POST", f"/agent/{agent}/run", body, {"x-tenant": f"tenant-{number}"}) as stream:
            return stream.rest()

    with ThreadPoolExecutor(CROWD) as pool:
        runs = list(pool.map(run, range(CROWD)))
    client.streams += runs
    for number, events in enumerate(runs):
        result = json.loads(only_event(events, "TOOL_CALL_RESULT")["content"])
        assert result == {"tenant": f"tenant-{number}", "state": {"n": number}}
        assert (f"paint_{number}", f'{{"n":{number}}}') in tool_calls(events).values()
        for exchange in scripts.requests(prompts[number]):
            assert exchange.keys() == ["sk-fake" if number % 2 else "sk-other"]
            painted = [word for word in exchange.body.decode().split('"') if word.startswith("paint_")]
            assert set(painted) == {f"paint_{number}"}
