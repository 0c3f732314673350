"""Translates the stream of one completion to AG-UI events, on the wire."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from .chat_messages import ChatMessage, to_chat_tool_call
from .providers import Provider
from .thought_signatures import encode_signature, extract_signature

Event = dict[str, Any]

_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Of DeepSeek, Qwen and vLLM; of OpenRouter, Groq and Ollama; of others."""


@dataclasses.dataclass(slots=True)
class ToolCall:
    """A tool call, as far as it has been received."""

    id: str
    name: str = ""
    arguments: str = ""
    index: Any = None
    """Its index in the stream."""
    provider_id: str | None = None
    """Its id in the stream."""
    signature: dict[str, Any] | None = None

    @property
    def has_started(self) -> bool:
        return bool(self.name)


class CompletionTranslator:
    """Translates the chunks of one completion, and collects its message.

    Args:
        provider: the provider of the model.
        used_call_ids: the ids of the conversation's tool calls: servers that number the calls of each completion from
            0 would repeat them.
    """

    def __init__(self, provider: Provider, used_call_ids: Iterable[str] = ()) -> None:
        self.calls: list[ToolCall] = []
        self.text = ""
        self.reasoning: dict[str, str] = {}
        """By the server's name for the field."""
        self.usage: Any = None
        self.finish_reason: str | None = None
        self._provider = provider
        self._used_call_ids = set(used_call_ids)
        self._message_id = _new_id()
        self._text_id: str | None = None
        self._reasoning_id: str | None = None
        self._text_deltas: list[str] = []

    def feed(self, chunk: Any) -> Iterator[Event]:
        """Yields the events of a chunk; has to be iterated to its end."""
        if chunk.usage is not None:
            self.usage = chunk.usage  # some servers send the running total in each chunk
        for choice in chunk.choices or ():
            if choice.index:
                continue
            if choice.finish_reason is not None:
                self.finish_reason = choice.finish_reason
            delta = choice.delta
            if delta is None:
                continue
            if delta.model_extra:
                yield from self._reasoning_delta(delta.model_extra)
            text = delta.content or delta.refusal
            if text:
                yield from self._text_delta(text)
            for call_delta in delta.tool_calls or ():
                yield from self._tool_call_delta(call_delta)

    def close(self) -> Iterator[Event]:
        """Yields the events that end everything open; call it once the completion is complete or has failed."""
        yield from self._end_reasoning()
        yield from self._end_text()
        for call in self.calls:
            if call.has_started:
                yield {"type": "TOOL_CALL_END", "toolCallId": call.id}
                if call.signature is not None:
                    yield {
                        "type": "REASONING_ENCRYPTED_VALUE",
                        "subtype": "tool-call",
                        "entityId": call.id,
                        "encryptedValue": encode_signature(call.signature, self._provider),
                    }
        self.calls = [call for call in self.calls if call.has_started]
        self.text = "".join(self._text_deltas)

    def message(self) -> ChatMessage:
        """Returns the completion as a message of the next request."""
        message: ChatMessage = {"role": "assistant"}
        if self.text:
            message["content"] = self.text
        if self.calls:
            message["tool_calls"] = [
                to_chat_tool_call(call.id, call.name, call.arguments, call.signature) for call in self.calls
            ]
            # DeepSeek rejects tool calls that are sent back without the reasoning before them.
            message.update(self.reasoning)
        return message

    # --- text and reasoning ---

    def _text_delta(self, text: str) -> Iterator[Event]:
        if self._text_id is None:
            yield from self._end_reasoning()
            # Text after a tool call is a message of its own: the parent message of the call has ended.
            self._text_id = _new_id() if self.calls or self._text_deltas else self._message_id
            yield {"type": "TEXT_MESSAGE_START", "messageId": self._text_id, "role": "assistant"}
        self._text_deltas.append(text)
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text_id, "delta": text}

    def _end_text(self) -> Iterator[Event]:
        if self._text_id is not None:
            yield {"type": "TEXT_MESSAGE_END", "messageId": self._text_id}
            self._text_id = None

    def _reasoning_delta(self, members: dict[str, Any]) -> Iterator[Event]:
        name = next((name for name in _REASONING_FIELDS if members.get(name) and isinstance(members[name], str)), None)
        if name is None:
            return
        text = members[name]
        self.reasoning[name] = self.reasoning.get(name, "") + text
        if self._reasoning_id is None:
            yield from self._end_text()
            self._reasoning_id = _new_id()
            yield {"type": "REASONING_START", "messageId": self._reasoning_id}
            yield {"type": "REASONING_MESSAGE_START", "messageId": self._reasoning_id, "role": "reasoning"}
        yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": self._reasoning_id, "delta": text}

    def _end_reasoning(self) -> Iterator[Event]:
        if self._reasoning_id is not None:
            yield {"type": "REASONING_MESSAGE_END", "messageId": self._reasoning_id}
            yield {"type": "REASONING_END", "messageId": self._reasoning_id}
            self._reasoning_id = None

    # --- tool calls ---

    def _tool_call_delta(self, delta: Any) -> Iterator[Event]:
        function = delta.function
        name = (function.name if function is not None else None) or ""
        arguments = (function.arguments if function is not None else None) or ""
        call = self._find_or_add_call(delta, name)
        call.signature = extract_signature(delta.model_extra) or call.signature
        buffered = "" if call.has_started else call.arguments
        call.arguments += arguments
        if not call.has_started:
            if not name:
                return  # its arguments are buffered until its name is known
            call.name = name
            yield from self._end_reasoning()
            yield from self._end_text()
            yield {
                "type": "TOOL_CALL_START",
                "toolCallId": call.id,
                "toolCallName": name,
                "parentMessageId": self._message_id,
            }
        if buffered or arguments:
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": call.id, "delta": buffered + arguments}

    def _find_or_add_call(self, delta: Any, name: str) -> ToolCall:
        """Returns the call that a delta belongs to: servers send its index, or its id, or neither."""
        same_index = [call for call in self.calls if call.index == delta.index]
        found = next((call for call in reversed(same_index) if not delta.id or delta.id == call.provider_id), None)
        if found is None and same_index and not name:
            found = same_index[-1]
        if found is not None and not (name and not delta.id and found.has_started):
            return found
        call = ToolCall(self._unique_id(delta.id), index=delta.index, provider_id=delta.id or None)
        self.calls.append(call)
        return call

    def _unique_id(self, provider_id: str | None) -> str:
        if provider_id and provider_id not in self._used_call_ids:
            call_id = provider_id
        else:
            call_id = f"call_{uuid.uuid4().hex}"
        self._used_call_ids.add(call_id)
        return call_id


def _new_id() -> str:
    return str(uuid.uuid4())
