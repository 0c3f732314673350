"""Reduces a run's events to the thread's list of messages (docs/protocol.md, section 11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from .compaction import CompactedFrame
from .shared_state import apply_json_patch
from .sse import Event, decode

Message = dict[str, Any]


def apply_events(messages: Sequence[Mapping[str, Any]], events: Iterable[Event]) -> list[Message]:
    """Returns the messages after ``events``, in wire form. Neither argument is changed."""
    after = [dict(message) for message in messages]
    for event in events:
        reducer = _REDUCERS.get(event["type"])
        if reducer is not None:
            after = reducer(after, event)
    return after


def messages_after_run(
    messages: Sequence[Mapping[str, Any]], records: Iterable[CompactedFrame], last_agent_event: int
) -> list[Message]:
    """Returns a thread's messages after a run, in wire form.

    Args:
        messages: The messages of the run's input, in wire form.
        records: The compacted run.
        last_agent_event: The number of the last event that the agent itself emitted. Later events completed
            the run and leave no message.
    """
    # By number and not in the order of the replay, which places a message where it ended.
    return apply_events(
        messages, (decode(record.frame) for record in sorted(records) if record.number <= last_agent_event)
    )


def _find(messages: list[Message], identity: Any, *roles: str) -> Message | None:
    for message in reversed(messages):
        if message.get("id") == identity and (not roles or message.get("role") in roles):
            return message
    return None


def _start_message(default_role: str) -> Callable[[list[Message], Event], list[Message]]:
    def reducer(messages: list[Message], event: Event) -> list[Message]:
        if _find(messages, event["messageId"]) is None:
            name = {"name": event["name"]} if "name" in event else {}
            role = event.get("role", default_role)
            messages.append({"id": event["messageId"], "role": role, "content": "", **name})
        return messages

    return reducer


def _append_content(messages: list[Message], event: Event) -> list[Message]:
    message = _find(messages, event["messageId"])
    content = None if message is None else message.get("content") or ""
    if message is not None and isinstance(content, str):
        message["content"] = content + event["delta"]
    return messages


def _tool_calls(message: Message) -> list[Any]:
    calls = message.get("toolCalls")
    return calls if isinstance(calls, list) else []


def _add_tool_call(messages: list[Message], event: Event) -> list[Message]:
    call = {
        "id": event["toolCallId"],
        "type": "function",
        "function": {"name": event["toolCallName"], "arguments": ""},
    }
    parent = event.get("parentMessageId")
    message = None if parent is None else _find(messages, parent, "assistant")
    if message is None:
        identity = event["toolCallId"] if parent is None else parent
        messages.append({"id": identity, "role": "assistant", "toolCalls": [call]})
    else:
        message["toolCalls"] = [*_tool_calls(message), call]
    return messages


def _append_arguments(messages: list[Message], event: Event) -> list[Message]:
    for message in reversed(messages):
        calls = _tool_calls(message)
        for index, call in enumerate(calls):
            if isinstance(call, dict) and call.get("id") == event["toolCallId"]:
                # New objects: the existing ones may belong to the run's input.
                function = call.get("function") or {}
                extended = {**function, "arguments": function.get("arguments", "") + event["delta"]}
                message["toolCalls"] = [*calls[:index], {**call, "function": extended}, *calls[index + 1 :]]
                return messages
    return messages


def _add_tool_result(messages: list[Message], event: Event) -> list[Message]:
    messages.append(
        {
            "id": event["messageId"],
            "role": "tool",
            "toolCallId": event["toolCallId"],
            "content": event["content"],
        }
    )
    return messages


def _replace_messages(messages: list[Message], event: Event) -> list[Message]:
    return [dict(message) for message in event["messages"]]


def _set_activity(messages: list[Message], event: Event) -> list[Message]:
    existing = _find(messages, event["messageId"], "activity")
    members = {"activityType": event["activityType"], "content": event["content"]}
    if existing is None:
        messages.append({"id": event["messageId"], "role": "activity", **members})
    elif event.get("replace", True):
        existing.update(members)
    return messages


def _patch_activity(messages: list[Message], event: Event) -> list[Message]:
    existing = _find(messages, event["messageId"], "activity")
    if existing is not None:
        try:
            existing["content"] = apply_json_patch(from_json(to_json(existing.get("content"))), event["patch"])
        except ValueError:
            pass  # one outdated activity is not worth failing the whole list for
    return messages


_REDUCERS: Mapping[str, Callable[[list[Message], Event], list[Message]]] = {
    "TEXT_MESSAGE_START": _start_message("assistant"),
    "TEXT_MESSAGE_CONTENT": _append_content,
    "REASONING_MESSAGE_START": _start_message("reasoning"),
    "REASONING_MESSAGE_CONTENT": _append_content,
    "TOOL_CALL_START": _add_tool_call,
    "TOOL_CALL_ARGS": _append_arguments,
    "TOOL_CALL_RESULT": _add_tool_result,
    "MESSAGES_SNAPSHOT": _replace_messages,
    "ACTIVITY_SNAPSHOT": _set_activity,
    "ACTIVITY_DELTA": _patch_activity,
}
