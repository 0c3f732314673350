"""Resolves the interrupts of an earlier run: AG-UI's ``resume``.

Both the interrupted call and the response to it come from the client. A server tool is called only if the runtime
knows that the interrupt is open (`RunContext.open_interrupts`); then the response counts, whatever the messages have
as the call's result. The arguments are validated again; whether the user may do what the call does is up to the tool.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from .._context import RunContext
from .._interrupts import ResumeEntry, is_copy, parse_resume_entries
from .._tools.toolbox import Toolbox, ToolResult, serialize_result
from .media import flatten_text

logger = logging.getLogger("copilot_runtime.agents.builtin")

_CANCELLED = ToolResult('{"status":"cancelled"}', '{"status":"cancelled"}')
_RESOLVED = {"status": "resolved"}
_NOT_OPEN_TEXT = (
    "Error: the tool was not run, because this call does not wait for the user (any more). Call it again to ask."
)
_NOT_OPEN = ToolResult(_NOT_OPEN_TEXT, _NOT_OPEN_TEXT, failed=True)


class Resumption:
    """The responses to interrupts that a run begins with.

    A tool that interrupts is called with the payload; for a call of the frontend's tools the payload is the result. An
    entry whose call is unknown, or has a result already, is logged and ignored.

    Args:
        resume: the input's ``resume``.
        messages: AG-UI's messages.
        toolbox: the tools of the run.
        context: the run's context.
    """

    def __init__(self, resume: Any, messages: Sequence[Any], toolbox: Toolbox, context: RunContext | None) -> None:
        self._entries = parse_resume_entries(resume)
        self._messages = messages
        self._toolbox = toolbox
        self._context = context
        self._open_interrupts = None if context is None else context.open_interrupts
        self.results: dict[str, ToolResult] = {}
        """The results of the calls that have been resolved, by the calls' ids."""

    async def resolve(self) -> AsyncGenerator[tuple[str, ToolResult]]:
        """Yields the id and the result of each call that is resolved, as soon as it is."""
        calls = {
            call.id: call.function
            for message in self._messages
            if message.role == "assistant"
            for call in message.tool_calls or ()
        }
        results = self._result_messages()
        unmatched, not_waiting = 0, []
        for entry in self._entries:
            call_id = entry.interrupt_id
            result = await self._result(entry, calls[call_id], results.get(call_id, ())) if call_id in calls else None
            if result is None:
                unmatched += 1
                continue
            if result is _NOT_OPEN:
                not_waiting.append(f"{calls[call_id].name[:100]!r}")
            self.results[call_id] = result
            yield call_id, result
        # One line each for all of them: the client decides how many there are.
        if not_waiting:
            logger.warning(
                "tools that do not wait for a response were not run: %d resume entries, such as for %s",
                len(not_waiting),
                not_waiting[0],
            )
        if unmatched:
            logger.warning(
                "what does not match an open interrupt of the conversation was ignored: %d resume entries", unmatched
            )

    async def _result(self, entry: ResumeEntry, function: Any, results: Sequence[Any]) -> ToolResult | None:
        """Returns the result of a call; None for a call that does not wait for a response.

        ``results`` are the messages that have a result of the call already.
        """
        is_open = self._open_interrupts is not None and entry.interrupt_id in self._open_interrupts
        is_unknown = self._open_interrupts is None
        if not is_open and not _has_no_result(entry, results, may_be_copy=is_unknown):
            return None
        tool = self._toolbox.get(function.name)
        if entry.is_cancelled:
            return _CANCELLED
        if tool is None and not is_open:  # of the frontend
            text = serialize_result(_RESOLVED if entry.payload is None else entry.payload)
            return ToolResult(text, text)
        if tool is not None and tool.interrupt is not None and (is_open or is_unknown):
            return await self._toolbox.resume(tool, function.arguments, entry.payload, self._context)
        return _NOT_OPEN

    def _result_messages(self) -> Mapping[str, Sequence[Any]]:
        """Returns the messages with the results of tool calls, by the calls' ids."""
        results: dict[str, list[Any]] = {}
        for message in self._messages if self._entries else ():
            if message.role == "tool":
                results.setdefault(message.tool_call_id, []).append(message)
        return results

    def unanswered(self) -> list[Mapping[str, Any]]:
        """Returns the interrupts, for the outcome of the run, that are still open beside those resolved."""
        missing = self._missing_results()
        return [interrupt for identity, interrupt in (self._open_interrupts or {}).items() if identity in missing]

    def waits_for_client(self) -> bool:
        """Returns whether a call beside those resolved runs in the frontend and has no result yet."""
        return any(map(self._toolbox.is_client_tool, self._missing_results().values()))

    def _missing_results(self) -> dict[str, str]:
        """Returns the calls without a result beside those resolved: their names by their ids."""
        with_result = {message.tool_call_id for message in self._messages if message.role == "tool"}
        with_result.update(self.results)
        for message in self._messages if self.results else ():
            calls = {call.id: call.function.name for call in getattr(message, "tool_calls", None) or ()}
            if not calls.keys().isdisjoint(self.results):
                return {identity: name for identity, name in calls.items() if identity not in with_result}
        return {}


def _has_no_result(entry: ResumeEntry, results: Sequence[Any], *, may_be_copy: bool) -> bool:
    """Returns whether a call has no result other than CopilotKit's copies of the response to it."""
    return not results or (may_be_copy and all(is_copy(flatten_text(message.content), entry) for message in results))
