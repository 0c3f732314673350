"""How much a run input may contain: checked before validation, whose cost grows with every invalid item."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import _validation as validation
from .errors import InvalidRunInput

_PART_LISTS = ("content", "toolCalls", "tool_calls")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputLimits:
    """How much the input of a run may contain. An input with more is answered with 400.

    Args:
        max_messages: the number of messages.
        max_parts: the number of content parts, and of tool calls, in one message.
        max_tools: the number of the frontend's tools.
        max_context: the number of context entries.
        max_resume: the number of responses to interrupts.
        max_depth: how deeply lists and objects may be nested in the body. The JSON parser has a limit of its own, near
            200.

    Raises:
        ValueError: a limit is not a positive integer.
    """

    max_messages: int = 50_000
    max_parts: int = 1_000
    max_tools: int = 1_000
    max_context: int = 1_000
    max_resume: int = 1_000
    max_depth: int = 100

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            validation.check_number(f"InputLimits: {field.name}", getattr(self, field.name), minimum=1, integer=True)

    def check(self, wire: Any, body: bytes) -> None:
        """Raises InvalidRunInput for an input that exceeds a limit.

        Args:
            wire: the parsed body; what is not a run input is left to validation.
            body: the body.
        """
        # Most bodies have too few brackets to be nested too deeply, and too few commas for a list that is too long.
        if body.count(b"[") + body.count(b"{") > self.max_depth and _is_deeper(wire, self.max_depth):
            raise InvalidRunInput(
                f"body: lists and objects may be nested at most {self.max_depth} deep (input_limits.max_depth)"
            )
        if not isinstance(wire, dict) or body.count(b",") < min(
            self.max_messages, self.max_parts, self.max_tools, self.max_context, self.max_resume
        ):
            return
        for name in ("messages", "tools", "context", "resume"):
            limit = f"max_{name}"
            _check_length(name, wire.get(name), getattr(self, limit), limit)
        messages = wire.get("messages")
        for index, message in enumerate(messages if isinstance(messages, list) else ()):
            for name in _PART_LISTS if isinstance(message, dict) else ():
                value = message.get(name)
                if isinstance(value, list):
                    _check_length(f"messages.{index}.{name}", value, self.max_parts, "max_parts")


def _check_length(place: str, value: Any, maximum: int, limit: str) -> None:
    if isinstance(value, list) and len(value) > maximum:
        raise InvalidRunInput(f"{place}: has {len(value)} items, send at most {maximum} (input_limits.{limit})")


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    while level and depth:
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        depth -= 1
    return bool(level)
