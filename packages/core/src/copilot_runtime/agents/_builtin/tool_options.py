"""The option ``tools`` of `BuiltInAgent`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .._mcp import MCPServer
from .._tools.define import as_tool
from .._tools.tool import Tool

logger = logging.getLogger("copilot_runtime.agents.builtin")

_logged_warnings: set[str] = set()
_MAX_LOGGED_WARNINGS = 200
"""How many there may be in all: agents may be constructed for each request, with other tools each time."""


def parse_tools(value: Any, reserved_names: Collection[str]) -> tuple[Tool, ...]:
    """Returns the tools of a list.

    Args:
        value: the option.
        reserved_names: names that no tool may have.

    Raises TypeError for anything but a list of functions and `Tool` values, and ValueError for a name in use.
    """
    tools = tuple(as_tool(item) for item in _items(value))
    names = [*reserved_names, *(tool.name for tool in tools)]
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise ValueError(f"BuiltInAgent: the names of tools must be unique: {', '.join(sorted(duplicates))}")
    return tools


def warn_of_unread_results(tools: Iterable[Tool], servers: Iterable[MCPServer]) -> None:
    """Logs once that no model reads the results of these tools, because a run has one step only."""
    # A call that interrupts is completed by the next run, before its step.
    names = [*(tool.name for tool in tools if tool.interrupt is None), *map(repr, servers)]
    text = ", ".join(names)
    if names and text not in _logged_warnings and len(_logged_warnings) < _MAX_LOGGED_WARNINGS:
        _logged_warnings.add(text)
        logger.warning(
            "BuiltInAgent: max_steps is 1, so the model is not called again with the results of %s: set max_steps=5, "
            "for example",
            text,
        )


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return value
    example = "find"
    if isinstance(value, Tool):
        example = value.name
    elif callable(value) and not isinstance(value, type):
        example = getattr(value, "__name__", example)
    raise TypeError(
        f"BuiltInAgent: tools={value!r} must be a list of functions and Tool values: write tools=[{example}]"
    )
