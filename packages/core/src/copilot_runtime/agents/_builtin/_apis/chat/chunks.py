"""Reads the chunks of a completion of the Chat Completions API, of servers with habits of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ...._tools.arguments import arguments_json
from ...deltas import (
    Delta,
    End,
    ReasoningDelta,
    ReasoningEncrypted,
    ReasoningEnd,
    ToolCallPiece,
    ToolCallPieces,
    UsageReport,
)
from ...finish_reasons import parse_finish_reason
from ..members import extra_members, member, read_counts
from .content_deltas import ReasoningDetails, content_deltas, text_of
from .messages import REASONING_DETAILS, REASONING_FIELD, REASONING_FIELDS, call_member

_COUNTS: Mapping[str, tuple[str, ...]] = {
    "inputTokens": ("prompt_tokens",),
    "outputTokens": ("completion_tokens",),
    "totalTokens": ("total_tokens",),
    "reasoningTokens": ("completion_tokens_details", "reasoning_tokens"),
    "cachedInputTokens": ("prompt_tokens_details", "cached_tokens"),
}
"""By AG-UI's name of a count, its path in the SDK's usage."""


class ChunkParser:
    """Reads the chunks of one completion."""

    def __init__(self) -> None:
        self._has_delta = False
        self._reasoning_field: str | None = None
        """The server's name for the field of reasoning that no tool call has followed yet."""
        self._has_reasoning = False
        self._encrypted: dict[str, Any] = {}
        """What is attached to the reasoning."""
        self._details = ReasoningDetails()

    def deltas(self, chunk: Any) -> Iterator[Delta]:
        """Yields the deltas of a chunk; has to be iterated to its end."""
        # The SDK does not validate: any value may be of any type.
        usage = member(chunk, "usage")
        if usage is not None:
            yield UsageReport(read_counts(usage, _COUNTS))  # some servers send the running total in each chunk
        choices = member(chunk, "choices")
        for choice in choices if isinstance(choices, list) else ():
            if member(choice, "index"):
                continue
            yield from self._choice(self._delta_of(choice))
            reason = member(choice, "finish_reason")
            finish = parse_finish_reason(reason)
            if finish is not None:
                if self._details.details:
                    self._encrypted[REASONING_DETAILS] = self._details.details
                    yield ReasoningEncrypted(self._encrypted)
                yield End(finish, str(reason))

    def _delta_of(self, choice: Any) -> Any:
        """Returns the delta of a choice: some servers send it as a ``message``."""
        delta = member(choice, "delta")
        self._has_delta = self._has_delta or delta is not None
        return delta if self._has_delta else extra_members(choice).get("message")

    def _choice(self, delta: Any) -> Iterator[Delta]:
        extra = extra_members(delta)
        if extra:
            yield from self._reasoning(extra)
        content = member(delta, "content")
        for part in content_deltas(member(delta, "refusal") if content in (None, "", []) else content):
            self._has_reasoning = self._has_reasoning or isinstance(part, ReasoningDelta)
            yield part
        pieces = _parse_pieces(delta)
        if pieces:
            if self._reasoning_field is not None:
                # Only reasoning before tool calls is sent back.
                self._encrypted[REASONING_FIELD] = self._reasoning_field
                yield ReasoningEncrypted({**self._encrypted})
                self._reasoning_field = None
            yield ToolCallPieces(pieces)

    def _reasoning(self, extra: Mapping[str, Any]) -> Iterator[Delta]:
        details = self._details.add(extra.get(REASONING_DETAILS))
        for name in REASONING_FIELDS:
            text = text_of(extra.get(name))
            if text:
                self._reasoning_field = name
                break
        else:
            text = details
        if text:
            self._has_reasoning = True
            yield ReasoningDelta(text)
        elif self._details.details and not self._has_reasoning:
            self._has_reasoning = True
            # Reasoning that is not shown, to which further details are attached.
            yield ReasoningEnd({REASONING_DETAILS: self._details.details})


def to_events(value: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """Returns None for a part of a completion, or all of one, and nothing for anything else."""
    return None if "choices" in value or "usage" in value else ()


def _parse_pieces(delta: Any) -> list[ToolCallPiece]:
    """Returns the pieces of tool calls in a delta, or in a complete message."""
    calls = member(delta, "tool_calls")
    if isinstance(calls, Mapping):
        calls = [calls]
    elif not calls or not isinstance(calls, list):
        # The predecessor of tool_calls; servers that send both send the same call.
        function = member(delta, "function_call")
        calls = [{"function": function}] if function else ()
    return [_parse_piece(call) for call in calls if isinstance(call, Mapping | BaseModel)]


def _parse_piece(call: Any) -> ToolCallPiece:
    function, call_id = member(call, "function"), member(call, "id")
    name, arguments = member(function, "name"), member(function, "arguments")
    if isinstance(call_id, int):
        call_id = str(call_id)
    if not isinstance(arguments, str):
        # An empty object is sent before the actual arguments, or in place of none.
        arguments = "" if arguments in (None, {}, []) else arguments_json(arguments)
    return ToolCallPiece(
        index=member(call, "index"),
        id=call_id if isinstance(call_id, str) else "",
        name=name if isinstance(name, str) and name.strip() else "",
        arguments=arguments,
        encrypted=call_member(extra_members(call)),
    )
