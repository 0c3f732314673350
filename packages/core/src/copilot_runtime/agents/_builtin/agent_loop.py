"""One run's talk with the model: ask, run the tools that it calls, and ask again with their results."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .._context import RunContext
from .chat_messages import Message, to_chat_tool_result
from .completion_stream import CompletionTranslator, Event, ToolCall
from .errors import NETWORK_ERROR, PROVIDER_ERROR, ModelError
from .providers import Model
from .tools.state_tools import SharedState
from .tools.toolbox import Toolbox, ToolResult
from .usage import Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger("copilot_runtime.agents.builtin")


@dataclasses.dataclass(slots=True, kw_only=True)
class AgentLoop:
    """A run's own: nothing of it is shared with another run."""

    client: AsyncOpenAI
    model: Model
    request: Mapping[str, Any]
    """The members of each request but for messages, tools and their choice."""
    tool_choice: str | dict[str, Any] | None
    max_steps: int
    messages: list[Message]
    used_call_ids: set[str]
    """The ids of the conversation's tool calls."""
    toolbox: Toolbox
    state: SharedState
    context: RunContext | None
    usage: Usage
    interrupts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """The questions to which the run leaves the answers."""

    async def events(self) -> AsyncGenerator[Event]:
        """What the model says and what its tools give. Raises Trouble and what the SDK raises."""
        for step in range(self.max_steps):
            answer = CompletionTranslator(self.model.provider, self.used_call_ids)
            async with aclosing(self._stream_completion(answer, is_first=step == 0)) as events:
                async for event in events:
                    yield event
            self.messages.append(answer.message())
            self.used_call_ids.update(call.id for call in answer.calls)
            async with aclosing(self._run_tools(answer.calls)) as events:
                async for event in events:
                    yield event
            answered = {message["tool_call_id"] for message in self.messages if message["role"] == "tool"}
            if not answer.calls or not answered.issuperset(call.id for call in answer.calls):
                return

    async def _stream_completion(self, answer: CompletionTranslator, *, is_first: bool) -> AsyncGenerator[Event]:
        # The stream is closed, and with it the provider's connection, however this is left.
        create: Any = self.client.chat.completions.create  # its overloads take no dict of members
        members = {"messages": self.messages, **self._tools(is_first), **self.request}
        try:
            async with await create(model=self.model.name, stream=True, **members) as stream:
                async for chunk in stream:
                    for event in answer.feed(chunk):
                        yield event
            _check(answer)
        except (Exception, asyncio.CancelledError):
            # Clients refuse the end of a run, a stop's too, while reasoning is open.
            for event in answer.close():
                yield event
            raise
        finally:
            self.usage.add(answer.usage)
        for event in answer.close():
            yield event

    def _tools(self, is_first: bool) -> dict[str, Any]:
        definitions = self.toolbox.definitions
        if not definitions:
            return {}
        choice = self.tool_choice
        # A tool that must be called would be called in every step, and the model never get to speak.
        if choice is None or (not is_first and choice != "none"):
            return {"tools": definitions}
        return {"tools": definitions, "tool_choice": choice}

    async def _run_tools(self, calls: list[ToolCall]) -> AsyncGenerator[Event]:
        """Runs the calls that are the server's, all at once; their results come in the calls' order."""
        tasks = [(call, asyncio.ensure_future(self._run_tool(call))) for call in calls if self._is_server_tool(call)]
        try:
            for call, task in tasks:
                result = await task
                for event in self.state.drain_events():
                    yield event
                if result is not None:
                    self.messages.append(to_chat_tool_result(call.id, result.for_model))
                    yield tool_result_event(call.id, result)
        finally:
            for _, task in tasks:
                task.cancel()

    def _is_server_tool(self, call: ToolCall) -> bool:
        return not self.toolbox.is_client_tool(call.name)

    async def _run_tool(self, call: ToolCall) -> ToolResult | None:
        """What a call gives; None where a person has to answer it."""
        tool = self.toolbox.get(call.name)
        if tool is None:
            text = f"Error: there is no tool {call.name}."
            return ToolResult(text, text)
        result = await self.toolbox.call(tool, call.arguments, self.context)
        if tool.interrupt is None or result.failed:
            return result
        self.interrupts.append(tool.interrupt.to_event(call.id))
        return None


def tool_result_event(call_id: str, result: ToolResult) -> Event:
    """The event that shows the client what a call gave."""
    return {
        "type": "TOOL_CALL_RESULT",
        "messageId": str(uuid.uuid4()),
        "toolCallId": call_id,
        "role": "tool",
        "content": result.for_client,
    }


def _check(answer: CompletionTranslator) -> None:
    """Raises Trouble for an answer that is not whole, however well its stream ended."""
    if answer.finish_reason is None:
        raise ModelError(NETWORK_ERROR, detail="the stream ended before the answer did")
    if answer.finish_reason == "content_filter":
        raise ModelError(PROVIDER_ERROR, "The model's provider held its answer back, for what it is about.")
    if answer.finish_reason == "length":
        logger.warning("an answer was cut off at the limit of its tokens")
