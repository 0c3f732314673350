"""What the values of options may be: a reader gives the value to use, or raises ValueError, saying what it must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

_RESERVED_PARAMS = frozenset(("messages", "model", "n", "stream", "tool_choice", "tools"))
"""Members of a request that nobody else sets: without them there is no run."""

MAX_SAFE_INTEGER = 2**53 - 1
"""Beyond it, JSON's numbers are not whole everywhere (RFC 8259, section 6)."""

_CHOICES = ("auto", "required", "none")


def parse_string(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def number_parser(low: float, high: float) -> Callable[[Any], float]:
    """A reader of numbers within bounds, these included."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return read


def integer_parser(low: int, high: int) -> Callable[[Any], int]:
    """A reader of whole numbers within bounds, these included."""

    def read(value: Any) -> int:
        # Numbers from JavaScript may come as 1.0.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value % 1:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return read


def parse_strings(value: Any) -> tuple[str, ...]:
    """A list of strings."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of strings")
    return tuple(value)


def timeout(value: Any) -> Any:
    """Seconds, or the SDK's own kind of timeout."""
    # An httpx.Timeout, of whichever httpx the SDK uses, is the SDK's to judge.
    if isinstance(value, bool | str) or (isinstance(value, int | float) and not 0 < value < math.inf):
        raise ValueError("seconds above 0, or an httpx.Timeout")
    return value


def tool_choice(value: Any) -> str | dict[str, Any]:
    """A tool choice as the API takes it.

    ``"auto"``, ``"required"``, ``"none"``, or one tool: ``{"type": "function", "function":
    {"name": ...}}``, or as CopilotKit's own agent has it, ``{"type": "tool", "toolName":
    ...}``. Raises ValueError.
    """
    if isinstance(value, str) and value in _CHOICES:
        return value
    if isinstance(value, Mapping):
        function = value.get("function")
        name = value.get("toolName") or (function.get("name") if isinstance(function, Mapping) else None)
        if isinstance(name, str):
            return {"type": "function", "function": {"name": name}}
    raise ValueError(f"one of {', '.join(_CHOICES)}, or {{'type': 'function', 'function': {{'name': ...}}}}")


def provider_options(value: Any) -> Mapping[str, Any]:
    """Further members of a request."""
    if (
        not isinstance(value, Mapping)
        or not all(isinstance(name, str) for name in value)
        or _RESERVED_PARAMS & value.keys()
    ):
        raise ValueError(f"members of the request other than {', '.join(sorted(_RESERVED_PARAMS))}")
    return dict(value)
