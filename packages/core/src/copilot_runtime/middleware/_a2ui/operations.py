"""The operations of surfaces, and the results of tools that hold them."""

from __future__ import annotations

from typing import Any

from .json_values import parse

OPERATIONS = "a2ui_operations"
"""The member of an activity, and of a tool's result, that holds the operations of surfaces."""

EXHAUSTED = "a2ui_recovery_exhausted"
"""The code in the result of a tool that has made several attempts, none of them valid."""


def read_result(content: Any) -> dict[str, Any]:
    """Returns the object that a tool's result is the JSON of, also if it was encoded twice; empty for other results."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        content = "".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str) or (OPERATIONS not in content and EXHAUSTED not in content):
        return {}
    value = parse(content)
    if isinstance(value, str):
        value = parse(value)
    return value if isinstance(value, dict) else {}


def surface_of(operation: dict[str, Any]) -> str | None:
    """Returns the id of the surface that an operation is for."""
    for name in ("createSurface", "updateComponents", "updateDataModel", "deleteSurface"):
        members = operation.get(name)
        if isinstance(members, dict) and isinstance(surface_id := members.get("surfaceId"), str):
            return surface_id
    return None
