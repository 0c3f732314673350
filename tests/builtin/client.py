"""Messages for an agent, and ways to read the events of its runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tests.http_client import Event, unique


def user_message(content: Any) -> dict[str, Any]:
    return {"id": unique("message"), "role": "user", "content": content}


def assistant_message(content: str | None = None, *calls: dict[str, Any]) -> dict[str, Any]:
    members = {"content": content, "toolCalls": list(calls) or None}
    present = {name: value for name, value in members.items() if value is not None}
    return {"id": unique("message"), "role": "assistant", **present}


def tool_call(call_id: str, name: str, arguments: str = "{}") -> dict[str, Any]:
    """Returns a tool call of an assistant message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool_message(call_id: str, content: Any, **members: Any) -> dict[str, Any]:
    return {"id": unique("message"), "role": "tool", "toolCallId": call_id, "content": content, **members}


def frontend_tool(name: str, **properties: Any) -> dict[str, Any]:
    """Returns a tool that runs in the browser."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": f"Does {name}.", "parameters": parameters}


def event_types(events: Sequence[Event]) -> list[str]:
    """Returns the types of the events, without those that repeat the one before."""
    return [kind for kind, _ in itertools.groupby(event["type"] for event in events)]


def of_type(events: Sequence[Event], *kinds: str) -> list[Event]:
    return [event for event in events if event["type"] in kinds]


def only_event(events: Sequence[Event], kind: str) -> Event:
    (event,) = of_type(events, kind)
    return event


def text_of(events: Sequence[Event], kind: str = "TEXT_MESSAGE_CONTENT") -> str:
    return "".join(event["delta"] for event in of_type(events, kind))


def tool_calls(events: Sequence[Event]) -> dict[str, tuple[str, str]]:
    """Returns the tool calls by their ids: name and arguments."""
    return {
        start["toolCallId"]: (
            start["toolCallName"],
            "".join(
                event["delta"]
                for event in of_type(events, "TOOL_CALL_ARGS")
                if event["toolCallId"] == start["toolCallId"]
            ),
        )
        for start in of_type(events, "TOOL_CALL_START")
    }


TEXT = ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]
CALL = ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END"]


def finished_run(*parts: str) -> list[str]:
    """Returns the types of a run that finishes, with these events in it."""
    return ["RUN_STARTED", *parts, "RUN_FINISHED"]
