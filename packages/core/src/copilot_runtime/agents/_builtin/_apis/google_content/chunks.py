"""Reads the chunks of a response of Google's generateContent."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from ...._tools.arguments import arguments_json
from ...deltas import (
    Delta,
    End,
    ReasoningDelta,
    ReasoningEncrypted,
    TextDelta,
    TextEncrypted,
    ToolCallPiece,
    ToolCallPieces,
    UsageReport,
)
from ...finish_reasons import Finish, parse_finish_reason
from ..members import member, read_counts, text_member
from .contents import CALL_ID, SIGNATURE

_COUNTS: Mapping[str, tuple[str, ...]] = {
    "inputTokens": ("prompt_token_count",),
    "outputTokens": ("candidates_token_count",),
    "totalTokens": ("total_token_count",),
    "reasoningTokens": ("thoughts_token_count",),
    "cachedInputTokens": ("cached_content_token_count",),
}
"""By AG-UI's name of a count, its path in the SDK's usage."""


class ChunkReader:
    """Reads the chunks of one response."""

    def __init__(self) -> None:
        self._calls = 0
        self._has_text = False

    def deltas(self, chunk: Any) -> Iterator[Delta]:
        """Yields the deltas of a chunk."""
        usage = member(chunk, "usage_metadata")
        if usage is not None:
            counts = read_counts(usage, _COUNTS)
            if "reasoningTokens" in counts:
                # The maker counts reasoning apart from the output.
                counts["outputTokens"] = counts.get("outputTokens", 0) + counts["reasoningTokens"]
            yield UsageReport(counts)
        candidates = member(chunk, "candidates")
        candidate = candidates[0] if isinstance(candidates, list) and candidates else None
        parts = member(candidate, "content", "parts")
        for part in parts if isinstance(parts, list) else ():
            yield from self._part(part)
        reason = _name(member(candidate, "finish_reason"))
        finish = parse_finish_reason(reason)
        if finish is not None:
            yield End(finish, reason)
        blocked = _name(member(chunk, "prompt_feedback", "block_reason"))
        if blocked:
            yield End(Finish.FILTERED, blocked)

    def _part(self, part: Any) -> Iterator[Delta]:
        signature = member(part, SIGNATURE)
        encrypted = (
            {SIGNATURE: base64.b64encode(signature).decode()} if isinstance(signature, bytes) and signature else {}
        )
        text, call = text_member(part, "text"), member(part, "function_call")
        if call is not None:
            yield self._call(call, encrypted)
        elif member(part, "thought") is True:
            if text:
                yield ReasoningDelta(text)
            if encrypted:
                yield ReasoningEncrypted(encrypted)
        else:
            if text:
                self._has_text = True
                yield TextDelta(text)
            if encrypted:
                # The last part may have a signature and no text.
                yield TextEncrypted(encrypted) if self._has_text else ReasoningEncrypted(encrypted)

    def _call(self, call: Any, encrypted: Mapping[str, Any]) -> Delta:
        identity = text_member(call, "id")
        arguments = arguments_json(member(call, "args") or {})
        members = {**encrypted, **({CALL_ID: identity} if identity else {})}
        self._calls += 1
        piece = ToolCallPiece(self._calls, identity, text_member(call, "name"), arguments, members or None)
        return ToolCallPieces([piece])


def _name(value: Any) -> str:
    """Returns the name of a member of one of the SDK's enums; empty for None."""
    return "" if value is None else str(getattr(value, "value", value))
