"""The arguments of a request to the model, for the SDK's function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .messages import ChatMessage

COMPARED_ITEMS = 64
"""How many messages and parts of them, and how many tools, the SDK is to compare with its types.

It does so on the event loop, and takes 0.1 to 0.8 ms for each.
"""


def completion_arguments(
    params: Mapping[str, Any], messages: Sequence[ChatMessage], tools: Sequence[Any]
) -> dict[str, Any]:
    """Returns the arguments for messages and tools.

    What is in ``extra_body`` is sent in place of an argument of the same name, and without the comparison. So messages
    and tools beyond `COMPARED_ITEMS` cost little; wrappers of the SDK that record arguments see the last messages.

    Args:
        params: the other arguments.
        messages: the messages.
        tools: the definitions of the tools; none are sent if there are none.
    """
    body: dict[str, Any] = {}
    arguments = {**params, "messages": _last(messages)}
    if len(arguments["messages"]) < len(messages):
        body["messages"] = messages
    if tools:
        arguments["tools"] = tools[:COMPARED_ITEMS]
        if len(tools) > COMPARED_ITEMS:
            body["tools"] = tools
    return {**arguments, "extra_body": {**body, **params.get("extra_body", {})}}


def _last(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """Returns the last messages that have no more than `COMPARED_ITEMS` items, themselves included."""
    items = 0
    for index in range(len(messages) - 1, -1, -1):
        content, calls = messages[index].get("content"), messages[index].get("tool_calls") or ()
        items += 1 + len(calls) + (len(content) if isinstance(content, list) else 0)
        if items > COMPARED_ITEMS:
            return messages[index + 1 :]
    return messages
