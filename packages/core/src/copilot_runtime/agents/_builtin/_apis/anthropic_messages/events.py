"""Reads the events of a message of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...._tools.arguments import arguments_json
from ...deltas import (
    Delta,
    End,
    ReasoningDelta,
    ReasoningEnd,
    TextDelta,
    ToolCallPiece,
    ToolCallPieces,
    UsageReport,
)
from ...errors import named_model_error
from ...finish_reasons import parse_finish_reason
from ...messages import Encrypted
from ..members import member, read_counts, text_member
from .blocks import REDACTED, SIGNATURE

_COUNTS: Mapping[str, tuple[str, ...]] = {
    "input": ("input_tokens",),
    "written": ("cache_creation_input_tokens",),
    "read": ("cache_read_input_tokens",),
    "output": ("output_tokens",),
    "reasoning": ("output_tokens_details", "thinking_tokens"),
}
"""By a name for it here, the path of a count in the SDK's usage."""


class EventReader:
    """Reads the events of one message."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._is_thinking = False
        """Whether a block of thinking is in progress."""
        self._has_thinking_text = False
        self._signature = ""
        self._redacted: str | None = None
        self._input: Delta | None = None
        """The input of the tool in progress that came with its beginning, unless it comes in pieces, too."""

    def deltas(self, event: Any) -> Iterator[Delta]:
        """Yields the deltas of an event."""
        read = _READERS.get(text_member(event, "type"))
        if read is not None:
            yield from read(self, event)

    def _message_start(self, event: Any) -> Iterator[Delta]:
        yield from self._usage(member(event, "message", "usage"))

    def _block_start(self, event: Any) -> Iterator[Delta]:
        yield from self._block_stop(event)  # of the block before, if that was left out
        block = member(event, "content_block")
        match member(block, "type"):
            case "text":
                yield from self._text(text_member(block, "text"))
            case "thinking":
                yield from self._reasoning(text_member(block, "thinking"))
                self._signature = text_member(block, "signature")
            case "redacted_thinking":
                self._is_thinking, self._redacted = True, text_member(block, "data")
            case "tool_use":
                yield self._piece(event, id=text_member(block, "id"), name=text_member(block, "name"))
                given = member(block, "input")
                self._input = self._piece(event, more=arguments_json(given)) if given else None

    def _block_delta(self, event: Any) -> Iterator[Delta]:
        delta = member(event, "delta")
        match member(delta, "type"):
            case "text_delta":
                yield from self._text(text_member(delta, "text"))
            case "thinking_delta":
                yield from self._reasoning(text_member(delta, "thinking"))
            case "signature_delta":
                self._is_thinking = True
                self._signature += text_member(delta, "signature")
            case "input_json_delta":
                self._input = None
                yield self._piece(event, more=text_member(delta, "partial_json"))

    def _block_stop(self, event: Any) -> Iterator[Delta]:
        # Blocks follow each other, so that the index, which some servers leave out, is not needed.
        if self._input is not None:
            yield self._input
            self._input = None
        if self._is_thinking:
            encrypted = self._encrypted()
            if encrypted or self._has_thinking_text:
                yield ReasoningEnd(encrypted)
            self._is_thinking = self._has_thinking_text = False
            self._signature, self._redacted = "", None

    def _encrypted(self) -> Encrypted | None:
        if self._redacted is not None:
            return {REDACTED: self._redacted}
        return {SIGNATURE: self._signature} if self._signature else None

    def _message_delta(self, event: Any) -> Iterator[Delta]:
        yield from self._usage(member(event, "usage"))
        yield from self._block_stop(event)
        reason = member(event, "delta", "stop_reason")
        finish = parse_finish_reason(reason)
        if finish is not None:
            yield End(finish, str(reason))

    def _error(self, event: Any) -> Iterator[Delta]:
        error = member(event, "error")
        raise named_model_error((member(error, "type"),), text_member(error, "message"))

    def _text(self, text: str) -> Iterator[Delta]:
        if text:
            yield TextDelta(text)

    def _reasoning(self, text: str) -> Iterator[Delta]:
        self._is_thinking = True
        if text:
            self._has_thinking_text = True
            yield ReasoningDelta(text)

    def _piece(self, event: Any, *, id: str = "", name: str = "", more: str = "") -> Delta:
        return ToolCallPieces([ToolCallPiece(member(event, "index"), id, name, more)])

    def _usage(self, usage: Any) -> Iterator[Delta]:
        if usage is None:
            return
        self._counts |= read_counts(usage, _COUNTS)
        counts = self._counts
        # The maker counts what it has cached apart from the other input.
        total = counts.get("input", 0) + counts.get("written", 0) + counts.get("read", 0)
        report = {"inputTokens": total, "outputTokens": counts.get("output", 0)}
        report["totalTokens"] = sum(report.values())
        for name, key in (("cachedInputTokens", "read"), ("reasoningTokens", "reasoning")):
            if key in counts:
                report[name] = counts[key]
        yield UsageReport(report)


_READERS: Mapping[str, Callable[[EventReader, Any], Iterator[Delta]]] = {
    "message_start": EventReader._message_start,
    "content_block_start": EventReader._block_start,
    "content_block_delta": EventReader._block_delta,
    "content_block_stop": EventReader._block_stop,
    "message_delta": EventReader._message_delta,
    "error": EventReader._error,
}
"""By type."""
