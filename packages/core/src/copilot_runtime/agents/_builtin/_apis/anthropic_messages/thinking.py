"""Claude's thinking: how it is requested of each generation of models, and when it cannot be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from ...options import Options


class Thinking(Enum):
    """How models think."""

    NEVER = "never"
    BUDGET = "budget"
    """If a request sets a number of tokens for it. Other makers' models with this API do so, too."""
    OPTIONAL = "optional"
    """As much as the model decides, by an effort, if a request turns it on."""
    DEFAULT = "default"
    """The same, unless a request turns it off."""
    ALWAYS = "always"
    """The same. The model must not be forced to call a tool."""


_BY_NAME: Sequence[tuple[re.Pattern[str], Thinking]] = (
    (re.compile(r"claude-(instant|[12]|3-(opus|sonnet|haiku|5))"), Thinking.NEVER),
    (re.compile(r"claude-(3-7|(opus|sonnet|haiku)-4(?!-[6-9]))"), Thinking.BUDGET),
    (re.compile(r"claude-(opus|sonnet|haiku)-4-[6-9]"), Thinking.OPTIONAL),
    (re.compile(r"claude-(opus|sonnet|haiku)-5(?!-\d\b)"), Thinking.DEFAULT),
    (re.compile(r"claude-"), Thinking.ALWAYS),
)
"""By a part of the model's name, the first that matches. What is newer is expected to be as the newest is."""

_WITHOUT_SAMPLING = re.compile(r"claude-(opus-4-[78]|mythos|fable|[a-z]+-[5-9])")
_WITH_ONE_SAMPLING = re.compile(r"claude-(opus-4-1(?!\d)|[a-z]+-4-[5-9](?!\d))")
"""The models that take either a temperature or top_p."""
_SAMPLING = frozenset(("temperature", "top_p", "top_k"))
_MIN_TOP_P_OF_THINKING = 0.95

_MAX_TOKENS: Sequence[tuple[str, int]] = (
    ("claude-instant", 4096),
    ("claude-2", 4096),
    ("claude-3-5", 8192),
    ("claude-3-7", 32000),
    ("claude-3", 4096),
)
_DEFAULT_MAX_TOKENS = 32000
_MIN_BUDGET = 1024
_BUDGETS: Mapping[str, int] = {
    "minimal": _MIN_BUDGET,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 24576,
    "max": 31999,
}
"""In tokens, by effort."""

_ADAPTIVE = {"type": "adaptive", "display": "summarized"}
"""Some models send the signatures of their thinking only, unless its text is requested."""


def thinking_of(model: str) -> Thinking:
    """Returns how a model thinks."""
    return next((thinking for name, thinking in _BY_NAME if name.search(model)), Thinking.BUDGET)


def unsupported_options(model: str, options: Options) -> Mapping[str, str]:
    """Returns the options that a model does not have, although others of this API do, and when."""
    if _WITHOUT_SAMPLING.search(model):
        return dict.fromkeys(_SAMPLING, "")
    if _WITH_ONE_SAMPLING.search(model) and options.temperature is not None and options.top_p is not None:
        return {"top_p": "with temperature"}
    if options.reasoning_effort in (None, "none"):
        return {}
    if thinking_of(model) is Thinking.NEVER:
        return {"reasoning_effort": ""}
    accepted = {
        "temperature": options.temperature == 1,
        "top_p": options.top_p is not None and options.top_p >= _MIN_TOP_P_OF_THINKING,
    }
    return {name: "with reasoning_effort" for name in _SAMPLING if not accepted.get(name)}


def default_max_tokens(model: str) -> int:
    """Returns the token limit of a response, without which the API accepts no request."""
    return next((limit for name, limit in _MAX_TOKENS if name in model), _DEFAULT_MAX_TOKENS)


def thinking_params(model: str, effort: str | None, max_tokens: int) -> dict[str, Any]:
    """Returns the parameters of thinking.

    Args:
        model: the name of the model.
        effort: the option ``reasoning_effort``.
        max_tokens: the token limit of the response, which thinking counts towards.
    """
    thinking = thinking_of(model)
    if thinking is Thinking.NEVER or (effort is None and thinking in (Thinking.BUDGET, Thinking.OPTIONAL)):
        return {}
    if thinking is Thinking.BUDGET:
        budget = min(_BUDGETS.get(effort or "", 0), max_tokens - 1)
        return {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget >= _MIN_BUDGET else {}
    if effort is None:
        return {"thinking": _ADAPTIVE}
    if effort == "none" and thinking is not Thinking.ALWAYS:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": _ADAPTIVE, "output_config": {"effort": "low" if effort in ("none", "minimal") else effort}}


def reconcile(params: dict[str, Any], model: str, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the parameters of a request without what the API does not accept together.

    A model must not think if it must call a tool, nor, with a budget, if it did not think before the calls whose
    results the request brings, or its thoughts are lost: such a turn must begin with a thinking block.

    Args:
        params: the parameters.
        model: the name of the model.
        messages: the messages, in the form of the API.
    """
    thinking, choice = thinking_of(model), params.get("tool_choice", {})
    if choice.get("type") in ("any", "tool"):
        if thinking is Thinking.ALWAYS:
            auto = {name: value for name, value in choice.items() if name != "name"} | {"type": "auto"}
            return {**params, "tool_choice": auto}
        rest = {name: value for name, value in params.items() if name not in ("thinking", "output_config")}
        return {**rest, "thinking": {"type": "disabled"}} if thinking is Thinking.DEFAULT else rest
    if thinking is Thinking.BUDGET and not _began_with_thinking(messages):
        return {name: value for name, value in params.items() if name != "thinking"}
    return params


def _began_with_thinking(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether all responses since the last message of the user began with thinking."""
    prompt = next((index for index in range(len(messages) - 1, -1, -1) if _is_prompt(messages[index])), 0)
    return all(
        message["content"][0]["type"] in ("thinking", "redacted_thinking")
        for message in messages[prompt + 1 :]
        if message["role"] == "assistant"
    )


def _is_prompt(message: Mapping[str, Any]) -> bool:
    return message["role"] == "user" and not any(block["type"] == "tool_result" for block in message["content"])
