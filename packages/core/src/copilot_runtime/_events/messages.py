"""What a run's events do to the list of messages (AG-UI's rules for messages)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from .compaction import CompactedFrame
from .shared_state import apply_json_patch
from .sse import Event, decode

Message = dict[str, Any]


def apply_events(messages: Sequence[Mapping[str, Any]], events: Iterable[Event]) -> list[Message]:
    """The messages after some events, in wire form. Neither argument is changed."""
    after = [dict(message) for message in messages]
    for event in events:
        effect = _REDUCERS.get(event["type"])
        if effect is not None:
            after = effect(after, event)
    return after


def messages_after_run(
    messages: Sequence[Mapping[str, Any]], records: Iterable[CompactedFrame], own_events: int
) -> list[Message]:
    """The messages after a compacted run, by what its agent itself emitted: its events up to number ``own_events``."""
    # By number and not in the order of the replay, which puts a message where it ended.
    return apply_events(messages, (decode(one.frame) for one in sorted(records) if one.number <= own_events))


def _find(messages: list[Message], identity: Any, *roles: str) -> Message | None:
    for message in reversed(messages):
        if message.get("id") == identity and (not roles or message.get("role") in roles):
            return message
    return None


def _started(default_role: str) -> Callable[[list[Message], Event], list[Message]]:
    def start(messages: list[Message], event: Event) -> list[Message]:
        if _find(messages, event["messageId"]) is None:
            name = {"name": event["name"]} if "name" in event else {}
            role = event.get("role", default_role)
            messages.append({"id": event["messageId"], "role": role, "content": "", **name})
        return messages

    return start


def _append_content(messages: list[Message], event: Event) -> list[Message]:
    message = _find(messages, event["messageId"])
    if message is not None and isinstance(message.get("content", ""), str):
        message["content"] = message.get("content", "") + event["delta"]
    return messages


def _calls_of(message: Message) -> list[Any]:
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
        message["toolCalls"] = [*_calls_of(message), call]
    return messages


def _append_arguments(messages: list[Message], event: Event) -> list[Message]:
    for message in reversed(messages):
        calls = _calls_of(message)
        for index, call in enumerate(calls):
            if isinstance(call, dict) and call.get("id") == event["toolCallId"]:
                # New objects: the old ones may be those of the run's input.
                function = call.get("function") or {}
                grown = {**function, "arguments": function.get("arguments", "") + event["delta"]}
                message["toolCalls"] = [*calls[:index], {**call, "function": grown}, *calls[index + 1 :]]
                return messages
    return messages


def _result(messages: list[Message], event: Event) -> list[Message]:
    messages.append(
        {
            "id": event["messageId"],
            "role": "tool",
            "toolCallId": event["toolCallId"],
            "content": event["content"],
        }
    )
    return messages


def _snapshot(messages: list[Message], event: Event) -> list[Message]:
    return [dict(message) for message in event["messages"]]


def _activity(messages: list[Message], event: Event) -> list[Message]:
    known = _find(messages, event["messageId"], "activity")
    new = {"activityType": event["activityType"], "content": event["content"]}
    if known is None:
        messages.append({"id": event["messageId"], "role": "activity", **new})
    elif event.get("replace", True):
        known.update(new)
    return messages


def _activity_delta(messages: list[Message], event: Event) -> list[Message]:
    known = _find(messages, event["messageId"], "activity")
    if known is not None:
        try:
            known["content"] = apply_json_patch(from_json(to_json(known.get("content"))), event["patch"])
        except ValueError:
            pass  # what it shows is not worth refusing the rest for
    return messages


_REDUCERS: Mapping[str, Callable[[list[Message], Event], list[Message]]] = {
    "TEXT_MESSAGE_START": _started("assistant"),
    "TEXT_MESSAGE_CONTENT": _append_content,
    "REASONING_MESSAGE_START": _started("reasoning"),
    "REASONING_MESSAGE_CONTENT": _append_content,
    "TOOL_CALL_START": _add_tool_call,
    "TOOL_CALL_ARGS": _append_arguments,
    "TOOL_CALL_RESULT": _result,
    "MESSAGES_SNAPSHOT": _snapshot,
    "ACTIVITY_SNAPSHOT": _activity,
    "ACTIVITY_DELTA": _activity_delta,
}
