"""What a server's tools are called, and which of them are offered to the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..._context import RunContext
from ..tools.tool import Tool
from .sdk import JSONObject
from .server import MCPServer

Call = Callable[[str, Mapping[str, Any]], Any]
"""Calls a tool, by the server's name for it, with arguments."""

# MCP allows dots, slashes and 128 characters, models' interfaces do not.
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_NAME_CHARACTERS = 64


def build_tools(server: MCPServer, listed: Iterable[JSONObject], call: Call) -> list[Tool]:
    """The tools of one server that are to be offered."""
    allowed = server.allowed_tools
    return [_tool(server, one, call) for one in listed if allowed is None or one["name"] in allowed]


def _tool(server: MCPServer, listed: JSONObject, call: Call) -> Tool:
    async def run(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        return await call(listed["name"], arguments)

    return Tool(
        name=_NOT_IN_NAMES.sub("_", server.prefix + listed["name"])[:_NAME_CHARACTERS],
        description=listed.get("description") or listed.get("title") or "",
        parameters=listed["inputSchema"],
        call=run,
    )
