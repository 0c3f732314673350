"""What all runs of an engine have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

from .agent_hints import AgentHints
from .agent_threads import AgentThreads
from .persistence import RunPersistence
from .types import EndedRun, RunSettings

RunT = TypeVar("RunT")


@dataclasses.dataclass(frozen=True, slots=True)  # no tuple, whose members take longer to look up, for each run
class RunServices(Generic[RunT]):
    """What the runs of an engine use, and what they call with themselves."""

    options: RunSettings
    threads: AgentThreads
    persistence: RunPersistence
    hints: AgentHints
    ended: Callable[[RunT], None]
    """Called when a run has ended and its log is complete, which it marks as ended."""
    lost: Callable[[RunT], None]
    """Called when another process has ended a run or taken over its thread."""
    reporter: Callable[[RunT], Callable[[RunT, EndedRun], None] | None]
    """Returns what is called with the report of a stored run; None for nothing, and no report."""
