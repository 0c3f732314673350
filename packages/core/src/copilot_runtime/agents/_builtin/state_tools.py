"""The two tools by which the model changes the application's state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..._events.shared_state import apply_state_events
from .._context import RunContext
from .._tools.tool import Tool, ToolError

SNAPSHOT = "AGUISendStateSnapshot"
DELTA = "AGUISendStateDelta"
STATE_TOOL_NAMES = frozenset((SNAPSHOT, DELTA))

_SNAPSHOT_PARAMETERS = {
    "type": "object",
    "properties": {"snapshot": {"type": "object", "description": "The complete new state."}},
    "required": ["snapshot"],
}
_DELTA_PARAMETERS = {
    "type": "object",
    "properties": {
        "delta": {
            "type": "array",
            "description": "A JSON Patch (RFC 6902): operations that are applied in order.",
            "items": {
                "type": "object",
                "properties": {
                    "op": {"type": "string", "enum": ["add", "replace", "remove"]},
                    "path": {"type": "string", "description": "A JSON Pointer, such as /items/0/name or /items/-"},
                    "value": {"description": "What to set, for add and replace."},
                },
                "required": ["op", "path"],
            },
        }
    },
    "required": ["delta"],
}
_OPERATIONS = frozenset(("add", "replace", "remove"))
_PROTOTYPE = re.compile(r"/(__proto__|constructor/prototype)(/|$)")


class SharedState:
    """The application's state during one run."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._events: list[dict[str, Any]] = []

    def drain_events(self) -> list[dict[str, Any]]:
        """Returns the events that the client has not received yet, and removes them."""
        events, self._events = self._events, []
        return events

    def tools(self) -> tuple[Tool, Tool]:
        """Returns the tools that change this state."""
        return (
            Tool(
                name=SNAPSHOT,
                description="Replaces the whole of the application's state.",
                parameters=_SNAPSHOT_PARAMETERS,
                call=self._snapshot,
            ),
            Tool(
                name=DELTA,
                description="Changes parts of the application's state.",
                parameters=_DELTA_PARAMETERS,
                call=self._delta,
            ),
        )

    # Coroutine functions, so that they run on the event loop, and not concurrently.

    async def _snapshot(self, arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        snapshot = arguments.get("snapshot")
        if not isinstance(snapshot, dict):
            raise ToolError("snapshot must be an object: the complete new state")
        self._value = snapshot
        self._events.append({"type": "STATE_SNAPSHOT", "snapshot": snapshot})
        return {"success": True}

    async def _delta(self, arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        delta = arguments.get("delta")
        if not isinstance(delta, list) or not all(map(_is_operation, delta)):
            raise ToolError("delta must be a list of objects with op (add, replace or remove), path and value")
        event = {"type": "STATE_DELTA", "delta": delta}
        try:
            changed = apply_state_events({} if self._value is None else self._value, [event])
        except ValueError as error:
            raise ToolError(f"The state was not changed: {error}") from error
        if self._value is None:
            # The client may have no state to apply a delta to.
            event = {"type": "STATE_SNAPSHOT", "snapshot": changed}
        self._value = changed
        self._events.append(event)
        return {"success": True}


def _is_operation(operation: Any) -> bool:
    return (
        isinstance(operation, dict)
        and isinstance(operation.get("op"), str)
        and operation["op"] in _OPERATIONS
        and isinstance(operation.get("path"), str)
        # JavaScript clients reject paths into an object's prototype.
        and not _PROTOTYPE.search(operation["path"])
        and (operation["op"] == "remove" or "value" in operation)
    )
