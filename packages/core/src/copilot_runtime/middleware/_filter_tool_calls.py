"""`FilterToolCalls`: which tools an agent may be offered and which calls its client sees."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import _validation as validation
from .._events.sse import Event
from ..agents._base import returns_at_once

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from ._iterators import EventIterator
    from ._types import Next


class FilterToolCalls:
    """Middleware that lets only some tools through.

    An agent is not offered other tools of the input. Calls of other tools, such as the agent's own, are left out of its
    events and of the messages that it reports, with their results: clients neither see nor run them.

    Args:
        allow: the names of the only tools that are let through.
        deny: the names of the tools that are not; in place of ``allow``.

    Raises:
        ValueError: if neither or both are given.
        TypeError: for anything but a list of names.
    """

    def __init__(self, *, allow: Iterable[str] | None = None, deny: Iterable[str] | None = None) -> None:
        if (allow is None) is (deny is None):
            raise ValueError("FilterToolCalls: use either allow=[...] or deny=[...]")
        self._names: Collection[str] = frozenset(
            validation.check_names("FilterToolCalls: deny", deny)
            if allow is None
            else validation.check_names("FilterToolCalls: allow", allow)
        )
        self._is_allowed_if_named = allow is not None

    def allows(self, name: object) -> bool:
        """Returns whether the tool with a name is let through."""
        return (isinstance(name, str) and name in self._names) is self._is_allowed_if_named

    @returns_at_once
    def run(self, input: RunAgentInput, next: Next) -> EventIterator:
        """Returns the events of the agent without the calls that are not let through."""
        tools = input.tools or []
        allowed = [tool for tool in tools if self.allows(tool.name)]
        if len(allowed) < len(tools):
            input = input.model_copy(update={"tools": allowed})
        return next(input).through(_Filter(self))


class _Filter:
    """Filters the events of one run."""

    def __init__(self, tools: FilterToolCalls) -> None:
        self._tools = tools
        self._dropped: set[str] = set()
        """The ids of calls that are left out."""

    def read(self, event: Event) -> Iterable[Event]:
        """Returns the events in place of one."""
        kind = event.get("type")
        if kind == "TOOL_CALL_START":
            self._drops(event.get("toolCallId"), event.get("toolCallName"))
        elif kind == "MESSAGES_SNAPSHOT" and isinstance(event.get("messages"), list):
            event["messages"] = list(self._without_calls(event["messages"]))
        return () if self._is_dropped(event.get(_CALL_IDS.get(kind, ""))) else (event,)

    def end(self) -> Iterable[Event]:
        """Returns the events after the last one."""
        return ()

    def _without_calls(self, messages: Iterable[Any]) -> Iterable[Any]:
        for message in messages:
            if not isinstance(message, Mapping):
                yield message
                continue
            calls = message.get("toolCalls")
            if isinstance(calls, list) and calls:
                kept = [call for call in calls if self._keeps(call)]
                if len(kept) < len(calls):
                    message = {name: value for name, value in message.items() if name != "toolCalls"}
                    if kept:
                        message["toolCalls"] = kept
                    elif not message.get("content"):
                        continue
            if message.get("role") != "tool" or not self._is_dropped(message.get("toolCallId")):
                yield message

    def _keeps(self, call: Any) -> bool:
        function = call.get("function") if isinstance(call, Mapping) else None
        return not isinstance(function, Mapping) or not self._drops(call.get("id"), function.get("name"))

    def _drops(self, call_id: object, name: object) -> bool:
        """Returns whether a call is left out. One without an id is not: the run fails with it, and says why."""
        if not isinstance(call_id, str) or self._tools.allows(name):
            return False
        self._dropped.add(call_id)
        return True

    def _is_dropped(self, call_id: object) -> bool:
        return isinstance(call_id, str) and call_id in self._dropped


_CALL_IDS: Mapping[Any, str] = {
    **dict.fromkeys(("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"), "toolCallId"),
    "REASONING_ENCRYPTED_VALUE": "entityId",
}
"""By type: the member of an event that may hold the id of a call."""
