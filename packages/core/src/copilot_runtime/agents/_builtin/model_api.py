"""What the agent loop and the APIs of models exchange: a request, and the deltas of its completion.

The loop knows no maker of models; each package of `_apis` translates to one API and back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from .deltas import Delta
from .messages import Message

if TYPE_CHECKING:
    from .._tools.toolbox import ToolDefinition
    from .options import Options


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """What a step of a run sends to the model."""

    model: str
    messages: Sequence[Message]
    tools: Sequence[ToolDefinition]
    tool_choice: str | Mapping[str, Any] | None
    """In the form of `Options.tool_choice`; None without tools."""
    options: Options


class DeltaStream(Protocol):
    """The deltas of one completion."""

    async def next(self) -> Iterable[Delta] | None:
        """Returns the deltas of the next frame, which may be none; None at the end of the stream."""


class ModelConnection(Protocol):
    """A model server, as a run calls it."""

    @property
    def secret(self) -> str:
        """A text to mask in errors, such as the API key; may be empty."""

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[DeltaStream]:
        """Sends a request. Leaving the block closes the connection.

        The block and the stream raise ModelError and what the maker's SDK raises.
        """


def named_tool(tool_choice: str | Mapping[str, Any] | None) -> str | None:
    """Returns the name of the tool that a tool choice names; None for any other choice."""
    return tool_choice["function"]["name"] if isinstance(tool_choice, Mapping) else None
