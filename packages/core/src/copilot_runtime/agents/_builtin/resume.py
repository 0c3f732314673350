"""Answers to the questions that an earlier run has left: AG-UI's ``resume``.

Both the question's call and the answer come from the client. What a tool does with them is
the tool's to allow: the arguments are checked again, but who asks for it, only it can know.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .._context import RunContext
from .tools.toolbox import Toolbox, ToolResult, serialize_result

logger = logging.getLogger("copilot_runtime.agents.builtin")

_CANCELLED = ToolResult('{"status":"cancelled"}', '{"status":"cancelled"}')
_RESOLVED = {"status": "resolved"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    call_id: str
    is_cancelled: bool
    payload: Any


async def resolve_resume_entries(
    entries: Iterable[Any], messages: Iterable[Any], toolbox: Toolbox, context: RunContext | None
) -> dict[str, ToolResult]:
    """The results of the calls that ``resume`` answers, by the calls' ids.

    A tool that interrupted is given the answer; for any other call the answer is the result.
    What was answered before, or was never asked, is logged and left out.
    """
    messages = list(messages)
    calls = {call.id: call for one in messages if one.role == "assistant" for call in one.tool_calls or ()}
    answered = {one.tool_call_id for one in messages if one.role == "tool"}
    results: dict[str, ToolResult] = {}
    for entry in _read(entries):
        call = calls.get(entry.call_id)
        if call is None or entry.call_id in answered or entry.call_id in results:
            logger.warning("a resume entry answers no open question of the conversation")
            continue
        results[call.id] = await _result(entry, call.function, toolbox, context)
    return results


async def _result(entry: _Entry, function: Any, toolbox: Toolbox, context: RunContext | None) -> ToolResult:
    if entry.is_cancelled:
        return _CANCELLED
    tool = toolbox.get(function.name)
    if tool is not None and tool.interrupt is not None:
        return await toolbox.resume(tool, function.arguments, entry.payload, context)
    text = serialize_result(_RESOLVED if entry.payload is None else entry.payload)
    return ToolResult(text, text)


def _read(entries: Iterable[Any]) -> Iterator[_Entry]:
    for one in entries:
        if isinstance(one, Mapping):  # AG-UI before 0.1.19 has no model for it
            call_id, status, payload = one.get("interruptId"), one.get("status"), one.get("payload")
        else:
            call_id, status, payload = one.interrupt_id, one.status, one.payload
        if isinstance(call_id, str):
            yield _Entry(call_id, status == "cancelled", payload)
