"""A guard on speed without timing: how many functions are called per streamed event and per run.

`benchmarks/calls.py` counts the calls, in Python and in C, that a run makes from the request
to the end of its stream, in process, on the path that ASGI takes. The figures are the same on
any machine, and within a few calls on any Python and with either line of AG-UI.

Each budget below stands beside the figure that was measured for it, and is about 15% above
that: room for another version of Python, none for one unintended call more per event.

To lower one after an improvement, run ``python -m benchmarks.calls``, put the new figure into
``measured``, and commit that with the improvement. To raise one, do the same, and say in the
commit what the calls buy: `benchmarks/README.md` says how to measure what they cost.
A figure far below its budget fails as well, for then the budget guards nothing any more.
"""

from __future__ import annotations

import dataclasses
import functools
import threading

import pytest

from benchmarks.calls import Figures, measure

pytestmark = pytest.mark.requirement("PERF-01")

ROOM = 1.15
"""What a budget allows, as a multiple of what was measured."""
SLACK = 0.75
"""Below this multiple of what was measured, the measure is out of date."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """A figure of `Figures`, of one configuration, as it was measured last."""

    config: str
    figure: str
    measured: float

    @property
    def allowed(self) -> float:
        return self.measured * ROOM


BUDGETS = (
    # An event of a burst: all that are ready leave in one chunk.
    Budget("bench", "per_event", 4.3),
    Budget("bench-model", "per_event", 5.2),
    # An event that the event loop gets a turn after: it leaves alone, in the turn in which it comes.
    Budget("bench", "per_ticked_event", 80.3),
    Budget("bench-model", "per_ticked_event", 81.1),
    # A whole run of ten deltas: the request, its validation, the lease, the events, the end.
    Budget("bench", "per_run", 551.3),
    Budget("bench-model", "per_run", 596.3),
)


@functools.cache
def figures(config: str) -> Figures:
    """What a configuration costs, measured once, on a thread on which nothing else counts calls."""
    results: list[Figures] = []
    # A thread of its own, since a debugger or a coverage tool may have this one's profile function.
    thread = threading.Thread(target=lambda: results.append(measure(config, events=500, runs=20)))
    thread.start()
    thread.join()
    [result] = results
    return result


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: f"{budget.config}-{budget.figure}")
def test_calls_per_event_and_per_run_stay_within_their_budget(budget: Budget) -> None:
    calls = getattr(figures(budget.config), budget.figure)
    assert calls <= budget.allowed, (
        f"{budget.figure} of {budget.config} takes {calls:.1f} calls, {budget.measured} when last measured, "
        f"{budget.allowed:.1f} allowed: see the top of {__name__}"
    )
    assert calls >= budget.measured * SLACK, (
        f"{budget.figure} of {budget.config} takes only {calls:.1f} calls now: lower its budget from {budget.measured}"
    )


def test_calls_of_the_agent_itself_are_known() -> None:
    """A budget that the benchmark's agents had eaten up would say nothing about the runtime."""
    assert figures("bench").agent_per_event <= 3
    assert figures("bench-model").agent_per_event <= 6
