"""Servers that ignore ``stream``, and send a response as one JSON body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .client import event_types, frontend_tool, only_event, text_of, tool_calls
from .fake_provider import Exchange, Script
from .scripts import Scripts
from .verifier import RecordingClient

pytestmark = [
    pytest.mark.requirement("AGENT-11"),
    pytest.mark.parametrize("runtime", ["asgi"], indirect=True),
]

ARGUMENTS = '{"text": "a"}'
WHOLE: dict[str, dict[str, Any]] = {
    "chat": {
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "reasoning_content": "hm",
                    "content": "Hi",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "paint", "arguments": ARGUMENTS}}
                    ],
                },
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    },
    "responses": {
        "object": "response",
        "status": "completed",
        "error": None,
        "output": [
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
            {"type": "function_call", "id": "f", "call_id": "c1", "name": "paint", "arguments": ARGUMENTS},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    },
    "messages": {
        "type": "message",
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "c1", "name": "paint", "input": {"text": "a"}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    },
    "generate_content": {
        "candidates": [
            {
                "finishReason": "STOP",
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"text": "Hi"},
                        {"functionCall": {"name": "paint", "args": {"text": "a"}, "id": "c1"}},
                    ],
                },
            }
        ],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
    },
}


def respond(text: str) -> Script:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send_bytes(text.encode())
        exchange.end_stream()

    return script


@pytest.mark.parametrize("api", WHOLE)
@pytest.mark.parametrize("form", ["{}", "\ufeff{}\n", "data: {}\n\n", "[{}]"])
def test_whole_body_is_used(client: RecordingClient, scripts: Scripts, api: str, form: str) -> None:
    prompt = scripts.on(respond(form.replace("{}", json.dumps(WHOLE[api]))))
    events = client.chat(f"fake-{api}-tools", prompt, tools=[frontend_tool("paint")])
    assert event_types(events)[-1] == "RUN_FINISHED", events[-1]
    assert text_of(events, "REASONING_MESSAGE_CONTENT") == "hm"
    assert text_of(events) == "Hi"
    ((name, arguments),) = tool_calls(events).values()
    assert (name, json.loads(arguments)) == ("paint", {"text": "a"})
    (usage,) = events[-1]["usage"]
    assert (usage["inputTokens"], usage["outputTokens"]) == (1, 2)


@pytest.mark.parametrize(
    ("api", "changes", "code"),
    [
        ("responses", {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "x"}}, "rate_limited"),
        ("responses", {"status": "in_progress", "output": []}, "provider_error"),
        ("responses", {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "provider_error"),
        ("messages", {"stop_reason": "refusal"}, "provider_error"),
    ],
)
def test_whole_body_of_a_failure(
    client: RecordingClient, scripts: Scripts, api: str, changes: dict[str, Any], code: str
) -> None:
    events = client.chat(f"fake-{api}-tools", scripts.on(respond(json.dumps({**WHOLE[api], **changes}))))
    assert only_event(events, "RUN_ERROR")["code"] == code


@pytest.mark.parametrize("api", ["chat", *WHOLE])
@pytest.mark.parametrize("body", ["{}", '{"ok": true}', "[]", '{"data": {"output": "Hi"}}'])
def test_whole_body_of_something_else(client: RecordingClient, scripts: Scripts, api: str, body: str) -> None:
    events = client.chat(f"fake-{api}-tools", scripts.on(respond(body)))
    assert only_event(events, "RUN_ERROR")["code"] == "provider_error"


@pytest.mark.parametrize("api", ["responses", "messages"])
@pytest.mark.parametrize("junk", [None, 1, "text", [None], [1, "x"], [{"type": "text", "text": None}], {}])
def test_whole_body_with_members_of_other_types(
    client: RecordingClient, scripts: Scripts, api: str, junk: object
) -> None:
    members = {"responses": ("output", "usage"), "messages": ("content", "usage")}[api]
    events = client.chat(
        f"fake-{api}-tools", scripts.on(respond(json.dumps({**WHOLE[api], **dict.fromkeys(members, junk)})))
    )
    assert event_types(events)[-1] == "RUN_FINISHED", events[-1]
