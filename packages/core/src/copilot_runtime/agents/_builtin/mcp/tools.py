"""The tools of a server, under names that models accept."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from ..._context import RunContext
from ..tools.tool import Tool
from .sdk import JSONObject
from .server import MCPServer

CallTool = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Calls a tool by the server's name for it."""

# MCP allows dots, slashes and 128 characters in names; the Chat Completions API does not.
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_MAX_NAME_CHARACTERS = 64


def build_tools(server: MCPServer, definitions: Iterable[JSONObject], call_tool: CallTool) -> list[Tool]:
    """Returns the allowed ones of a server's tools."""
    allowed = server.allowed_tools
    return [
        _build_tool(server, definition, call_tool)
        for definition in definitions
        if allowed is None or definition["name"] in allowed
    ]


def _build_tool(server: MCPServer, definition: JSONObject, call_tool: CallTool) -> Tool:
    async def call(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        return await call_tool(definition["name"], arguments)

    return Tool(
        name=_NOT_IN_NAMES.sub("_", server.prefix + definition["name"])[:_MAX_NAME_CHARACTERS],
        description=definition.get("description") or definition.get("title") or "",
        parameters=definition["inputSchema"],
        call=call,
    )
