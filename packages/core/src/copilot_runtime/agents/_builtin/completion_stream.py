"""One answer of the model: chunks of a completion in, AG-UI events out, in wire form."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from .chat_messages import Message, to_chat_tool_call
from .providers import Provider
from .thought_signatures import encode_signature, signature_of

Event = dict[str, Any]

_REASONING = ("reasoning_content", "reasoning", "thinking")
"""What servers call it: DeepSeek, Qwen and vLLM; OpenRouter, Groq and Ollama; others."""


@dataclasses.dataclass(slots=True)
class ToolCall:
    """A tool call, as far as it has come."""

    id: str
    name: str = ""
    arguments: str = ""
    key: Any = None
    """Where the stream counts it."""
    provider_id: str | None = None
    """What its server calls it."""
    signature: dict[str, Any] | None = None

    @property
    def has_started(self) -> bool:
        return bool(self.name)


class CompletionTranslator:
    """What the model says in one request.

    ``taken`` are the ids of tool calls that the conversation has: servers that count their
    calls from 0 in each answer would repeat them.
    """

    def __init__(self, provider: Provider, taken: Iterable[str] = ()) -> None:
        self.calls: list[ToolCall] = []
        self.text = ""
        self.reasoning: dict[str, str] = {}
        """By the name that the server has for it."""
        self.usage: Any = None
        self.finish_reason: str | None = None
        self._provider = provider
        self._taken = set(taken)
        self._message_id = _new_id()
        self._text_id: str | None = None
        self._reasoning_id: str | None = None
        self._pieces: list[str] = []

    def feed(self, chunk: Any) -> Iterator[Event]:
        """The events that a chunk brings: iterate it to its end."""
        if chunk.usage is not None:
            self.usage = chunk.usage  # some servers repeat it, grown, in each chunk
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
            for piece in delta.tool_calls or ():
                yield from self._tool_call_delta(piece)

    def close(self) -> Iterator[Event]:
        """The events that end what is open, when the answer is complete or has broken off."""
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
        self.text = "".join(self._pieces)

    def message(self) -> Message:
        """The answer as a message of the next request."""
        made: Message = {"role": "assistant"}
        if self.text:
            made["content"] = self.text
        if self.calls:
            made["tool_calls"] = [
                to_chat_tool_call(call.id, call.name, call.arguments, call.signature) for call in self.calls
            ]
            # DeepSeek refuses calls that come back without the thoughts before them.
            made.update(self.reasoning)
        return made

    # --- text and reasoning ---

    def _text_delta(self, text: str) -> Iterator[Event]:
        if self._text_id is None:
            yield from self._end_reasoning()
            # Text after a tool call is a message of its own: the call's parent has ended.
            self._text_id = _new_id() if self.calls or self._pieces else self._message_id
            yield {"type": "TEXT_MESSAGE_START", "messageId": self._text_id, "role": "assistant"}
        self._pieces.append(text)
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text_id, "delta": text}

    def _end_text(self) -> Iterator[Event]:
        if self._text_id is not None:
            yield {"type": "TEXT_MESSAGE_END", "messageId": self._text_id}
            self._text_id = None

    def _reasoning_delta(self, members: dict[str, Any]) -> Iterator[Event]:
        name = next((name for name in _REASONING if members.get(name) and isinstance(members[name], str)), None)
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

    def _tool_call_delta(self, piece: Any) -> Iterator[Event]:
        function = piece.function
        name = (function.name if function is not None else None) or ""
        arguments = (function.arguments if function is not None else None) or ""
        call = self._find_or_add_call(piece, name)
        call.signature = signature_of(piece.model_extra) or call.signature
        held = "" if call.has_started else call.arguments
        call.arguments += arguments
        if not call.has_started:
            if not name:
                return  # its arguments wait until it can be shown
            call.name = name
            yield from self._end_reasoning()
            yield from self._end_text()
            yield {
                "type": "TOOL_CALL_START",
                "toolCallId": call.id,
                "toolCallName": name,
                "parentMessageId": self._message_id,
            }
        if held or arguments:
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": call.id, "delta": held + arguments}

    def _find_or_add_call(self, piece: Any, name: str) -> ToolCall:
        """The call that a piece belongs to: servers count them, or name them, or do neither."""
        same = [call for call in self.calls if call.key == piece.index]
        found = next((call for call in reversed(same) if not piece.id or piece.id == call.provider_id), None)
        if found is None and same and not name:
            found = same[-1]
        if found is not None and not (name and not piece.id and found.has_started):
            return found
        call = ToolCall(self._unique_id(piece.id), key=piece.index, provider_id=piece.id or None)
        self.calls.append(call)
        return call

    def _unique_id(self, wanted: str | None) -> str:
        call_id = wanted if wanted and wanted not in self._taken else f"call_{uuid.uuid4().hex}"
        self._taken.add(call_id)
        return call_id


def _new_id() -> str:
    return str(uuid.uuid4())
