"""Whether the events of a run come in an order that the client accepts.

One state machine, a table from the event's type to what it does to the state. What it
knows at the end (which messages and calls are open) is also what completes a run that
its agent left unfinished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from .sse import Event, InvalidEventError


class Phase(Enum):
    """Where a stream stands."""

    NEW = "before RUN_STARTED"
    RUNNING = "in a run"
    FINISHED = "after RUN_FINISHED"
    FAILED = "after RUN_ERROR"
    SEALED = "after the run was ended"


# What may come outside of a run; inside, anything may whose step below agrees.
_ALLOWED_OUTSIDE_RUN: Mapping[Phase, frozenset[str]] = {
    Phase.NEW: frozenset(("RUN_STARTED", "RUN_ERROR")),
    Phase.FINISHED: frozenset(("RUN_STARTED", "RUN_ERROR")),
    Phase.FAILED: frozenset(("RUN_STARTED",)),
    Phase.SEALED: frozenset(),
}


class Span(NamedTuple):
    """Something open that has no state of its own: the event that ends it, and the member with its id."""

    end: str
    member: str
    id: str


class ProtocolState:
    """The state of one run's stream. `STEPS` take it from event to event; each raises BadEvent, the state
    unchanged, for an event that cannot come now."""

    __slots__ = ("calls", "open_calls", "phase", "spans", "steps", "texts")

    def __init__(self) -> None:
        self.phase = Phase.NEW
        self.texts: dict[str, None] = {}
        """Open text messages, in order of opening."""
        self.open_calls: set[str] = set()
        """Tool calls without an end."""
        self.calls: dict[str, bool] = {}
        """Tool calls without an end or without a result, in order of opening: whether each has its result."""
        self.steps: set[str] = set()
        self.spans: dict[Span, None] = {}
        """What else is open, in order of opening. Not every client minds, so only completing a run looks at it."""

    @property
    def is_over(self) -> bool:
        """Whether the last event was a terminal one."""
        return self.phase is Phase.FINISHED or self.phase is Phase.FAILED

    def check_phase(self, kind: str) -> None:
        """Raises BadEvent for an event that cannot come now, in a run or outside."""
        if self.phase is not Phase.RUNNING and kind not in _ALLOWED_OUTSIDE_RUN[self.phase]:
            raise InvalidEventError(f"{kind} cannot come {self.phase.value}")


def _run_started(order: ProtocolState, event: Event) -> None:
    if order.phase is Phase.RUNNING:
        raise InvalidEventError("RUN_STARTED cannot come in a run that has not ended")
    order.phase = Phase.RUNNING
    order.texts.clear()
    order.open_calls.clear()
    order.calls.clear()
    order.steps.clear()
    order.spans.clear()


def _run_finished(order: ProtocolState, event: Event) -> None:
    still_open = [*order.texts, *order.open_calls, *order.steps]
    if still_open:
        raise InvalidEventError(f"RUN_FINISHED cannot come while {', '.join(map(repr, still_open))} is open")
    order.phase = Phase.FINISHED


def _run_error(order: ProtocolState, event: Event) -> None:
    order.phase = Phase.FAILED


def _text_start(order: ProtocolState, event: Event) -> None:
    message = event["messageId"]
    if message in order.texts:
        raise InvalidEventError(f"TEXT_MESSAGE_START for message {message!r}, which is open already")
    order.texts[message] = None


def _text_content(order: ProtocolState, event: Event) -> None:
    if event["messageId"] not in order.texts:
        raise InvalidEventError(f"{event['type']} for message {event['messageId']!r}, which is not open")


def _text_end(order: ProtocolState, event: Event) -> None:
    _text_content(order, event)
    del order.texts[event["messageId"]]


def _call_start(order: ProtocolState, event: Event) -> None:
    call = event["toolCallId"]
    if call in order.open_calls:
        raise InvalidEventError(f"TOOL_CALL_START for tool call {call!r}, which is open already")
    order.open_calls.add(call)
    order.calls.setdefault(call, False)


def _call_args(order: ProtocolState, event: Event) -> None:
    if event["toolCallId"] not in order.open_calls:
        raise InvalidEventError(f"{event['type']} for tool call {event['toolCallId']!r}, which is not open")


def _call_end(order: ProtocolState, event: Event) -> None:
    _call_args(order, event)
    call = event["toolCallId"]
    order.open_calls.discard(call)
    if order.calls.get(call):
        del order.calls[call]


def _call_result(order: ProtocolState, event: Event) -> None:
    call = event["toolCallId"]
    if call in order.open_calls:
        order.calls[call] = True
    else:
        order.calls.pop(call, None)


def _step_started(order: ProtocolState, event: Event) -> None:
    if event["stepName"] in order.steps:
        raise InvalidEventError(f"STEP_STARTED for step {event['stepName']!r}, which is open already")
    order.steps.add(event["stepName"])


def _step_finished(order: ProtocolState, event: Event) -> None:
    if event["stepName"] not in order.steps:
        raise InvalidEventError(f"STEP_FINISHED for step {event['stepName']!r}, which is not open")
    order.steps.discard(event["stepName"])


Transition = Callable[[ProtocolState, Event], None]


def _opens(end: str, member: str) -> Transition:
    def step(order: ProtocolState, event: Event) -> None:
        order.spans[Span(end, member, event[member])] = None

    return step


def _closes(end: str, member: str) -> Transition:
    def step(order: ProtocolState, event: Event) -> None:
        order.spans.pop(Span(end, member, event[member]), None)

    return step


_REASONING, _MESSAGE = ("REASONING_END", "messageId"), ("REASONING_MESSAGE_END", "messageId")
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
    "REASONING_START": _opens(*_REASONING),
    "REASONING_END": _closes(*_REASONING),
    "REASONING_MESSAGE_START": _opens(*_MESSAGE),
    "REASONING_MESSAGE_END": _closes(*_MESSAGE),
    "SUBAGENT_STARTED": _opens(*_SUBAGENT),
    "SUBAGENT_FINISHED": _closes(*_SUBAGENT),
    "SUBAGENT_ERROR": _closes(*_SUBAGENT),
}
