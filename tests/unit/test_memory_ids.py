"""The ids of a thread's messages: a run sees those of the moment at which it has begun."""

from __future__ import annotations

from collections.abc import Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime.stores._known_ids import current_ids
from copilot_runtime.stores._memory_ids import MessageIds, ThreadIds, ids_of_run, ids_size

pytestmark = pytest.mark.requirement("COST-03")

IDS = st.frozensets(st.sampled_from("abcdefé"), max_size=5)


@given(st.lists(st.one_of(IDS, st.integers(min_value=1, max_value=8)), max_size=8), IDS)
def test_known_ids_do_not_change_with_the_thread(changes: list[frozenset[str] | int], asked: frozenset[str]) -> None:
    """Of runs with ids, and of the removal of the oldest ones."""
    ids = MessageIds({})
    runs: dict[int, frozenset[str]] = {}
    size = 0
    seen: list[tuple[Set[str], frozenset[str]]] = []
    for change in changes:
        if isinstance(change, int):
            size -= ids.remove_until(change)
            runs = {ordinal: texts for ordinal, texts in runs.items() if ordinal > change}
        else:
            ordinal = len(seen) + 10 if not runs else max(runs) + 1
            size += ids.add(change, ordinal)
            runs[ordinal] = change
        seen.append((ids.known, frozenset().union(*runs.values())))
        assert ids.size == size == ids_size(seen[-1][1])
    for known, expected in seen:
        assert known == expected
        assert len(known) == len(expected)
        assert bool(known) == bool(expected)
        assert all((text in known) == (text in expected) for text in "abcdefég")
        assert known & asked == asked & known == asked & expected == asked & current_ids(known)
        assert known | asked == asked | expected
        assert asked - known == asked - expected


ANY_IDS = st.frozensets(st.text(st.sampled_from(["a", "é", "\0", "\ud800"]), max_size=3), max_size=4)


@given(ANY_IDS, ANY_IDS)
def test_the_ids_of_one_run_are_those_that_it_has_had(events: frozenset[str], inputs: frozenset[str]) -> None:
    """Whatever is in them."""
    ids = ids_of_run(events, inputs, 3)
    in_events, in_inputs = ids.by_run()
    assert (frozenset(in_events.get(3, ())), frozenset(in_inputs.get(3, ()))) == (events, inputs)
    joined = ids if isinstance(ids, ThreadIds) else ids.to_thread_ids()
    assert (joined.events.known, joined.inputs.known) == (events, inputs)
