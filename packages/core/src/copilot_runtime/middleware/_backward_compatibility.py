"""`BackwardCompatibility`: agents that speak an older AG-UI."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .._events.content import MEDIA_KINDS, media_to_binary, parts_to_text
from .._events.sse import Event
from ..agents._base import returns_at_once

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from ._iterators import EventIterator
    from ._types import Next

# What servers with ag-ui-protocol 0.1.9 and older accept: they refuse every input that has anything else in it.
_MESSAGE_FIELDS = ("id", "role", "content", "name", "tool_calls", "tool_call_id", "error")
_ITEM_FIELDS: Mapping[str, tuple[str, ...]] = {
    "tools": ("name", "description", "parameters"),
    "context": ("description", "value"),
}
_ROLES = frozenset(("developer", "system", "assistant", "user", "tool"))


class BackwardCompatibility:
    """Middleware for agents behind servers of an older AG-UI, before 0.1.11 of ``ag-ui-protocol``.

    Their ``THINKING_*`` events, which today's clients do not know, come as ``REASONING_*`` events. What such servers
    refuse is left out of the input: reasoning messages, ``resume``, and members that were added since. Parts with text
    become one text, and others ``binary`` parts, which 0.1.10 and newer accept.
    """

    @returns_at_once
    def run(self, input: RunAgentInput, next: Next) -> EventIterator:
        """Returns the events of the agent as today's."""
        return next(_to_old_input(input)).through(_ThinkingToReasoning())


class _ThinkingToReasoning:
    """Translates the events of one run. Older events have no ids."""

    def __init__(self) -> None:
        self._block = ""
        """The id of the reasoning that has begun; empty if none has."""
        self._message = ""
        """The id of its message that has begun; empty if none has."""

    def read(self, event: Event) -> Iterable[Event]:
        """Returns the events in place of one."""
        translate = _TRANSLATIONS.get(event.get("type"))  # type: ignore[arg-type]
        return (event,) if translate is None else translate(self, event)

    def end(self) -> Iterable[Event]:
        """Returns the events after the last one."""
        return ()

    def start_block(self, event: Event) -> Iterable[Event]:
        yield from self.end_block({})
        self._block = str(uuid.uuid4())
        yield {**event, "type": "REASONING_START", "messageId": self._block}

    def start_message(self, event: Event) -> Iterable[Event]:
        yield from self.end_message({})
        self._message = str(uuid.uuid4())
        yield {**event, "type": "REASONING_MESSAGE_START", "messageId": self._message, "role": "reasoning"}

    def add_text(self, event: Event) -> Iterable[Event]:
        if not self._message:
            yield from self.start_message({})
        yield {**event, "type": "REASONING_MESSAGE_CONTENT", "messageId": self._message}

    def end_message(self, event: Event) -> Iterable[Event]:
        if self._message:
            yield {**event, "type": "REASONING_MESSAGE_END", "messageId": self._message}
            self._message = ""

    def end_block(self, event: Event) -> Iterable[Event]:
        yield from self.end_message({})
        if self._block:
            yield {**event, "type": "REASONING_END", "messageId": self._block}
            self._block = ""


_TRANSLATIONS = {
    "THINKING_START": _ThinkingToReasoning.start_block,
    "THINKING_TEXT_MESSAGE_START": _ThinkingToReasoning.start_message,
    "THINKING_TEXT_MESSAGE_CONTENT": _ThinkingToReasoning.add_text,
    "THINKING_TEXT_MESSAGE_END": _ThinkingToReasoning.end_message,
    "THINKING_END": _ThinkingToReasoning.end_block,
}


def _to_old_input(input: RunAgentInput) -> RunAgentInput:
    """Returns an input without what servers of an older AG-UI refuse."""
    messages = [_to_old_message(message) for message in input.messages if message.role in _ROLES]
    items = {
        name: [_with_fields(item, fields) for item in getattr(input, name) or ()]
        for name, fields in _ITEM_FIELDS.items()
    }
    fields = ("thread_id", "run_id", "state", "forwarded_props")
    old: RunAgentInput = _with_fields(input, fields, messages=messages, **items)
    return old


def _to_old_message(message: Any) -> Any:
    changed: dict[str, Any] = {}
    if isinstance(message.content, list):
        changed["content"] = _to_old_content(message.role, message.content)
    calls = getattr(message, "tool_calls", None)
    if calls:
        changed["tool_calls"] = [_with_fields(call, ("id", "type", "function")) for call in calls]
    return _with_fields(message, _MESSAGE_FIELDS, **changed)


def _to_old_content(role: str, parts: Iterable[Any]) -> Any:
    wire = [part.model_dump(mode="json", by_alias=True, exclude_none=True) for part in parts]
    if role != "user" or all(part["type"] == "text" for part in wire):
        return parts_to_text(wire)
    return [media_to_binary(part) if part["type"] in MEDIA_KINDS else part for part in wire]


def _with_fields(model: Any, names: Iterable[str], **changed: Any) -> Any:
    """Returns a copy of a model with the values of these fields only, and with changed ones, not validated."""
    kept = {name: value for name in names if (value := getattr(model, name, None)) is not None}
    return type(model).model_construct(**{**kept, **changed})
