"""Applies snapshots and deltas to an agent's shared state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json, to_json

from .json_patch import CopyBudget, apply_json_patch
from .sse import Event


def apply_state_events(base: Any, events: Iterable[Event]) -> Any:
    """Returns the state after STATE_SNAPSHOT and STATE_DELTA events, starting from ``base``.

    ``base`` is not changed. The events must not be used afterwards: their values become part of the result.
    Raises ValueError if a delta does not apply (RFC 6902, section 5), or if the deltas copy too much.
    """
    state = from_json(to_json(base))
    budget = CopyBudget()
    for event in events:
        if event["type"] == "STATE_SNAPSHOT":
            state = event.get("snapshot")
        else:
            state = apply_json_patch(state, event["delta"], budget)
    return state
