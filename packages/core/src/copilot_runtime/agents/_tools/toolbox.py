"""The tools of one run: their definitions for the model, and how they are called."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from ..._concurrency import driver
from ..._concurrency.worker_pools import TOOLS
from ..._events.surrogates import join_surrogates, without_surrogates
from ..._log_text import log_failure
from ..._telemetry.current import tool_span
from .._context import RunContext
from .arguments import parse_arguments
from .attachments import Attachment, ResultText, with_attachments
from .strict import without_unset
from .tool import Tool, ToolError

logger = logging.getLogger("copilot_runtime.agents.builtin")

_LOGGED_NAMES = 5

_NO_PARAMETERS = {"type": "object", "properties": {}}


@dataclasses.dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool call: the texts that the model and the client receive."""

    for_model: str
    for_client: str
    failed: bool = False
    attachments: tuple[Attachment, ...] = ()
    """What a model that receives them is sent with ``for_model``; with ``for_client`` nobody is."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolDefinition:
    """What the model receives of a tool."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON Schema."""
    strict: bool = False
    """Whether the maker has to guarantee that arguments match the schema."""


class Toolbox:
    """The server's tools, and the client's, which run in the frontend.

    Of several tools with the same name only one is used: the server's, and the first among those.

    Args:
        server_tools: the server's tools.
        client_tools: the tools of the run's input.
        debug: whether clients receive the texts of all exceptions.
    """

    def __init__(self, server_tools: Iterable[Tool], client_tools: Iterable[Any], *, debug: bool) -> None:
        self._debug = debug
        self._server_tools: dict[str, Tool] = {}
        repeated = [tool.name for tool in server_tools if self._server_tools.setdefault(tool.name, tool) is not tool]
        self._client_tools: dict[str, Any] = {}
        taken = set()
        for tool in client_tools:
            if tool.name in self._server_tools:
                taken.add(tool.name)
            else:
                self._client_tools[tool.name] = tool
        # One line each for all of them: the client and MCP servers decide how many there are.
        if repeated:
            logger.warning("several server tools have the same name, of which the first is used: %s", _named(repeated))
        if taken:
            logger.warning(
                "both the server and the client have these tools, of which the server's are used: %s", _named(taken)
            )
        self.client_names = frozenset(self._client_tools)
        """The names of the tools that run in the frontend."""
        tools = (*self._server_tools.values(), *self._client_tools.values())
        self.names = frozenset(tool.name for tool in tools)
        self.definitions = [
            ToolDefinition(tool.name, tool.description, tool.parameters or _NO_PARAMETERS)
            if (strict := getattr(tool, "strict_parameters", None)) is None
            else ToolDefinition(tool.name, tool.description, strict, strict=True)
            for tool in tools
        ]

    @property
    def server_tools(self) -> Collection[Tool]:
        """The tools that run on the server."""
        return self._server_tools.values()

    def get(self, name: str) -> Tool | None:
        """Returns the server tool of that name, or None."""
        return self._server_tools.get(name)

    def is_client_tool(self, name: str) -> bool:
        """Returns whether a tool runs in the frontend."""
        return name in self._client_tools

    async def call(self, tool: Tool, arguments: str, context: RunContext | None) -> ToolResult:
        """Calls a tool with the model's arguments, as JSON. Raises nothing but CancelledError."""
        return await self._call(tool, tool.call, arguments, context)

    async def resume(self, tool: Tool, arguments: str, answer: Any, context: RunContext | None) -> ToolResult:
        """Resumes an interrupted tool call with the user's response. Raises nothing but CancelledError."""
        if tool.interrupt is None:
            raise LookupError(f"{tool.name} does not interrupt")
        return await self._call(tool, tool.interrupt.on_answer, arguments, answer, context)

    async def _call(self, tool: Tool, function: Any, arguments: str, *more: Any) -> ToolResult:
        with tool_span(tool.name) as call:
            result = await self._call_untraced(tool, function, arguments, *more)
            if call is not None and result.failed:
                call.end("tool_error")
            return result

    async def _call_untraced(self, tool: Tool, function: Any, arguments: str, *more: Any) -> ToolResult:
        try:
            value = await driver.call_user_function(function, _arguments(tool, arguments), *more, pool=TOOLS)
            value = with_attachments(value, serialize_result)
            text = serialize_result(value)
            if isinstance(value, ResultText):
                return ToolResult(serialize_result(value.for_model), text, attachments=value.attachments)
        except ToolError as error:
            text = join_surrogates(f"Error: {error}")
            return ToolResult(text, text, failed=True)
        except Exception as error:
            log_failure(logger, error, "the tool %r failed", tool.name, level=logging.WARNING)
            for_model = join_surrogates(f"Error: {type(error).__name__}: {error}")
            return ToolResult(for_model, for_model if self._debug else "Error: the tool failed.", failed=True)
        return ToolResult(text, text)


def _arguments(tool: Tool, arguments: str) -> dict[str, Any]:
    parsed = parse_arguments(arguments)
    return without_unset(parsed, tool.parameters) if tool.strict else parsed


def serialize_result(value: Any) -> str:
    """Returns the result of a tool as text. Raises ToolError if it cannot be serialised."""
    if isinstance(value, str):
        return join_surrogates(value)
    try:
        return _to_json(value)
    except (PydanticSerializationError, UnicodeEncodeError) as error:
        repaired = without_surrogates(value)  # such as those of file names that are not UTF-8
        if repaired is not value:
            try:
                return _to_json(repaired)
            except PydanticSerializationError:
                pass
        raise ToolError("the tool returned a value that cannot be serialised as JSON") from error


def _to_json(value: Any) -> str:
    return to_json(value, inf_nan_mode="null", bytes_mode="base64", by_alias=True).decode()


def _named(names: Collection[str]) -> str:
    """Returns the first of some names for a log line, and how many more there are."""
    first = sorted(names)[:_LOGGED_NAMES]
    more = len(names) - len(first)
    return ", ".join(f"{name[:100]!r}" for name in first) + (f" and {more} more" if more else "")
