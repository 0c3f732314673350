"""Frames: one line of strict JSON (RFC 8259), with an id."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from copilot_runtime._events import (
    Cursor,
    CursorKind,
    InvalidEventError,
    decode,
    encode,
    event_data,
    format_frame,
)

from ..ids import stable_id
from .recorder_helpers import FINISHED, STARTED, custom, read_frame, recorded, run_input, shown, text

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SURROGATE = "\ud800"


@pytest.mark.requirement("BODY-03")
@given(JSON)
def test_json_round_trip(value: Any) -> None:
    data = encode({"type": "CUSTOM", "value": value})
    assert b"\n" not in data
    assert b"\r" not in data
    assert json.loads(data)["value"] == value


@pytest.mark.requirement("SSE-02")
@given(JSON, st.integers(1, 10**6), st.integers(1, 10**6))
def test_frame_round_trip(value: Any, ordinal: int, number: int) -> None:
    event = {"type": "CUSTOM", "name": "mark", "value": value}
    frame = format_frame(encode(event), b"id: %d." % ordinal, number)
    assert read_frame(frame) == (f"{ordinal}.{number}", event)
    assert decode(frame) == event
    for suffix, kind in {"": CursorKind.RUN, "c": CursorKind.COMPACTED, "j": CursorKind.JOINED}.items():
        assert Cursor.parse(f"{ordinal}.{number}{suffix}") == (ordinal, number, kind)


@pytest.mark.requirement("SSE-07")
def test_ids_have_the_runs_ordinal_and_count_from_one() -> None:
    _, frames = recorded([STARTED, custom(), FINISHED], ordinal=7)
    assert [read_frame(frame).id for frame in frames] == ["7.1", "7.2", "7.3"]


@pytest.mark.requirement("SSE-07")
def test_a_run_without_a_thread_has_no_ids() -> None:
    recorder, frames = recorded([STARTED, custom(), FINISHED], ordinal=None)
    assert [read_frame(frame).id for frame in frames] == [None] * 3
    assert recorder.records() == ()


@pytest.mark.requirement("BODY-03")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["value", "nested", "list", "key"])
def test_nan_and_infinities_are_refused(number: float, place: str) -> None:
    value = {"value": number, "nested": {"a": {"b": number}}, "list": [1, number], "key": {"a": [number]}}[place]
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError, match="CUSTOM"):
        recorder.feed(custom(value))
    assert recorder.drain() == []
    recorder.feed(custom("the run continues"))


@pytest.mark.requirement("BODY-03")
@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", '"NaN"', ":NaN,", "[Infinity]", "NaN\\"])
@pytest.mark.parametrize("kind", ["value", "key", "delta"])
def test_nan_and_infinity_as_text_are_accepted(word: str, kind: str) -> None:
    events = {
        "value": [custom(word)],
        "key": [custom({word: [word, 1.5]})],
        "delta": [text("START"), text("CONTENT", delta=word), text("END")],
    }[kind]
    assert shown([STARTED, *events]) == [STARTED, *events]


@pytest.mark.requirement("BODY-03")
@pytest.mark.parametrize("metadata", [{}, {"metadata": {"input": 1, "word": "NaN"}}], ids=["plain", "with metadata"])
def test_a_run_started_with_an_echo_is_encoded_as_any_other_event(metadata: dict[str, Any]) -> None:
    echo = run_input(messages=[{"id": "u", "role": "user", "content": "NaN größe\n"}], state={"n": [1.5, None]})
    event = {**STARTED, **metadata}
    _, frames = recorded([event], input_echo=lambda: echo)
    assert event_data(frames[0]) == encode({**event, "input": echo})
    recorder, _ = recorded([], input_echo=lambda: echo)
    with pytest.raises(InvalidEventError, match="NaN"):
        recorder.feed({**STARTED, "metadata": {"input": math.nan}})


@pytest.mark.requirement("BODY-03")
def test_a_number_that_an_agent_puts_into_its_input_never_breaks_the_echo() -> None:
    """The echo is not searched for such numbers, since it was parsed from JSON; but the agent has the same objects."""
    echo = run_input(state={"score": math.nan, "limits": [-math.inf]})
    _, frames = recorded([STARTED], input_echo=lambda: echo)
    assert from_json(event_data(frames[0]), allow_inf_nan=False)["input"]["state"] == {"score": None, "limits": [None]}


@pytest.mark.requirement("BODY-03")
def test_nan_as_text_and_as_a_number() -> None:
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError):
        recorder.feed(custom(["NaN", math.nan]))


@pytest.mark.parametrize(
    "value",
    [object(), lambda: None, b"\xff", [object()], {"a": {"b": object()}}],
    ids=stable_id,
)
def test_values_that_json_cannot_represent_are_refused(value: Any) -> None:
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError, match="CUSTOM"):
        recorder.feed(custom(value))
    assert recorder.drain() == []


def test_a_circular_value_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError):
        recorder.feed(custom(value))


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    recorder, _ = recorded([STARTED])
    with pytest.raises(InvalidEventError):
        recorder.feed(custom(value))


@pytest.mark.requirement("BODY-03")
@pytest.mark.parametrize("value", [SURROGATE, {SURROGATE: 1}])
def test_a_lone_surrogate_is_never_sent(value: Any) -> None:
    with pytest.raises(InvalidEventError):
        encode(custom(value))
    [_, event] = shown([STARTED, custom(value)])
    assert event == json.loads(json.dumps(custom(value)).replace("\\ud800", "\\ufffd"))


def test_other_python_values_are_converted() -> None:
    [event] = shown([{**STARTED, "metadata": {"tuple": (1, 2), "decimal": Decimal("1.5"), 7: "key"}}])
    assert event["metadata"] == {"tuple": [1, 2], "decimal": "1.5", "7": "key"}


@pytest.mark.requirement("SSE-02")
def test_line_ends_in_strings_are_escaped() -> None:
    events = [STARTED, text("START"), text("CONTENT", delta="a\r\nb\n\nc\rd"), text("END")]
    _, frames = recorded(events)
    assert all(frame.count(b"\n") == 3 for frame in frames)
    assert shown(events) == events


@pytest.mark.parametrize(
    "text_",
    [
        None,
        "",
        "1",
        "1.",
        ".1",
        "0.1",
        "1.0",
        "01.1",
        "1.1 ",
        "-1.1",
        "1.1.1",
        "a.b",
        "1.1\n",
        "\u0661.\u0661",
        "9" * 19 + ".1",
        "1,1",
        "1.1x",
        "1.1cj",
        "1.1C",
    ],
)
def test_an_id_that_this_runtime_does_not_send_is_ignored(text_: str | None) -> None:
    assert Cursor.parse(text_) is None
