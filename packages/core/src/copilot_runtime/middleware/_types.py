"""Types for annotations. Imported when they are used, as `agents._types` is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from ag_ui.core import RunAgentInput

from ..agents._context import RunContext
from ..agents._types import AgentEvents
from ._events import RunEvents


class Next(Protocol):
    """Runs the agent, or the next middleware around it. May be called several times."""

    def __call__(self, input: RunAgentInput, context: RunContext | None = None) -> RunEvents:
        """Returns the events of a run with this input; with another context than the run's if one is passed."""


MiddlewareFunction: TypeAlias = (
    Callable[[RunAgentInput, Next], AgentEvents | Awaitable[AgentEvents]]
    | Callable[[RunAgentInput, Next, RunContext], AgentEvents | Awaitable[AgentEvents]]
)
"""A function around the runs of an agent: a generator, an asynchronous generator, or one that returns the events."""


class MiddlewareObject(Protocol):
    """An object whose method ``run(input, next)`` or ``run(input, next, context)`` is such a function."""

    @property
    def run(self) -> MiddlewareFunction:
        """Returns the events of a run."""


Middleware: TypeAlias = MiddlewareFunction | MiddlewareObject
"""What ``CopilotRuntime(middleware=...)`` and `use` accept."""
