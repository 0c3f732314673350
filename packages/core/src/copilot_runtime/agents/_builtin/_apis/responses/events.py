"""Reads the events of a response of the Responses API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...deltas import (
    Delta,
    End,
    ReasoningDelta,
    ReasoningEnd,
    TextDelta,
    TextEncrypted,
    ToolCallPiece,
    ToolCallPieces,
    UsageReport,
)
from ...errors import named_model_error
from ...finish_reasons import Finish, parse_finish_reason
from ..members import list_member, member, read_counts, text_member
from .items import ENCRYPTED_CONTENT, PHASE
from .whole_response import to_delta_events

_COUNTS: Mapping[str, tuple[str, ...]] = {
    "inputTokens": ("input_tokens",),
    "outputTokens": ("output_tokens",),
    "totalTokens": ("total_tokens",),
    "reasoningTokens": ("output_tokens_details", "reasoning_tokens"),
    "cachedInputTokens": ("input_tokens_details", "cached_tokens"),
}
"""By AG-UI's name of a count, its path in the SDK's usage."""


class EventReader:
    """Reads the events of one response."""

    def __init__(self) -> None:
        self._summary_part: Any = None
        """The item and number of the part of a summary that was received last."""
        self._has_text = False
        """Whether a text of the message in progress was received."""
        self._has_reasoning_text = False
        self._has_output = False
        self._arguments_received: set[int | None] = set()
        """The outputs whose arguments were received in pieces."""

    def deltas(self, event: Any) -> Iterator[Delta]:
        """Yields the deltas of an event."""
        read = _READERS.get(text_member(event, "type"))
        if read is not None:
            yield from read(self, event)

    def _text(self, event: Any) -> Iterator[Delta]:
        text = text_member(event, "delta")
        if text:
            self._has_text = self._has_output = True
            yield TextDelta(text)

    def _reasoning(self, event: Any) -> Iterator[Delta]:
        text = text_member(event, "delta")
        if not text:
            return
        part = (member(event, "item_id"), member(event, "summary_index"), member(event, "content_index"))
        if self._has_reasoning_text and part != self._summary_part:
            text = f"\n\n{text}"
        self._summary_part, self._has_reasoning_text, self._has_output = part, True, True
        yield ReasoningDelta(text)

    def _item_added(self, event: Any) -> Iterator[Delta]:
        item = member(event, "item")
        if member(item, "type") == "function_call":
            yield self._piece(event, id=text_member(item, "call_id"), name=text_member(item, "name"))

    def _arguments(self, event: Any) -> Iterator[Delta]:
        self._arguments_received.add(_index(event))
        yield self._piece(event, arguments=text_member(event, "delta"))

    def _item_done(self, event: Any) -> Iterator[Delta]:
        item = member(event, "item")
        kind = member(item, "type")
        self._has_output = True
        if (kind == "message" and not self._has_text) or (kind == "reasoning" and not self._has_reasoning_text):
            for delta_event in to_delta_events(item):  # of a server that sends whole items only
                yield from self.deltas(delta_event)
        if kind == "reasoning":
            encrypted_content = text_member(item, "encrypted_content")
            encrypted = {"id": member(item, "id"), ENCRYPTED_CONTENT: encrypted_content} if encrypted_content else None
            if encrypted or self._has_reasoning_text:
                yield ReasoningEnd(encrypted)
            self._has_reasoning_text = False
        elif kind == "function_call":
            has_arguments = _index(event) in self._arguments_received
            yield self._piece(
                event,
                id=text_member(item, "call_id"),
                name=text_member(item, "name"),
                arguments="" if has_arguments else text_member(item, "arguments"),
            )
        elif kind == "message":
            self._has_text = False
            if text_member(item, PHASE):
                yield TextEncrypted({PHASE: text_member(item, PHASE)})

    def _piece(self, event: Any, *, id: str = "", name: str = "", arguments: str = "") -> Delta:
        return ToolCallPieces([ToolCallPiece(_index(event), id, name, arguments)])

    def _completed(self, event: Any) -> Iterator[Delta]:
        yield from self._whole_output(event)
        yield from self._usage(event)
        yield End(Finish.COMPLETE, "completed")

    def _incomplete(self, event: Any) -> Iterator[Delta]:
        yield from self._whole_output(event)
        yield from self._usage(event)
        reason = text_member(event, "response", "incomplete_details", "reason") or "incomplete"
        yield End(parse_finish_reason(reason) or Finish.FAILED, reason)

    def _whole_output(self, event: Any) -> Iterator[Delta]:
        """Yields the deltas of a response that a server has sent at its end only."""
        items = [] if self._has_output else list_member(event, "response", "output")
        for index, item in enumerate(items):
            yield from self._item_done({"output_index": index, "item": item})

    def _failed(self, event: Any) -> Iterator[Delta]:
        yield from self._usage(event)
        error = member(event, "response", "error")
        raise named_model_error((member(error, "code"), member(error, "type")), text_member(error, "message"))

    def _error(self, event: Any) -> Iterator[Delta]:
        raise named_model_error((member(event, "code"),), text_member(event, "message"))

    def _usage(self, event: Any) -> Iterator[Delta]:
        usage = member(event, "response", "usage")
        if usage is not None:
            yield UsageReport(read_counts(usage, _COUNTS))


def _index(event: Any) -> int | None:
    index = member(event, "output_index")
    return index if isinstance(index, int) else None


_READERS: Mapping[str, Callable[[EventReader, Any], Iterator[Delta]]] = {
    "response.output_text.delta": EventReader._text,
    "response.refusal.delta": EventReader._text,
    "response.reasoning_summary_text.delta": EventReader._reasoning,
    "response.reasoning_text.delta": EventReader._reasoning,
    "response.output_item.added": EventReader._item_added,
    "response.function_call_arguments.delta": EventReader._arguments,
    "response.output_item.done": EventReader._item_done,
    "response.completed": EventReader._completed,
    "response.incomplete": EventReader._incomplete,
    "response.failed": EventReader._failed,
    "error": EventReader._error,
}
"""By type. Others are about parts, and about tools that run at the maker."""
