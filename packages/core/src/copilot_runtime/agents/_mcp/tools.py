"""The tools of a server, under names that models accept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from .._context import RunContext
from .._tools.names import accepted_name
from .._tools.tool import Tool
from .sdk import JSONObject
from .server import MCPServer

CallTool = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Calls a tool by the server's name for it."""


def allowed_definitions(server: MCPServer, definitions: Iterable[JSONObject]) -> list[JSONObject]:
    """Returns the allowed ones of a server's tools."""
    return [definition for definition in definitions if server.allows(definition["name"])]


def tool_name(server: MCPServer, definition: JSONObject) -> str:
    """Returns the name under which a model is offered a tool: MCP allows more characters, and more of them."""
    return accepted_name(server.prefix + definition["name"])


def build_tool(server: MCPServer, definition: JSONObject, call_tool: CallTool) -> Tool:
    """Returns a tool of a server for a model."""

    async def call(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        return await call_tool(definition["name"], arguments)

    return Tool(
        name=tool_name(server, definition),
        description=definition.get("description") or definition.get("title") or "",
        parameters=definition["inputSchema"],
        call=call,
    )
