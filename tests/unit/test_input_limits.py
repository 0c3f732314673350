"""What an invalid run input costs: bytes and log lines, never time."""

from __future__ import annotations

import json
import logging
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any

import pytest
from ag_ui.core import RunAgentInput
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime import CopilotRuntime, InputLimits
from copilot_runtime._server.endpoints.run_input import parse_input
from copilot_runtime._server.errors import InvalidRunInput
from copilot_runtime.agents._builtin.providers import OPENAI_COMPATIBLE
from copilot_runtime.agents._interrupts import parse_resume_entries
from copilot_runtime.testing import TestClient

from .builtin_helpers import chat_request_messages

pytestmark = pytest.mark.requirement("BODY-07")

UNLIMITED = InputLimits(max_messages=10**9, max_tools=10**9, max_context=10**9)


async def agent(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


def body(**members: Any) -> bytes:
    return json.dumps({"threadId": "t", "runId": "r", "messages": [], "state": {}, **members}).encode()


def message(role: str, **members: Any) -> dict[str, Any]:
    return {"id": "m", "role": role, **members}


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def details(data: bytes, limits: InputLimits) -> str:
    with pytest.raises(InvalidRunInput) as raised:
        parse_input(data, limits)
    return str(raised.value)


def peak_bytes(data: bytes, limits: InputLimits) -> int:
    tracemalloc.start()
    try:
        details(data, limits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


INVALID: dict[str, Callable[[int], dict[str, Any]]] = {
    "messages": lambda n: {"messages": [1] * n},
    "empty messages": lambda n: {"messages": [{}] * n},
    "user messages": lambda n: {"messages": [message("user", content=[{}])] * n},
    "tools": lambda n: {"tools": [1] * n},
    "empty tools": lambda n: {"tools": [{}] * n},
    "context": lambda n: {"context": [1] * n},
    "resume": lambda n: {"resume": [1] * n},
    "user parts": lambda n: {"messages": [message("user", content=[{}] * n)]},
    "text parts": lambda n: {"messages": [message("user", content=[{"type": "text"}] * n)]},
    "tool parts": lambda n: {"messages": [message("tool", toolCallId="c", content=[1] * n)]},
    "tool calls": lambda n: {"messages": [message("assistant", toolCalls=[{}] * n)]},
    "tool calls by their Python name": lambda n: {"messages": [message("assistant", tool_calls=[{}] * n)]},
}


@pytest.mark.parametrize("kind", INVALID)
@pytest.mark.parametrize("limits", [InputLimits(), UNLIMITED], ids=["default", "unlimited"])
def test_validation_of_invalid_items_costs_few_bytes_each(kind: str, limits: InputLimits) -> None:
    small, large = (body(**INVALID[kind](count)) for count in (5_000, 20_000))
    details(small, limits)  # the first use builds caches
    costs = peak_bytes(small, limits), peak_bytes(large, limits)
    assert costs[1] <= 6 * costs[0]
    # Parsed JSON is several times as large as its text.
    assert costs[1] <= 60 * len(large), costs


def test_input_limits_count_the_member_that_is_validated() -> None:
    """The last of two members of the same name counts, for the limits and for validation alike."""
    many = json.dumps([{}] * 2_000).encode()
    both = b'{"threadId":"t","runId":"r","messages":[{"id":"m","role":"user","content":%b,"content":%b}]}'
    assert "max_parts" in details(both % (b'"x"', many), InputLimits())
    assert parse_input(both % (many, b'"x"'), InputLimits()).model.messages[0].content == "x"


@pytest.mark.parametrize(
    ("limits", "accepted", "refused", "place"),
    [
        ({"max_messages": 2}, *({"messages": [message("user", content="x")] * n} for n in (2, 3)), "messages:"),
        ({"max_tools": 2}, *({"tools": [{"name": "a", "description": "", "parameters": {}}] * n} for n in (2, 3)),
         "tools:"),
        ({"max_context": 2}, *({"context": [{"description": "a", "value": "b"}] * n} for n in (2, 3)), "context:"),
        ({"max_resume": 2}, *({"resume": [{"interruptId": "a", "status": "cancelled"}] * n} for n in (2, 3)),
         "resume:"),
        ({"max_parts": 2},
         *({"messages": [message("user", content=[{"type": "text", "text": "x"}] * n)]} for n in (2, 3)),
         "messages.0.content:"),
        ({"max_depth": 12}, *({"state": nested(n)} for n in (11, 12)), "body:"),
    ],
)  # fmt: skip
def test_input_limits_are_named_in_the_400(
    limits: dict[str, int], accepted: dict[str, Any], refused: dict[str, Any], place: str
) -> None:
    parse_input(body(**accepted), InputLimits(**limits))
    assert details(body(**refused), InputLimits(**limits)).startswith(place)
    with TestClient(CopilotRuntime(agents={"a": agent}, input_limits=InputLimits(**limits))) as client:
        response = client.request("POST", "/agent/a/run", json=json.loads(body(**refused)), check=False)
    assert response.status == 400
    assert next(iter(limits)) in response.json()["details"]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 50, 100])
@pytest.mark.parametrize("kind", ["messages", "tools", "context", "toolCalls"])
def test_input_limits_hold_for_the_smallest_items(kind: str, count: int) -> None:
    """Small bodies are not looked at: of these items, as many as possible fit into few bytes."""
    call = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    item: dict[str, dict[str, Any]] = {
        "messages": {"id": "", "role": "assistant"},
        "tools": {"name": "", "description": "", "parameters": {}},
        "context": {"description": "", "value": ""},
        "toolCalls": call,
    }

    def data(number: int) -> bytes:
        items = [item[kind]] * number
        wire: dict[str, Any] = {"threadId": "", "runId": "", "messages": []}
        wire.update({"messages": [{**item["messages"], kind: items}]} if kind == "toolCalls" else {kind: items})
        return json.dumps(wire, separators=(",", ":")).encode()

    limits = InputLimits(**{"max_parts" if kind == "toolCalls" else f"max_{kind}": count})
    parse_input(data(count), limits)
    assert f"at most {count}" in details(data(count + 1), limits)


@pytest.mark.parametrize("depth", [1, 5, 6, 7, 8, 50, 100])
def test_input_limits_hold_for_the_smallest_nesting(depth: int) -> None:
    def data(levels: int) -> bytes:
        state = b"[" * levels + b"]" * levels
        return b'{"threadId":"","runId":"","messages":[],"state":%b}' % (state or b"0")

    limits = InputLimits(max_depth=max(depth, 2))
    parse_input(data(limits.max_depth - 1), limits)
    assert "max_depth" in details(data(limits.max_depth), limits)


PARTS = st.lists(st.sampled_from(["[", {"type": "text", "text": "]"}, ["["], 1]), max_size=3)
MEMBERS = st.one_of(PARTS, st.sampled_from(["[[[", None, {"a": ["["]}]))


@given(
    st.lists(st.dictionaries(st.sampled_from(["content", "toolCalls", "id"]), MEMBERS), max_size=3), MEMBERS, MEMBERS
)
def test_input_limits_count_the_parts_of_messages(messages: list[dict[str, Any]], tools: Any, state: Any) -> None:
    """Also where brackets in the body say that there are none, so that no message is looked at."""
    wire = {"messages": messages, "tools": tools, "state": state}
    found = [message[name] for message in messages for name in ("content", "toolCalls") if name in message]
    parts = sum(len(each) for each in found if isinstance(each, list))
    assert InputLimits().check(wire, json.dumps(wire).encode()) == parts
    if parts:
        longest = max(len(each) for each in found if isinstance(each, list))
        with pytest.raises(InvalidRunInput, match="max_parts") if longest > 1 else nullcontext():
            InputLimits(max_parts=1).check(wire, json.dumps(wire).encode())


def test_input_limits_default_depth() -> None:
    parse_input(body(state=nested(99)), InputLimits())
    assert "max_depth" in details(body(state=nested(150)), InputLimits())


def test_validation_of_a_long_input_names_the_first_invalid_message() -> None:
    """Of the generation of AG-UI that accepts most of the messages before it."""
    valid = message("user", content=[{"type": "binary", "mimeType": "image/png", "data": "QUJD"}])
    text = details(body(messages=[valid] * 500 + [message("user", content=[{"type": "nothing"}])]), InputLimits())
    assert "messages.500." in text
    assert "messages.0." not in text


def test_validation_of_a_long_tag_is_shortened() -> None:
    assert len(details(body(messages=[message("x" * 100_000)]), InputLimits())) < 1_000


def log_lines(run: Callable[[int], object], count: int, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run(count)
    return [record.getMessage() for record in caplog.records]


def chat_messages(*messages: dict[str, Any]) -> object:
    model = parse_input(body(messages=list(messages)), InputLimits()).model
    return chat_request_messages(
        model.messages, OPENAI_COMPATIBLE, resumed_results={}, forward_system=False, forward_developer=False
    )


VIDEO = {"type": "video", "source": {"type": "url", "value": "https://x.example/a.mp4"}}


@pytest.mark.parametrize(
    "run",
    [
        lambda n: parse_resume_entries([1] * n),
        lambda n: parse_resume_entries(
            [{"interruptId": str(i % n), "status": ("resolved", "cancelled")[i // n]} for i in range(2 * n)]
        ),
        lambda n: chat_messages(*[message("tool", toolCallId="c", content="x")] * n),
        lambda n: chat_messages(message("user", content=[VIDEO] * n)),
        lambda n: chat_messages(*[message("user", content=[VIDEO])] * n),
    ],
    ids=["invalid resume entries", "contradictory resume entries", "results", "parts", "messages with parts"],
)
def test_log_has_one_line_with_a_count(run: Callable[[int], object], caplog: pytest.LogCaptureFixture) -> None:
    for count in (100, 400):
        [line] = log_lines(run, count, caplog)
        assert str(count) in line


@pytest.mark.parametrize("count", [100, 400])
def test_log_of_resume_entries_without_an_open_interrupt_has_one_line(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [{"interruptId": str(number), "status": "cancelled"} for number in range(count)]
    with TestClient(CopilotRuntime(agents={"a": agent})) as client:
        client.run("a", "hello", thread_id="t", extra={"resume": entries})
    [line] = [record.getMessage() for record in caplog.records if "resume" in record.getMessage()]
    assert str(count) in line
