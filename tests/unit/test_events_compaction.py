"""What a finished run is folded into, against an oracle written from docs/protocol.md, section 6."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import jsonpatch
import pytest
from hypothesis import given

from copilot_runtime._events import CompactedFrame, RunEnding

from .random_run_helpers import runs, verify
from .recorder_helpers import (
    FINISHED,
    STARTED,
    Event,
    call,
    custom,
    events_of,
    read_frame,
    recorded,
    run_input,
    started,
    step,
    text,
)

GROUPS = {
    f"{family}_{kind}": (family, member)
    for family, member, content in (("TEXT_MESSAGE", "messageId", "CONTENT"), ("TOOL_CALL", "toolCallId", "ARGS"))
    for kind in ("START", content, "END")
}
STATES = ("STATE_SNAPSHOT", "STATE_DELTA")
TERMINAL = ("RUN_FINISHED", "RUN_ERROR")


@dataclasses.dataclass
class Group:
    """A text message or tool call, as the numbers of its events."""

    start: int
    contents: list[int] = dataclasses.field(default_factory=list)
    end: int | None = None


@dataclasses.dataclass
class Oracle:
    """What docs/protocol.md, section 6, makes of a run. Events are named by their numbers, which count from 1."""

    events: list[Event]
    groups: list[Group] = dataclasses.field(default_factory=list)
    open_at: dict[int, list[Group]] = dataclasses.field(default_factory=dict)
    """For every event that is neither part of a group nor a state event: the groups that were open when it came."""
    merged: dict[int, list[tuple[int, Event]]] = dataclasses.field(default_factory=dict)
    """For every terminal event: the merged state events of its run."""

    def __post_init__(self) -> None:
        opened: dict[tuple[str, str], Group] = {}
        states: list[int] = []
        base: Any = {}
        for number, event in enumerate(self.events, 1):
            kind = event["type"]
            if kind in GROUPS:
                family, member = GROUPS[kind]
                key = (family, event[member])
                if kind.endswith("_START"):
                    opened[key] = Group(number)
                    self.groups.append(opened[key])
                elif kind.endswith("_END"):
                    opened.pop(key).end = number
                else:
                    opened[key].contents.append(number)
                continue
            if kind in STATES:
                states.append(number)
                continue
            self.open_at[number] = list(opened.values())
            if kind == "RUN_STARTED":
                base = (event.get("input") or {}).get("state") or {}
            if kind in TERMINAL:
                self.merged[number] = self._merge(base, states)
                states, opened = [], {}

    def _merge(self, base: Any, numbers: list[int]) -> list[tuple[int, Event]]:
        if not numbers:
            return []
        state = copy.deepcopy(base)
        for number in numbers:
            event = copy.deepcopy(self.events[number - 1])
            if event["type"] == "STATE_SNAPSHOT":
                state = event["snapshot"]
            else:
                try:
                    state = jsonpatch.apply_patch(state, event["delta"])
                except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
                    return [(number, self.events[number - 1]) for number in numbers]
        return [(numbers[-1], {"type": "STATE_SNAPSHOT", "snapshot": state})]

    def block(self, group: Group) -> list[tuple[int, Event]]:
        """Returns the events of a compacted group."""
        block = [(group.start, self.events[group.start - 1])]
        if group.contents:
            events = [self.events[number - 1] for number in group.contents]
            joined = {**events[0], "delta": "".join(event["delta"] for event in events)}
            joined.pop("metadata", None)
            metadata: dict[str, Any] = {}
            for event in events:
                metadata |= event.get("metadata", {})
            if any("metadata" in event for event in events):
                joined["metadata"] = metadata
            block.append((group.contents[-1], joined))
        if group.end is not None:
            block.append((group.end, self.events[group.end - 1]))
        return block


def compacted(
    events: Sequence[Event], ending: RunEnding | None = None
) -> tuple[list[bytes], tuple[CompactedFrame, ...]]:
    recorder, frames = recorded(events, ending=ending)
    return frames, recorder.records()


def check(events: list[Event], frames: list[bytes], records: Sequence[CompactedFrame]) -> None:
    """Compares a compacted run with the oracle."""
    oracle = Oracle(events)
    shown = [(record.number, read_frame(record.frame).event) for record in records]
    for record in records:
        assert read_frame(record.frame).id in (f"1.{record.number}", f"1.{record.number}c")

    # No event is missing, duplicated or added.
    expected = [item for group in oracle.groups for item in oracle.block(group)]
    expected += [(number, events[number - 1]) for number in oracle.open_at]
    expected += [item for items in oracle.merged.values() for item in items]
    assert sorted(shown, key=lambda item: item[0]) == sorted(expected, key=lambda item: item[0])

    # Events that were not merged are the frames that were sent.
    raw = dict(enumerate(frames, 1))
    joined = {group.contents[-1] for group in oracle.groups if len(group.contents) > 1}
    joined |= {items[0][0] for items in oracle.merged.values() if len(items) == 1}
    for record in records:
        assert record.number in joined or record.frame.replace(b"c\n", b"\n", 1) == raw[record.number]

    place = {number: index for index, (number, _) in enumerate(shown)}
    # Each group is contiguous, and groups are in the order of their ends.
    for group in oracle.groups:
        at = place[group.start]
        assert shown[at : at + len(oracle.block(group))] == oracle.block(group)
    ended = [group for group in oracle.groups if group.end is not None]
    assert sorted(ended, key=lambda group: group.end or 0) == sorted(ended, key=lambda group: place[group.start])

    # Other events keep their order, follow the groups that were open when they came, and those that had ended.
    others = list(oracle.open_at)
    assert sorted(others, key=place.__getitem__) == others
    for number, opened in oracle.open_at.items():
        before = [group for group in opened if place[group.start] < place[number]]
        assert before or not opened
        if len(opened) == 1:
            assert before == opened
        for group in ended:
            if group.end is not None and group.end < number:
                assert place[group.end] < place[number]
            if group.start > number and not opened:
                assert place[number] < place[group.start]

    # State events come directly before the terminal event of their run.
    for number, items in oracle.merged.items():
        at = place[number]
        assert shown[at - len(items) : at] == items

    verify([event for _, event in shown])


@pytest.mark.requirement("CONNECT-01")
@given(runs())
def test_random_runs(events: list[Event]) -> None:
    verify(events)
    frames, records = compacted(events)
    check(events_of(frames), frames, records)


@given(runs(endings=0))
def test_random_runs_left_unfinished(events: list[Event]) -> None:
    """Cut anywhere and completed, as if the agent had returned or had been stopped."""
    for length in {1, len(events) // 2, len(events) - 1}:
        for ending in (RunEnding(), RunEnding("Run stopped by user", stopped=True)):
            recorder, frames = recorded(events[:length], ending=ending)
            check([read_frame(frame).event for frame in frames], frames, recorder.records())


@pytest.mark.requirement("CONNECT-01")
def test_the_recorded_case() -> None:
    """The fixture ``interleaved`` of docs/protocol.md, section 18."""
    events = [
        STARTED,
        text("START"),
        call("START", parentMessageId="m"),
        text("CONTENT", delta="a"),
        call("ARGS", delta="{"),
        custom(1),
        {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}},
        text("CONTENT", delta="b"),
        call("ARGS", delta="}"),
        call("END"),
        custom(2),
        text("END"),
        custom(3),
        FINISHED,
    ]
    _, records = compacted(events)
    assert [(record.number, read_frame(record.frame).event) for record in records] == [
        (1, STARTED),
        (3, events[2]),
        (9, call("ARGS", delta="{}")),
        (10, call("END")),
        (2, text("START")),
        (8, text("CONTENT", delta="ab")),
        (12, text("END")),
        (6, custom(1)),
        (11, custom(2)),
        (13, custom(3)),
        (7, {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}}),
        (14, FINISHED),
    ]


def test_events_between_groups_keep_their_order() -> None:
    events = [
        STARTED,
        call("START"),
        step("STARTED"),
        text("START"),
        step("FINISHED"),
        text("END"),
        call("END"),
        FINISHED,
    ]
    frames, records = compacted(events)
    check(events, frames, records)


def test_a_message_left_open_by_an_error_and_opened_again_by_the_next_run() -> None:
    error: Event = {"type": "RUN_ERROR", "message": "no"}
    again = [STARTED, text("START"), text("CONTENT", delta="b"), text("END"), FINISHED]
    frames, records = compacted([STARTED, text("START"), text("CONTENT", delta="a"), custom(), error, *again])
    check(events_of(frames), frames, records)


def states(*events: Event, base: Any = None) -> list[Event]:
    """Returns the state events of a compacted run."""
    first = STARTED if base is None else started(input={"state": base})
    _, records = compacted([first, *events, FINISHED])
    shown = [read_frame(record.frame).event for record in records]
    return [event for event in shown if event["type"] in STATES]


def delta(*patch: dict[str, Any]) -> Event:
    return {"type": "STATE_DELTA", "delta": list(patch)}


def snapshot(state: Any) -> Event:
    return {"type": "STATE_SNAPSHOT", "snapshot": state}


ADD = {"op": "add", "path": "/n", "value": 1}
REPLACE = {"op": "replace", "path": "/n", "value": 2}

STATE_TABLE: dict[str, tuple[Any, list[Event], list[Event]]] = {
    "none": (None, [], []),
    "deltas from nothing": (None, [delta(ADD), delta(REPLACE)], [snapshot({"n": 2})]),
    "a delta on the client's state": ({"n": 0, "kept": [1]}, [delta(REPLACE)], [snapshot({"n": 2, "kept": [1]})]),
    "a snapshot replaces the client's state": ({"n": 0, "kept": [1]}, [snapshot({"n": 1})], [snapshot({"n": 1})]),
    "snapshot and delta": (None, [snapshot({"n": 1}), delta(REPLACE)], [snapshot({"n": 2})]),
    "a delta that does not apply": (None, [delta(REPLACE)], [delta(REPLACE)]),
    "a delta that does not apply, after one that does": (
        None,
        [delta(ADD), delta({**REPLACE, "path": "/x"})],
        [delta(ADD), delta({**REPLACE, "path": "/x"})],
    ),
    "a delta that does not apply, before a snapshot": (
        None,
        [delta(REPLACE), snapshot({})],
        [delta(REPLACE), snapshot({})],
    ),
    "a test that fails": (
        {"n": 1},
        [delta({"op": "test", "path": "/n", "value": 7})],
        [delta({"op": "test", "path": "/n", "value": 7})],
    ),
    "an unknown operation": (
        {"n": 1},
        [delta({"op": "grow", "path": "/n"})],
        [delta({"op": "grow", "path": "/n"})],
    ),
    "a path through a string": ({"n": "x"}, [delta({**ADD, "path": "/n/a/b"})], [delta({**ADD, "path": "/n/a/b"})]),
    "null is a state": ({"n": 1}, [snapshot(None)], [snapshot(None)]),
    "a delta on null": ({"n": 1}, [snapshot(None), delta(ADD)], [snapshot(None), delta(ADD)]),
    "a list is a state": (None, [snapshot([1]), delta({"op": "add", "path": "/-", "value": 2})], [snapshot([1, 2])]),
    "a delta that replaces the whole state": (
        {"n": 1},
        [delta({"op": "replace", "path": "", "value": {"x": 1}})],
        [snapshot({"x": 1})],
    ),
    "null in a list": (
        {"l": [None]},
        [delta({"op": "add", "path": "/l/-", "value": None})],
        [snapshot({"l": [None, None]})],
    ),
    "keys that need escapes": (
        {"a/b": {"~": 1}},
        [delta({**REPLACE, "path": "/a~1b/~0"})],
        [snapshot({"a/b": {"~": 2}})],
    ),
}


@pytest.mark.requirement("CONNECT-05")
@pytest.mark.parametrize("name", STATE_TABLE)
def test_states(name: str) -> None:
    base, events, expected = STATE_TABLE[name]
    before = copy.deepcopy((base, events))
    assert states(*events, base=base) == expected
    assert (base, events) == before


def test_a_list_that_an_earlier_delta_has_added() -> None:
    """The next delta must not change the value in the event of the first one."""
    added: list[str] = []
    events = [delta({"op": "add", "path": "/m", "value": added}), delta({"op": "add", "path": "/m/0", "value": "x"})]
    assert states(*events) == [snapshot({"m": ["x"]})]
    assert added == []


@pytest.mark.requirement("CONNECT-05")
def test_each_run_has_its_own_state() -> None:
    first = [started(input=run_input(state={"n": 1})), delta(REPLACE), FINISHED]
    second = [started(input=run_input(state={"n": 5})), delta(ADD), FINISHED]
    frames, records = compacted([*first, *second])
    check([*first, *second], frames, records)
    shown = [read_frame(record.frame).event for record in records]
    assert [event["snapshot"] for event in shown if event["type"] == "STATE_SNAPSHOT"] == [{"n": 2}, {"n": 1}]


def test_later_changes_to_the_agents_objects_have_no_effect() -> None:
    state: dict[str, Any] = {"items": []}
    operation: dict[str, Any] = {"op": "add", "path": "/more", "value": []}
    metadata = {"k": 1}
    recorder, _ = recorded([STARTED, snapshot(state)])
    state["items"].append("late")
    recorder.feed(delta(operation))
    operation["value"].append("late")
    recorder.feed(text("START"))
    for chunk in ("a", "b"):
        recorder.feed(text("CONTENT", delta=chunk, metadata=metadata))
    metadata["late"] = 1
    for event in (text("END"), FINISHED):
        recorder.feed(event)
    shown = {event["type"]: event for event in (read_frame(record.frame).event for record in recorder.records())}
    assert shown["STATE_SNAPSHOT"]["snapshot"] == {"items": [], "more": []}
    assert shown["TEXT_MESSAGE_CONTENT"]["metadata"] == {"k": 1}
