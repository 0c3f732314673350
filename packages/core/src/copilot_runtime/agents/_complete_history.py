"""Histories of AG-UI that frameworks and models accept.

Clients send histories that are truncated, or have a result twice or before its call, blank messages, calls of several
responses with the same id, or arguments that are no JSON object; frameworks and makers of models refuse the whole
conversation for one of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._tools.arguments import json_object

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput


def with_complete_history(input: RunAgentInput) -> RunAgentInput:
    """Returns an input whose results belong to one call each, and in which no message is blank but the last."""
    input = with_object_arguments(input)
    messages = input.messages
    calls = Counter(call.id for message in messages for call in _calls(message))
    results = Counter(message.tool_call_id for message in messages if message.role == "tool")
    is_complete = (
        all(results[call_id] <= 1 for call_id in results)
        and all(count == 1 for count in calls.values())
        and results.keys() <= calls.keys()
        and not any(map(_is_empty, messages[:-1]))
        and not _has_early_results(messages)
    )
    if is_complete:
        return input
    return input.model_copy(update={"messages": _completed(messages, calls, results)})


def with_object_arguments(input: RunAgentInput) -> RunAgentInput:
    """Returns an input in which the arguments of all tool calls are JSON objects."""
    if all(map(_has_object, (call for message in input.messages for call in _calls(message)))):
        return input
    return input.model_copy(update={"messages": [_with_object_arguments(message) for message in input.messages]})


def _with_object_arguments(message: Any) -> Any:
    if all(map(_has_object, _calls(message))):
        return message
    calls = []
    for call in _calls(message):
        function = call.function.model_copy(update={"arguments": json_object(call.function.arguments)})
        calls.append(call.model_copy(update={"function": function}))
    return message.model_copy(update={"tool_calls": calls})


def _has_object(call: Any) -> bool:
    arguments = call.function.arguments
    return json_object(arguments) is arguments


def _has_early_results(messages: Sequence[Any]) -> bool:
    seen = set[str]()
    for message in messages:
        if message.role == "tool" and message.tool_call_id not in seen:
            return True
        seen.update(call.id for call in _calls(message))
    return False


def _completed(messages: Sequence[Any], calls: Counter[str], results: Counter[str]) -> list[Any]:
    seen_calls, seen_results = Counter[str](), Counter[str]()
    completed: list[Any] = []
    early: dict[str, list[Any]] = {}
    """Results that are before their calls, by the ids of the calls."""
    for message in messages:
        if message.role == "tool":
            call_id = message.tool_call_id
            seen_results[call_id] += 1
            if call_id not in calls:
                completed.append(_as_user_message(message))
            # Of several results of one call the last one counts.
            elif calls[call_id] > 1 or seen_results[call_id] == results[call_id]:
                result = _renamed(message, "tool_call_id", calls[call_id], seen_results[call_id])
                (completed if seen_calls[call_id] else early.setdefault(call_id, [])).append(result)
            continue
        if _is_empty(message) and message is not messages[-1]:
            continue
        renamed: list[Any] = []
        results_before: list[Any] = []
        for call in _calls(message):
            seen_calls[call.id] += 1
            renamed.append(_renamed(call, "id", calls[call.id], seen_calls[call.id]))
            results_before += early.pop(call.id, ())
        if any(calls[call.id] > 1 for call in _calls(message)):
            message = message.model_copy(update={"tool_calls": renamed})
        completed += [message, *results_before]
    return completed


def _renamed(value: Any, field: str, count: int, number: int) -> Any:
    """Returns a call or its result with an id of its own; the last keeps its id, which a response may refer to."""
    if number >= count:
        return value
    return value.model_copy(update={field: f"{getattr(value, field)}_{number}"})


def _calls(message: Any) -> Sequence[Any]:
    return getattr(message, "tool_calls", None) or ()


def _is_empty(message: Any) -> bool:
    return message.role in ("user", "assistant") and is_blank(message.content) and not _calls(message)


def is_blank(content: Any) -> bool:
    """Returns whether a content, of AG-UI or of LangChain, has no media and no text but spaces."""
    if isinstance(content, list):
        return all(map(_is_blank_part, content))
    return not content or (isinstance(content, str) and not content.strip())


def _is_blank_part(part: Any) -> bool:
    text = (
        part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else getattr(part, "text", None)
    )
    return isinstance(text, str) and not text.strip()


def _as_user_message(message: Any) -> Any:
    from ag_ui.core import UserMessage

    text = message.content if isinstance(message.content, str) else None
    if text is None:
        text = "\n".join(part.text for part in message.content if part.type == "text")
    return UserMessage(id=message.id, role="user", content=f"[The result of an earlier tool call:]\n{text}")
