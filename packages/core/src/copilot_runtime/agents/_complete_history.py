"""Histories of AG-UI that frameworks and models accept.

Clients send histories that are truncated, or have a result twice, empty messages, or calls of several responses with
the same id; frameworks and makers of models refuse the whole conversation for one of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput


def with_complete_history(input: RunAgentInput) -> RunAgentInput:
    """Returns an input whose results belong to one call each, and in which no message is empty but the last."""
    messages = input.messages
    calls = Counter(call.id for message in messages for call in _calls(message))
    results = Counter(message.tool_call_id for message in messages if message.role == "tool")
    is_complete = (
        all(results[call_id] <= 1 for call_id in results)
        and all(count == 1 for count in calls.values())
        and results.keys() <= calls.keys()
        and not any(map(_is_empty, messages[:-1]))
    )
    if is_complete:
        return input
    return input.model_copy(update={"messages": _completed(messages, calls, results)})


def _completed(messages: Sequence[Any], calls: Counter[str], results: Counter[str]) -> list[Any]:
    seen_calls, seen_results = Counter[str](), Counter[str]()
    completed = []
    for message in messages:
        if message.role == "tool":
            call_id = message.tool_call_id
            seen_results[call_id] += 1
            if call_id not in calls:
                completed.append(_as_user_message(message))
            # Of several results of one call the last one counts.
            elif calls[call_id] > 1 or seen_results[call_id] == results[call_id]:
                completed.append(_renamed(message, "tool_call_id", calls[call_id], seen_results[call_id]))
            continue
        if _is_empty(message) and message is not messages[-1]:
            continue
        if any(calls[call.id] > 1 for call in _calls(message)):
            renamed = []
            for call in _calls(message):
                seen_calls[call.id] += 1
                renamed.append(_renamed(call, "id", calls[call.id], seen_calls[call.id]))
            message = message.model_copy(update={"tool_calls": renamed})
        completed.append(message)
    return completed


def _renamed(value: Any, field: str, count: int, number: int) -> Any:
    """Returns a call or its result with an id of its own; the last keeps its id, which a response may refer to."""
    if number >= count:
        return value
    return value.model_copy(update={field: f"{getattr(value, field)}_{number}"})


def _calls(message: Any) -> Sequence[Any]:
    return getattr(message, "tool_calls", None) or ()


def _is_empty(message: Any) -> bool:
    return message.role in ("user", "assistant") and not message.content and not _calls(message)


def _as_user_message(message: Any) -> Any:
    from ag_ui.core import UserMessage

    text = message.content if isinstance(message.content, str) else None
    if text is None:
        text = "\n".join(part.text for part in message.content if part.type == "text")
    return UserMessage(id=message.id, role="user", content=f"[The result of an earlier tool call:]\n{text}")
