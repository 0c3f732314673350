"""Parsers for option values.

Each returns the normalised value, or raises ValueError with a description of what is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

_RESERVED_PARAMS = frozenset(
    (
        *("contents", "conversation", "function_call", "functions", "input", "messages", "model", "n"),
        *("previous_response_id", "stream", "tool_choice", "tools"),
    )
)
"""Parameters of a request that the agent sets itself."""

MAX_SAFE_INTEGER = 2**53 - 1
"""JavaScript's name for the limit up to which JSON numbers are exact everywhere (RFC 8259, section 6)."""

_REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_TOOL_CHOICES = ("auto", "required", "none")


def parse_bool(value: Any) -> bool:
    """Returns a bool."""
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def parse_reasoning_effort(value: Any) -> str:
    """Returns how much a model is to think."""
    if not isinstance(value, str) or value not in _REASONING_EFFORTS:
        raise ValueError(f"one of {', '.join(_REASONING_EFFORTS)}")
    return value


def parse_string(value: Any) -> str:
    """Returns a string."""
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def number_parser(minimum: float, maximum: float) -> Callable[[Any], float]:
    """Returns a parser of numbers from ``minimum`` to ``maximum``."""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= maximum:
            raise ValueError(f"a number from {minimum:g} to {maximum:g}")
        return value

    return parse


def integer_parser(minimum: int, maximum: int) -> Callable[[Any], int]:
    """Returns a parser of integers from ``minimum`` to ``maximum``."""

    def parse(value: Any) -> int:
        # JavaScript may serialise an integer as 1.0.
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not minimum <= value <= maximum or value % 1:
            raise ValueError(f"an integer from {minimum} to {maximum}")
        return int(value)

    return parse


def parse_strings(value: Any) -> tuple[str, ...]:
    """Returns the strings of a list."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of strings")
    return tuple(value)


def parse_timeout(value: Any) -> Any:
    """Returns a timeout: seconds, or the SDK's own type."""
    # An httpx.Timeout is validated by the SDK, which may use either httpx.
    if isinstance(value, bool | str) or (isinstance(value, int | float) and not 0 < value < math.inf):
        raise ValueError("a number of seconds above 0, or an httpx.Timeout")
    return value


def parse_tool_choice(value: Any) -> str | dict[str, Any]:
    """Returns a tool choice of the Chat Completions API.

    Accepts ``"auto"``, ``"required"``, ``"none"``, or one tool: ``{"type": "function", "function": {"name": ...}}``,
    or in the form of CopilotKit's own agent, ``{"type": "tool", "toolName": ...}``.
    """
    if isinstance(value, str) and value in _TOOL_CHOICES:
        return value
    if isinstance(value, Mapping):
        function = value.get("function")
        name = value.get("toolName") or (function.get("name") if isinstance(function, Mapping) else None)
        if isinstance(name, str):
            return {"type": "function", "function": {"name": name}}
    raise ValueError(f"one of {', '.join(_TOOL_CHOICES)}, or {{'type': 'function', 'function': {{'name': ...}}}}")


def parse_provider_options(value: Any) -> Mapping[str, Any]:
    """Returns further parameters of a request."""
    if (
        not isinstance(value, Mapping)
        or not all(isinstance(name, str) for name in value)
        or _RESERVED_PARAMS & value.keys()
    ):
        raise ValueError(f"a mapping of request parameters other than {', '.join(sorted(_RESERVED_PARAMS))}")
    return dict(value)
