"""Event streams of model servers, and what some servers send in their place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from copilot_runtime.agents._builtin._apis.event_frames import EventFrameDecoder
from copilot_runtime.agents._builtin.errors import ModelError, to_model_error

HELLO = '{"text": "Hello"}'
FRAME = f"data: {HELLO}\n\n"


def decode(*chunks: bytes) -> list[Any]:
    async def main() -> list[Any]:
        async def body() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        return [frame.data if frame.json() is None else frame.json() async for frame in decoder.aiter_bytes(body())]

    decoder = EventFrameDecoder()
    return asyncio.run(main())


def cut(text: bytes, size: int) -> Sequence[bytes]:
    return [text[index : index + size] for index in range(0, len(text), size)]


STREAMS: dict[str, tuple[str, list[Any]]] = {
    "plain": (f"{FRAME}data: [DONE]\n\n", [json.loads(HELLO), "[DONE]"]),
    "ping without data": (f"event: ping\n\n{FRAME}", [json.loads(HELLO)]),
    "id without data": (f"id: 1\n\n{FRAME}", [json.loads(HELLO)]),
    "retry without data": (f"retry: 10\n\n{FRAME}", [json.loads(HELLO)]),
    "comments after a frame with an id": (f"id: 1\n{FRAME}: a\n\n: b\n\n{FRAME}", [json.loads(HELLO)] * 2),
    "empty data": (f"data:\n\ndata: \n\n{FRAME}", [json.loads(HELLO)]),
    "byte order mark": (f"\ufeff{FRAME}", [json.loads(HELLO)]),
    "CRLF": (f"event: x\r\ndata: {HELLO}\r\n\r\ndata: [DONE]\r\n\r\n", [json.loads(HELLO), "[DONE]"]),
    "CR": (f"data: {HELLO}\r\rdata: [DONE]\r\r", [json.loads(HELLO), "[DONE]"]),
    "several lines of data": ('data: {"text":\ndata: "Hello"}\n\n', [json.loads(HELLO)]),
    "no space": (f"data:{HELLO}\n\ndata:[DONE]\n\n", [json.loads(HELLO), "[DONE]"]),
    "no empty line at the end": (f"{FRAME}data: [DONE]", [json.loads(HELLO), "[DONE]"]),
    "cut off in a frame": (f'{FRAME}data: {{"text": "Hel', [json.loads(HELLO)]),
    "half a character": ('data: {"text": "\\ud83d"}\n\n', [{"text": "\ud83d"}]),
    "error null": ('data: {"error": null, "choices": []}\n\n', [{"error": None, "choices": []}]),
    "error of a server that writes all members": (
        'data: {"error": {"message": "", "code": 0, "param": null}, "choices": []}\n\n',
        [{"choices": []}],
    ),
    "base_resp of success": (
        'data: {"choices": [], "base_resp": {"status_code": 0}}\n\n',
        [{"choices": [], "base_resp": {"status_code": 0}}],
    ),
    "null, a number and a text": (f'data: null\n\ndata: 1\n\ndata: "x"\n\n{FRAME}', [json.loads(HELLO)]),
    "only comments": (": a\n\n: b\n\n", []),
    "a whole completion": (
        '\n {"choices": [{"message": {"content": "Hi"}}]}',
        [{"choices": [{"message": {"content": "Hi"}}]}],
    ),
    "lines of JSON": (f"{HELLO}\n{HELLO}\n", [json.loads(HELLO)] * 2),
    "a list": (f"[{HELLO},\r\n{HELLO}]", [json.loads(HELLO)] * 2),
}


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("case", STREAMS)
def test_event_frames_of_odd_streams(case: str, size: int) -> None:
    text, expected = STREAMS[case]
    assert decode(*cut(text.encode(), size)) == expected


def test_event_frames_with_bytes_that_are_not_utf_8() -> None:
    assert decode(b'data: {"text": "a\xff\xf0\x9f"}\n\n') == [{"text": "a\ufffd\ufffd"}]


ERRORS: dict[str, tuple[Any, str]] = {
    "OpenAI": ({"error": {"message": "m", "type": "invalid_request_error", "code": "invalid_api_key"}}, "auth_failed"),
    "OpenAI's event": ({"type": "error", "code": "rate_limit_exceeded", "message": "m"}, "rate_limited"),
    "Anthropic": ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, "rate_limited"),
    "Google": ({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}, "rate_limited"),
    "Google's list": ([{"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED"}}], "auth_failed"),
    "OpenRouter": (
        {"choices": [{"delta": {"content": ""}, "finish_reason": "error"}], "error": {"code": 402, "message": "m"}},
        "rate_limited",
    ),
    "vLLM": ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, "provider_error"),
    "llama.cpp": ({"error": {"code": 400, "message": "m", "type": "exceed_context_size_error"}}, "context_length"),
    "MiniMax": ({"choices": None, "base_resp": {"status_code": 1004, "status_msg": "m"}}, "auth_failed"),
    "MiniMax's limit": ({"base_resp": {"status_code": 1002, "status_msg": "m"}}, "rate_limited"),
    "Ollama": ({"error": "m"}, "provider_error"),
    "FastAPI": ({"detail": "m"}, "provider_error"),
    "a gateway": ({"code": 401, "msg": "m"}, "auth_failed"),
    "another gateway": ({"status": 429, "message": "m"}, "rate_limited"),
}


@pytest.mark.parametrize("form", ["frame", "frame with a type", "body"])
@pytest.mark.parametrize("case", ERRORS)
def test_event_frames_with_an_error_inside_a_200(case: str, form: str) -> None:
    error, code = ERRORS[case]
    text = json.dumps(error)
    body = {"frame": f"data: {text}\n\n", "frame with a type": f"event: error\ndata: {text}\n\n", "body": text}[form]
    with pytest.raises(ModelError) as raised:
        decode(body.encode())
    assert raised.value.code == code
    assert "'m'" in raised.value.detail or raised.value.detail.endswith(": m")


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ('event: error\ndata: {"type": "rate_limit_error", "message": "m"}\n\n', "rate_limited"),
        ('data: {"code": 401, "object": "x", "reason": "m"}\nevent:error\n\n', "auth_failed"),
        ("event: error\ndata: m\n\n", "provider_error"),
        ('event: error\ndata: "m"\n\n', "provider_error"),
        ('event: error\r\ndata: ["m"]', "provider_error"),
        ('error: {"code": 429, "message": "m", "type": "x"}\n\n', "rate_limited"),
        ('\ufefferror: {"code": 429, "message": "m", "type": "x"}\n\n', "rate_limited"),
    ],
)
def test_event_frames_whose_event_or_field_is_error(frames: str, code: str, size: int) -> None:
    for before in ("", FRAME, "event: error\n\n"):
        text = before + (frames.removeprefix("\ufeff") if before else frames)
        with pytest.raises(ModelError) as raised:
            decode(*cut(text.encode(), size))
        assert raised.value.code == code
        assert "m" in raised.value.detail


def test_event_frames_after_an_event_error_without_data() -> None:
    assert decode(f"event: error\n\n{FRAME}".encode()) == [json.loads(HELLO)]


@pytest.mark.parametrize(
    "body",
    ["<!doctype html><title>Log in</title>", "\n<html>Log in</html>", "upstream connect error: Log in"],
)
def test_event_frames_of_a_page_in_place_of_a_stream(body: str) -> None:
    with pytest.raises(ModelError) as raised:
        decode(body.encode())
    assert raised.value.code == "provider_error"
    assert "did not respond with an event stream" in raised.value.message
    assert "Log in" in raised.value.detail
    assert "Log in" not in raised.value.message


@pytest.mark.parametrize("body", ["{malformed", '[{"text": "a"}, ', '{"text": "a"}\n{"te'])
def test_event_frames_of_json_that_breaks_off(body: str) -> None:
    with pytest.raises(ModelError) as raised:
        decode(body.encode())
    assert raised.value.code == "network_error"


@pytest.mark.parametrize("data", ["{not JSON", "[" * 100_000])
def test_event_frames_that_are_not_json(data: str) -> None:
    with pytest.raises(ModelError) as raised:
        decode(f"data: {data}\n\n".encode())
    assert raised.value.code == "provider_error"


def test_model_errors_never_show_the_key() -> None:
    error = to_model_error(ModelError("provider_error", detail="sk-secret is wrong"), secret="sk-secret")
    assert error is not None
    assert error.detail == "*** is wrong"
