"""Resolves the interrupts of an earlier run: AG-UI's ``resume``.

Both the interrupted call and the response to it come from the client. The arguments are validated again; whether the
user may do what the call does is up to the tool.
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
class _ResumeEntry:
    call_id: str
    is_cancelled: bool
    payload: Any


async def resolve_resume_entries(
    entries: Iterable[Any], messages: Iterable[Any], toolbox: Toolbox, context: RunContext | None
) -> dict[str, ToolResult]:
    """Returns the results of the tool calls that ``resume`` resolves, by the calls' ids.

    A tool that interrupts is called with the payload; for any other call the payload is the result. An entry whose
    call is unknown, or has a result already, is logged and ignored.
    """
    messages = list(messages)
    calls = {call.id: call for message in messages if message.role == "assistant" for call in message.tool_calls or ()}
    with_result = {message.tool_call_id for message in messages if message.role == "tool"}
    results: dict[str, ToolResult] = {}
    for entry in _parse(entries):
        call = calls.get(entry.call_id)
        if call is None or entry.call_id in with_result or entry.call_id in results:
            logger.warning("a resume entry does not match an open interrupt of the conversation; ignored")
            continue
        results[call.id] = await _resolve(entry, call.function, toolbox, context)
    return results


async def _resolve(entry: _ResumeEntry, function: Any, toolbox: Toolbox, context: RunContext | None) -> ToolResult:
    if entry.is_cancelled:
        return _CANCELLED
    tool = toolbox.get(function.name)
    if tool is not None and tool.interrupt is not None:
        return await toolbox.resume(tool, function.arguments, entry.payload, context)
    text = serialize_result(_RESOLVED if entry.payload is None else entry.payload)
    return ToolResult(text, text)


def _parse(entries: Iterable[Any]) -> Iterator[_ResumeEntry]:
    for entry in entries:
        if isinstance(entry, Mapping):  # AG-UI before 0.1.19 has no model for it
            call_id, status, payload = entry.get("interruptId"), entry.get("status"), entry.get("payload")
        else:
            call_id, status, payload = entry.interrupt_id, entry.status, entry.payload
        if isinstance(call_id, str):
            yield _ResumeEntry(call_id, status == "cancelled", payload)
