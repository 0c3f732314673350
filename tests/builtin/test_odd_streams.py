"""Model servers whose streams are not what the SDKs expect."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from .client import TEXT, event_types, finished_run, of_type, only_event, text_of, tool_calls
from .fake_provider import chunk, tool_call_chunk
from .scripts import Scripts, by_step, raw, send_chunks, send_text
from .verifier import RecordingClient

pytestmark = pytest.mark.requirement("AGENT-11")


def frames(*deltas: dict[str, object], before: str = "", end: str = "\n\n") -> Iterable[str]:
    for item in (*map(chunk, deltas), chunk({}, "stop")):
        yield f"{before}data: {json.dumps(item)}{end}"
    yield f"data: [DONE]{end}"


HI = ({"content": "H"}, {"content": "i"})
BODIES: dict[str, list[str]] = {
    "pings": ["event: ping\n\n", *frames(*HI, before="event: ping\n\nretry: 3\n\n")],
    "comments after ids": list(frames(*HI, before="id: 7\n: comment\n", end="\n\n: comment\n\n")),
    "byte order mark": ["\ufeff", *frames(*HI)],
    "CRLF": list(frames(*HI, end="\r\n\r\n")),
    "CR": list(frames(*HI, end="\r\r")),
    "several data lines": [frame.replace('"choices"', '\ndata: "choices"') for frame in frames(*HI)],
    "no stream": [
        json.dumps({"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]})
    ],
    "no empty line at the end": ["".join(frames(*HI)).removesuffix("data: [DONE]\n\n").rstrip("\n")],
}


@pytest.mark.parametrize("case", BODIES)
def test_odd_stream_is_read(client: RecordingClient, scripts: Scripts, case: str) -> None:
    events = client.chat("fake-plain", scripts.on(raw(*BODIES[case])))
    assert text_of(events) == "Hi"
    assert event_types(events) == finished_run(*TEXT)


def test_character_cut_in_two_is_joined(client: RecordingClient, scripts: Scripts) -> None:
    first, second, whole = "\ud83d", "\ude00", "\U0001f600"
    prompt = scripts.on(
        by_step(
            send_chunks(
                chunk({"reasoning": f"a{first}"}),
                chunk({"reasoning": second}),
                tool_call_chunk(0, f'{{"text": "b{first}', "c1", "shout"),
                tool_call_chunk(0, f'{second}"}}'),
            ),
            send_text(f"c{first}", f"{second}{first}"),
        )
    )
    events = client.chat("fake-tools", prompt)
    assert text_of(events, "REASONING_MESSAGE_CONTENT") == f"a{whole}"
    assert tool_calls(events) == {"c1": ("shout", f'{{"text": "b{whole}"}}')}
    assert only_event(events, "TOOL_CALL_RESULT")["content"] == f"B{whole}"
    assert text_of(events) == f"c{whole}\ufffd"
    _, second_request = scripts.requests(prompt)
    assert second_request.json()["messages"][-1]["content"] == f"B{whole}"


def test_call_id_with_half_a_character_is_sent_back_with_a_replacement(
    client: RecordingClient, scripts: Scripts
) -> None:
    call = tool_call_chunk(0, '{"text": "b"}', "c\ud83d", "shout")
    prompt = scripts.on(by_step(send_chunks(call), send_text("done")))
    events = client.chat("fake-tools", prompt)
    assert text_of(events) == "done"
    assert of_type(events, "TOOL_CALL_RESULT")[0]["toolCallId"] == "c\ufffd"
    _, second = scripts.requests(prompt)
    assert second.json()["messages"][-1]["tool_call_id"] == "c\ufffd"


def test_reasoning_details_are_sent_back_with_the_call(client: RecordingClient, scripts: Scripts) -> None:
    """OpenRouter with Gemini refuses the next step without them."""
    detail = {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "c1", "format": "google-gemini-v1", "index": 0}
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "shout", "arguments": '{"text": "a"}'}}
    prompt = scripts.on(
        by_step(send_chunks(chunk({"tool_calls": [call], "reasoning_details": [detail]})), send_text("done"))
    )
    assert text_of(client.chat("fake-tools", prompt)) == "done"
    _, second = scripts.requests(prompt)
    (message,) = [each for each in second.json()["messages"] if each["role"] == "assistant"]
    assert message["reasoning_details"] == [detail]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"message": "the key sk-fake is wrong", "code": "invalid_api_key"}}, "auth_failed"),
        ({"object": "error", "message": "slow down", "code": 429}, "rate_limited"),
        ({"base_resp": {"status_code": 1002, "status_msg": "slow down"}}, "rate_limited"),
        ("<html>Log in</html>", "provider_error"),
    ],
)
def test_error_inside_a_200_has_its_code(client: RecordingClient, scripts: Scripts, body: object, code: str) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    for response in (text, f"data: {text}\n\n") if text.startswith("{") else (text,):
        events = client.chat("fake-plain", scripts.on(raw(response)))
        error = only_event(events, "RUN_ERROR")
        assert error["code"] == code
        assert not any(word in error["message"] for word in ("sk-fake", "slow down", "Log in"))
