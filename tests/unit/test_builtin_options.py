"""The options of `BuiltInAgent`: what is refused, what a run may override, and what the model is sent."""

from __future__ import annotations

import math
from typing import Any

import pytest

from copilot_runtime.agents._builtin._apis.chat import request_params
from copilot_runtime.agents._builtin.errors import ModelError
from copilot_runtime.agents._builtin.options import (
    Options,
    forced_tool,
    forwarded_model,
    parse_overridable,
)
from copilot_runtime.agents._builtin.parsers import parse_tool_choice

PICK = {"type": "function", "function": {"name": "pick"}}

# Option, its name in forwardedProps, a value, and values that cannot be.
OVERRIDABLE: list[tuple[str, str, Any, list[Any]]] = [
    ("prompt", "prompt", "Be brief", [1, ["x"]]),
    ("tool_choice", "toolChoice", "required", ["sometimes", 1, {}, {"type": "function"}]),
    ("max_output_tokens", "maxOutputTokens", 7, [0, -1, 1.5, "7", True, math.inf, math.nan]),
    ("temperature", "temperature", 0.5, [-0.1, 2.1, "hot", True, math.nan]),
    ("top_p", "topP", 1, [1.1, -1, "x"]),
    ("presence_penalty", "presencePenalty", -2, [-2.1, "x"]),
    ("frequency_penalty", "frequencyPenalty", 2, [2.1, "x"]),
    ("stop_sequences", "stopSequences", ["END"], ["END", [1], {}]),
    ("seed", "seed", 42, [1.5, "x", 2**60]),
    ("max_retries", "maxRetries", 0, [-1, 101, 1.5]),
    (
        "provider_options",
        "providerOptions",
        {"reasoning_effort": "low"},
        [[], "x", {"messages": []}, {"model": "x"}, {"function_call": {}}, {"functions": []}],
    ),
]
NOT_OVERRIDABLE = [("max_steps", 3, [0, 1.5, "x", True]), ("timeout", 2.5, [0, -1, math.inf, True, "5"])]
BAD = [(name, value) for name, _, _, bad in OVERRIDABLE for value in bad] + [
    (name, value) for name, _, bad in NOT_OVERRIDABLE for value in bad
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_option_that_is_invalid_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"BuiltInAgent: {name}=.* must be "):
        Options.parse({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, good) for name, _, good, _ in OVERRIDABLE] + [(name, good) for name, good, _ in NOT_OVERRIDABLE],
)
def test_option_that_is_valid_is_kept(name: str, value: Any) -> None:
    kept = getattr(Options.parse({name: value}), name)
    assert list(kept) == value if name == "stop_sequences" else kept == value


def test_option_none_is_the_default() -> None:
    assert Options.parse({"prompt": None, "temperature": None, "max_steps": None}) == Options()


@pytest.mark.parametrize(("name", "wire", "value", "bad"), OVERRIDABLE, ids=lambda one: one if one is str else None)
def test_overridable_options_only_are_overridden(name: str, wire: str, value: Any, bad: list[Any]) -> None:
    options = Options()
    assert options.with_overrides({wire: value}, parse_overridable(())) == options
    assert options.with_overrides({wire: value}, parse_overridable([name])) == Options.parse({name: value})
    assert options.with_overrides({wire: value}, parse_overridable([wire])) == Options.parse({name: value})
    assert options.with_overrides({wire: None}, parse_overridable([name])) == options
    for value in bad:
        with pytest.raises(ModelError, match=f"forwardedProps.{wire} must be") as raised:
            options.with_overrides({wire: value}, parse_overridable([name]))
        assert raised.value.code == "invalid_request"


@pytest.mark.parametrize("names", [["max_steps"], ["timeout"], ["api_key"], ["temprature"], "prompt"])
def test_overridable_options_that_cannot_be_are_refused(names: Any) -> None:
    with pytest.raises(ValueError, match="overridable_properties"):
        parse_overridable(names)


def test_overridable_model() -> None:
    assert forwarded_model({"model": "openai/x"}, parse_overridable(())) is None
    assert forwarded_model({"model": "openai/x"}, parse_overridable(["model"])) == "openai/x"
    with pytest.raises(ModelError, match=r"forwardedProps\.model"):
        forwarded_model({"model": 1}, parse_overridable(["model"]))


@pytest.mark.parametrize("choice", [PICK, {"type": "tool", "toolName": "pick"}])
def test_tool_choice_in_either_spelling(choice: Any) -> None:
    assert parse_tool_choice(choice) == PICK


def test_tool_choice_of_a_frontend_tool_needs_no_permission() -> None:
    assert forced_tool({"toolChoice": PICK}, {"pick"}) == PICK


@pytest.mark.parametrize("forwarded", [{}, {"toolChoice": PICK}, {"toolChoice": "required"}, {"toolChoice": 1}])
def test_tool_choice_of_another_tool_is_refused(forwarded: dict[str, Any]) -> None:
    assert forced_tool(forwarded, {"other"}) is None


def test_option_that_is_not_set_is_not_sent() -> None:
    assert request_params(Options(), "max_tokens") == {"stream_options": {"include_usage": True}, "extra_body": {}}


def test_option_names_of_the_api() -> None:
    options = Options.parse(
        {"temperature": 0.5, "top_p": 1, "stop_sequences": ["END"], "seed": 1, "max_output_tokens": 9, "timeout": 3}
    )
    assert request_params(options, "max_completion_tokens") == {
        "temperature": 0.5,
        "top_p": 1,
        "stop": ("END",),
        "seed": 1,
        "max_completion_tokens": 9,
        "timeout": 3,
        "stream_options": {"include_usage": True},
        "extra_body": {},
    }


def test_provider_options_add_and_remove_members() -> None:
    options = Options.parse({"temperature": 1, "provider_options": {"top_k": 5, "stream_options": None}})
    assert request_params(options, "max_tokens") == {"temperature": 1, "extra_body": {"top_k": 5}}
