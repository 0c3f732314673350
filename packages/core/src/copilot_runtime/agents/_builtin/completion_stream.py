"""Translates the deltas of one completion to AG-UI events, on the wire."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ..._events.surrogates import join_surrogates
from .._tools.arguments import json_object
from . import deltas as kinds
from .deltas import Delta
from .encrypted_values import encode_encrypted
from .finish_reasons import Finish
from .messages import AssistantMessage, Call, Encrypted, Reasoning, Text
from .tool_calls import BROKEN_OFF, ToolCall, ToolCallAssembler

Event = dict[str, Any]


@dataclasses.dataclass(slots=True)
class _Block:
    """A text, or a block of reasoning, as far as it has been received."""

    id: str
    deltas: list[str] = dataclasses.field(default_factory=list)
    encrypted: Encrypted | None = None

    @property
    def text(self) -> str:
        return join_surrogates("".join(self.deltas))


class _TextBlock(_Block):
    pass


class _ReasoningBlock(_Block):
    pass


class CompletionTranslator:
    """Translates the deltas of one completion, and collects its message.

    Args:
        provider: the name of the model's provider.
        used_call_ids: the ids of the conversation's tool calls: servers that number the calls of each completion from
            0 would repeat them.
        tool_names: our names for the tools that the model may call, by those of the maker. A call is sent as soon as
            its name is one of them, any other once its arguments begin: its name may be sent in pieces.
        server: the tag of the provider's server; see `server_tag`.
    """

    def __init__(
        self,
        provider: str,
        used_call_ids: Iterable[str] = (),
        tool_names: Mapping[str, str] = MappingProxyType({}),
        *,
        server: str = "",
    ) -> None:
        self.usage: Mapping[str, int] = {}
        self.finish: Finish | None = None
        """How the completion ended; None as long as it has not."""
        self.finish_reason: str | None = None
        """The server's word for it."""
        self._provider = provider
        self._server = server
        self._used_call_ids = set(used_call_ids)
        self._tool_names = tool_names
        self._message_id = _new_id()
        self._has_message = False
        """Whether an event with the message's id has been yielded."""
        self._blocks: list[_Block | ToolCall] = []
        """What the completion consists of, in the order in which it began."""
        self._text: _TextBlock | None = None
        """The text in progress."""
        self._reasoning: _ReasoningBlock | None = None
        self._assembler = ToolCallAssembler(self._unique_id)
        self._call_in_progress: ToolCall | None = None

    @property
    def calls(self) -> list[ToolCall]:
        """The tool calls so far."""
        return self._assembler.calls

    @property
    def has_failed(self) -> bool:
        """Whether the completion broke off, or must not be used for another reason."""
        return self.finish is None or self.finish > Finish.LENGTH

    def feed(self, deltas: Iterable[Delta]) -> Iterator[Event]:
        """Yields the events of deltas; has to be iterated to its end."""
        for delta in deltas:
            yield from _HANDLERS[type(delta)](self, delta)

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
            call.name = self._own_name(call)
            yield {"type": "TOOL_CALL_END", "toolCallId": call.id}
        for block in self._blocks:
            if isinstance(block, _Block) and block.encrypted is not None:
                yield self._encrypted_value("message", block.id, block.encrypted)
        for call in self.calls:
            if call.encrypted is not None:
                yield self._encrypted_value("tool-call", call.id, call.encrypted)

    def message(self) -> AssistantMessage | None:
        """Returns the completion as a message of the next request; None if it is empty."""
        calls = {call.id: call for call in self.calls}
        # Calls that were found to be a part of another one are not among them any more.
        begun = [block for block in self._blocks if isinstance(block, _Block) or calls.pop(block.id, None) is not None]
        blocks = [*begun, *calls.values()]
        parts = tuple(map(_to_part, blocks))
        return AssistantMessage(parts) if parts else None

    def _encrypted_value(self, subtype: str, entity_id: str, encrypted: Encrypted) -> Event:
        return {
            "type": "REASONING_ENCRYPTED_VALUE",
            "subtype": subtype,
            "entityId": entity_id,
            "encryptedValue": encode_encrypted(encrypted, self._provider, self._server),
        }

    def _add_usage(self, delta: kinds.UsageReport) -> Iterator[Event]:
        self.usage = {**self.usage, **delta.counts}
        return iter(())

    def _end(self, delta: kinds.End) -> Iterator[Event]:
        if self.finish is None or delta.finish >= self.finish:
            self.finish, self.finish_reason = delta.finish, delta.reason
        return iter(())

    # --- text and reasoning ---

    def _add_text(self, delta: kinds.TextDelta) -> Iterator[Event]:
        self._call_in_progress = None
        if self._text is None:
            yield from self._end_reasoning()
            yield from self._send_pending_calls()
            if self._has_message:
                # Text after a tool call is a message of its own: the parent message of the call has ended.
                self._message_id = _new_id()
            self._has_message = True
            self._text = _TextBlock(self._message_id)
            self._blocks.append(self._text)
            yield {"type": "TEXT_MESSAGE_START", "messageId": self._text.id, "role": "assistant"}
        self._text.deltas.append(delta.text)
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text.id, "delta": delta.text}

    def _end_text(self) -> Iterator[Event]:
        if self._text is not None:
            yield {"type": "TEXT_MESSAGE_END", "messageId": self._text.id}
            self._text = None

    def _add_reasoning(self, delta: kinds.ReasoningDelta) -> Iterator[Event]:
        self._call_in_progress = None
        if self._reasoning is None:
            self._reasoning = yield from self._start_reasoning()
        self._reasoning.deltas.append(delta.text)
        yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": self._reasoning.id, "delta": delta.text}

    def _start_reasoning(self) -> Generator[Event, None, _ReasoningBlock]:
        yield from self._end_text()
        yield from self._send_pending_calls()
        if self._has_message:
            # What follows is a message of its own, since the order of reasoning and calls matters to makers.
            self._message_id, self._has_message = _new_id(), False
        block = _ReasoningBlock(_new_id())
        self._blocks.append(block)
        yield {"type": "REASONING_START", "messageId": block.id}
        yield {"type": "REASONING_MESSAGE_START", "messageId": block.id, "role": "reasoning"}
        return block

    def _end_reasoning_block(self, delta: kinds.ReasoningEnd) -> Iterator[Event]:
        if self._reasoning is None:
            self._reasoning = yield from self._start_reasoning()
        self._reasoning.encrypted = delta.encrypted
        yield from self._end_reasoning()

    def _end_reasoning(self) -> Iterator[Event]:
        if self._reasoning is not None:
            yield {"type": "REASONING_MESSAGE_END", "messageId": self._reasoning.id}
            yield {"type": "REASONING_END", "messageId": self._reasoning.id}
            self._reasoning = None

    def _attach_to_text(self, delta: kinds.TextEncrypted) -> Iterator[Event]:
        return self._attach(_TextBlock, delta.encrypted)

    def _attach_to_reasoning(self, delta: kinds.ReasoningEncrypted) -> Iterator[Event]:
        return self._attach(_ReasoningBlock, delta.encrypted)

    def _attach(self, kind: type[_Block], encrypted: Encrypted) -> Iterator[Event]:
        block = next((block for block in reversed(self._blocks) if isinstance(block, kind)), None)
        if block is not None:
            block.encrypted = encrypted
        return iter(())

    # --- tool calls ---

    def _add_pieces(self, delta: kinds.ToolCallPieces) -> Iterator[Event]:
        for call in self._assembler.add(delta.pieces):
            self._call_in_progress = call
            if call.name and (not call.is_empty or call.has_started or self._is_whole_name(call.name)):
                yield from self._send_call(call)

    def _send_call(self, call: ToolCall) -> Iterator[Event]:
        """Yields the events of a call that have not been sent yet, except its end."""
        if not call.has_started:
            call.has_started = True
            self._blocks.append(call)
            yield from self._send_pending_calls(before=call)
            yield from self._end_reasoning()
            yield from self._end_text()
            self._has_message = True
            yield {
                "type": "TOOL_CALL_START",
                "toolCallId": call.id,
                "toolCallName": self._own_name(call),
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

    def _own_name(self, call: ToolCall) -> str:
        return self._tool_names.get(call.name, call.name)

    def _is_whole_name(self, name: str) -> bool:
        """Returns whether a name is a tool's, and not the beginning of another tool's."""
        return [other for other in self._tool_names if other.startswith(name)] == [name]

    def _unique_id(self, provider_id: str) -> str:
        provider_id = join_surrogates(provider_id)
        if provider_id and provider_id not in self._used_call_ids:
            call_id = provider_id
        else:
            call_id = f"call_{uuid.uuid4().hex}"
        self._used_call_ids.add(call_id)
        return call_id


_HANDLERS: Mapping[type, Callable[[CompletionTranslator, Any], Iterator[Event]]] = {
    kinds.TextDelta: CompletionTranslator._add_text,
    kinds.TextEncrypted: CompletionTranslator._attach_to_text,
    kinds.ReasoningDelta: CompletionTranslator._add_reasoning,
    kinds.ReasoningEncrypted: CompletionTranslator._attach_to_reasoning,
    kinds.ReasoningEnd: CompletionTranslator._end_reasoning_block,
    kinds.ToolCallPieces: CompletionTranslator._add_pieces,
    kinds.UsageReport: CompletionTranslator._add_usage,
    kinds.End: CompletionTranslator._end,
}


def _to_part(block: _Block | ToolCall) -> Text | Reasoning | Call:
    if isinstance(block, ToolCall):
        return Call(block.id, block.name, json_object(block.arguments), block.encrypted)
    return (Text if isinstance(block, _TextBlock) else Reasoning)(block.text, block.encrypted)


def _new_id() -> str:
    return str(uuid.uuid4())
