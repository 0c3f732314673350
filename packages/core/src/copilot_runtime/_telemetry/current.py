"""What the agents of a run report to: they do not know their runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .spans import TracedOperation
    from .telemetry import Telemetry

T = TypeVar("T")

current_telemetry: ContextVar[Telemetry | None] = ContextVar("copilot_telemetry", default=None)
"""That of the run that this code belongs to; None if its runtime has none."""


@contextlib.contextmanager
def scoped(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Sets a context variable for as long as the block lasts.

    A coroutine that is dropped with its event loop ends in whatever context drops it, where there is nothing to reset.
    """
    token = variable.set(value)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            variable.reset(token)


@contextlib.contextmanager
def tool_span(tool: str) -> Iterator[TracedOperation | None]:
    """Traces a call of a tool for as long as the block lasts; None if the runtime has no telemetry."""
    telemetry = current_telemetry.get()
    if telemetry is None:
        yield None
    else:
        with telemetry.tool_call(tool) as call:
            yield call


@contextlib.contextmanager
def run_scope(telemetry: Telemetry, run: TracedOperation) -> Iterator[None]:
    """Makes the span of a run the current one of all that is started in the block, and has its calls reported."""
    with scoped(current_telemetry, telemetry), run.current():
        yield
