"""The end of a run whose agent did not end it (CONTRACT.md, sections 5 and 7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pydantic_core import to_json

from .protocol_state import Phase, ProtocolState
from .sse import (
    Event,
    decode,
    encode,
    format_frame,
    id_prefix,
)

NO_TERMINAL_EVENT = "Run ended without emitting a terminal event"
STOPPED = "Run stopped by user"


@dataclasses.dataclass(frozen=True, slots=True)
class RunEnding:
    """Why a run is over without a terminal event of its agent's.

    ``message`` is what the client may read. ``code`` is that of the RUN_ERROR; a stopped
    run has none, since it ends in RUN_FINISHED.
    """

    message: str = NO_TERMINAL_EVENT
    code: str = "INCOMPLETE_STREAM"
    stopped: bool = False
    failed: bool = False


LOST = RunEnding("The run was lost", "RUN_LOST", failed=True)
"""The end of a run whose process is gone, or whose thread is somebody else's now."""


def error_frame(ending: RunEnding, ordinal: int | None, number: int) -> bytes:
    """The RUN_ERROR of an ending as a frame, for a run of which nothing else is known."""
    return format_frame(encode(_error(ending)), b"" if ordinal is None else id_prefix(ordinal), number)


def is_terminal(framed: bytes) -> bool:
    """Whether a frame ends its run."""
    return decode(framed)["type"] in ("RUN_FINISHED", "RUN_ERROR")


def _error(ending: RunEnding) -> Event:
    return {"type": "RUN_ERROR", "message": ending.message, "code": ending.code}


def closing_events(order: ProtocolState, ending: RunEnding, thread_id: str, run_id: str) -> Iterator[Event]:
    """The events that complete a run, given the state of its stream as it was left."""
    texts, calls, open_calls, steps = list(order.texts), dict(order.calls), set(order.open_calls), sorted(order.steps)
    spans = list(reversed(order.spans))
    for message in texts:
        yield {"type": "TEXT_MESSAGE_END", "messageId": message}
    result = _result(ending)
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
    if not ending.stopped:
        yield _error(ending)
        return
    # A client takes RUN_FINISHED only in a run, and only when all is closed; after RUN_ERROR
    # neither matters.
    if order.phase is Phase.NEW:
        yield {"type": "RUN_STARTED", "threadId": thread_id, "runId": run_id}
    for span in spans:
        yield {"type": span.end, span.member: span.id}
    for step in steps:
        yield {"type": "STEP_FINISHED", "stepName": step}
    yield {"type": "RUN_FINISHED", "threadId": thread_id, "runId": run_id}


def _result(ending: RunEnding) -> str:
    status, reason = ("stopped", "stop_requested") if ending.stopped else ("error", "missing_terminal_event")
    return to_json({"status": status, "reason": reason, "message": ending.message}).decode()
