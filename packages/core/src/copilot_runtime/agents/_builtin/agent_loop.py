"""The agent loop of a run: calls the model, runs the tools that it calls, and calls it again with their results."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from ..._log_text import one_line
from .._context import RunContext
from .._tools.toolbox import Toolbox, ToolResult
from .completion_stream import CompletionTranslator, Event
from .deltas import Delta
from .errors import NETWORK_ERROR, PROVIDER_ERROR, ModelError, is_rejection
from .finish_reasons import Finish
from .maker_rules import MakerRules, rules_for
from .media import without_media
from .messages import Message, ToolMessage
from .model_api import ModelConnection, ModelRequest
from .options import Options
from .providers import Model
from .result_media import ResultMedia
from .state_tools import SharedState
from .tool_calls import ToolCall
from .usage import Usage
from .wire_messages import WireMessages
from .wire_tools import WireTools

logger = logging.getLogger("copilot_runtime.agents.builtin")

_SERVER_TOOLS_OFF = "The call was not run: the server's tools cannot be called in this run."


@dataclasses.dataclass(slots=True, kw_only=True)
class AgentLoop:
    """The state of one run, not shared with any other."""

    connection: ModelConnection
    model: Model
    api: str
    """The name of the API by which it is called."""
    server: str
    """The tag of its server; see `server_tag`."""
    options: Options
    tool_choice: str | dict[str, Any] | None
    runs_server_tools: bool
    """Whether the server's tools are run. Not every server heeds a tool choice."""
    messages: list[Message]
    used_call_ids: set[str]
    """The ids of all tool calls of the conversation."""
    toolbox: Toolbox
    state: SharedState
    context: RunContext | None
    usage: Usage
    result_media: ResultMedia
    interrupts: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    """The interrupts with which the run ends, for its outcome."""
    _rules: MakerRules = dataclasses.field(init=False)
    _tools: WireTools = dataclasses.field(init=False)
    _wire_messages: WireMessages = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self._rules = rules_for(self.model, self.api)
        self._tools = WireTools(self.toolbox.definitions, self._rules, self.tool_choice)
        self._wire_messages = WireMessages(self._rules, self._tools)

    async def events(self) -> AsyncGenerator[Event]:
        """Yields the events of the model and its tools. Raises ModelError and what the SDK raises."""
        for step in range(self.options.max_steps):
            completion = CompletionTranslator(
                self.model.provider.name, self.used_call_ids, self._tools.names, server=self.server
            )
            async with aclosing(self._stream_completion(completion, is_first=step == 0)) as events:
                async for event in events:
                    yield event
            message = completion.message()
            if message is not None:
                self.messages.append(message)
            self.used_call_ids.update(call.id for call in completion.calls)
            async with aclosing(self._run_tools(completion.calls)) as events:
                async for event in events:
                    yield event
            with_result = {message.call_id for message in self.messages if isinstance(message, ToolMessage)}
            if not completion.calls or not with_result.issuperset(call.id for call in completion.calls):
                return

    async def _stream_completion(self, completion: CompletionTranslator, *, is_first: bool) -> AsyncGenerator[Event]:
        try:
            async with aclosing(self._stream_deltas(is_first=is_first)) as stream:
                async for deltas in stream:
                    for event in completion.feed(deltas):
                        yield event
            _check_complete(completion)
        except asyncio.CancelledError:
            # Clients reject the end of a run, also that of a stopped one, while a message is open.
            for event in completion.close():
                yield event
            raise
        except Exception:
            for event in completion.close():
                yield event
            # Clients run each call that has no result, even if the run has failed.
            for call in completion.calls:
                yield tool_result_event(call.id, _not_run(call))
            raise
        finally:
            self.usage.add(completion.usage)
        for event in completion.close():
            yield event

    async def _stream_deltas(self, *, is_first: bool) -> AsyncGenerator[Iterable[Delta]]:
        """Yields the deltas of a completion. Closing it closes the connection to the provider."""
        has_begun = False
        try:
            async with self.connection.stream(self._request(is_first=is_first)) as stream:
                while (deltas := await stream.next()) is not None:
                    has_begun = True
                    yield deltas
            return
        except Exception as error:
            # Not every model sees, and tools also return what no model can read. The run must go on.
            if has_begun or not is_rejection(error) or not self._drop_media_of_results():
                raise
        async with self.connection.stream(self._request(is_first=is_first)) as stream:
            logger.warning("the attachments in the results of tools were rejected by the model provider: left out")
            while (deltas := await stream.next()) is not None:
                yield deltas

    def _request(self, *, is_first: bool) -> ModelRequest:
        messages = self._wire_messages.update(self.messages)
        tools = self._tools.with_called(self._wire_messages.called_tools())
        return ModelRequest(
            model=self.model.name,
            messages=messages,
            tools=tools,
            # Of tools that are defined for the history alone none may be called.
            tool_choice=self._tool_choice(is_first) if self._tools.definitions or not tools else "none",
            options=self.options,
        )

    def _drop_media_of_results(self) -> bool:
        """Replaces the media in the results of tools by texts; returns whether there were any."""
        changed = [without_media(each) if isinstance(each, ToolMessage) else each for each in self.messages]
        if changed == self.messages:
            return False
        self.messages = changed
        self.result_media.refuse()
        self._wire_messages = WireMessages(self._rules, self._tools)
        return True

    def _tool_choice(self, is_first: bool) -> str | Mapping[str, Any] | None:
        choice = self.tool_choice
        # A forced tool applies to the first step only: otherwise the model would call it in every step.
        if not self._tools.definitions or not (is_first or choice == "none"):
            return None
        return self._tools.wire_choice(choice)

    async def _run_tools(self, calls: list[ToolCall]) -> AsyncGenerator[Event]:
        """Runs the calls of server tools concurrently, and yields their results in the order of the calls.

        A call with a fault gets its result here as well, and the client does not run it.
        """
        tasks = [(call, asyncio.ensure_future(self._run_tool(call))) for call in calls if self._has_result(call)]
        try:
            for call, task in tasks:
                result = await task
                for event in self.state.drain_events():
                    yield event
                if result is not None:
                    content = self.result_media.content(call.name, result)
                    self.messages.append(ToolMessage(call.id, call.name, *content))
                    yield tool_result_event(call.id, result)
        finally:
            for _, task in tasks:
                task.cancel()

    def _has_result(self, call: ToolCall) -> bool:
        return call.fault is not None or not self.toolbox.is_client_tool(call.name)

    async def _run_tool(self, call: ToolCall) -> ToolResult | None:
        """Returns the result of a call; None if the call interrupts the run."""
        tool = self.toolbox.get(call.name)
        if call.fault is None and tool is not None and not self.runs_server_tools:
            call.fault = _SERVER_TOOLS_OFF
        if call.fault is not None:
            logger.warning("the call of the tool %r was not run: %s", call.name, one_line(call.fault))
            return _not_run(call)
        if tool is None:
            text = f"Error: there is no tool named {call.name}."
            return ToolResult(text, text)
        result = await self.toolbox.call(tool, call.arguments, self.context)
        if tool.interrupt is None or result.failed:
            return result
        self.interrupts.append(tool.interrupt.to_event(call.id))
        return None


def tool_result_event(call_id: str, result: ToolResult) -> Event:
    """Returns the event that sends the result of a tool call to the client."""
    return {
        "type": "TOOL_CALL_RESULT",
        "messageId": str(uuid.uuid4()),
        "toolCallId": call_id,
        "role": "tool",
        "content": result.for_client,
    }


def _not_run(call: ToolCall) -> ToolResult:
    text = f"Error: {call.fault}"
    return ToolResult(text, text, failed=True)


def _check_complete(completion: CompletionTranslator) -> None:
    """Raises ModelError for an incomplete completion, even if its stream ended properly."""
    if completion.finish is None:
        raise ModelError(NETWORK_ERROR, detail="the stream ended before the completion did")
    if completion.finish is Finish.FILTERED:
        raise ModelError(PROVIDER_ERROR, "The model provider withheld the response because of its content filter.")
    if completion.finish is Finish.FAILED:
        raise ModelError(
            PROVIDER_ERROR,
            "The model provider broke off the response.",
            detail=f"its finish_reason is {completion.finish_reason!r}",
        )
    if completion.finish is Finish.LENGTH:
        logger.warning("a completion was truncated at its token limit")
