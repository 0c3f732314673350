"""The tools of a server, under names that models accept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from .._context import RunContext
from .._tools.names import accepted_name, is_accepted_name
from .._tools.tool import Tool
from .sdk import JSONObject
from .server import MCPServer

CallTool = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Calls a tool by the server's name for it."""


def allowed_definitions(server: MCPServer, definitions: Iterable[JSONObject]) -> list[JSONObject]:
    """Returns the allowed ones of a server's tools."""
    return [definition for definition in definitions if server.allows(definition["name"])]


def tool_names(server: MCPServer, definitions: Iterable[JSONObject]) -> Mapping[str, str]:
    """Returns the names under which models are offered a server's tools, by the server's names.

    MCP allows more characters, and more of them. No tool gets the name of another one.
    """
    full_names = {definition["name"]: server.prefix + definition["name"] for definition in definitions}
    taken = set(filter(is_accepted_name, full_names.values()))
    names = {}
    for name, full_name in full_names.items():
        names[name] = accepted_name(full_name, taken)
        taken.add(names[name])
    return names


def build_tool(name: str, definition: JSONObject, call_tool: CallTool) -> Tool:
    """Returns a tool of a server for a model, which knows it by ``name``."""

    async def call(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        return await call_tool(definition["name"], arguments)

    return Tool(
        name=name,
        description=definition.get("description") or definition.get("title") or "",
        parameters=definition["inputSchema"],
        call=call,
    )
