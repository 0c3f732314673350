"""The conversation, from AG-UI's messages to those of the API.

A provider refuses a request in which a tool call has no result, or a result no call. But
conversations hold both: a run was stopped, a page was closed, a history was cut. So each
call is followed by its result, or by a word that there is none, and a result without a
call is told as text.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import to_json

from ... import _strict_json as strict_json
from .content_parts import flatten_text, to_content_parts
from .providers import Provider
from .thought_signatures import decode_signature

logger = logging.getLogger("copilot_runtime.agents.builtin")

Message = dict[str, Any]

_NO_RESULT = "There is no result: this call was never answered."


@dataclasses.dataclass(frozen=True, slots=True)
class _ConversionContext:
    provider: Provider
    forward_system: bool
    forward_developer: bool
    results: Mapping[str, str]
    """What each tool call was answered, by its id."""
    called: frozenset[str]


def to_chat_messages(
    messages: Iterable[Any],
    provider: Provider,
    *,
    answers: Mapping[str, str],
    forward_system: bool,
    forward_developer: bool,
) -> list[Message]:
    """The messages of a request.

    ``answers`` are results of tool calls that the messages do not have. Messages of the
    roles system and developer are left out unless they are to be forwarded, for whoever
    writes messages is not who writes the prompt. Reasoning and activities are left out: no
    provider takes them.
    """
    messages = list(messages)
    results = {one.tool_call_id: _result(one) for one in messages if one.role == "tool"}
    called = frozenset(call.id for one in messages if one.role == "assistant" for call in one.tool_calls or ())
    reading = _ConversionContext(provider, forward_system, forward_developer, {**results, **answers}, called)
    return [made for one in messages for made in _CONVERTERS[one.role](one, reading)]


def to_chat_tool_call(call_id: str, name: str, arguments: str, extra: Mapping[str, Any] | None = None) -> Message:
    """A tool call as it stands in an assistant's message; ``extra`` are members that only its provider knows."""
    return {
        **(extra or {}),
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": _json_object(arguments)},
    }


def to_chat_tool_result(call_id: str, text: str) -> Message:
    """What a tool call gave, as a message."""
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def _json_object(arguments: str) -> str:
    """Arguments that every provider takes: models do not always write JSON, and some servers parse it."""
    if not arguments.strip():
        return "{}"
    try:
        value = strict_json.loads(arguments.encode())
    except ValueError:
        value = None
    return arguments if isinstance(value, dict) else to_json({"invalid_arguments": arguments}).decode()


def _result(message: Any) -> str:
    text = flatten_text(message.content)
    return "\n".join(filter(None, (text, f"Error: {message.error}"))) if message.error else text


def _user(message: Any, reading: _ConversionContext) -> Iterator[Message]:
    content = message.content
    if not isinstance(content, str):
        content = to_content_parts(content, takes=reading.provider.supported_media)
    if content:
        yield {"role": "user", "content": content}


def _assistant(message: Any, reading: _ConversionContext) -> Iterator[Message]:
    calls = message.tool_calls or ()
    made: Message = {"role": "assistant"}
    if message.content:
        made["content"] = message.content
    if calls:
        made["tool_calls"] = [
            to_chat_tool_call(
                call.id,
                call.function.name,
                call.function.arguments,
                decode_signature(getattr(call, "encrypted_value", None), reading.provider),
            )
            for call in calls
        ]
    if len(made) > 1:
        yield made
    for call in calls:
        yield to_chat_tool_result(call.id, reading.results.get(call.id, _NO_RESULT))


def _tool(message: Any, reading: _ConversionContext) -> Iterator[Message]:
    if message.tool_call_id not in reading.called:
        logger.warning("a tool's result has no call in the conversation: the model is told it as text")
        yield {"role": "user", "content": f"[The result of an earlier tool call:]\n{_result(message)}"}


def _system(message: Any, reading: _ConversionContext) -> Iterator[Message]:
    if reading.forward_system and message.content:
        yield {"role": "system", "content": message.content}


def _developer(message: Any, reading: _ConversionContext) -> Iterator[Message]:
    if reading.forward_developer and message.content:
        yield {"role": reading.provider.developer_role, "content": message.content}


def _nothing(message: Any, reading: _ConversionContext) -> Iterator[Message]:
    return iter(())


_CONVERTERS: Mapping[str, Callable[[Any, _ConversionContext], Iterator[Message]]] = {
    "user": _user,
    "assistant": _assistant,
    "tool": _tool,
    "system": _system,
    "developer": _developer,
    "reasoning": _nothing,
    "activity": _nothing,
}
