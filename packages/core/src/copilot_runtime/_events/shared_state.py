"""Applies snapshots and deltas to an agent's shared state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jsonpatch
from pydantic_core import from_json, to_json

from .sse import Event

MAX_COPIED_BYTES = 1024 * 1024
"""How much JSON the ``copy`` operations of a run's deltas may add. A few of them can double a document each, while what
the other operations add is part of the delta."""


class CopyBudget:
    """What ``copy`` operations may still add."""

    __slots__ = ("_remaining",)

    def __init__(self) -> None:
        self._remaining = MAX_COPIED_BYTES

    def take(self, value: Any) -> None:
        """Counts a value that is to be copied. Raises ValueError if it is too large."""
        self._remaining -= len(to_json(value))
        if self._remaining < 0:
            raise ValueError(f"its copies have more than {MAX_COPIED_BYTES} bytes")


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


def apply_json_patch(document: Any, patch: list[Any], budget: CopyBudget) -> Any:
    """Returns ``document`` with a JSON Patch applied, in place where possible.

    Raises ValueError if the patch does not apply, or if it copies more than ``budget`` has left.
    """
    try:
        if not any(operation["op"] == "copy" for operation in patch):
            return jsonpatch.apply_patch(document, patch, in_place=True)
        for operation in patch:
            if operation["op"] == "copy":
                budget.take(jsonpatch.JsonPointer(operation["from"]).resolve(document))
            document = jsonpatch.apply_patch(document, [operation], in_place=True)
        return document
    except Exception as error:  # the library raises half a dozen unrelated types
        raise ValueError(f"the patch does not apply: {error}") from error
