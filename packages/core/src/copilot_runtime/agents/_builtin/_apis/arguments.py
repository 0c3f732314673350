"""The arguments of a request to the model, for the SDK's function."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

COMPARED_ITEMS = 64
"""How many messages and parts of them, and how many tools, the SDK is to compare with its types.

It does so on the event loop, and takes 0.1 to 0.8 ms for each.
"""


def request_arguments(
    params: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], *, name: str = "messages"
) -> dict[str, Any]:
    """Returns the arguments for messages and tools.

    What is in ``extra_body`` is sent in place of an argument of the same name, and without the comparison. So messages
    and tools beyond `COMPARED_ITEMS` cost little; wrappers of the SDK that record arguments see the last messages.

    Args:
        params: the other arguments.
        messages: the messages.
        tools: the definitions of the tools; none are sent if there are none.
        name: the name of the argument for the messages.
    """
    body: dict[str, Any] = {}
    last = _last(messages)
    arguments = {**params, name: last}
    if len(last) < len(messages):
        body[name] = messages
    if tools:
        arguments["tools"] = tools[:COMPARED_ITEMS]
        if len(tools) > COMPARED_ITEMS:
            body["tools"] = tools
    return {**arguments, "extra_body": {**body, **params.get("extra_body", {})}}


def split_params(
    params: Mapping[str, Any],
    provider_options: Mapping[str, Any],
    names: Container[str] = (),
    required: Container[str] = (),
) -> dict[str, Any]:
    """Returns parameters with those of ``provider_options`` in their ``extra_body``.

    They are there since the SDK's function accepts only the parameters that it knows. None removes one, which a server
    may reject.

    Args:
        params: the parameters.
        provider_options: the option ``provider_options``.
        names: those of ``params`` that the SDK's function does not know either.
        required: those without which the SDK's function cannot be called.
    """
    kept = {name: value for name, value in params.items() if name not in provider_options or name in required}
    body = {name: kept.pop(name) for name in list(kept) if name in names}
    return {**kept, "extra_body": {**body, **_without_none(provider_options)}}


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _last(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Returns the last messages that have no more than `COMPARED_ITEMS` items, themselves included."""
    items = 0
    for index in range(len(messages) - 1, -1, -1):
        content, calls = messages[index].get("content"), messages[index].get("tool_calls") or ()
        items += 1 + len(calls) + (len(content) if isinstance(content, list) else 0)
        if items > COMPARED_ITEMS:
            return messages[index + 1 :]
    return messages
