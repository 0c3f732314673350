"""What a run costs the memory store does not depend on how much else the store has."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from copilot_runtime.stores import MemoryStore
from copilot_runtime.testing._factories import QUESTION, begin, message_events, record_run, store_run

from .cost_helpers import measure

pytestmark = pytest.mark.requirement("COST-03")

MAX_GROWTH = 1.2
"""How many times as many steps a call may take with four times as much in the store."""


def run_on_a_long_thread(store: MemoryStore, size: int) -> Callable[[], object]:
    for number in range(size):
        store_run(store, message=f"m{number}")
    lease = begin(store).lease
    finished = record_run(lease, message_events("next"), [QUESTION])
    return lambda: store.finish(lease, *finished)


def run_that_replaces_the_oldest(store: MemoryStore, size: int) -> Callable[[], object]:
    store._max_runs = size
    return run_on_a_long_thread(store, size)


def run_that_begins_on_a_long_thread(store: MemoryStore, size: int) -> Callable[[], object]:
    for number in range(size):
        store_run(store, message=f"m{number}")
    return lambda: begin(store)


@pytest.mark.parametrize(
    "prepare",
    [
        run_on_a_long_thread,
        run_that_replaces_the_oldest,
        run_that_begins_on_a_long_thread,
    ],
    ids=lambda prepare: prepare.__name__,
)
def test_run_costs_the_same_however_much_is_stored(prepare: Callable[[MemoryStore, int], Callable[[], object]]) -> None:
    small, large = (
        measure(prepare(MemoryStore(max_threads=10, max_runs_per_thread=0), size)).steps for size in (50, 200)
    )
    assert large <= MAX_GROWTH * small, (small, large)
