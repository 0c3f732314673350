"""What each API is sent: reasoning that it has sent before, media, options, and what is cached."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest
from ag_ui.core import RunAgentInput, RunFinishedEvent
from anthropic import AsyncAnthropic
from anthropic._streaming import ServerSentEvent
from openai import AsyncOpenAI

from copilot_runtime.agents import BuiltInAgent, define_tool
from copilot_runtime.agents._builtin._apis import frames
from copilot_runtime.agents._builtin._apis.anthropic_messages.thinking import thinking_params
from copilot_runtime.agents._builtin._apis.google_content.thinking import thinking_config

from .client import frontend_tool, of_type, text_of
from .fake_provider import Exchange, FakeProvider, Script
from .frames import APIS, FRAMES, Call, Part, Reasoning, Text
from .scripts import Scripts, answer_over, send_error

pytestmark = pytest.mark.requirement("AGENT-10")

MODELS: Mapping[str, Mapping[str, Any]] = {
    "chat": {"model": "openai/gpt-5", "api": "chat"},
    "responses": {"model": "openai/gpt-5", "api": "responses"},
    "messages": {"model": "anthropic/claude-opus-5"},
    "generate_content": {"model": "google/gemini-3-pro"},
}
PATHS = {"messages": "", "generate_content": "/v1beta"}
Message = dict[str, Any]


@define_tool
def find(word: str, limit: int = 3) -> str:
    """Finds a word."""
    return f"{word} is here"


def look(word: str, limit: int = 3) -> str:
    return word


@pytest.fixture
def build(fake_model: FakeProvider) -> Callable[..., BuiltInAgent]:
    """Builds an agent of an API for the fake."""

    def build(api: str, **options: Any) -> BuiltInAgent:
        base_url = fake_model.url.removesuffix("/v1") + PATHS.get(api, "/v1")
        common = {"base_url": base_url, "api_key": "k", "state_tools": False, "max_retries": 0, "max_steps": 3}
        return BuiltInAgent(**{**common, **MODELS[api], **options})

    return build


def user(content: Any) -> Message:
    return {"id": "u", "role": "user", "content": content}


def run(agent: BuiltInAgent, messages: Sequence[Message], **members: Any) -> list[dict[str, Any]]:
    body = {"threadId": "t", "runId": "r", "state": {}, "tools": [], "context": [], "forwardedProps": {}, **members}
    given = RunAgentInput.model_validate({**body, "messages": messages})

    async def collect() -> list[dict[str, Any]]:
        return [event async for event in agent.run(given)]

    return asyncio.run(collect())


def by_request(*scripts: Script) -> Script:
    """The n-th script for the n-th request."""
    remaining = iter(scripts)
    return lambda exchange: next(remaining)(exchange)


def messages_of(events: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Returns the messages that AG-UI's client makes of the events of a run."""
    messages: dict[str, Message] = {}
    calls: dict[str, Message] = {}
    for event in events:
        match event["type"]:
            case "TEXT_MESSAGE_START":
                messages[event["messageId"]] = {"id": event["messageId"], "role": "assistant", "content": ""}
            case "REASONING_MESSAGE_START":
                messages[event["messageId"]] = {"id": event["messageId"], "role": "reasoning", "content": ""}
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                messages[event["messageId"]]["content"] += event["delta"]
            case "TOOL_CALL_START":
                call = {"name": event["toolCallName"], "arguments": ""}
                calls[event["toolCallId"]] = {"id": event["toolCallId"], "type": "function", "function": call}
                parent = event["parentMessageId"]
                message = messages.setdefault(parent, {"id": parent, "role": "assistant"})
                message.setdefault("toolCalls", []).append(calls[event["toolCallId"]])
            case "TOOL_CALL_ARGS":
                calls[event["toolCallId"]]["function"]["arguments"] += event["delta"]
            case "TOOL_CALL_RESULT":
                result = {"id": event["messageId"], "role": "tool", "toolCallId": event["toolCallId"]}
                messages[event["messageId"]] = {**result, "content": event["content"]}
            case "REASONING_ENCRYPTED_VALUE":
                entities = calls if event["subtype"] == "tool-call" else messages
                entities[event["entityId"]]["encryptedValue"] = event["encryptedValue"]
    return list(messages.values())


def history(body: Mapping[str, Any]) -> list[Any]:
    """Returns the messages of a request that are not the system's."""
    messages = body.get("messages") or body.get("input") or body.get("contents") or []
    return [message for message in messages if message.get("role") not in ("system", "developer")]


# --- reasoning ---------------------------------------------------------------

THOUGHT = "U0lHMQ=="
"""A signature, in base64."""

RESPONSE: Sequence[Part] = (
    Reasoning(["Hm, ", "so."], THOUGHT),
    Text(["Let me ", "see."]),
    Call("call_1", "find", ['{"word":', '"a"}'], "U0lHMg=="),
)
RESULT = "a is here"

SENT_BACK: Mapping[str, list[Any]] = {
    "chat": [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "extra_content": {"google": {"thought_signature": "U0lHMg=="}},
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "find", "arguments": '{"word":"a"}'},
                }
            ],
            "reasoning_content": "Hm, so.",
        },
        {"role": "tool", "tool_call_id": "call_1", "content": RESULT},
    ],
    "responses": [
        {
            "type": "reasoning",
            "id": "rs_0",
            "summary": [{"type": "summary_text", "text": "Hm, so."}],
            "encrypted_content": THOUGHT,
        },
        {"role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "call_1", "name": "find", "arguments": '{"word":"a"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": RESULT},
    ],
    "messages": [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm, so.", "signature": THOUGHT},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_1", "name": "find", "input": {"word": "a"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "call_1",
                    "content": RESULT,
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        },
    ],
    "generate_content": [
        {
            "role": "model",
            "parts": [
                {"text": "Hm, so.", "thought": True, "thoughtSignature": THOUGHT},
                {"text": "Let me see."},
                {
                    "functionCall": {"name": "find", "args": {"word": "a"}, "id": "call_1"},
                    "thoughtSignature": "U0lHMg==",
                },
            ],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "find", "response": {"output": RESULT}, "id": "call_1"}}],
        },
    ],
}
"""What follows the user's message in the second request, by API."""


@pytest.mark.parametrize("api", APIS)
def test_reasoning_is_sent_back_with_the_results_of_server_tools(
    build: Callable[..., BuiltInAgent], scripts: Scripts, api: str
) -> None:
    text = scripts.on(by_request(answer_over(api, *RESPONSE), answer_over(api, Text(["Done."]))))
    events = run(build(api, tools=[find]), [user(text)])
    assert text_of(events) == "Let me see.Done."
    _, second = scripts.requests(text)
    assert history(second.json())[1:] == SENT_BACK[api]


@pytest.mark.parametrize("api", APIS)
def test_reasoning_is_sent_back_with_the_results_of_frontend_tools(
    build: Callable[..., BuiltInAgent], scripts: Scripts, api: str
) -> None:
    """The next run brings the messages, as after a reload."""
    text = scripts.on(by_request(answer_over(api, *RESPONSE), answer_over(api, Text(["Done."]))))
    agent, tools = build(api), [frontend_tool("find", word={"type": "string"})]
    events = run(agent, [user(text)], tools=tools)
    result = {"id": "r", "role": "tool", "toolCallId": "call_1", "content": RESULT}
    assert text_of(run(agent, [user(text), *messages_of(events), result], tools=tools)) == "Done."
    _, second = scripts.requests(text)
    assert history(second.json())[1:] == SENT_BACK[api]


@pytest.mark.parametrize("api", [api for api in APIS if api != "chat"])  # which has one field for all reasoning
@pytest.mark.parametrize("tools", ["server", "frontend"])
def test_reasoning_between_calls_keeps_its_place(
    build: Callable[..., BuiltInAgent], scripts: Scripts, api: str, tools: str
) -> None:
    parts = (
        Reasoning(["One."], "b25l"),
        Call("call_1", "find", ['{"word":"a"}'], "c2lnMQ=="),
        Reasoning(["Two."], "dHdv"),
        Call("call_2", "find", ['{"word":"b"}'], "c2lnMg=="),
    )
    text = scripts.on(by_request(answer_over(api, *parts), answer_over(api, Text(["Done."]))))
    if tools == "server":
        run(build(api, tools=[find]), [user(text)])
    else:
        offered = [frontend_tool("find", word={"type": "string"})]
        messages = messages_of(run(build(api), [user(text)], tools=offered))
        results = [{"id": f"r{n}", "role": "tool", "toolCallId": f"call_{n}", "content": RESULT} for n in (1, 2)]
        run(build(api), [user(text), *messages, *results], tools=offered)
    _, second = scripts.requests(text)
    words = [
        word for word in json.dumps(history(second.json())).split('"') if word in ("One.", "call_1", "Two.", "call_2")
    ]
    assert words == ["One.", "call_1", "Two.", "call_2", "call_1", "call_2"]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("model", ["compatible", "named"])
def test_reasoning_of_another_server_is_not_sent(
    fake_model: FakeProvider, scripts: Scripts, api: str, model: str
) -> None:
    """Nor that of a server at another path of the same host; the same server may be written differently."""

    def agent(path: str) -> BuiltInAgent:
        options = {"model": "some-model", "api": api} if model == "compatible" else MODELS[api]
        base_url = f"{fake_model.url.removesuffix('/v1')}/{path}"
        return BuiltInAgent(**{**options, "base_url": base_url, "api_key": "k", "tools": [find], "max_steps": 2})

    prompt = scripts.on(by_request(answer_over(api, *RESPONSE), answer_over(api, Text(["One."]))))
    events = run(agent("a/v1"), [user(prompt)])
    for value in [event["encryptedValue"] for event in of_type(events, "REASONING_ENCRYPTED_VALUE")]:
        assert "127.0.0.1" not in value
    sent = []
    for path in ("a/v1", "a", "b/v1"):
        text = scripts.on(answer_over(api, Text(["Done."])))
        run(agent(path), [user(prompt), *messages_of(events), user(text)])
        (exchange,) = scripts.requests(text)
        sent.append(any(each in exchange.body for each in (THOUGHT.encode(), b"reasoning_content")))
    assert sent == [True, True, False]


@pytest.mark.parametrize("api", APIS)
def test_reasoning_of_another_provider_is_not_sent(
    build: Callable[..., BuiltInAgent], scripts: Scripts, api: str
) -> None:
    other = json.dumps({"provider": "other", "signature": "foreign", "id": "foreign", "encrypted_content": "foreign"})
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}, "encryptedValue": other}
    messages = [
        user("before"),
        {"id": "m1", "role": "reasoning", "content": "foreign", "encryptedValue": other},
        {"id": "m2", "role": "assistant", "content": "So.", "toolCalls": [call]},
        {"id": "m3", "role": "tool", "toolCallId": "c1", "content": "x"},
        {"id": "m4", "role": "reasoning", "content": "foreign", "encryptedValue": "not JSON"},
    ]
    text = scripts.on(answer_over(api, Text(["Done."])))
    assert text_of(run(build(api), [*messages, user(text)])) == "Done."
    (exchange,) = scripts.requests(text)
    assert b"foreign" not in exchange.body


def test_reasoning_that_is_redacted_is_sent_back_to_anthropic(
    build: Callable[..., BuiltInAgent], scripts: Scripts
) -> None:
    parts = (Reasoning([], "hidden"), Call("call_1", "find", ['{"word":"a"}']))
    text = scripts.on(by_request(answer_over("messages", *parts), answer_over("messages", Text(["Done."]))))
    run(build("messages", tools=[find]), [user(text)])
    sent = scripts.requests(text)[1].json()["messages"][1]["content"]
    assert sent[0] == {"type": "redacted_thinking", "data": "hidden"}


def test_reasoning_without_a_summary_is_sent_back_to_openai(
    build: Callable[..., BuiltInAgent], scripts: Scripts
) -> None:
    parts = (Reasoning([], "hidden"), Text(["Hello"], "final_answer"))
    text = scripts.on(by_request(answer_over("responses", *parts), answer_over("responses", Text(["Done."]))))
    agent = build("responses")
    messages = messages_of(run(agent, [user(text)]))
    run(agent, [user("before"), *messages, user(text)])
    assert scripts.requests(text)[1].json()["input"][1:3] == [
        {"type": "reasoning", "id": "rs_0", "summary": [], "encrypted_content": "hidden"},
        {"role": "assistant", "content": "Hello", "phase": "final_answer"},
    ]


def test_reasoning_without_anything_is_not_shown(build: Callable[..., BuiltInAgent], scripts: Scripts) -> None:
    text = scripts.on(answer_over("responses", Reasoning([]), Text(["Hello"])))
    assert of_type(run(build("responses"), [user(text)]), "REASONING_START") == []


def test_rules_of_a_maker_go_with_its_api(fake_model: FakeProvider, scripts: Scripts) -> None:
    """Also if another provider offers the API: ids of calls, for instance, are as Anthropic accepts them."""
    text = scripts.on(answer_over("messages", Text(["Done."])))
    call = {"id": "c:1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    past = [{"id": "a", "role": "assistant", "toolCalls": [call]}]
    agent = BuiltInAgent(model="any-model", api="messages", base_url=fake_model.url, max_retries=0)
    run(agent, [user("before"), *past, user(text)])
    sent = json.dumps(scripts.requests(text)[0].json()["messages"])
    assert "There is no result" in sent
    assert "c:1" not in sent


def test_reasoning_that_openai_rejects_is_left_out(build: Callable[..., BuiltInAgent], scripts: Scripts) -> None:
    """A thread must remain usable, for instance after its reasoning was encrypted for another account."""
    rejected = send_error(400, {"message": "m", "code": "invalid_encrypted_content", "param": None})
    text = scripts.on(by_request(rejected, answer_over("responses", Text(["Done."]))))
    encrypted = json.dumps({"provider": "openai", "id": "rs_9", "encrypted_content": "e"})
    reasoning = {"id": "m1", "role": "reasoning", "content": "Hm.", "encryptedValue": encrypted}
    past = [user("before"), reasoning, {"id": "m2", "role": "assistant", "content": "So."}]
    assert text_of(run(build("responses"), [*past, user(text)])) == "Done."
    first, second = scripts.requests(text)
    assert "rs_9" in first.body.decode()
    assert "rs_9" not in second.body.decode()


def test_reasoning_that_the_account_may_not_read_is_not_requested_again(
    build: Callable[..., BuiltInAgent], scripts: Scripts
) -> None:
    rejected = send_error(400, {"message": "m", "code": "unsupported_value", "param": "reasoning.summary"})
    text = scripts.on(by_request(rejected, *[answer_over("responses", Text(["Done."]))] * 2))
    agent = build("responses")
    assert text_of(run(agent, [user(text)])) == text_of(run(agent, [user(text)])) == "Done."
    assert ["reasoning" in exchange.json() for exchange in scripts.requests(text)] == [True, False, False]


PAST_CALL = [
    {
        "id": "m2",
        "role": "assistant",
        "toolCalls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}],
    },
    {"id": "m3", "role": "tool", "toolCallId": "c1", "content": "x"},
]
"""A call of a model that did not think, or of another maker."""


def test_thinking_is_off_where_anthropic_rejects_it(build: Callable[..., BuiltInAgent], scripts: Scripts) -> None:
    """With calls that the model has not thought about, and where it must call a tool."""
    text = scripts.on(answer_over("messages", Text(["Done."])))
    agent = build("messages", model="anthropic/claude-haiku-4-5", reasoning_effort="low")
    forced = {"toolChoice": {"type": "function", "function": {"name": "find"}}}
    run(agent, [user(text)])
    run(agent, [user(text), *PAST_CALL])
    run(agent, [user(text)], tools=[frontend_tool("find")], forwardedProps=forced)
    assert ["thinking" in exchange.json() for exchange in scripts.requests(text)] == [True, False, False]


THINKING: Mapping[tuple[str, str | None], Any] = {
    ("claude-3-5-haiku-latest", "high"): (None, None),
    ("claude-sonnet-4-5", None): (None, None),
    ("claude-sonnet-4-5-20250929", "low"): ({"type": "enabled", "budget_tokens": 2048}, None),
    ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "high"): ({"type": "enabled", "budget_tokens": 16384}, None),
    ("claude-sonnet-4-5", "none"): (None, None),
    ("claude-opus-4-8", None): (None, None),
    ("claude-opus-4-6", "max"): ("adaptive", {"effort": "max"}),
    ("claude-opus-5", None): ("adaptive", None),
    ("claude-sonnet-5", "none"): ({"type": "disabled"}, None),
    ("claude-opus-5-5", "none"): ("adaptive", {"effort": "low"}),
    ("claude-fable-5", "minimal"): ("adaptive", {"effort": "low"}),
    ("claude-sonnet-6", None): ("adaptive", None),
}
"""By model and effort: the parameters ``thinking`` and ``output_config``."""


@pytest.mark.parametrize(("model", "effort"), THINKING)
def test_thinking_of_each_generation_of_claude(model: str, effort: str | None) -> None:
    thinking, output = THINKING[model, effort]
    expected = {"type": "adaptive", "display": "summarized"} if thinking == "adaptive" else thinking
    params = thinking_params(model, effort, 32000)
    assert (params.get("thinking"), params.get("output_config")) == (expected, output)


@pytest.mark.parametrize(
    ("model", "thinking", "choice"),
    [
        ("claude-opus-5", {"type": "disabled"}, {"type": "tool", "name": "find"}),
        ("claude-opus-5-5", {"type": "adaptive", "display": "summarized"}, {"type": "auto"}),
    ],
)
def test_tool_choice_that_forces_a_call_and_thinking(
    build: Callable[..., BuiltInAgent], scripts: Scripts, model: str, thinking: Any, choice: Any
) -> None:
    """Suggestions are made this way. The newest models cannot be forced."""
    text = scripts.on(answer_over("messages", Text(["Done."])))
    run(build("messages", model=f"anthropic/{model}", tool_choice=FUNCTION, tools=[find]), [user(text)])
    body = scripts.requests(text)[0].json()
    assert (body["thinking"], body["tool_choice"]) == (thinking, choice)


def test_thinking_that_anthropic_rejects_is_left_out(build: Callable[..., BuiltInAgent], scripts: Scripts) -> None:
    """It is bound to the account, the model and what was before it, such as the application's state."""
    rejected = send_error(400, {"message": "m", "type": "invalid_request_error"})
    text = scripts.on(by_request(rejected, answer_over("messages", Text(["Done."])), rejected))
    encrypted = json.dumps({"provider": "anthropic", "signature": "sig"})
    reasoning = {"id": "m1", "role": "reasoning", "content": "Hm.", "encryptedValue": encrypted}
    past = [user("before"), reasoning, {"id": "m2", "role": "assistant", "content": "So."}]
    assert text_of(run(build("messages"), [*past, user(text)])) == "Done."
    assert of_type(run(build("messages"), [user(text)]), "RUN_ERROR")  # of something else
    first, second, _ = scripts.requests(text)
    assert b"sig" in first.body
    assert b"sig" not in second.body


def test_signatures_that_google_rejects_are_left_out(build: Callable[..., BuiltInAgent], scripts: Scripts) -> None:
    """Those of another model, for example."""
    rejected = send_error(400, {"message": "m", "status": "INVALID_ARGUMENT", "code": 400})
    text = scripts.on(by_request(rejected, answer_over("generate_content", Text(["Done."])), rejected))
    encrypted = json.dumps({"provider": "google", "thought_signature": "c2ln"})
    past = [user("before"), {"id": "m2", "role": "assistant", "content": "So.", "encryptedValue": encrypted}]
    assert text_of(run(build("generate_content"), [*past, user(text)])) == "Done."
    assert of_type(run(build("generate_content"), [user(text)]), "RUN_ERROR")  # of something else
    first, second, _ = scripts.requests(text)
    assert b"c2ln" in first.body
    assert b"c2ln" not in second.body


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-3-pro-preview", "medium", {"thinking_level": "HIGH"}),
        ("gemini-3-pro-preview", "minimal", {"thinking_level": "LOW"}),
        ("gemini-3.1-pro-preview", "medium", {"thinking_level": "MEDIUM"}),
        ("gemini-3.1-pro-preview", "minimal", {"thinking_level": "LOW"}),
        ("gemini-3-flash-preview", "minimal", {"thinking_level": "MINIMAL"}),
        ("gemini-3.8-flash", "minimal", {"thinking_level": "LOW"}),
        ("gemini-flash-latest", "high", {"thinking_level": "HIGH"}),
        ("models/gemini-pro-latest", None, {}),
        ("gemini-2.5-pro", "minimal", {"thinking_budget": 512}),
        ("gemini-pro", "high", None),
        ("gemini-2.0-flash", "high", None),
    ],
)
def test_thinking_of_each_generation_of_gemini(model: str, effort: str | None, config: Any) -> None:
    expected = config if config is None else {"include_thoughts": True, **config}
    assert thinking_config(model, effort) == expected


def test_thought_signatures_that_are_missing_are_replaced_for_gemini_3(
    build: Callable[..., BuiltInAgent], scripts: Scripts
) -> None:
    text = scripts.on(answer_over("generate_content", Text(["Done."])))
    run(build("generate_content"), [user(text), *PAST_CALL])
    (part,) = scripts.requests(text)[0].json()["contents"][1]["parts"]
    assert part["functionCall"] == {"name": "find", "args": {}}
    assert part["thoughtSignature"]


# --- usage -------------------------------------------------------------------


@pytest.mark.skipif("usage" not in RunFinishedEvent.model_fields, reason="this line of AG-UI has no place for usage")
@pytest.mark.parametrize("api", APIS)
def test_usage_has_the_same_meaning(build: Callable[..., BuiltInAgent], scripts: Scripts, api: str) -> None:
    (usage,) = run(build(api), [user(scripts.on(answer_over(api, Text(["a"]))))])[-1]["usage"]
    names = ("inputTokens", "outputTokens", "totalTokens", "reasoningTokens", "cachedInputTokens")
    assert [usage[name] for name in names] == [10, 5, 15, 2, 3]


# --- media -------------------------------------------------------------------


def media(kind: str, mime_type: str, *, url: str = "", name: str = "") -> Message:
    source = {"type": "url", "value": url} if url else {"type": "data", "value": "QUJD"}
    return {"type": kind, "source": {**source, "mimeType": mime_type}, "metadata": {"filename": name} if name else {}}


PNG, PDF = media("image", "image/png"), media("document", "application/pdf", name="a.pdf")
IMAGE_URL = media("image", "image/png", url="https://x.example/a.png")
PDF_URL = media("document", "application/pdf", url="https://x.example/a.pdf")
AUDIO, VIDEO = media("audio", "audio/wav"), media("video", "video/mp4")
HTTPS = "https://x.example"

MEDIA: Mapping[str, list[tuple[Message, Any]]] = {
    "responses": [
        (PNG, {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,QUJD"}),
        (IMAGE_URL, {"type": "input_image", "detail": "auto", "image_url": f"{HTTPS}/a.png"}),
        (PDF, {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}),
        (PDF_URL, {"type": "input_file", "file_url": f"{HTTPS}/a.pdf"}),
        (AUDIO, None),
        (VIDEO, None),
    ],
    "messages": [
        (PNG, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}),
        (IMAGE_URL, {"type": "image", "source": {"type": "url", "url": f"{HTTPS}/a.png"}}),
        (
            PDF,
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"},
                "title": "a.pdf",
            },
        ),
        (PDF_URL, {"type": "document", "source": {"type": "url", "url": f"{HTTPS}/a.pdf"}}),
        (media("image", "image/tiff"), None),
        (AUDIO, None),
        (VIDEO, None),
    ],
    "generate_content": [
        (PNG, {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}),
        (PDF, {"inlineData": {"mimeType": "application/pdf", "data": "QUJD"}}),
        (PDF_URL, {"fileData": {"fileUri": f"{HTTPS}/a.pdf", "mimeType": "application/pdf"}}),
        (AUDIO, {"inlineData": {"mimeType": "audio/wav", "data": "QUJD"}}),
        (VIDEO, {"inlineData": {"mimeType": "video/mp4", "data": "QUJD"}}),
    ],
}


@pytest.mark.parametrize("api", MEDIA)
def test_media_are_sent_in_the_form_of_the_api(
    build: Callable[..., BuiltInAgent], scripts: Scripts, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = scripts.on(answer_over(api, Text(["ok"])))
    past = [user([part for part, _ in MEDIA[api]]), {"id": "a", "role": "assistant", "content": "Nice."}]
    run(build(api, **({"prompt_caching": False} if api == "messages" else {})), [*past, user(text)])
    (exchange,) = scripts.requests(text)
    # Google's SDK has some names in snake case, which its API accepts as well.
    body = exchange.body.replace(b"mime_type", b"mimeType").replace(b"file_uri", b"fileUri")
    message = history(json.loads(body))[0]
    sent = message.get("content") or message["parts"]
    for part, (given, expected) in zip(sent, MEDIA[api], strict=True):
        if expected is None:
            assert "cannot be displayed" in part["text"]
            assert given["type"] in caplog.text
        else:
            assert part == expected


# --- options -----------------------------------------------------------------

TUNED: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "chat": (
        {"top_p": 0.5, "seed": 7, "stop_sequences": ["END"], "reasoning_effort": "low", "parallel_tool_calls": False},
        {"top_p": 0.5, "seed": 7, "stop": ["END"], "reasoning_effort": "low", "parallel_tool_calls": False},
    ),
    "responses": (
        {"top_p": 0.5, "max_output_tokens": 77, "reasoning_effort": "high", "parallel_tool_calls": False},
        {
            "top_p": 0.5,
            "max_output_tokens": 77,
            "reasoning": {"effort": "high", "summary": "auto"},
            "parallel_tool_calls": False,
            "store": False,
            "include": ["reasoning.encrypted_content"],
        },
    ),
    "messages": (
        {"stop_sequences": ["END"], "reasoning_effort": "medium", "parallel_tool_calls": False},
        {
            "stop_sequences": ["END"],
            "max_tokens": 32000,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "medium"},
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
    ),
    "generate_content": (
        {"top_k": 9, "seed": 7, "stop_sequences": ["END"], "reasoning_effort": "low", "presence_penalty": 1},
        {
            "generationConfig": {
                "topK": 9,
                "seed": 7,
                "stopSequences": ["END"],
                "presencePenalty": 1,
                "thinkingConfig": {"include_thoughts": True, "thinking_level": "LOW"},
            }
        },
    ),
}
"""By API: options, and members of the request."""


@pytest.mark.parametrize("api", APIS)
def test_options_in_the_terms_of_the_api(build: Callable[..., BuiltInAgent], scripts: Scripts, api: str) -> None:
    options, expected = TUNED[api]
    text = scripts.on(answer_over(api, Text(["ok"])))
    run(build(api, tools=[find], **options), [user(text)])
    (exchange,) = scripts.requests(text)
    body = exchange.json()
    assert {name: body.get(name) for name in expected} == expected
    assert "previous_response_id" not in body


def choice_of(body: Mapping[str, Any]) -> Any:
    return body.get("tool_choice") or body.get("toolConfig", {}).get("functionCallingConfig")


FUNCTION = {"type": "function", "function": {"name": "find"}}
CHOICES: Mapping[str, Mapping[str, Any]] = {
    "chat": {"auto": "auto", "required": "required", "none": "none", "find": FUNCTION},
    "responses": {"auto": "auto", "required": "required", "none": "none", "find": {"type": "function", "name": "find"}},
    "messages": {
        "auto": {"type": "auto"},
        "required": {"type": "any"},
        "none": {"type": "none"},
        "find": {"type": "tool", "name": "find"},
    },
    "generate_content": {
        "auto": {"mode": "AUTO"},
        "required": {"mode": "ANY"},
        "none": {"mode": "NONE"},
        "find": {"mode": "ANY", "allowedFunctionNames": ["find"]},
    },
}


@pytest.mark.parametrize("choice", ["auto", "required", "none", "find"])
@pytest.mark.parametrize("api", APIS)
def test_tool_choice_in_the_terms_of_the_api(
    build: Callable[..., BuiltInAgent], scripts: Scripts, api: str, choice: str
) -> None:
    text = scripts.on(answer_over(api, Text(["ok"])))
    run(build(api, tools=[find], tool_choice=FUNCTION if choice == "find" else choice), [user(text)])
    (exchange,) = scripts.requests(text)
    assert choice_of(exchange.json()) == CHOICES[api][choice]


def test_provider_options_add_and_remove_members_of_every_api(
    build: Callable[..., BuiltInAgent], scripts: Scripts
) -> None:
    given: Mapping[str, tuple[dict[str, Any], str, Callable[[dict[str, Any]], Any]]] = {
        "responses": ({"service_tier": "flex", "include": None}, "include", lambda body: body["service_tier"]),
        "messages": ({"service_tier": "flex", "thinking": None}, "thinking", lambda body: body["service_tier"]),
        "generate_content": (
            {"response_modalities": ["flex"], "thinking_config": None},
            "thinkingConfig",
            lambda body: body["generationConfig"]["responseModalities"][0],
        ),
    }
    for api, (options, removed, read) in given.items():
        text = scripts.on(answer_over(api, Text(["ok"])))
        run(build(api, provider_options=options), [user(text)])
        (exchange,) = scripts.requests(text)
        assert read(exchange.json()) == "flex"
        assert removed not in exchange.body.decode()


@pytest.mark.parametrize(("limit", "sent", "budget"), [(None, 32000, 8192), (2000, 2000, 1999), (500, 500, None)])
def test_provider_options_with_the_limit_that_anthropic_requires(
    build: Callable[..., BuiltInAgent], scripts: Scripts, limit: int | None, sent: int, budget: int | None
) -> None:
    text = scripts.on(answer_over("messages", Text(["ok"])))
    options = {"model": "anthropic/claude-sonnet-4-5", "reasoning_effort": "medium"}
    run(build("messages", provider_options={"max_tokens": limit}, **options), [user(text)])
    body = scripts.requests(text)[0].json()
    assert (body["max_tokens"], body.get("thinking", {}).get("budget_tokens")) == (sent, budget)


def test_strict_tools_in_the_terms_of_the_api(build: Callable[..., BuiltInAgent], scripts: Scripts) -> None:
    strict = define_tool(look, strict=True)
    read: Mapping[str, Callable[[dict[str, Any]], Any]] = {
        "chat": lambda body: [tool["function"].get("strict") for tool in body["tools"]],
        "responses": lambda body: [tool["strict"] or None for tool in body["tools"]],
        "messages": lambda body: [tool.get("strict") for tool in body["tools"]],
        "generate_content": lambda body: [True, None] if choice_of(body) == {"mode": "VALIDATED"} else choice_of(body),
    }
    for api in APIS:
        text = scripts.on(answer_over(api, Text(["ok"])))
        run(build(api, tools=[strict, find]), [user(text)])
        assert read[api](scripts.requests(text)[0].json()) == [True, None], api


# --- caching -----------------------------------------------------------------

MARK = {"type": "ephemeral"}


def marked(value: Any) -> int:
    """Returns how many blocks are marked."""
    return json.dumps(value).count('"cache_control"')


def test_prompt_caching_marks_tools_prompt_and_history(build: Callable[..., BuiltInAgent], scripts: Scripts) -> None:
    text = scripts.on(answer_over("messages", Text(["ok"])))
    answer = {"id": "a", "role": "assistant", "content": "So."}
    past = [user("one"), answer, user("two"), answer]
    run(build("messages", tools=[find], prompt="Be kind."), [*past, user(text)])
    body = scripts.requests(text)[0].json()
    assert body["tools"][-1]["cache_control"] == body["system"][-1]["cache_control"] == MARK
    assert [marked(message) for message in body["messages"]] == [0, 0, 1, 0, 1]
    assert marked(body) == 4  # more are rejected


def test_prompt_caching_can_be_turned_off(build: Callable[..., BuiltInAgent], scripts: Scripts) -> None:
    text = scripts.on(answer_over("messages", Text(["ok"])))
    run(build("messages", tools=[find], prompt="Be kind.", prompt_caching=False), [user(text)])
    assert marked(scripts.requests(text)[0].json()) == 0


# --- failures ----------------------------------------------------------------


def failing(frame: dict[str, Any]) -> Script:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send(frame)
        exchange.end_stream()

    return script


@pytest.mark.parametrize(
    ("api", "frame", "code"),
    [
        ("responses", {"type": "error", "code": "rate_limit_exceeded", "message": "words"}, "rate_limited"),
        (
            "responses",
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "words"}}},
            "provider_error",
        ),
        (
            "responses",
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
            "provider_error",
        ),
        ("messages", {"type": "error", "error": {"type": "overloaded_error", "message": "words"}}, "rate_limited"),
        ("messages", {"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": {}}, "provider_error"),
        (
            "generate_content",
            {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "words"}},
            "rate_limited",
        ),
        ("generate_content", {"promptFeedback": {"blockReason": "SAFETY"}}, "provider_error"),
        ("generate_content", {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}, "provider_error"),
    ],
)
def test_failure_within_a_stream_has_a_code(
    build: Callable[..., BuiltInAgent], scripts: Scripts, api: str, frame: dict[str, Any], code: str
) -> None:
    events = run(build(api), [user(scripts.on(failing(frame)))])
    (error,) = of_type(events, "RUN_ERROR")
    assert error["code"] == code
    assert "words" not in error["message"]


@pytest.mark.parametrize(("api", "param"), [("chat", "reasoning_effort"), ("responses", "reasoning.effort")])
def test_reasoning_effort_that_a_model_does_not_have_is_named(
    build: Callable[..., BuiltInAgent], scripts: Scripts, api: str, param: str
) -> None:
    """Which model has which level is known to OpenAI. The mistake is the run's if it has overridden the option."""
    error = {"message": "words", "type": "invalid_request_error", "param": param, "code": "unsupported_value"}
    text = scripts.on(send_error(400, error))
    own = run(build(api, reasoning_effort="xhigh"), [user(text)])[-1]
    assert (own["code"], own["message"]) == (
        "provider_error",
        "The model does not accept this value of the option reasoning_effort.",
    )
    agent = build(api, reasoning_effort="low", overridable_properties=["reasoningEffort"])
    overridden = run(agent, [user(text)], forwardedProps={"reasoningEffort": "xhigh"})[-1]
    assert (overridden["code"], overridden["message"]) == (
        "invalid_request",
        "The model does not accept this value of forwardedProps.reasoningEffort.",
    )
    assert run(agent, [user(text)])[-1]["code"] == "provider_error"


def own_client(api: str, url: str) -> Any:
    """A client of the application."""
    if api == "messages":
        return AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="k")
    return AsyncOpenAI(base_url=url, api_key="k")


@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
def test_client_of_the_application_has_its_streams_read_by_our_decoder(
    fake_model: FakeProvider, scripts: Scripts, api: str
) -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send_bytes(b"\xef\xbb\xbfevent: ping\n\nid: 1\n\n")
        exchange.send(*FRAMES[api]([Text(["Hi"])]), "null")
        exchange.end_stream()

    agent = BuiltInAgent("some-model", client=own_client(api, fake_model.url), api=api)
    events = run(agent, [user(scripts.on(script))])
    assert events[-1]["type"] == "RUN_FINISHED", events[-1]
    assert text_of(events) == "Hi"


class EncodedDecoder:
    """Reads a stream whose frames are lines in base64: no server-sent events, as those of Amazon Bedrock are none."""

    async def aiter_bytes(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[ServerSentEvent]:
        body = b"".join([chunk async for chunk in chunks])
        for line in map(base64.b64decode, body.splitlines()):
            yield ServerSentEvent(data=line.decode(), event=json.loads(line)["type"])


class EncodedClient(AsyncAnthropic):
    def _make_sse_decoder(self) -> Any:
        return EncodedDecoder()


def test_client_of_the_application_may_have_streams_that_are_no_event_streams(
    fake_model: FakeProvider, scripts: Scripts
) -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        for frame in FRAMES["messages"]([Text(["Hi"])]):
            exchange.send_bytes(base64.b64encode(json.dumps(frame).encode()) + b"\n")
        exchange.end_stream()

    client = EncodedClient(base_url=fake_model.url.removesuffix("/v1"), api_key="k")
    events = run(BuiltInAgent("some-model", client=client), [user(scripts.on(script))])
    assert events[-1]["type"] == "RUN_FINISHED", events[-1]
    assert text_of(events) == "Hi"


@pytest.mark.parametrize("api", APIS)
def test_server_that_is_not_there(api: str) -> None:
    base_url = f"http://127.0.0.1:9{PATHS.get(api, '/v1')}"
    agent = BuiltInAgent(**{**MODELS[api], "base_url": base_url, "max_retries": 0})
    (error,) = of_type(run(agent, [user("hi")]), "RUN_ERROR")
    assert error["code"] == "network_error"


@pytest.mark.parametrize("api", APIS)
def test_timeout_of_a_silent_server(build: Callable[..., BuiltInAgent], scripts: Scripts, api: str) -> None:
    text = scripts.on(lambda exchange: exchange.wait_for_disconnect())
    (error,) = of_type(run(build(api, timeout=0.1), [user(text)]), "RUN_ERROR")
    assert error["code"] == "timeout"


@pytest.mark.parametrize("api", APIS)
def test_stream_that_stays_open_after_its_end(
    build: Callable[..., BuiltInAgent], scripts: Scripts, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens after the end of a completion does not matter."""
    monkeypatch.setattr(frames, "_END_TIMEOUT_SECONDS", 0.01)

    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send(*FRAMES[api]([Text(["Hello"])]))
        exchange.wait_for_disconnect()

    events = run(build(api), [user(scripts.on(script))])
    assert text_of(events) == "Hello"
    assert events[-1]["type"] == "RUN_FINISHED"
