"""Completes a run that its agent left without a terminal event (docs/protocol.md, sections 5 and 7)."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator

from pydantic_core import to_json

from .protocol_state import NEW, RUNNING, TRANSITIONS, ProtocolState
from .sse import (
    Event,
    InvalidEventError,
    decode,
    encode,
    format_frame,
)

# Events that open and close nothing, which are many, and need not be parsed.
_DELTA = re.compile(
    rb'(?:id: [^\n]*\n)?data: \{"type":"(?:TEXT_MESSAGE_CONTENT|REASONING_MESSAGE_CONTENT|TOOL_CALL_ARGS)"'
)

NO_TERMINAL_EVENT = "Run ended without emitting a terminal event"
STOPPED = "Run stopped by user"


@dataclasses.dataclass(frozen=True, slots=True)
class RunEnding:
    """Why a run ends although its agent emitted no terminal event."""

    message: str = NO_TERMINAL_EVENT
    """Sent to the client, so it must not contain internals."""
    code: str = "INCOMPLETE_STREAM"
    """The code of the RUN_ERROR. Not used for a stopped run, which ends in RUN_FINISHED."""
    stopped: bool = False
    """Whether the run was stopped on request."""
    failed: bool = False
    """Whether the agent failed, or the runtime had to end the run."""


def error_frame(ending: RunEnding) -> bytes:
    """Returns the RUN_ERROR of an ending as a frame that ends a stream, and is not part of its run.

    It has no id: a reader that reconnects continues after the last event that it received before.
    """
    return format_frame(encode(_error_event(ending)))


def is_terminal(frame: bytes) -> bool:
    """Returns whether a frame holds a terminal event."""
    return decode(frame)["type"] in ("RUN_FINISHED", "RUN_ERROR")


def _error_event(ending: RunEnding) -> Event:
    return {"type": "RUN_ERROR", "message": ending.message, "code": ending.code}


def closing_events(state: ProtocolState, ending: RunEnding, thread_id: str, run_id: str) -> Iterator[Event]:
    """Yields the events that complete a run: an end for everything that ``state`` has open, then a terminal event."""
    if not ending.stopped:
        yield from _open_ends(state, ending.message, _result("error", "missing_terminal_event", ending.message))
        yield from _finish_resumed(state)
        yield _error_event(ending)
        return
    # Unlike RUN_ERROR, clients accept RUN_FINISHED only within a run.
    if state.phase is NEW:
        yield {"type": "RUN_STARTED", "threadId": thread_id, "runId": run_id}
    yield from _open_ends(state, None, _result("stopped", "stop_requested", ending.message))
    yield {"type": "RUN_FINISHED", "threadId": thread_id, "runId": run_id}


def events_before_error(state: ProtocolState, error: Event) -> Iterator[Event]:
    """Yields an end for everything that ``state`` has open, to be sent before the agent's own RUN_ERROR.

    Clients need none of them at that point, but would otherwise run a tool call of which only a part has come, and a
    replay could not continue after the run (`without_past_errors`).
    """
    if state.phase is RUNNING:
        yield from _open_ends(state, error["message"], _result("error", "run_error", error["message"]))
        yield from _finish_resumed(state)


def ends_of_open(frames: Iterable[bytes], terminal: bytes) -> list[bytes]:
    """Returns frames without ids that end everything that ``frames`` have left open, to be sent before ``terminal``.

    For readers that go on with another ending than that of the run that they have read.
    """
    state = ProtocolState()
    for frame in frames:
        if _DELTA.match(frame):
            continue
        event = decode(frame)
        transition = TRANSITIONS.get(event["type"])
        if transition is not None:
            with contextlib.suppress(InvalidEventError):
                transition(state, 0, event, frame)
    error = decode(terminal)
    if error["type"] == "RUN_ERROR":
        events = events_before_error(state, error)
    else:
        events = _open_ends(state, None, _result("stopped", "stop_requested", STOPPED))
    return [format_frame(encode(event)) for event in events]


def _finish_resumed(state: ProtocolState) -> Iterator[Event]:
    """Yields a RUN_FINISHED to be sent before RUN_ERROR if the run responds to interrupts, which it has used up.

    To clients an interrupt is open until a RUN_FINISHED says otherwise, and until then they refuse to run again.
    """
    if state.resumed_run is not None:
        yield {name: state.resumed_run[name] for name in ("threadId", "runId")} | {"type": "RUN_FINISHED"}


def _open_ends(state: ProtocolState, failure: str | None, result: str) -> Iterator[Event]:
    """Yields an end for everything that is open.

    Args:
        state: Knows what is open.
        failure: Why the run has failed, or None if it has not.
        result: The content of the results of tool calls that have none.
    """
    # Copied first: the caller feeds each event back into ``state``.
    texts, calls, open_calls, steps = list(state.texts), dict(state.calls), set(state.open_calls), list(state.steps)
    spans = list(reversed(state.spans))
    for message in texts:
        yield {"type": "TEXT_MESSAGE_END", "messageId": message}
    for call, has_result in calls.items():
        if call in open_calls:
            yield {"type": "TOOL_CALL_END", "toolCallId": call}
        if not has_result:
            yield {
                "type": "TOOL_CALL_RESULT",
                "toolCallId": call,
                "messageId": f"{call}-result",
                "role": "tool",
                "content": result,
            }
    for span in spans:
        if failure is not None and span.end == "SUBAGENT_FINISHED":
            yield {"type": "SUBAGENT_ERROR", span.member: span.id, "message": failure}
        else:
            yield {"type": span.end, span.member: span.id}
    for step in steps:
        by = {} if step.subagent is None else {"subagentRunId": step.subagent}
        yield {"type": "STEP_FINISHED", "stepName": step.name, **by}


def _result(status: str, reason: str, message: str) -> str:
    return to_json({"status": status, "reason": reason, "message": message}).decode()
