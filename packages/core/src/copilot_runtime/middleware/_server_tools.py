"""Runs an agent with tools of the server, whose calls are run between the runs of the agent."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .._events.sse import Event
from ..agents._interrupts import with_resume
from ..agents._tools.tool import Tool
from ..agents._tools.toolbox import Toolbox
from ._input import change_input
from ._open_calls import OpenCalls

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from ..agents._context import RunContext
    from ._types import Next

_TOO_MANY_ROUNDS = "Error: the call was not run: the run has called tools too often."


async def run_with_tools(
    tools: Iterable[Tool], input: RunAgentInput, next: Next, context: RunContext, *, max_rounds: int
) -> AsyncGenerator[Event]:
    """Yields the events of all runs of the agent as those of one.

    Args:
        tools: the tools, which take the places of frontend tools with the same names.
        input: the input of the run.
        next: runs the agent.
        context: the context of the run.
        max_rounds: how often the agent is run again at most. Calls that it still makes then are not run.
    """
    toolbox = Toolbox(tools, input.tools or (), debug=context.debug)
    frontend_tools = [tool for tool in input.tools or () if tool.name in toolbox.client_names]
    offered = [*frontend_tools, *map(_in_wire_form, toolbox.server_tools)]
    run = _Run(toolbox, context, rounds=max_rounds)
    async with aclosing(run.events(change_input(input, tools=offered), next)) as all_events:
        async for event in all_events:
            yield event


class _Run:
    """One run of the client."""

    def __init__(self, toolbox: Toolbox, context: RunContext, *, rounds: int) -> None:
        self._toolbox = toolbox
        self._context = context
        self._rounds = rounds
        self._usage: list[Any] = []

    async def events(self, input: RunAgentInput, next: Next) -> AsyncGenerator[Event]:
        """Yields the events of the agent's runs, and between them the results of its calls."""
        run_id = input.run_id
        while True:
            events = next(input)
            open_calls = OpenCalls(input)
            finished: Event | None = None
            async for event in events:
                open_calls.note(event)
                if event["type"] == "RUN_FINISHED":
                    finished = event
                    break
                yield event
            if finished is None:
                return
            messages = events.messages
            calls = open_calls.find(messages, finished)
            own = [call for call in calls if self._toolbox.get(call["function"]["name"]) is not None]
            results = []
            async with aclosing(self._results(own)) as run_calls:
                async for result in run_calls:
                    results.append(result)
                    yield result
            self._add_usage(finished)
            if not own or len(own) < len(calls) or _is_interrupted(finished) or self._rounds < 0:
                yield {**finished, "runId": run_id, **({"usage": self._usage} if self._usage else {})}
                return
            await events.aclose()
            messages = [message for message in messages if message["role"] != "activity"]
            messages += map(_to_message, results)
            input = with_resume(input, ())  # its responses have been used
            input = change_input(input, run_id=str(uuid.uuid4()), messages=messages, state=events.state)

    async def _results(self, calls: Sequence[Mapping[str, Any]]) -> AsyncGenerator[Event]:
        """Runs calls concurrently, and yields their results in the order of the calls."""
        if calls:
            self._rounds -= 1
        if self._rounds < 0:
            for call in calls:
                yield _to_event(call, _TOO_MANY_ROUNDS)
            return
        tasks = [asyncio.ensure_future(self._run_call(call)) for call in calls]
        try:
            for call, task in zip(calls, tasks, strict=True):
                yield _to_event(call, await task)
        finally:
            for task in tasks:
                task.cancel()

    async def _run_call(self, call: Mapping[str, Any]) -> str:
        tool = self._toolbox.get(call["function"]["name"])
        assert tool is not None
        result = await self._toolbox.call(tool, call["function"]["arguments"], self._context)
        return result.for_client

    def _add_usage(self, finished: Event) -> None:
        usage = finished.get("usage")
        if isinstance(usage, list):
            self._usage += usage


def _in_wire_form(tool: Any) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def _is_interrupted(finished: Event) -> bool:
    outcome = finished.get("outcome")
    return isinstance(outcome, Mapping) and outcome.get("type") == "interrupt"


def _to_event(call: Mapping[str, Any], content: str) -> Event:
    members = {"messageId": str(uuid.uuid4()), "toolCallId": call["id"], "role": "tool", "content": content}
    return {"type": "TOOL_CALL_RESULT", **members}


def _to_message(result: Event) -> dict[str, Any]:
    return {
        "id": result["messageId"],
        "role": "tool",
        "toolCallId": result["toolCallId"],
        "content": result["content"],
    }
