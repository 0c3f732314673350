"""The tool calls of a run that nobody has answered when it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

JSONObject = Mapping[str, Any]


def open_calls(messages: Sequence[JSONObject], input: RunAgentInput, finished: JSONObject) -> list[JSONObject]:
    """Returns the calls that an agent has made and not answered, in wire form, and without those that wait for a user.

    Calls of the input are none of them: it comes from the client, which could have calls run that no agent has made.

    Args:
        messages: the thread's messages at the end of the run.
        input: the input of the run.
        finished: its RUN_FINISHED event.
    """
    excluded = {call.id for message in input.messages for call in getattr(message, "tool_calls", None) or ()}
    excluded.update(message["toolCallId"] for message in messages if message["role"] == "tool")
    excluded.update(_interrupted(finished))
    return [
        call
        for message in messages
        if message["role"] == "assistant"
        for call in message.get("toolCalls") or ()
        if call["id"] not in excluded
    ]


def _interrupted(finished: JSONObject) -> Iterable[Any]:
    outcome = finished.get("outcome")
    interrupts = outcome.get("interrupts") if isinstance(outcome, Mapping) else None
    for interrupt in interrupts or ():
        if isinstance(interrupt, Mapping) and isinstance(call_id := interrupt.get("toolCallId"), str):
            yield call_id
