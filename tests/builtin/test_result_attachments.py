"""Images and files in the results of tools, as the models of each API receive them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime.agents import Attachment, BuiltInAgent, define_tool
from copilot_runtime.agents._mcp.tool_results import result_content
from copilot_runtime.agents._tools.attachments import MAX_ATTACHMENT_BYTES

from .client import Event, of_type, text_of
from .fake_provider import Exchange, Script, run_fake_provider
from .frames import APIS, Call, Text
from .mcp_server import PNG
from .scripts import answer_over, send_error
from .test_api_requests import MODELS, PATHS, by_request, user
from .test_mcp import Served, run_mcp_server

pytestmark = pytest.mark.requirement("AGENT-10")

DATA = base64.b64encode(PNG).decode()
PDF = b"%PDF-1.4"
SHOWN = "[image of type image/png, 30 bytes: attached]"
NOT_SHOWN = "[image of type image/png, 30 bytes: it cannot be shown to you]"
URL = f"data:image/png;base64,{DATA}"
IMAGES = {
    "chat": {"type": "image_url", "image_url": {"url": URL}},
    "responses": {"type": "input_image", "detail": "auto", "image_url": URL},
    "messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
    "generate_content": {"inlineData": {"mimeType": "image/png", "data": DATA}},
}


@pytest.fixture(scope="module")
def mcp() -> Iterator[Served]:
    with run_mcp_server() as server:
        yield server


def run(
    api: str, scripts: Sequence[Script], *, members: Mapping[str, Any] = {}, **options: Any
) -> tuple[list[Event], list[Any]]:
    """Returns the events of a run, whose input has ``members``, and the bodies of its requests."""
    bodies: list[Any] = []
    script = by_request(*scripts)

    def play(exchange: Exchange) -> None:
        bodies.append(json.loads(exchange.body.replace(b"mime_type", b"mimeType")))
        script(exchange)

    body = {"threadId": "t", "runId": "r", "state": {}, "tools": [], "context": [], "forwardedProps": {}}
    given = RunAgentInput.model_validate({**body, "messages": [user("hi")], **members})

    async def collect(agent: BuiltInAgent) -> list[Any]:
        return [event async for event in agent.run(given)]

    with run_fake_provider(play) as provider:
        common = {"api_key": "k", "state_tools": False, "max_retries": 0, "max_steps": 4, "prompt_caching": False}
        if api != "messages":
            del common["prompt_caching"]
        base_url = provider.url.removesuffix("/v1") + PATHS.get(api, "/v1")
        return asyncio.run(collect(BuiltInAgent(**{**common, **MODELS[api], "base_url": base_url, **options}))), bodies


def parts_with(value: Any, part: Any) -> list[Any]:
    """Returns all lists of parts in a request that contain a part."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, list) and part in value else []
    return [*found, *(each for item in inner for each in parts_with(item, part))]


def picture() -> list[Any]:
    return ["a picture", Attachment(PNG, "image/png")]


CALLED = Call("call_abc123", "picture", ["{}"])


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("kind", ["server tool", "MCP"])
def test_attachment_in_a_result_reaches_the_model(mcp: Served, api: str, kind: str) -> None:
    tools = {"tools": [picture]} if kind == "server tool" else {"mcp_servers": [mcp.at("/mcp")]}
    answers = [answer_over(api, CALLED), answer_over(api, Text(["I see."]))]
    events, (_, second) = run(api, answers, **tools)
    assert text_of(events) == "I see."
    assert of_type(events, "TOOL_CALL_RESULT")[0]["content"] == f"a picture\n\n{NOT_SHOWN}"
    (parts,) = parts_with(second, IMAGES[api])
    assert "attached" in json.dumps(second)
    assert "cannot be shown" not in json.dumps(second)
    if api == "messages":
        (result,) = second["messages"][-1]["content"]
        assert (result["type"], result["content"]) == ("tool_result", parts)
    elif api == "responses":
        assert second["input"][-1] == {"type": "function_call_output", "call_id": "call_abc123", "output": parts}
    elif api == "chat":
        assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool", "user"]


@pytest.mark.parametrize("api", APIS)
def test_attachment_that_the_provider_rejects_is_left_out(api: str, caplog: pytest.LogCaptureFixture) -> None:
    """Such as by a model that sees nothing: the run goes on, and later steps do not send it again."""
    answers = [answer_over(api, CALLED), send_error(400, {"message": "no images"})]
    answers += [answer_over(api, CALLED), answer_over(api, Text(["ok"]))]
    events, bodies = run(api, answers, tools=[picture])
    assert text_of(events) == "ok"
    assert [bool(parts_with(body, IMAGES[api])) for body in bodies] == [False, True, False, False]
    assert "cannot be displayed" in json.dumps(bodies[2])
    assert caplog.text.count("rejected by the model provider") == 1


@pytest.mark.parametrize("api", APIS)
def test_attachment_of_a_tool_that_asked_first_reaches_the_model(api: str) -> None:
    @define_tool(interrupt=True)
    def picture(answer: bool) -> list[Any]:
        return ["a picture", Attachment(PNG, "image/png")]

    call = {"id": "call_abc123", "type": "function", "function": {"name": "picture", "arguments": "{}"}}
    messages = [user("hi"), {"id": "a", "role": "assistant", "toolCalls": [call]}]
    resume = [{"interruptId": "call_abc123", "status": "resolved", "payload": True}]
    events, (body,) = run(
        api, [answer_over(api, Text(["I see."]))], members={"messages": messages, "resume": resume}, tools=[picture]
    )
    assert text_of(events) == "I see."
    assert of_type(events, "TOOL_CALL_RESULT")[0]["content"] == f"a picture\n\n{NOT_SHOWN}"
    assert len(parts_with(body, IMAGES[api])) == 1
    assert "cannot be shown" not in json.dumps(body)


@pytest.mark.parametrize("api", [*APIS, "chat without files"])
def test_attachment_of_a_frontend_tool_that_the_model_lacks_is_described(api: str) -> None:
    """It is announced, and then sent, or said not to be displayed, whatever the maker has a place for."""
    options = {"model": "llama"} if api == "chat without files" else {}
    api = api.partition(" ")[0]
    source = {"type": "data", "value": base64.b64encode(PDF).decode(), "mimeType": "application/pdf"}
    content = [{"type": "text", "text": "chosen"}, {"type": "document", "source": source}]
    call = {"id": "call_1", "type": "function", "function": {"name": "pick", "arguments": "{}"}}
    messages = [
        user("hi"),
        {"id": "a", "role": "assistant", "toolCalls": [call]},
        {"id": "t", "role": "tool", "toolCallId": "call_1", "content": content},
    ]
    events, (body,) = run(api, [answer_over(api, Text(["ok"]))], members={"messages": messages}, **options)
    assert text_of(events) == "ok"
    sent = json.dumps(body)
    assert sent.count("[Attachment: document (application/pdf, about 9 bytes)]") == 1
    assert ("JVBERi0xLjQ=" in sent) is not bool(options)
    assert ("[Attachment that cannot be displayed to you" in sent) is bool(options)


def test_attachments_of_a_run_are_bounded() -> None:
    def large() -> Attachment:
        return Attachment(PNG + bytes(MAX_ATTACHMENT_BYTES - len(PNG)), "image/png")

    calls = [Call(f"call_{number}", "large", ["{}"]) for number in range(5)]
    events, (_, second) = run(
        "messages", [answer_over("messages", *calls), answer_over("messages", Text(["ok"]))], tools=[large]
    )
    assert text_of(events) == "ok"
    results = [block["content"] for block in second["messages"][-1]["content"]]
    assert [isinstance(result, list) for result in results] == [True] * 3 + [False] * 2


@pytest.mark.parametrize(
    ("attachment", "expected"),
    [
        (
            Attachment(PDF, "application/pdf", "a.pdf"),
            {"messages": "document", "responses": "input_file", "chat": "file"},
        ),
        (Attachment(b"RIFF", "audio/wav"), {"messages": None, "responses": None, "chat": "input_audio"}),
        (Attachment(bytes(MAX_ATTACHMENT_BYTES + 1), "image/png"), dict.fromkeys(APIS)),
        (Attachment(b"<svg/>", "image/svg+xml"), dict.fromkeys(APIS)),
        (Attachment(b"", "image/png"), dict.fromkeys(APIS)),
        (Attachment(b"PK", "application/zip"), dict.fromkeys(APIS)),
    ],
    ids=["PDF", "audio", "too large", "SVG", "empty", "archive"],
)
def test_attachment_that_an_api_has_no_place_for_is_described(attachment: Attachment, expected: dict[str, Any]) -> None:
    def fetch() -> Attachment:
        return attachment

    for api, kind in expected.items():
        answers = [answer_over(api, Call("call_1", "fetch", ["{}"])), answer_over(api, Text(["ok"]))]
        events, (_, second) = run(api, answers, tools=[fetch])
        assert text_of(events) == "ok"
        sent = json.dumps(second)
        assert ("cannot be" in sent) == (kind is None)
        assert kind is None or f'"type": "{kind}"' in sent


def blob(mime_type: Any, data: str = DATA) -> dict[str, Any]:
    resource = {"uri": "file:///a/b.bin", "blob": data, **({} if mime_type is None else {"mimeType": mime_type})}
    return {"type": "resource", "resource": resource}


@pytest.mark.parametrize(
    ("block", "kinds"),
    [
        ({"type": "image", "data": DATA, "mimeType": "image/png"}, ["image"]),
        ({"type": "audio", "data": DATA, "mimeType": "audio/wav"}, ["audio"]),
        (blob("application/pdf"), ["document"]),
        (blob("IMAGE/PNG"), ["image"]),
        (blob("text/csv"), []),
        (blob(None), []),
        ({"type": "image", "data": "no base64!", "mimeType": "image/png"}, []),
        ({"type": "image", "data": "A" * 4 * MAX_ATTACHMENT_BYTES, "mimeType": "image/png"}, []),
    ],
)
def test_attachments_of_mcp_results(block: dict[str, Any], kinds: list[str]) -> None:
    content = result_content({"content": [block]}, 1000)
    assert [each.kind for each in getattr(content, "attachments", ())] == kinds
    assert "it cannot be shown to you" in content


@pytest.mark.parametrize("make", [lambda: Attachment("x", "image/png"), lambda: Attachment(b"x", None)])  # type: ignore[arg-type]
def test_attachment_of_the_wrong_type_is_refused(make: Callable[[], Attachment]) -> None:
    with pytest.raises(TypeError, match="Attachment: "):
        make()
