"""Plain deltas of what is open are recorded in one step, with the same result as with all checks."""

from __future__ import annotations

import collections
import contextlib
import sys
import tracemalloc
import types
from collections.abc import Callable, Generator
from json.encoder import encode_basestring
from typing import Any

import pytest
from ag_ui.core import (
    EventType,
    ReasoningMessageContentEvent,
    TextMessageContentEvent,
    ToolCallArgsEvent,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from copilot_runtime._events import InvalidEventError, RunEnding, RunRecorder, split_pieces
from copilot_runtime._events.deltas import DELTA_IDS, DELTA_MODELS

from .recorder_helpers import FINISHED, STARTED, Event, call, custom, events_of, step, text

MODELS: dict[str, type[Any]] = {
    "TEXT_MESSAGE_CONTENT": TextMessageContentEvent,
    "TOOL_CALL_ARGS": ToolCallArgsEvent,
    "REASONING_MESSAGE_CONTENT": ReasoningMessageContentEvent,
}


def reasoning(kind: str, message: str = "m") -> Event:
    more = {"START": {"role": "reasoning"}, "CONTENT": {"delta": "x"}}.get(kind, {})
    return {"type": f"REASONING_MESSAGE_{kind}", "messageId": message, **more}


FAMILIES: dict[str, tuple[Callable[[str, str], Event], str]] = {
    "TEXT_MESSAGE_CONTENT": (text, "CONTENT"),
    "TOOL_CALL_ARGS": (call, "ARGS"),
    "REASONING_MESSAGE_CONTENT": (reasoning, "CONTENT"),
}


class FeedAll:
    """`feed_all` of a recorder, one event at a time."""

    def __init__(self, recorder: RunRecorder, max_bytes: int = sys.maxsize) -> None:
        self._recorder = recorder
        self._max_bytes = max_bytes
        self._start()

    def _start(self) -> None:
        self._coroutine = self._recorder.feed_all(self, self._max_bytes)
        self._coroutine.send(None)  # it waits for the first event

    def __aiter__(self) -> FeedAll:
        return self

    @types.coroutine
    def __anext__(self) -> Generator[str, Any, Any]:
        return (yield "waits for the next event")

    def __call__(self, event: Any) -> int:
        """Feeds an event, and returns how many turns the loop gets."""
        turns = 0
        try:
            while self._coroutine.send(None if turns else event) is None:
                turns += 1
        except InvalidEventError:
            self._start()
            raise
        return turns


FEEDS: dict[str, Callable[[RunRecorder], Callable[[Any], int]]] = {
    "one step": lambda recorder: recorder.feed,
    "one step for all": FeedAll,
    "all checks": lambda recorder: recorder._feed_checked,
}


def as_model(event: Event) -> Any:
    """The same event as a model, without checks, since some deltas are invalid."""
    kind = MODELS.get(event["type"])
    if kind is None:
        return event
    fields = {(field.alias or name): name for name, field in kind.model_fields.items()}
    known = {fields[name]: value for name, value in event.items() if name in fields}
    known["type"] = EventType(event["type"])
    model = kind.model_construct(**known)
    if extra := {name: value for name, value in event.items() if name not in fields}:
        object.__setattr__(model, "__pydantic_extra__", extra)
    return model


class Text(str):
    """A string of another class."""


class Equal:
    """Is equal to everything, and hashable as nothing."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("not comparable")


FORMS: dict[str, Callable[[Event], Any]] = {
    "dict": dict,
    "reordered": lambda event: dict(reversed(event.items())),
    "mapping": types.MappingProxyType,
    "ordered dict": collections.OrderedDict,
    "enum": lambda event: {**event, "type": EventType(event["type"])},
    "model": as_model,
}
MEMBERS: dict[str, Any] = {
    "timestamp": 7,
    "metadata": {"k": 1},
    "rawEvent": Equal(),
    "subagentRunId": None,
    "extra": "x",
    "delta": None,
}
TEXTS = (
    "tok ",
    "",
    'größe\n\u2028\x7f\x00"\\/',
    "\N{GRINNING FACE}",
    "\ud83d",
    "\ude00",
    "a\ud83d",
    Text("own"),
    7,
    None,
)

deltas = st.builds(
    lambda kind, identity, delta, form, more: FORMS[form](
        {**FAMILIES[kind][0](FAMILIES[kind][1], identity), "delta": delta, **more}
    ),
    st.sampled_from(sorted(FAMILIES)),
    st.sampled_from(("a", "b", Text("a"), "\ud83d")),
    st.sampled_from(TEXTS) | st.sampled_from(TEXTS[:3]),
    st.sampled_from(sorted(FORMS)),
    st.just({}) | st.just({}) | st.just({}) | st.sampled_from([{name: value} for name, value in MEMBERS.items()]),
)
others = st.sampled_from(
    [
        *[make(kind, identity) for make in (text, call, reasoning) for kind in ("START", "END") for identity in "ab"]
        * 2,
        call("RESULT", "a"),
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "a", "delta": "x"},
        {"type": "TOOL_CALL_CHUNK", "toolCallId": "a", "toolCallName": "search", "delta": "x"},
        {"type": "REASONING_MESSAGE_CHUNK", "messageId": "a", "delta": "x"},
        custom(),
        step("STARTED"),
        {"type": "RAW", "event": 1},
        {"type": "STATE_SNAPSHOT", "snapshot": {}},
        {"type": "RUN_ERROR", "message": "no"},
        STARTED,
        FINISHED,
    ]
)
calls = st.sampled_from(("drain", "skip", "seal", "look"))
actions = st.lists(deltas | deltas | deltas | others | calls, max_size=40)


def play(recorder: RunRecorder, feed: Callable[[Any], int], actions: list[Any]) -> list[Any]:
    """Returns all that can be seen of a recorder that was fed."""
    seen: list[Any] = []
    for action in [STARTED, text("START", "a"), call("START", "a"), *actions]:
        if action == "look":  # not always, since deltas become frames then
            seen.append((recorder.number, recorder.last_agent_event, recorder.pending_bytes))
        elif isinstance(action, str):
            seen.append(getattr(recorder, action)())
        else:
            try:
                feed(action)
            except InvalidEventError as error:
                seen.append(str(error))
        seen.append(recorder.has_ended)
    if not any(action == "seal" for action in actions if isinstance(action, str)):
        recorder.complete(RunEnding(), "t", "r")
    seen += [recorder.drain(), recorder.message_ids, recorder.duplicates, recorder.records()]
    seen += [recorder.number, recorder.last_agent_event]
    return seen


@given(actions=actions, ordinal=st.sampled_from((1, 2**40, None)), known=st.sampled_from(((), ("b",), ("a", "b"))))
def test_deltas_in_one_step_have_the_result_of_all_checks(
    actions: list[Any], ordinal: int | None, known: tuple[str, ...]
) -> None:
    seen = []
    for feed in FEEDS.values():
        recorder = RunRecorder(ordinal=ordinal, known_message_ids=frozenset(known))
        seen.append(play(recorder, feed(recorder), actions))
    assert seen[0] == seen[2]
    assert seen[1] == seen[2]


CHUNKS: dict[str, Event] = {
    "TEXT_MESSAGE_CONTENT": {"type": "TEXT_MESSAGE_CHUNK", "messageId": "a"},
    "TOOL_CALL_ARGS": {"type": "TOOL_CALL_CHUNK", "toolCallId": "a", "toolCallName": "search"},
    "REASONING_MESSAGE_CONTENT": {"type": "REASONING_MESSAGE_CHUNK", "messageId": "a"},
}


@pytest.mark.parametrize("more", [{}, {"delta": "x"}])
@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_plain_deltas_end_what_chunks_have_opened(kind: str, more: Event) -> None:
    make, content = FAMILIES[kind]
    seen = []
    for feed in FEEDS.values():
        recorder = RunRecorder(ordinal=1)
        for event in (STARTED, {**CHUNKS[kind], **more}):
            recorder.feed(event)
        with contextlib.suppress(InvalidEventError):  # of what is not open any more
            feed(recorder)(make(content, "a"))
        seen.append(events_of(recorder.drain()))
    assert seen[0] == seen[2]
    assert seen[1] == seen[2]
    assert make("END", "a") in seen[0]


@pytest.mark.requirement("PERF-01")
@pytest.mark.parametrize("form", ["dict", "enum", "model"])
@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_plain_deltas_of_what_is_open_are_not_checked_again(
    kind: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, content = FAMILIES[kind]
    events = [make(content, identity) for identity in "abba"]
    recorder = RunRecorder(ordinal=1)
    for event in (STARTED, make("START", "a"), make("START", "b"), *events[:2]):
        recorder.feed(event)
    with monkeypatch.context() as patch:
        patch.setattr(RunRecorder, "_feed_checked", lambda recorder, event: pytest.fail("checked"))
        for event in events:
            recorder.feed(FORMS[form](event))
    assert events_of(recorder.drain())[3:] == events[:2] + events


@pytest.mark.parametrize("kind", sorted(FAMILIES))
@pytest.mark.parametrize("earlier", [0, 900, 990, 9_970])
def test_events_of_a_burst_are_numbered_one_after_the_other(kind: str, earlier: int) -> None:
    make, content = FAMILIES[kind]
    recorder = RunRecorder(ordinal=7)
    for event in (STARTED, make("START", "a"), *[make(content, "a")] * earlier):
        recorder.feed(event)
    recorder.drain()
    first = earlier + 3
    for count in (1, 2, 40, 1100):
        deltas = [{**make(content, "a"), "delta": f'{number} \\u0000"\n'} for number in range(count)]
        for event in deltas:
            recorder.feed(event)
        frames = recorder.drain()
        assert events_of(frames) == deltas
        assert [frame.split(b"\n")[0] for frame in frames] == [b"id: 7.%d" % (first + at) for at in range(count)]
        first += count


@pytest.mark.requirement("PERF-02")
@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_burst_takes_the_memory_of_its_frames_once_while_its_run_is_active(kind: str) -> None:
    make, content = FAMILIES[kind]
    recorder = RunRecorder(ordinal=7)
    for event in (STARTED, make("START", "a"), make(content, "a")):
        recorder.feed(event)
    recorder.drain()
    delta = make(content, "a")
    tracemalloc.start()
    try:
        for _ in range(2000):
            recorder.feed(delta)
        pieces, size, _ = recorder.take()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert sum(map(len, pieces)) == size
    assert held < 1.5 * size
    frames = split_pieces(pieces)
    assert len(frames) == 2000
    if kind == "REASONING_MESSAGE_CONTENT":  # which are not merged
        assert [record.frame for record in recorder.records()[-2000:]] == frames


@pytest.mark.parametrize("kind", sorted(FAMILIES))
@pytest.mark.parametrize("ending", [[], [FINISHED]])
def test_frames_of_a_run_that_nobody_has_taken_are_joined_up_to_a_size(kind: str, ending: list[Event]) -> None:
    make, content = FAMILIES[kind]

    def recorded() -> RunRecorder:
        recorder = RunRecorder(ordinal=7)
        for event in (STARTED, make("START", "a"), *[make(content, "a")] * 3, make("END", "a"), *ending):
            recorder.feed(event)
        return recorder

    whole = recorded()
    whole.complete(RunEnding(), "t", "r")
    alone = whole.drain()
    size = len(b"".join(alone))
    for max_joined in (0, size - 1, size, size + 1):
        recorder = recorded()
        pieces, *rest = recorder.end(RunEnding(), "t", "r", max_joined)
        assert rest == [size, True, len(alone), 6 + len(ending), bool(ending), not ending]
        assert split_pieces(pieces) == alone
        assert (len(pieces) == 1) is (max_joined >= size)
        assert recorder.take() == ([], 0, False)


def test_deltas_that_an_agent_yields_in_one_object_are_recorded_as_they_were() -> None:
    recorder = RunRecorder(ordinal=1)
    for event in (STARTED, text("START"), text("CONTENT")):
        recorder.feed(event)
    reused = text("CONTENT")
    for delta in "abc":
        reused["delta"] = delta
        recorder.feed(reused)
    assert [event["delta"] for event in events_of(recorder.drain())[3:]] == ["a", "b", "c"]


def test_deltas_that_are_not_frames_yet_count_for_what_is_ready() -> None:
    recorder = RunRecorder(ordinal=1)
    for event in (STARTED, text("START"), text("CONTENT")):
        recorder.feed(event)
    sizes = [recorder.feed(text("CONTENT", delta="x" * 1000)) for _ in range(50)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == pytest.approx(recorder.pending_bytes, rel=0.02)


@pytest.mark.parametrize("form", ["dict", "model"])
@pytest.mark.parametrize("sizes", [[1], [100], [1000], [1, 1000], [*[1] * 50, 3000]], ids=str)
def test_deltas_of_any_length_get_the_event_loop_a_turn_in_time(sizes: list[int], form: str) -> None:
    recorder = RunRecorder(ordinal=1)
    feed = FeedAll(recorder, 50_000)
    for event in (STARTED, text("START")):
        feed(event)
    pending = []
    for number in range(3000):
        if feed(FORMS[form](text("CONTENT", delta="x" * sizes[number % len(sizes)]))):
            pending.append(recorder.pending_bytes)
            recorder.drain()
    assert pending
    assert all(25_000 < size < 100_000 for size in pending)
    assert recorder.pending_bytes < 100_000


def test_deltas_that_wait_for_their_frames_are_recorded_before_the_next_event() -> None:
    recorder = RunRecorder(ordinal=1)
    feed = FeedAll(recorder)
    events = [STARTED, text("START", "a"), text("CONTENT", "a"), text("CONTENT", "a"), text("START", "b")]
    events += [text("CONTENT", "b"), text("CONTENT", "a"), text("CONTENT", "a"), text("END", "a")]
    for event in events:
        feed(event)
    assert events_of(recorder.drain())[1:] == events[1:]


@pytest.mark.parametrize("form", ["dict", "model"])
@pytest.mark.parametrize("max_bytes", [sys.maxsize, 1])
def test_nothing_of_an_event_is_kept_while_the_next_one_is_waited_for(form: str, max_bytes: int) -> None:
    feed = FeedAll(RunRecorder(ordinal=1), max_bytes)
    for event in (STARTED, text("START"), *[text("CONTENT")] * 3, text("END")):
        yielded = FORMS[form](event)
        objects = [yielded, yielded.__dict__] if hasattr(yielded, "__dict__") else [yielded]
        references = list(map(sys.getrefcount, objects))
        feed(yielded)
        assert list(map(sys.getrefcount, objects)) == references


def test_deltas_of_every_kind_have_a_table_row_and_a_model() -> None:
    assert DELTA_IDS.keys() == MODELS.keys()
    for kind, model in MODELS.items():
        how = DELTA_MODELS[model]
        assert how is not None
        assert how.kind == kind
        assert DELTA_MODELS[dict] is DELTA_MODELS[int] is None


def test_a_subclass_with_a_required_field_is_not_read_as_a_plain_delta() -> None:
    class Own(TextMessageContentEvent):
        source: str | None

    class Optional(TextMessageContentEvent):
        source: str | None = None

    assert DELTA_MODELS[Own] is None
    recorder = RunRecorder(ordinal=1)
    for event in (STARTED, text("START"), text("CONTENT")):
        recorder.feed(event)
    for source in (None, "s"):
        recorder.feed(Own(message_id="m", delta="x", source=source))
        recorder.feed(Optional(message_id="m", delta="x", source=source))
    plain, named = text("CONTENT"), text("CONTENT", source="s")
    assert events_of(recorder.drain())[3:] == [plain, plain, named, named]


def test_strings_are_encoded_as_by_pydantic() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    assert encode_basestring("".join(characters)).encode() == to_json("".join(characters))
