"""One table of what odd servers send, for the APIs of all makers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from .client import event_types, frontend_tool, only_event, text_of, tool_calls
from .frames import APIS, FRAMES, Call, Frame, Part, Reasoning, Text
from .scripts import Scripts, answer_over, raw
from .verifier import RecordingClient

pytestmark = [
    pytest.mark.requirement("AGENT-11"),
    # The adapters do not differ in what they know of models.
    pytest.mark.parametrize("runtime", ["asgi"], indirect=True),
    pytest.mark.parametrize("api", APIS),
]

HI = Text(["Grü", "ße"])
FIRST, SECOND, WHOLE = "\ud83d", "\ude00", "\U0001f600"


def plain(frame: Frame) -> str:
    return f"data: {json.dumps(frame, ensure_ascii=False)}\n\n"


def named(frame: Frame) -> str:
    return f"event: {frame['type']}\n{plain(frame)}" if "type" in frame else plain(frame)


def several_lines(frame: Frame) -> str:
    return "".join(f"data: {line}\n" for line in json.dumps(frame, indent=1).splitlines()) + "\n"


STREAMS: dict[str, Callable[[Iterator[Frame]], str]] = {
    "without the type of the event": lambda frames: "".join(map(plain, frames)),
    "pings": lambda frames: "".join(f"event: ping\n\n{named(frame)}" for frame in frames),
    "ids and comments": lambda frames: "".join(f"id: 7\n{named(frame)}: x\n\nretry: 5\n\n" for frame in frames),
    "byte order mark": lambda frames: "\ufeff" + "".join(map(named, frames)),
    "CRLF": lambda frames: "".join(map(named, frames)).replace("\n", "\r\n"),
    "CR": lambda frames: "".join(map(named, frames)).replace("\n", "\r"),
    "several data lines": lambda frames: "".join(map(several_lines, frames)),
    "no space after the colon": lambda frames: "".join(map(named, frames)).replace(": ", ":"),
    "no empty line at the end": lambda frames: "".join(map(named, frames)).rstrip("\n"),
    "DONE at the end": lambda frames: "".join(map(named, frames)) + "data: [DONE]\n\n",
}


@pytest.mark.parametrize("case", STREAMS)
def test_odd_server_stream_is_read(client: RecordingClient, scripts: Scripts, api: str, case: str) -> None:
    prompt = scripts.on(raw(STREAMS[case](FRAMES[api]([Reasoning(["hm"]), HI]))))
    events = client.chat(f"fake-{api}-tools", prompt)
    assert text_of(events) == "Grüße"
    assert text_of(events, "REASONING_MESSAGE_CONTENT") == "hm"
    assert event_types(events)[-1] == "RUN_FINISHED"


ERRORS: dict[str, tuple[str, str]] = {
    "error object": ('{"error": {"message": "slow down", "type": "rate_limit_error"}}', "rate_limited"),
    "error event": (
        '{"type": "error", "error": {"type": "authentication_error", "message": "sk-fake is wrong"}}',
        "auth_failed",
    ),
    "Google's error": ('{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow"}}', "rate_limited"),
    "error as a text": ('{"error": "slow down"}', "provider_error"),
    "object error": ('{"object": "error", "message": "slow down", "code": 401}', "auth_failed"),
    "base_resp": ('{"base_resp": {"status_code": 1002, "status_msg": "slow down"}}', "rate_limited"),
    "login page": ("<!doctype html><html>Log in: slow down</html>", "provider_error"),
    "a text": ("upstream connect error: slow down", "provider_error"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_odd_server_error_inside_a_200(client: RecordingClient, scripts: Scripts, api: str, case: str) -> None:
    text, code = ERRORS[case]
    bodies = [text, f"data: {text}\n\n", f"event: error\ndata: {text}\n\n"] if text.startswith("{") else [text]
    for body in bodies:
        error = only_event(client.chat(f"fake-{api}-tools", scripts.on(raw(body))), "RUN_ERROR")
        assert error["code"] == code
        assert not any(word in error["message"] for word in ("slow", "sk-fake", "Log in"))


def test_odd_server_cuts_characters_in_two(client: RecordingClient, scripts: Scripts, api: str) -> None:
    call = Call("c1", "paint", ['{"text": "', f"{FIRST}", f'{SECOND}"}}'])
    parts: list[Part] = [Reasoning([f"a{FIRST}", SECOND]), Text([f"b{FIRST}", f"{SECOND}{FIRST}", "!"]), call]
    events = client.chat(f"fake-{api}-tools", scripts.on(answer_over(api, *parts)), tools=[frontend_tool("paint")])
    assert text_of(events, "REASONING_MESSAGE_CONTENT") == f"a{WHOLE}"
    assert text_of(events) == f"b{WHOLE}\ufffd!"
    ((name, arguments),) = tool_calls(events).values()
    assert (name, json.loads(arguments)) == ("paint", {"text": WHOLE})


def test_odd_tools_are_offered_and_calls_mapped_back(client: RecordingClient, scripts: Scripts, api: str) -> None:
    tools = [
        frontend_tool("docs.read/all", path={"type": ["string", "null"]}),
        {"name": "x" * 80, "description": ""},
        {"name": "recursive", "description": "", "parameters": {"anyOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {}}}},
        {"name": "deep", "description": "", "parameters": nested(40)},
        *(frontend_tool(f"tool{number}") for number in range(600)),
    ]
    prompt = scripts.on(answer_over(api, Call("c1", "docs_read_all", ['{"path": "a"}'])))
    events = client.chat(f"fake-{api}-tools", prompt, tools=tools)
    ((name, _),) = tool_calls(events).values()
    assert name == "docs.read/all"
    offered = json.dumps(scripts.requests(prompt)[0].json()["tools"])
    assert '"docs_read_all"' in offered
    assert not any(f'"{name}"' in offered for name in ("docs.read/all", "x" * 80, "deep"))
    assert ('"tool599"' in offered) == (api == "messages")  # the others have a limit


def nested(depth: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def changed(value: object, junk: object) -> object:
    """Returns a frame in which the text has another type."""
    if isinstance(value, dict):
        return {name: junk if item == "the text" else changed(item, junk) for name, item in value.items()}
    return [changed(item, junk) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("junk", [None, 1, True, {}, [], [None], {"text": None}], ids=repr)
def test_odd_server_sends_texts_of_other_types(
    client: RecordingClient, scripts: Scripts, api: str, junk: object
) -> None:
    """They are left out, and the rest is used."""
    frames = [changed(frame, junk) for frame in FRAMES[api]([Reasoning(["the text", "hm"]), Text(["the text", "Hi"])])]
    events = client.chat(f"fake-{api}-tools", scripts.on(raw(*map(plain, frames))))  # type: ignore[arg-type]
    assert event_types(events)[-1] == "RUN_FINISHED", events[-1]
    assert text_of(events) == "Hi"
