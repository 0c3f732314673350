"""Applies snapshots and deltas to an agent's shared state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jsonpatch
from pydantic_core import from_json, to_json

from .sse import Event


def apply_state_events(base: Any, events: Iterable[Event]) -> Any:
    """Returns the state after STATE_SNAPSHOT and STATE_DELTA events, starting from ``base``.

    ``base`` is not changed. The events must not be used afterwards: their values become part of the result.
    Raises ValueError if a delta does not apply (RFC 6902, section 5).
    """
    state = from_json(to_json(base))
    for event in events:
        if event["type"] == "STATE_SNAPSHOT":
            state = event.get("snapshot")
        else:
            state = apply_json_patch(state, event["delta"])
    return state


def apply_json_patch(document: Any, patch: list[Any]) -> Any:
    """Returns ``document`` with a JSON Patch applied, in place where possible.

    Raises ValueError if the patch does not apply.
    """
    try:
        return jsonpatch.apply_patch(document, patch, in_place=True)
    except Exception as error:  # the library raises half a dozen unrelated types
        raise ValueError(f"the patch does not apply: {error}") from error
