"""How a run is replayed, computed from its stream: docs/protocol.md, section 6, implemented a second time.

Slow and plain on purpose. It looks at a whole finished run, where the runtime folds
event by event.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import jsonpatch

from .http_client import Event

_GROUPS = {
    "TEXT_MESSAGE_START": ("messageId", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
    "TOOL_CALL_START": ("toolCallId", "TOOL_CALL_ARGS", "TOOL_CALL_END"),
}
_STATES = ("STATE_SNAPSHOT", "STATE_DELTA")
_TERMINAL = ("RUN_FINISHED", "RUN_ERROR")


def compact(events: Sequence[Event]) -> list[Event]:
    """The events of one run whose groups do not overlap, folded."""
    folded: list[Event] = []
    taken: set[int] = set()
    for at, event in enumerate(events):
        if at in taken or event["type"] in _STATES:
            continue
        if event["type"] in _GROUPS:
            folded += _group(events, at, taken)
            continue
        if event["type"] in _TERMINAL:
            folded += _state(events)
        folded.append(event)
    return folded


def _group(events: Sequence[Event], at: int, taken: set[int]) -> list[Event]:
    name, content, end = _GROUPS[events[at]["type"]]
    identity = events[at][name]
    parts: list[Event] = []
    closing: list[Event] = []
    for later in range(at + 1, len(events)):
        event = events[later]
        if event.get(name) == identity and event["type"] in (content, end):
            taken.add(later)
            (parts if event["type"] == content else closing).append(event)
            if event["type"] == end:
                break
    joined: list[Event] = []
    if parts:
        joined = [{"type": content, name: identity, "delta": "".join(part["delta"] for part in parts)}]
        metadata = [part["metadata"] for part in parts if "metadata" in part]
        if metadata:
            joined[0]["metadata"] = {key: value for item in metadata for key, value in item.items()}
    return [events[at], *joined, *closing]


def _state(events: Sequence[Event]) -> list[Event]:
    changes = [event for event in events if event["type"] in _STATES]
    if not changes:
        return []
    state: Any = copy.deepcopy(events[0].get("input", {}).get("state", {}))
    for change in changes:
        state = (
            copy.deepcopy(change["snapshot"])
            if change["type"] == "STATE_SNAPSHOT"
            else jsonpatch.apply_patch(state, change["delta"])
        )
    return [{"type": "STATE_SNAPSHOT", "snapshot": state}]
