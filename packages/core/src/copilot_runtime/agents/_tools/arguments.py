"""The arguments of a tool call."""

from __future__ import annotations

from typing import Any

from ... import _strict_json as strict_json
from .tool import ToolError


def parse_arguments(arguments: str) -> dict[str, Any]:
    """Returns the arguments that a model wrote as JSON; none at all count as an empty object. Raises ToolError."""
    try:
        value = strict_json.loads(arguments.encode()) if arguments.strip() else {}
    except ValueError as error:
        raise ToolError(f"The arguments are not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ToolError("The arguments must be a JSON object.")
    return value
