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

Transitions. `TRANSITIONS` maps the type of an event to the function that checks and applies it; types without
one change nothing. A transition raises InvalidEventError before it changes anything, so a rejected event leaves
the state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from .sse import Event, InvalidEventError


class Phase(Enum):
    """The phases of a stream. The values complete the sentence "RUN_STARTED is not allowed ..."."""

    NEW = "before RUN_STARTED"
    RUNNING = "in a run"
    FINISHED = "after RUN_FINISHED"
    FAILED = "after RUN_ERROR"
    SEALED = "after the run was ended"


# Looked up once: an attribute of an enum takes as long as a call, and so does the hash of a member.
NEW, RUNNING, FINISHED, FAILED, SEALED = Phase

_ALLOWED_OUTSIDE_RUN: Mapping[Phase, frozenset[str]] = {
    NEW: frozenset(("RUN_STARTED", "RUN_ERROR")),
    FINISHED: frozenset(("RUN_STARTED", "RUN_ERROR")),
    FAILED: frozenset(("RUN_STARTED",)),
    SEALED: frozenset(),
}


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


class ProtocolState:
    """The state of one run's stream, changed by `TRANSITIONS`."""

    __slots__ = ("calls", "is_resuming", "open_calls", "phase", "resumed_run", "spans", "steps", "texts")

    def __init__(self, *, is_resuming: bool = False) -> None:
        self.is_resuming = is_resuming
        """Whether the client has responded to interrupts, even if the input does not have its responses any more."""
        self.phase = NEW
        self.texts: dict[str, None] = {}
        """Ids of open text messages, in the order in which they were opened."""
        self.open_calls: dict[str, None] = {}
        """Ids of tool calls without an end."""
        self.calls: dict[str, bool] = {}
        """Tool calls that lack their end or their result, in the order in which they were opened. The values say
        whether the result has come."""
        self.steps: dict[Step, None] = {}
        """Open steps, in the order in which they were opened."""
        self.spans: dict[Span, None] = {}
        """What else is open, in the order in which it was opened."""
        self.resumed_run: Event | None = None
        """The RUN_STARTED of a run with which the client has responded to interrupts."""

    @property
    def has_ended(self) -> bool:
        """Whether the last event was a terminal one."""
        phase = self.phase
        return phase is FINISHED or phase is FAILED

    def check_phase(self, kind: str) -> None:
        """Raises InvalidEventError if an event of type ``kind`` is not allowed in this phase."""
        if self.phase is not RUNNING and kind not in _ALLOWED_OUTSIDE_RUN[self.phase]:
            raise InvalidEventError(f"{kind} is not allowed {self.phase.value}")


def _run_started(state: ProtocolState, event: Event) -> None:
    if state.phase is RUNNING:
        raise InvalidEventError("RUN_STARTED is not allowed before the current run has ended")
    if state.phase is not NEW:
        # All else was closed before the terminal event of an earlier run; its calls may have been left to the client.
        state.calls.clear()
        state.spans.clear()
    state.phase = RUNNING
    is_resuming = state.is_resuming
    if not is_resuming and "input" in event:
        run_input = event["input"]
        is_resuming = isinstance(run_input, dict) and bool(run_input.get("resume"))
    state.resumed_run = event if is_resuming else None


def _run_finished(state: ProtocolState, event: Event) -> None:
    if state.texts or state.open_calls or state.steps:
        still_open = [*state.texts, *state.open_calls, *(step.name for step in state.steps)]
        raise InvalidEventError(f"RUN_FINISHED is not allowed while {', '.join(map(repr, still_open))} is open")
    state.phase = FINISHED


def _run_error(state: ProtocolState, event: Event) -> None:
    state.phase = FAILED


def _text_start(state: ProtocolState, event: Event) -> None:
    message = event["messageId"]
    if message in state.texts:
        raise InvalidEventError(f"TEXT_MESSAGE_START for message {message!r}, which is already open")
    state.texts[message] = None


def _text_content(state: ProtocolState, event: Event) -> None:
    if event["messageId"] not in state.texts:
        raise InvalidEventError(f"{event['type']} for message {event['messageId']!r}, which is not open")


def _text_end(state: ProtocolState, event: Event) -> None:
    message = event["messageId"]
    if message not in state.texts:
        _text_content(state, event)  # which raises
    del state.texts[message]


def _call_start(state: ProtocolState, event: Event) -> None:
    call = event["toolCallId"]
    if call in state.open_calls:
        raise InvalidEventError(f"TOOL_CALL_START for tool call {call!r}, which is already open")
    state.open_calls[call] = None
    state.calls.setdefault(call, False)


def _call_args(state: ProtocolState, event: Event) -> None:
    if event["toolCallId"] not in state.open_calls:
        raise InvalidEventError(f"{event['type']} for tool call {event['toolCallId']!r}, which is not open")


def _call_end(state: ProtocolState, event: Event) -> None:
    _call_args(state, event)
    call = event["toolCallId"]
    del state.open_calls[call]
    if state.calls.get(call):
        del state.calls[call]


def _call_result(state: ProtocolState, event: Event) -> None:
    call = event["toolCallId"]
    if call in state.open_calls:
        state.calls[call] = True
    else:
        state.calls.pop(call, None)


def _step_started(state: ProtocolState, event: Event) -> None:
    step = Step(event["stepName"], event.get("subagentRunId"))
    if step in state.steps:
        raise InvalidEventError(f"STEP_STARTED for step {step.name!r}, which is already open")
    state.steps[step] = None


def _step_finished(state: ProtocolState, event: Event) -> None:
    step = Step(event["stepName"], event.get("subagentRunId"))
    if step not in state.steps:
        raise InvalidEventError(f"STEP_FINISHED for step {step.name!r}, which is not open")
    del state.steps[step]


Transition = Callable[[ProtocolState, Event], None]


def _open_span(end: str, member: str) -> Transition:
    def transition(state: ProtocolState, event: Event) -> None:
        state.spans[Span(end, member, event[member])] = None

    return transition


def _close_span(end: str, member: str) -> Transition:
    def transition(state: ProtocolState, event: Event) -> None:
        state.spans.pop(Span(end, member, event[member]), None)

    return transition


_REASONING = ("REASONING_END", "messageId")
_REASONING_MESSAGE = ("REASONING_MESSAGE_END", "messageId")
_SUBAGENT = ("SUBAGENT_FINISHED", "subagentRunId")

TRANSITIONS: Mapping[str, Transition] = {
    "RUN_STARTED": _run_started,
    "RUN_FINISHED": _run_finished,
    "RUN_ERROR": _run_error,
    "TEXT_MESSAGE_START": _text_start,
    "TEXT_MESSAGE_CONTENT": _text_content,
    "TEXT_MESSAGE_END": _text_end,
    "TOOL_CALL_START": _call_start,
    "TOOL_CALL_ARGS": _call_args,
    "TOOL_CALL_END": _call_end,
    "TOOL_CALL_RESULT": _call_result,
    "STEP_STARTED": _step_started,
    "STEP_FINISHED": _step_finished,
    "REASONING_START": _open_span(*_REASONING),
    "REASONING_END": _close_span(*_REASONING),
    "REASONING_MESSAGE_START": _open_span(*_REASONING_MESSAGE),
    "REASONING_MESSAGE_END": _close_span(*_REASONING_MESSAGE),
    "SUBAGENT_STARTED": _open_span(*_SUBAGENT),
    "SUBAGENT_FINISHED": _close_span(*_SUBAGENT),
    "SUBAGENT_ERROR": _close_span(*_SUBAGENT),
}
