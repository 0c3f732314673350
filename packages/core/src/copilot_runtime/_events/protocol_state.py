"""The protocol state machine: which event may follow, and what is open.

Clients check the order of events and end their stream silently at the first violation. The runtime therefore
enforces the same order, where a violation can be reported (docs/protocol.md, section 5).

Phases. A stream is in one of five phases. Outside of RUNNING only the events in this table are allowed; within
RUNNING, any event whose transition agrees:

    phase      event                                     next phase
    NEW        RUN_STARTED                               RUNNING
               RUN_ERROR                                 FAILED
    RUNNING    RUN_FINISHED, if nothing is open          FINISHED
               RUN_ERROR                                 FAILED
               any other, except RUN_STARTED             RUNNING
    FINISHED   RUN_STARTED                               RUNNING
               RUN_ERROR                                 FAILED
    FAILED     RUN_STARTED                               RUNNING
    SEALED     none; the runtime has ended the run

What is open. Text messages, tool calls and steps are opened by their start event, which requires that the same
one is not open, and closed by their end event. Content, argument and end events require that theirs is open.
RUN_FINISHED requires that all of them are closed. Steps of different subagents may have the same name.

Two things are tracked but not enforced, for `closing_events`, which completes a run that its agent left
unfinished: a tool call is remembered until it has both its end and its result, in either order, and so are
reasoning, reasoning messages and subagents (`Span`), which not all clients check.

Transitions. `TRANSITIONS` maps the type of an event to the function that checks it, applies it, and puts its frame
where a replay has it; that is all that `PASS_ON`, the transition of all other types, does. A transition raises an
error before it changes what is open or the phase, so an event that is not recorded leaves them as they were.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .compaction import NONE_OPEN, Compactor
from .deltas import DELTA_TYPES, DeltaStream
from .sse import Event, InvalidEventError


@dataclasses.dataclass(frozen=True, slots=True, eq=False)  # no enum: its hash and its attributes take a call each
class Phase:
    """A phase of a stream."""

    description: str
    """Completes the sentence "RUN_STARTED is not allowed ..."."""
    allowed: frozenset[str] = frozenset()
    """The types of events that are allowed, outside of a run."""

    def check(self, kind: str) -> None:
        """Raises InvalidEventError if an event of a type is not allowed in this phase, outside of a run."""
        if kind not in self.allowed:
            raise InvalidEventError(f"{kind} is not allowed {self.description}")


NEW = Phase("before RUN_STARTED", frozenset(("RUN_STARTED", "RUN_ERROR")))
RUNNING = Phase("in a run")
FINISHED = Phase("after RUN_FINISHED", frozenset(("RUN_STARTED", "RUN_ERROR")))
FAILED = Phase("after RUN_ERROR", frozenset(("RUN_STARTED",)))
SEALED = Phase("after the run was ended")


class Step(NamedTuple):
    """An open step."""

    name: str
    subagent: str | None
    """The subagent whose step it is. Clients accept its end only from the same one."""


class Span(NamedTuple):
    """Something open that is tracked but not enforced."""

    end: str
    """The type of the event that ends it."""
    member: str
    """The member of that event that holds its id."""
    id: str


class ProtocolState(Compactor):
    """The state of one run's stream, changed by `TRANSITIONS`.

    It is one with what a replay sends of the run, since both depend on what is open.

    Args:
        prefix: as for `Compactor`.
    """

    __slots__ = ("calls", "has_run_error", "is_resuming", "phase", "resumed_run", "spans", "steps")

    def __init__(self, prefix: bytes = b"") -> None:
        Compactor.__init__(self, prefix)  # as in `EventAppender`
        self.is_resuming: bool = False
        """Whether the client has responded to interrupts, even if the input does not have its responses any more."""
        self.phase: Phase = NEW
        self.calls: dict[str, bool] = NONE_OPEN
        """Tool calls that lack their end or their result, in the order in which they were opened. The values say
        whether the result has come."""
        self.steps: dict[Step, None] = NONE_OPEN
        """Open steps, in the order in which they were opened."""
        self.spans: dict[Span, None] = NONE_OPEN
        """What else is open, in the order in which it was opened."""
        self.resumed_run: Event | None = None
        """The RUN_STARTED of a run with which the client has responded to interrupts."""
        self.has_run_error: bool = False
        """Whether there was a RUN_ERROR."""

    @property
    def has_failed(self) -> bool:
        """Whether the last event was RUN_ERROR."""
        return self.phase is FAILED

    @property
    def has_ended(self) -> bool:
        """Whether the last event was a terminal one."""
        phase = self.phase
        return phase is FINISHED or phase is FAILED


Transition = Callable[[ProtocolState, int, Event, bytes], DeltaStream | None]
"""Takes the number in the id of an event, the event, and its frame. Returns what further deltas are merged into, if the
event is the start of a message or call, or a delta of it."""


def _run_started(state: ProtocolState, number: int, event: Event, frame: bytes) -> None:
    if state.phase is RUNNING:
        raise InvalidEventError("RUN_STARTED is not allowed before the current run has ended")
    if state.phase is not NEW:
        # All else was closed before the terminal event of an earlier run; its calls may have been left to the client.
        if state.calls:
            state.calls.clear()
        if state.spans:
            state.spans.clear()
    state.phase = RUNNING
    is_resuming = state.is_resuming
    if not is_resuming and "input" in event:
        run_input = event["input"]
        is_resuming = isinstance(run_input, dict) and bool(run_input.get("resume"))
    state.resumed_run = event if is_resuming else None
    state.started = frame
    state.out.append(frame)


def _run_finished(state: ProtocolState, number: int, event: Event, frame: bytes) -> None:
    if state.texts or state.open_calls or state.steps:
        still_open = [*state.texts, *state.open_calls, *(step.name for step in state.steps)]
        raise InvalidEventError(f"RUN_FINISHED is not allowed while {', '.join(map(repr, still_open))} is open")
    state.place_terminal(frame, state.out)
    state.phase = FINISHED


def _run_error(state: ProtocolState, number: int, event: Event, frame: bytes) -> None:
    state.place_terminal(frame, state.next_place())
    state.phase = FAILED
    state.has_run_error = True


def _state(state: ProtocolState, number: int, event: Event, frame: bytes) -> None:
    state.keep_state(number, frame)


_TEXT = DELTA_TYPES["TEXT_MESSAGE_CONTENT"]
_CALL = DELTA_TYPES["TOOL_CALL_ARGS"]


def _text_start(state: ProtocolState, number: int, event: Event, frame: bytes) -> DeltaStream:
    message = event["messageId"]
    if message in state.texts:
        raise InvalidEventError(f"TEXT_MESSAGE_START for message {message!r}, which is already open")
    opened = state.texts[message] = DeltaStream(_TEXT, message, state.prefix, frame)
    return opened


def _open_text(state: ProtocolState, event: Event) -> DeltaStream:
    opened = state.texts.get(event["messageId"])
    if opened is None:
        raise InvalidEventError(f"{event['type']} for message {event['messageId']!r}, which is not open")
    return opened


def _text_content(state: ProtocolState, number: int, event: Event, frame: bytes) -> DeltaStream:
    return _open_text(state, event).append_delta(number, event, frame)


def _text_end(state: ProtocolState, number: int, event: Event, frame: bytes) -> None:
    state.close(_open_text(state, event), state.texts, frame)


def _call_start(state: ProtocolState, number: int, event: Event, frame: bytes) -> DeltaStream:
    call = event["toolCallId"]
    if call in state.open_calls:
        raise InvalidEventError(f"TOOL_CALL_START for tool call {call!r}, which is already open")
    if state.open_calls is NONE_OPEN:
        state.open_calls = {}
    if state.calls is NONE_OPEN:
        state.calls = {}
    opened = state.open_calls[call] = DeltaStream(_CALL, call, state.prefix, frame)
    state.calls.setdefault(call, False)
    return opened


def _open_call(state: ProtocolState, event: Event) -> DeltaStream:
    opened = state.open_calls.get(event["toolCallId"])
    if opened is None:
        raise InvalidEventError(f"{event['type']} for tool call {event['toolCallId']!r}, which is not open")
    return opened


def _call_args(state: ProtocolState, number: int, event: Event, frame: bytes) -> DeltaStream:
    return _open_call(state, event).append_delta(number, event, frame)


def _call_end(state: ProtocolState, number: int, event: Event, frame: bytes) -> None:
    opened = _open_call(state, event)
    state.close(opened, state.open_calls, frame)
    if state.calls.get(opened.identity):
        del state.calls[opened.identity]


def _pass_on(state: ProtocolState, number: int, event: Event, frame: bytes) -> None:
    state.next_place().append(frame)


def _passing_on(change: Callable[[ProtocolState, Event], None]) -> Transition:
    """Returns the transition of events that are passed on as they are, once a change of the state has been made."""

    def transition(state: ProtocolState, number: int, event: Event, frame: bytes) -> None:
        change(state, event)
        state.next_place().append(frame)

    return transition


def _call_result(state: ProtocolState, event: Event) -> None:
    call = event["toolCallId"]
    if call in state.open_calls:
        state.calls[call] = True
    elif call in state.calls:
        del state.calls[call]


def _step_started(state: ProtocolState, event: Event) -> None:
    step = Step(event["stepName"], event.get("subagentRunId"))
    if step in state.steps:
        raise InvalidEventError(f"STEP_STARTED for step {step.name!r}, which is already open")
    if state.steps is NONE_OPEN:
        state.steps = {}
    state.steps[step] = None


def _step_finished(state: ProtocolState, event: Event) -> None:
    step = Step(event["stepName"], event.get("subagentRunId"))
    if step not in state.steps:
        raise InvalidEventError(f"STEP_FINISHED for step {step.name!r}, which is not open")
    del state.steps[step]


def _open_span(end: str, member: str) -> Transition:
    def change(state: ProtocolState, event: Event) -> None:
        if state.spans is NONE_OPEN:
            state.spans = {}
        state.spans[Span(end, member, event[member])] = None

    return _passing_on(change)


def _close_span(end: str, member: str) -> Transition:
    def change(state: ProtocolState, event: Event) -> None:
        if state.spans:
            state.spans.pop(Span(end, member, event[member]), None)

    return _passing_on(change)


_REASONING = ("REASONING_END", "messageId")
_REASONING_MESSAGE = ("REASONING_MESSAGE_END", "messageId")
_SUBAGENT = ("SUBAGENT_FINISHED", "subagentRunId")

TRANSITIONS: Mapping[str, Transition] = {
    "RUN_STARTED": _run_started,
    "RUN_FINISHED": _run_finished,
    "RUN_ERROR": _run_error,
    "STATE_SNAPSHOT": _state,
    "STATE_DELTA": _state,
    "TEXT_MESSAGE_START": _text_start,
    "TEXT_MESSAGE_CONTENT": _text_content,
    "TEXT_MESSAGE_END": _text_end,
    "TOOL_CALL_START": _call_start,
    "TOOL_CALL_ARGS": _call_args,
    "TOOL_CALL_END": _call_end,
    "TOOL_CALL_RESULT": _passing_on(_call_result),
    "STEP_STARTED": _passing_on(_step_started),
    "STEP_FINISHED": _passing_on(_step_finished),
    "REASONING_START": _open_span(*_REASONING),
    "REASONING_END": _close_span(*_REASONING),
    "REASONING_MESSAGE_START": _open_span(*_REASONING_MESSAGE),
    "REASONING_MESSAGE_END": _close_span(*_REASONING_MESSAGE),
    "SUBAGENT_STARTED": _open_span(*_SUBAGENT),
    "SUBAGENT_FINISHED": _close_span(*_SUBAGENT),
    "SUBAGENT_ERROR": _close_span(*_SUBAGENT),
}

PASS_ON: Transition = _pass_on
"""The transition of every type that `TRANSITIONS` does not name."""

OPEN_BY_DELTA: Mapping[str, Callable[[ProtocolState, Event], DeltaStream]] = {
    "TEXT_MESSAGE_CONTENT": _open_text,
    "TOOL_CALL_ARGS": _open_call,
}
"""Returns what the delta of a type belongs to. Raises InvalidEventError if that is not open."""
