"""A cost oracle: what a function of a caller's or an agent's input costs must be proportional to its size."""

from __future__ import annotations

import functools
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from copilot_runtime._http.kept_results import KeptResults

MAX_FACTOR = 6
"""How many times as much four times the input may cost."""


class Cost(NamedTuple):
    """What a call costs. Neither member depends on how fast the machine is."""

    steps: int
    """Lines of Python that were executed, calls and returns included."""
    allocated: int
    """Bytes that were allocated, whether or not they were released again: copies that a single step makes count."""


def measure(call: Callable[[], object]) -> Cost:
    """Returns what a call costs."""
    steps = allocated = 0
    held = 0

    def count(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        nonlocal steps, allocated, held
        steps += 1
        # The peak since the step before, since what it allocated may be free again.
        now, peak = tracemalloc.get_traced_memory()
        allocated += peak - held
        held = now
        tracemalloc.reset_peak()
        return count

    previous = sys.gettrace()
    tracemalloc.start()
    try:
        held = tracemalloc.get_traced_memory()[0]
        sys.settrace(count)
        call()
    finally:
        sys.settrace(previous)
        allocated += tracemalloc.get_traced_memory()[1] - held
        tracemalloc.stop()
    return Cost(steps, allocated)


def assert_linear(prepare: Callable[[int], Callable[[], object]], size: int = 100) -> None:
    """Asserts that a call costs at most `MAX_FACTOR` times as much for four times the input.

    Args:
        prepare: Returns the call for an input of a given size. Its own cost does not count.
        size: The size of the smaller input.
    """
    prepare(size)()  # fills what is made once and kept for good
    small, large = (_measure_first(prepare(number)) for number in (size, 4 * size))
    assert large.steps <= MAX_FACTOR * small.steps, (small, large)
    assert large.allocated <= MAX_FACTOR * small.allocated, (small, large)


def _measure_first(call: Callable[[], object]) -> Cost:
    """Returns what a call costs with an input that came for the first time."""
    for name, module in list(sys.modules.items()):
        for value in list(vars(module).values()) if name.startswith("copilot_runtime") else ():
            if isinstance(value, functools._lru_cache_wrapper) and value.cache_parameters()["maxsize"] is not None:
                value.cache_clear()
            elif isinstance(value, KeptResults):
                value.clear()
    return measure(call)
