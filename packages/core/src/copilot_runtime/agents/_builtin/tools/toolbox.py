"""The tools of one run: whose each is, how the model is told of it, and how it is called."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from .... import _strict_json as strict_json
from ...._concurrency import driver
from ..._context import RunContext
from .tool import Tool, ToolError

logger = logging.getLogger("copilot_runtime.agents.builtin")

_NO_PARAMETERS = {"type": "object", "properties": {}}


@dataclasses.dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave: to the model, and as the client is shown it."""

    for_model: str
    for_client: str
    failed: bool = False


class Toolbox:
    """The server's tools by name, and those of the frontend, which it runs itself.

    Of two with one name the server's counts, and among those the first.
    """

    def __init__(self, server: Iterable[Tool], frontend: Iterable[Any], *, debug: bool) -> None:
        self._debug = debug
        self._tools: dict[str, Tool] = {}
        for tool in server:
            if self._tools.setdefault(tool.name, tool) is not tool:
                logger.warning("two tools are called %r: the model is given the first", tool.name)
        self._frontend: dict[str, Any] = {}
        for one in frontend:
            if one.name in self._tools:
                logger.warning("the frontend has a tool %r, and so has the server, whose is used", one.name)
            else:
                self._frontend[one.name] = one
        every = (*self._tools.values(), *self._frontend.values())
        self.definitions = [_definition(one.name, one.description, one.parameters) for one in every]

    def get(self, name: str) -> Tool | None:
        """The server's tool of that name; None where the frontend is to run it, or nobody."""
        return self._tools.get(name)

    def is_client_tool(self, name: str) -> bool:
        """Whether the frontend is to run a tool."""
        return name in self._frontend

    async def call(self, tool: Tool, arguments: str, context: RunContext | None) -> ToolResult:
        """Calls a tool with the model's arguments, in JSON. Only a stop gets out."""
        return await self._result(tool, tool.call, arguments, context)

    async def resume(self, tool: Tool, arguments: str, answer: Any, context: RunContext | None) -> ToolResult:
        """Gives a tool that interrupts the answer to its question. Only a stop gets out."""
        if tool.interrupt is None:
            raise LookupError(f"{tool.name} does not interrupt")
        answered = tool.interrupt.on_answer
        return await self._result(tool, answered, arguments, answer, context)

    async def _result(self, tool: Tool, function: Any, arguments: str, *more: Any) -> ToolResult:
        try:
            text = serialize_result(await driver.call_user_function(function, _parsed(arguments), *more))
        except ToolError as error:
            return ToolResult(f"Error: {error}", f"Error: {error}", failed=True)
        except Exception as error:
            logger.warning("the tool %r failed", tool.name, exc_info=error)
            told = f"Error: {type(error).__name__}: {error}"
            return ToolResult(told, told if self._debug else "Error: the tool failed.", failed=True)
        return ToolResult(text, text)


def serialize_result(value: Any) -> str:
    """What a tool gave, as text. Raises ToolError where that cannot be."""
    if isinstance(value, str):
        return value
    try:
        return to_json(value, inf_nan_mode="null", bytes_mode="base64", by_alias=True).decode()
    except PydanticSerializationError as error:
        raise ToolError("the tool gave something that is no JSON") from error


def _parsed(arguments: str) -> Mapping[str, Any]:
    try:
        value = strict_json.loads(arguments.encode()) if arguments.strip() else {}
    except ValueError as error:
        raise ToolError(f"The arguments are not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ToolError("The arguments must be a JSON object.")
    return value


def _definition(name: str, description: str, parameters: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters or _NO_PARAMETERS},
    }
