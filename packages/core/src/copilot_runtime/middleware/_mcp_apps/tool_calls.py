"""The middleware that offers tools with apps to an agent, and runs its calls of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import to_json

from ..._log_text import one_line
from ..._telemetry.current import tool_span
from ...agents._context import RunContext
from ...agents._mcp import MCPServer
from ...agents._mcp.connection import Connection
from ...agents._mcp.sdk import JSONObject
from ...agents._mcp.sessions import open_connections
from ...agents._mcp.tool_results import result_content
from ...agents._mcp.tools import tool_names
from ...agents._tools.arguments import load_arguments
from ...agents._tools.tool import ToolError
from .._input import change_input
from .._open_calls import OpenCalls
from .apps import hash_of
from .extension import EXTENSIONS, logger, may_call, resource_uri

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from .._types import Next

ACTIVITY_TYPE = "mcp-apps"

Event = Mapping[str, Any]


class MCPAppsMiddleware:
    """Runs an agent with the tools of some servers that have apps. The sessions last as long as the run."""

    def __init__(self, servers: Sequence[MCPServer]) -> None:
        self._servers = servers

    async def run(self, input: RunAgentInput, next: Next, context: RunContext) -> AsyncGenerator[Event]:
        """Yields the agent's events, and before the end of the run what has become of its calls."""
        async with open_connections(self._servers, context, EXTENSIONS) as connections:
            tools = await _list_tools(connections, {tool.name for tool in input.tools or ()})
            if tools:
                offered = [tool.for_agent() for tool in tools.values()]
                input = change_input(input, tools=[*(input.tools or ()), *offered])
            open_calls = OpenCalls(input)
            events = next(input)
            async with aclosing(events):
                async for event in events:
                    open_calls.note(event)
                    if tools and event["type"] == "RUN_FINISHED":
                        calls = open_calls.find(events.messages, event)
                        async with aclosing(_run_calls(calls, tools)) as results:
                            async for result in results:
                                yield result
                    yield event


class _AppTool(NamedTuple):
    """A tool with an app, and the session in which it is called."""

    name: str
    """The name that agents know it by."""
    connection: Connection
    definition: JSONObject
    resource_uri: str

    def for_agent(self) -> dict[str, Any]:
        """Returns the tool as an agent receives it, in wire form."""
        description = self.definition.get("description") or self.definition.get("title") or ""
        return {
            "name": self.name,
            "description": f"{description}\n[UI Resource: {self.resource_uri}]",
            "parameters": self.definition["inputSchema"],
        }

    async def call(self, arguments: Mapping[str, Any]) -> JSONObject:
        """Returns the result of a call. Raises ToolError if there is none."""
        return await self.connection.call(self.definition["name"], arguments)

    def activity(self, result: JSONObject, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what a frontend needs to show the app with the result of a call."""
        server = self.connection.server
        return {
            "result": result,
            "resourceUri": self.resource_uri,
            "serverHash": hash_of(server),
            **({} if server.server_id is None else {"serverId": server.server_id}),
            "toolInput": arguments,
        }


async def _list_tools(connections: Sequence[Connection], taken: Collection[str]) -> dict[str, _AppTool]:
    """Returns the tools with apps that agents may call, by the name that agents know them by.

    Of several with the same name only the first is offered, and none with a name that is ``taken``: the frontend runs
    the calls of its own tools.
    """
    tools: dict[str, _AppTool] = {}
    listed = await asyncio.gather(*(connection.definitions() for connection in connections))
    for connection, definitions in zip(connections, listed, strict=True):
        names = tool_names(connection.server, definitions)
        for definition in definitions:
            uri = resource_uri(definition)
            if uri is None or not may_call("model", definition):
                continue
            tool = _AppTool(names[definition["name"]], connection, definition, uri)
            if tool.name in taken or tool.name in tools:
                logger.warning(
                    "the tool %s of %r is not offered: another one has its name", one_line(tool.name), connection.server
                )
                continue
            tools[tool.name] = tool
    return tools


async def _run_calls(calls: Sequence[Mapping[str, Any]], tools: Mapping[str, _AppTool]) -> AsyncGenerator[Event]:
    """Runs the calls of tools with apps concurrently, and yields what has become of them in their order."""
    tasks = [
        asyncio.ensure_future(_run_call(call["id"], tools[call["function"]["name"]], call["function"]["arguments"]))
        for call in calls
        if call["function"]["name"] in tools
    ]
    try:
        for task in tasks:
            for event in await task:
                yield event
    finally:
        for task in tasks:
            task.cancel()


async def _run_call(call_id: str, tool: _AppTool, arguments_text: str) -> list[Event]:
    """Returns the events that say what has become of a call: its result, and the app that shows it if it was run."""
    try:
        arguments = _parse_arguments(arguments_text)
        with tool_span(tool.name) as span:
            result = await tool.call(arguments)
            if span is not None and result.get("isError"):
                span.end("tool_error")
    except ToolError as error:
        return [_result_event(call_id, to_json({"error": str(error)}).decode())]
    return [
        _result_event(call_id, _text(result, tool.connection.server.max_result_characters)),
        {
            "type": "ACTIVITY_SNAPSHOT",
            "messageId": str(uuid.uuid4()),
            "activityType": ACTIVITY_TYPE,
            "content": tool.activity(result, arguments),
            "replace": True,
        },
    ]


def _parse_arguments(text: str) -> dict[str, Any]:
    try:
        arguments, _ = load_arguments(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise ToolError("The call was not run: its arguments are not a JSON object.")
    return arguments


def _text(result: JSONObject, max_characters: int) -> str:
    """Returns the result of a call as a model reads it, also of a call that failed."""
    try:
        content = result_content(result, max_characters)
    except ToolError as error:
        return str(error)
    return content if isinstance(content, str) else to_json(content).decode()


def _result_event(call_id: str, content: str) -> Event:
    return {"type": "TOOL_CALL_RESULT", "messageId": str(uuid.uuid4()), "toolCallId": call_id, "content": content}
