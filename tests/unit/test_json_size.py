"""What parsed JSON takes in memory is known from its bytes."""

from __future__ import annotations

import gc
import json
import tracemalloc
from functools import partial
from typing import Any

import pytest

from copilot_runtime._json_size import MAX_FACTOR, parsed_size
from copilot_runtime._server.endpoints.run_input import parse_input, size_in_memory
from copilot_runtime._server.input_limits import InputLimits
from copilot_runtime._strict_json import loads

from .cost_helpers import assert_linear

N = 2000
LIMITS = InputLimits(max_parts=10 * N)
FACTOR = 1.5

DOCUMENTS: dict[str, Any] = {
    "text": ["x" * 100 * N],
    "code": ['for (i = 0, j = {"a": 1}; i < n; i++) { f[i] = "\\n"; } ' * N],
    "emoji": ["x" * 20 * N + "\U0001f600"],
    "cyrillic": ["ж" * 20 * N],
    "quotes": ['"\\"' * 20 * N],
    "floats": [number + 0.5 for number in range(N)],
    "integers": list(range(1000, 1000 + N)),
    "lists": [[] for _ in range(N)],
    "dicts": [{} for _ in range(N)],
    "strings": [f"value {number}" for number in range(N)],
    "objects": [{f"key {number}": f"value {number}"} for number in range(N)],
    "records": [
        {"id": number, "name": f"name {number}", "tags": [f"tag {number}"]} for number in range(1000, 1000 + N)
    ],
}


def traced(make: Any) -> int:
    """Returns how many bytes are held by what a function returns."""
    loads(b'["x"]')
    parse_input(b'{"threadId": "t", "runId": "r", "messages": []}', LIMITS)
    gc.collect()
    tracemalloc.start()
    try:
        made = make()
        assert made is not None
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.requirement("LIMIT-03")
@pytest.mark.parametrize(("name", "escaped"), [*((name, False) for name in DOCUMENTS), ("emoji", True)])
def test_parsed_size_is_near_what_the_objects_take(name: str, escaped: bool) -> None:
    data = json.dumps(DOCUMENTS[name], ensure_ascii=escaped).encode()
    held = traced(lambda: loads(data))
    assert held / FACTOR <= parsed_size(data) <= held * FACTOR


@pytest.mark.parametrize(
    "item", ["{}", "[]", '""', "1", "{1:1}", "[[", '"', "\\", ",", "::", '{"a":1}', "\\u0000", "é"]
)
def test_parsed_size_of_any_bytes_is_bounded(item: str) -> None:
    data = item.encode() * N
    assert 0 <= parsed_size(data) <= 10 * MAX_FACTOR * len(data)


@pytest.mark.parametrize("item", ['{"a":""},', '"', '\\"', "é"])
def test_parsed_size_costs_are_linear(item: str) -> None:
    # In documents of several chunks.
    assert_linear(lambda size: partial(parsed_size, item.encode() * 200 * size), size=800)


def message(number: int, **members: Any) -> dict[str, Any]:
    return {"id": f"m{number}", "role": "user", "content": "x", **members}


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
INPUTS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [message(number) for number in range(N)]},
    "parts": {"messages": [message(0, content=[{"type": "text", "text": "x"}] * N)]},
    "calls": {"messages": [message(0, role="assistant", toolCalls=[CALL] * N)]},
    "tools": {"tools": [{"name": "f", "description": "d", "parameters": {"type": "object"}}] * 1000},
    "state": {"state": [{"a": 1000}] * N},
    "a text and a tool": {
        "messages": [message(0, content="x" * 4000)],
        "tools": [{"name": "f", "description": "d" * 800, "parameters": {"type": "object"}}],
    },
}


@pytest.mark.requirement("LIMIT-03")
@pytest.mark.parametrize("name", INPUTS)
def test_size_in_memory_of_an_input_is_near_what_it_takes(name: str) -> None:
    members = {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": [], **INPUTS[name]}
    body = json.dumps(members).encode()

    parsed = parse_input(body, LIMITS)

    def model() -> Any:
        model = parse_input(body, LIMITS).model
        assert model.messages is not None  # so that all of it is built
        return model

    # As bytes, in RUN_STARTED, as the agent's model, and in wire form while it is small.
    wire = traced(lambda: loads(body)) if len(body) <= 65536 else 0
    held = 2 * len(body) + traced(model) + wire
    assert held / FACTOR <= size_in_memory(parsed) <= held * FACTOR
