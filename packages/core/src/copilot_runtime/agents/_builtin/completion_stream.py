"""Translates the stream of one completion to AG-UI events, on the wire."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ..._events.surrogates import join_surrogates
from .chat_messages import ChatMessage, to_chat_tool_call
from .finish_reasons import Finish, parse_finish_reason
from .providers import Provider
from .thought_signatures import encode_signature
from .tool_calls import BROKEN_OFF, ToolCall, ToolCallAssembler, extra_members, member, parse_pieces

Event = dict[str, Any]

_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Of DeepSeek, Qwen and vLLM; of OpenRouter, Groq and Ollama; of others."""


class CompletionTranslator:
    """Translates the chunks of one completion, and collects its message.

    Args:
        provider: the provider of the model.
        used_call_ids: the ids of the conversation's tool calls: servers that number the calls of each completion from
            0 would repeat them.
        tool_names: the names of the tools that the model may call. A call is sent as soon as its name is one of them,
            any other once its arguments begin: its name may be sent in pieces.
    """

    def __init__(self, provider: Provider, used_call_ids: Iterable[str] = (), tool_names: Collection[str] = ()) -> None:
        self.text = ""
        self.reasoning: dict[str, str] = {}
        """By the server's name for the field."""
        self.usage: Any = None
        self.finish: Finish | None = None
        """How the completion ended; None as long as it has not."""
        self.finish_reason: str | None = None
        """The server's word for it."""
        self._provider = provider
        self._used_call_ids = set(used_call_ids)
        self._tool_names = tool_names
        self._message_id = _new_id()
        self._text_id: str | None = None
        self._reasoning_id: str | None = None
        self._text_deltas: list[str] = []
        self._assembler = ToolCallAssembler(self._unique_id)
        self._call_in_progress: ToolCall | None = None
        self._has_delta = False

    @property
    def calls(self) -> list[ToolCall]:
        """The tool calls so far."""
        return self._assembler.calls

    @property
    def has_failed(self) -> bool:
        """Whether the completion broke off, or must not be used for another reason."""
        return self.finish is None or self.finish > Finish.LENGTH

    def feed(self, chunk: Any) -> Iterator[Event]:
        """Yields the events of a chunk; has to be iterated to its end."""
        # The SDK does not validate: any value may be of any type.
        usage = member(chunk, "usage")
        if usage is not None:
            self.usage = usage  # some servers send the running total in each chunk
        choices = member(chunk, "choices")
        for choice in choices if isinstance(choices, list) else ():
            if member(choice, "index"):
                continue
            yield from self._delta(self._delta_of(choice))
            self._note_finish(member(choice, "finish_reason"))

    def close(self) -> Iterator[Event]:
        """Yields the events that end everything open; call it once the completion is complete or has failed.

        Afterwards each call that must not be run has a fault.
        """
        if self.has_failed:
            self._assembler.discard(BROKEN_OFF)
        else:
            self._assembler.settle(truncated=self._call_in_progress if self.finish is Finish.LENGTH else None)
        yield from self._end_reasoning()
        yield from self._end_text()
        for call in self.calls:
            yield from self._send_call(call)
        for call in self.calls:
            yield {"type": "TOOL_CALL_END", "toolCallId": call.id}
            if call.signature is not None:
                yield {
                    "type": "REASONING_ENCRYPTED_VALUE",
                    "subtype": "tool-call",
                    "entityId": call.id,
                    "encryptedValue": encode_signature(call.signature, self._provider),
                }
        self.text = join_surrogates("".join(self._text_deltas))
        self.reasoning = {name: join_surrogates(text) for name, text in self.reasoning.items()}

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

    def _delta_of(self, choice: Any) -> Any:
        """Returns the delta of a choice: some servers send it as a ``message``."""
        delta = member(choice, "delta")
        self._has_delta = self._has_delta or delta is not None
        return delta if self._has_delta else extra_members(choice).get("message")

    def _delta(self, delta: Any) -> Iterator[Event]:
        extra = extra_members(delta)
        if extra:
            yield from self._reasoning_delta(extra)
        text = _to_text(member(delta, "content") or member(delta, "refusal"))
        if text:
            yield from self._text_delta(text)
        for call in self._assembler.add(parse_pieces(delta)):
            self._call_in_progress = call
            if call.name and (not call.is_empty or call.has_started or self._is_whole_name(call.name)):
                yield from self._send_call(call)

    def _note_finish(self, value: Any) -> None:
        finish = parse_finish_reason(value)
        if finish is not None and (self.finish is None or finish >= self.finish):
            self.finish, self.finish_reason = finish, str(value)

    # --- text and reasoning ---

    def _text_delta(self, text: str) -> Iterator[Event]:
        self._call_in_progress = None
        if self._text_id is None:
            yield from self._end_reasoning()
            yield from self._send_pending_calls()
            # Text after a tool call is a message of its own: the parent message of the call has ended.
            self._text_id = _new_id() if self.calls or self._text_deltas else self._message_id
            yield {"type": "TEXT_MESSAGE_START", "messageId": self._text_id, "role": "assistant"}
        self._text_deltas.append(text)
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text_id, "delta": text}

    def _end_text(self) -> Iterator[Event]:
        if self._text_id is not None:
            yield {"type": "TEXT_MESSAGE_END", "messageId": self._text_id}
            self._text_id = None

    def _reasoning_delta(self, members: Mapping[str, Any]) -> Iterator[Event]:
        name = next((name for name in _REASONING_FIELDS if members.get(name) and isinstance(members[name], str)), None)
        if name is None:
            return
        self._call_in_progress = None
        text = members[name]
        self.reasoning[name] = self.reasoning.get(name, "") + text
        if self._reasoning_id is None:
            yield from self._end_text()
            yield from self._send_pending_calls()
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

    def _send_call(self, call: ToolCall) -> Iterator[Event]:
        """Yields the events of a call that have not been sent yet, except its end."""
        if not call.has_started:
            call.has_started = True
            yield from self._send_pending_calls(before=call)
            yield from self._end_reasoning()
            yield from self._end_text()
            yield {
                "type": "TOOL_CALL_START",
                "toolCallId": call.id,
                "toolCallName": call.name,
                "parentMessageId": self._message_id,
            }
        for delta in call.next_deltas():
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": call.id, "delta": delta}

    def _send_pending_calls(self, before: ToolCall | None = None) -> Iterator[Event]:
        """Yields the starts of calls whose names may have been incomplete until now."""
        for call in self.calls:
            if call is before:
                return
            if call.name and not call.has_started:
                yield from self._send_call(call)

    def _is_whole_name(self, name: str) -> bool:
        """Returns whether a name is a tool's, and not the beginning of another tool's."""
        return [other for other in self._tool_names if other.startswith(name)] == [name]

    def _unique_id(self, provider_id: str) -> str:
        if provider_id and provider_id not in self._used_call_ids:
            call_id = provider_id
        else:
            call_id = f"call_{uuid.uuid4().hex}"
        self._used_call_ids.add(call_id)
        return call_id


def _to_text(content: Any) -> str:
    """Returns the text of a delta; some servers send it in parts, as in a request."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))


def _new_id() -> str:
    return str(uuid.uuid4())
