"""The deltas of a completion, in no API's form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from .finish_reasons import Finish
from .messages import Encrypted


@dataclasses.dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the text."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class TextEncrypted:
    """What the maker attached to the last text."""

    encrypted: Encrypted


@dataclasses.dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the reasoning."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ReasoningEncrypted:
    """What the maker attached to the last reasoning."""

    encrypted: Encrypted


@dataclasses.dataclass(frozen=True, slots=True)
class ReasoningEnd:
    """The end of a block of reasoning: further reasoning is another block, also if no text comes in between.

    A block without a text is made of this alone.
    """

    encrypted: Encrypted | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """A piece of a tool call. Its strings are empty if the server did not send them."""

    index: Any
    id: str
    name: str
    arguments: str
    encrypted: Encrypted | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallPieces:
    """The pieces of tool calls that a server sent together."""

    pieces: Sequence[ToolCallPiece]


@dataclasses.dataclass(frozen=True, slots=True)
class UsageReport:
    """The token counts of the completion so far, by AG-UI's names; of several the last one counts."""

    counts: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """The end of the completion. Of several the worst counts."""

    finish: Finish
    reason: str
    """The server's word for it."""


Delta: TypeAlias = (
    TextDelta | TextEncrypted | ReasoningDelta | ReasoningEncrypted | ReasoningEnd | ToolCallPieces | UsageReport | End
)
