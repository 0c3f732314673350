"""What goes wrong with a model is one ``RUN_ERROR`` with a code, and no secret in it."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.http_client import Event, unique
from tests.servers import RunningServer

from .aimock import Aimock
from .client import CALL, TEXT, event_types, only_event, text_of, user_message
from .fake_provider import TIMEOUT_SECONDS, Exchange, Script, chunk, tool_call_chunk
from .scripts import Scripts, breaks_off, ends, send_error, send_text
from .verifier import RecordingClient

SECRET = "sk-secret"


def error_of(events: list[Event]) -> str:
    """The code of the error that a run ends with."""
    error = only_event(events, "RUN_ERROR")
    assert events[-1] is error
    assert error["message"]
    assert SECRET not in json.dumps(events)
    code: str = error["code"]
    return code


def refusal(code: str | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    # The words would mislead a search for words.
    message = f"rate limit, api key {SECRET}, maximum context length"
    return {"message": message, "type": kind, **({"code": code} if code else {})}


REFUSALS = [
    (429, "rate_limit_exceeded", "rate_limited"),
    (429, "insufficient_quota", "rate_limited"),
    (429, None, "rate_limited"),
    (401, "invalid_api_key", "auth_failed"),
    (401, None, "auth_failed"),
    (403, None, "auth_failed"),
    (400, "context_length_exceeded", "context_length"),
    (400, None, "provider_error"),
    (404, "model_not_found", "provider_error"),
    (500, None, "provider_error"),
    (503, None, "provider_error"),
]


@pytest.mark.client
@pytest.mark.parametrize(("status", "code", "expected"), REFUSALS)
def test_error_codes_of_the_providers_refusals(
    client: RecordingClient, mock: Aimock, status: int, code: str | None, expected: str
) -> None:
    prompt = f"{unique('question')}."
    mock.add_fixture(prompt, {"error": refusal(code), "status": status})
    events = client.chat("plain", prompt)
    assert event_types(events) == ["RUN_STARTED", "RUN_ERROR"]
    assert error_of(events) == expected
    assert len(mock.requests(prompt)) == 1


@pytest.mark.client
def test_error_code_of_an_invalid_key(client: RecordingClient, mock: Aimock) -> None:
    prompt = f"{unique('question')}."
    mock.add_fixture(prompt, {"content": "never"})
    events = client.chat("wrong-key", prompt)
    assert event_types(events) == ["RUN_STARTED", "RUN_ERROR"]
    assert error_of(events) == "auth_failed"


@pytest.mark.client
def test_error_code_of_a_dropped_connection(client: RecordingClient, mock: Aimock) -> None:
    prompt = f"{unique('question')}."
    mock.add_fixture(prompt, {"content": "One two three four."}, chunkSize=4, latency=5, truncateAfterChunks=4)
    events = client.chat("plain", prompt)
    assert event_types(events) == ["RUN_STARTED", *TEXT, "RUN_ERROR"]
    assert error_of(events) == "network_error"
    assert "One two three four.".startswith(text_of(events))


@pytest.mark.client
def test_error_code_of_a_response_without_a_stream(client: RecordingClient, mock: Aimock) -> None:
    prompt = f"{unique('question')}."
    mock.add_fixture(prompt, {"content": "never"}, chaos={"malformedRate": 1})
    assert error_of(client.chat("plain", prompt)) == "network_error"


HELLO = chunk({"content": "Hello"})


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param(
            ends(HELLO, {"error": {**refusal(kind="server_error"), "code": 500}}),
            "provider_error",
            id="server error",
        ),
        pytest.param(
            ends(HELLO, {"error": refusal("rate_limit_exceeded", "rate_limit_error")}),
            "rate_limited",
            id="rate limit",
        ),
        pytest.param(ends(HELLO, '{"id": '), "provider_error", id="no JSON"),
        pytest.param(ends(HELLO), "network_error", id="ends without an end"),
        pytest.param(ends(HELLO, "[DONE]"), "network_error", id="done without a reason"),
        pytest.param(breaks_off(HELLO), "network_error", id="drops"),
        pytest.param(ends(HELLO, chunk({}, "content_filter"), "[DONE]"), "provider_error", id="held back"),
    ],
)
def test_error_code_of_a_failure_during_the_stream(
    client: RecordingClient, scripts: Scripts, script: Script, expected: str
) -> None:
    prompt = scripts.on(script)
    events = client.chat("fake-plain", prompt)
    assert event_types(events) == ["RUN_STARTED", *TEXT, "RUN_ERROR"]
    assert error_of(events) == expected
    assert text_of(events) == "Hello"


def test_error_during_a_tool_call_runs_no_tool(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(breaks_off(tool_call_chunk(0, '{"text": "a"}', "c0", "shout")))
    events = client.chat("fake-tools", prompt)
    assert event_types(events) == ["RUN_STARTED", *CALL, "TOOL_CALL_RESULT", "RUN_ERROR"]
    assert error_of(events) == "network_error"


def test_max_tokens_reached_is_not_an_error(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(ends(HELLO, chunk({}, "length"), "[DONE]"))
    events = client.chat("fake-plain", prompt)
    assert event_types(events) == ["RUN_STARTED", *TEXT, "RUN_FINISHED"]


def test_empty_completion_is_not_an_error(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(ends(chunk({}, "stop"), "[DONE]"))
    assert event_types(client.chat("fake-plain", prompt)) == [
        "RUN_STARTED",
        "RUN_FINISHED",
    ]


def test_error_code_of_connection_refused(client: RecordingClient) -> None:
    events = client.run("deaf", unique("thread"), messages=[user_message("Hello")])
    assert event_types(events) == ["RUN_STARTED", "RUN_ERROR"]
    assert error_of(events) == "network_error"


def test_error_code_of_connection_refused_with_debug_has_the_url(
    client: RecordingClient, runtime: RunningServer
) -> None:
    events = client.run("deaf-debug", unique("thread"), messages=[user_message("Hello")])
    assert error_of(events) == "network_error"
    assert "http://127.0.0.1:9/v1/chat/completions" in only_event(events, "RUN_ERROR")["message"]
    assert "http://127.0.0.1:9/v1/chat/completions" in runtime.log()


def test_error_for_a_missing_key_names_the_variable(client: RecordingClient) -> None:
    events = client.run("keyless", unique("thread"), messages=[user_message("Hello")])
    assert event_types(events) == ["RUN_STARTED", "RUN_ERROR"]
    assert error_of(events) == "auth_failed"
    assert "MINIMAX_API_KEY" in only_event(events, "RUN_ERROR")["message"]


def test_timeout_before_the_response(client: RecordingClient, scripts: Scripts) -> None:
    disconnected = threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.wait_for_disconnect()
        disconnected.set()

    prompt = scripts.on(script)
    events = client.chat("fake-hurried", prompt)
    assert event_types(events) == ["RUN_STARTED", "RUN_ERROR"]
    assert error_of(events) == "timeout"
    assert disconnected.wait(TIMEOUT_SECONDS)


def test_timeout_during_the_stream(client: RecordingClient, scripts: Scripts) -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send(HELLO)
        exchange.wait_for_disconnect()

    prompt = scripts.on(script)
    events = client.chat("fake-hurried", prompt)
    assert event_types(events) == ["RUN_STARTED", *TEXT, "RUN_ERROR"]
    assert error_of(events) == "timeout"


def test_max_retries_is_the_sdks(client: RecordingClient, scripts: Scripts) -> None:
    first = send_error(429, refusal(), retry_after_ms="1")

    def script(exchange: Exchange) -> None:
        (first if len(scripts.requests(prompt)) == 1 else send_text("at last"))(exchange)

    prompt = scripts.on(script)
    events = client.chat("fake-retrying", prompt)
    assert event_types(events) == ["RUN_STARTED", *TEXT, "RUN_FINISHED"]
    assert text_of(events) == "at last"
    assert len(scripts.requests(prompt)) == 2


def test_max_retries_reached_is_an_error(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(send_error(429, refusal(), retry_after_ms="1"))
    assert error_of(client.chat("fake-retrying", prompt)) == "rate_limited"
    assert len(scripts.requests(prompt)) == 3
