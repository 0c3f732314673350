"""How much a run input may contain: checked before validation, whose cost grows with every invalid item."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .. import _validation as validation
from .errors import InvalidRunInput

_PART_LISTS = ("content", "toolCalls", "tool_calls")
_FLAT_LISTS = ("toolCalls",)

_LIST_LIMITS = (
    ("messages", "max_messages"),
    ("tools", "max_tools"),
    ("context", "max_context"),
    ("resume", "max_resume"),
)

_SMALLEST_ITEM = len('{"id":"","role":"assistant"}')
"""How many bytes the items of the lists of a plain input have at least."""

FLAT_DEPTH = 6
"""How deeply the function of a tool call in a message is nested, the body included."""

_NESTABLE = frozenset((dict, list))


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

    def have_room(self, size: int, nested_size: int) -> bool:
        """Returns whether a plain input exceeds no limit, as far as its size tells: `check_plain` would find nothing.

        Args:
            size: how many bytes its body has.
            nested_size: how many bytes that part of it has which `check_plain` calls ``rest``.
        """
        items = size // _SMALLEST_ITEM  # at most; none of them a response to an interrupt, which is not plain
        return (
            items <= self.max_messages
            and items <= self.max_parts
            and items <= self.max_tools
            and items <= self.max_context
            and FLAT_DEPTH + nested_size // 2 <= self.max_depth
        )

    def check(self, wire: Any, body: bytes) -> int:
        """Returns how many content parts and tool calls the messages of an input have.

        Raises InvalidRunInput for an input that exceeds a limit.

        Args:
            wire: the parsed body; what is not a run input is left to validation.
            body: the body.
        """
        # Most bodies have too few brackets to be nested too deeply, or to have a list in a message.
        lists = body.count(b"[")
        self._check_depth(wire, lists + body.count(b"{"))
        if not isinstance(wire, dict):
            return 0
        known_lists = self._check_lists(wire)
        messages = wire.get("messages")
        if lists <= known_lists or not isinstance(messages, list):
            return 0
        return self._check_parts(messages, _PART_LISTS)

    def check_plain(self, wire: dict[str, Any], rest: bytes, *, has_parts: bool) -> int:
        """Does the same for a plain input, without a look at its body.

        Args:
            wire: the parsed body.
            rest: the part of it without which nothing is nested more than `FLAT_DEPTH` deep.
            has_parts: whether its messages may have lists, which are those of their tool calls.
        """
        self._check_depth(wire, FLAT_DEPTH + rest.count(b"[") + rest.count(b"{"))
        self._check_lists(wire)
        return self._check_parts(wire["messages"], _FLAT_LISTS) if has_parts else 0

    def _check_depth(self, wire: Any, depth: int) -> None:
        """Raises for an input that is nested too deeply. ``depth`` is how deep it may be, as far as is known."""
        if depth > self.max_depth and _is_deeper(wire, self.max_depth):
            raise InvalidRunInput(
                f"body: lists and objects may be nested at most {self.max_depth} deep (input_limits.max_depth)"
            )

    def _check_lists(self, wire: dict[str, Any]) -> int:
        """Returns how many of the lists of an input are there. Raises for one with too many items."""
        count = 0
        for name, limit in _LIST_LIMITS:
            value = wire.get(name)
            if value.__class__ is list:
                count += 1
                if value and len(value) > getattr(self, limit):
                    raise _too_long(name, value, getattr(self, limit), limit)
        return count

    def _check_parts(self, messages: list[Any], names: Sequence[str]) -> int:
        count = 0
        for index, message in enumerate(messages):
            if not isinstance(message, dict):
                continue
            for name in names:
                if name in message and isinstance(parts := message[name], list):
                    if len(parts) > self.max_parts:
                        raise _too_long(f"messages.{index}.{name}", parts, self.max_parts, "max_parts")
                    count += len(parts)
        return count


def _too_long(place: str, value: list[Any], maximum: int, limit: str) -> InvalidRunInput:
    return InvalidRunInput(f"{place}: has {len(value)} items, send at most {maximum} (input_limits.{limit})")


def _is_deeper(value: Any, depth: int) -> bool:
    level: list[Any] = [value] if value.__class__ in _NESTABLE else []
    while level and depth:
        level = [
            child
            for parent in level
            for child in (parent.values() if parent.__class__ is dict else parent)
            if child.__class__ in _NESTABLE  # of parsed JSON, so there are no others
        ]
        depth -= 1
    return bool(level)
