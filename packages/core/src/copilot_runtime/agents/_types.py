"""Types for annotations. Imported when they are used: AG-UI's models take longer to import than all else."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from ag_ui.core import BaseEvent, RunAgentInput

from ._context import RunContext

AgentEvent: TypeAlias = BaseEvent | Mapping[str, Any]
"""An AG-UI event: a model of ``ag_ui.core``, or a mapping with the names on the wire."""

AgentEvents: TypeAlias = AsyncIterable[AgentEvent] | Iterable[AgentEvent]
"""The events of a run, such as the generator or asynchronous generator that yields them."""

AgentFunction: TypeAlias = (
    Callable[[RunAgentInput], AgentEvents | Awaitable[AgentEvents]]
    | Callable[[RunAgentInput, RunContext], AgentEvents | Awaitable[AgentEvents]]
)
"""A function that runs an agent: a generator, an asynchronous generator, or one that returns its events."""
