"""What input costs is proportional to its size, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from copilot_runtime._engine.readers import ReaderCallbacks, RunReader
from copilot_runtime._events import apply_events
from copilot_runtime._events.shared_state import MAX_COPIED_BYTES
from copilot_runtime._http.headers import Headers
from copilot_runtime._http.target import segments_below, split_raw_target
from copilot_runtime._http.types import Request

from .cost_helpers import assert_linear, measure
from .recorder_helpers import FINISHED, STARTED, Event, call, custom, events_of, recorded, text

Prepare = Callable[[int], Callable[[], object]]


def test_measure_counts_steps_and_copies() -> None:
    def steps(size: int) -> Callable[[], object]:
        return lambda: [other for one in range(size) for other in range(one)]

    def copies(size: int) -> Callable[[], object]:
        def run() -> None:
            rest = list(range(size))
            while rest:
                rest = rest[1:]

        return run

    for quadratic in (steps, copies):
        with pytest.raises(AssertionError):
            assert_linear(quadratic)
    assert measure(lambda: bytes(100_000)).allocated >= 100_000


PATHS: Mapping[str, str] = {
    "slashes": "/",
    "escaped slashes": "%2F",
    "segments": "a/",
    "escaped segments": "a%2F",
    "both kinds of slashes": "%2F/",
    "replaced characters": "%ff/",
    "no slashes": "a",
}


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("root_path", [b"", b"/api/copilotkit", b"/api/copilotkit/", b"/other"], ids=str)
@pytest.mark.parametrize("base_path", [None, "/api/copilotkit"])
@pytest.mark.parametrize("unit", PATHS.values(), ids=PATHS)
def test_path(unit: str, base_path: str | None, root_path: bytes) -> None:
    def prepare(size: int) -> Callable[[], object]:
        target = "/api/copilotkit%2F" + unit * size

        def resolve() -> None:
            path, root = split_raw_target(target, unquote_to_bytes(target), root_path)
            segments_below(Request(method="GET", path=path, root_path=root), base_path)

        return resolve

    assert_linear(prepare)


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("name", ["x-field", "cookie"])
def test_header_fields_of_one_name(name: str) -> None:
    assert_linear(lambda size: lambda: Headers([(name, "value")] * size).get("host"))


class _Drain:
    """Reads a whole replay."""

    def __init__(self, history: list[bytes]) -> None:
        callbacks = ReaderCallbacks(lambda reader: None, lambda reader: None)
        self._reader = RunReader(log=None, history=history, callbacks=callbacks)

    def __call__(self) -> None:
        while self._reader.read_available() is not None:
            pass


@pytest.mark.requirement("COST-01")
def test_replay_of_many_events() -> None:
    assert_linear(lambda size: _Drain([b"data: {}\n\n"] * size), 10_000)


def reasoning(kind: str, message: str = "th", **members: Any) -> Event:
    return {"type": f"REASONING_MESSAGE_{kind}", "messageId": message, **members}


def activity(kind: str, message: str = "act", **members: Any) -> Event:
    return {"type": f"ACTIVITY_{kind}", "messageId": message, "activityType": "PLAN", **members}


FOLDED: Mapping[str, Callable[[int], list[Event]]] = {
    "deltas of one message": lambda size: [
        reasoning("START", role="reasoning"),
        *(reasoning("CONTENT", delta="some words of reasoning") for _ in range(size)),
    ],
    "deltas of two messages, by turns": lambda size: [
        text("START", "a"),
        text("START", "b"),
        *(text("CONTENT", identity, delta="some words of text") for _ in range(size) for identity in "ab"),
    ],
    "messages": lambda size: [text("START", f"m-{index}") for index in range(size)],
    "messages with deltas": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(text("CONTENT", f"m-{index}") for index in range(size)),
    ],
    "deltas of no message": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(text("CONTENT", "other") for _ in range(size)),
    ],
    "calls of one parent": lambda size: [call("START", f"c-{index}", parentMessageId="p") for index in range(size)],
    "arguments of many calls of one parent": lambda size: [
        *(call("START", f"c-{index}", parentMessageId="p") for index in range(size)),
        *(call("ARGS", f"c-{index}", delta="{}") for index in range(size)),
    ],
    "deltas of one call's arguments": lambda size: [
        call("START"),
        *(call("ARGS", delta="some words of arguments") for _ in range(size)),
    ],
    "arguments of no call": lambda size: [
        *(call("START", f"c-{index}") for index in range(size)),
        *(call("ARGS", "other") for _ in range(size)),
    ],
    "results": lambda size: [call("RESULT", f"c-{index}") for index in range(size)],
    "activities": lambda size: [activity("SNAPSHOT", f"a-{index}", content={}) for index in range(size)],
}


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("name", FOLDED)
def test_folding_events_into_messages(name: str) -> None:
    def prepare(size: int) -> Callable[[], object]:
        events = FOLDED[name](size)
        return lambda: apply_events((), events)

    assert_linear(prepare)


def doubling(times: int, path: str = "") -> list[dict[str, Any]]:
    """Operations of which each doubles a document."""
    return [{"op": "copy", "from": path, "path": f"{path}/{index}"} for index in range(times)]


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("per_delta", [1, 16])
def test_state_deltas_that_double_the_state(per_delta: int) -> None:
    operations = doubling(16)
    deltas = [operations[index : index + per_delta] for index in range(0, 16, per_delta)]
    events: list[Event] = [
        STARTED,
        {"type": "STATE_SNAPSHOT", "snapshot": {"text": "x" * 1000}},
        *({"type": "STATE_DELTA", "delta": delta} for delta in deltas),
        FINISHED,
    ]
    recorder, _ = recorded(events)
    assert events_of(record.frame for record in recorder.records()) == events
    assert measure(lambda: recorded(events)).allocated < 32 * MAX_COPIED_BYTES


def test_state_deltas_that_copy_little_are_folded() -> None:
    events: list[Event] = [STARTED, {"type": "STATE_DELTA", "delta": doubling(3)}, FINISHED]
    recorder, _ = recorded(events)
    snapshot = events_of(record.frame for record in recorder.records())[1]["snapshot"]
    assert snapshot == {"0": {}, "1": {"0": {}}, "2": {"0": {}, "1": {"0": {}}}}


@pytest.mark.requirement("COST-01")
def test_activity_deltas_that_double_the_content() -> None:
    content = {"text": "x" * 1000}
    events = [activity("SNAPSHOT", content=content), activity("DELTA", patch=doubling(16))]
    assert measure(lambda: apply_events((), events)).allocated < 32 * MAX_COPIED_BYTES
    assert apply_events((), events)[0]["content"] == content


RECORDED: Mapping[str, Callable[[int], list[Event]]] = {
    **{name: FOLDED[name] for name in ("messages", "messages with deltas", "calls of one parent")},
    "events while many messages are open": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(custom() for _ in range(size)),
    ],
    "ends of many messages": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(text("END", f"m-{index}") for index in range(size)),
    ],
    "ends of many messages with followers, last one first": lambda size: [
        *(text("START", f"m-{index}") for index in range(size)),
        *(event for index in reversed(range(size)) for event in (custom(), text("END", f"m-{index}"))),
    ],
}


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("name", RECORDED)
def test_recording_and_compaction(name: str) -> None:
    def prepare(size: int) -> Callable[[], object]:
        events = [STARTED, *RECORDED[name](size)]
        return lambda: recorded(events)[0].records()

    assert_linear(prepare)
