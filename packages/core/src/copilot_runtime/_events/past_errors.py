"""A failed run in a replay that goes on after it (docs/architecture.md, "Differences from the Node runtime").

Clients up to `@ag-ui/client` 0.0.57 accept nothing after RUN_ERROR, and newer ones report it again at every reload.
"""

from __future__ import annotations

from collections.abc import Sequence

from .sse import Event, decode, replace_event


def without_past_errors(frames: Sequence[bytes], *, is_last: bool) -> list[bytes]:
    """Returns the frames of a run with RUN_FINISHED in place of every RUN_ERROR that is not the end of the thread.

    Every frame keeps its id and its index, so cursors stay valid. A RUN_ERROR outside of RUN_STARTED and RUN_FINISHED
    has nothing to finish; its frame becomes empty.

    Args:
        frames: All frames of the run. Everything that was open has ended before each RUN_ERROR, which
            `RunRecorder` guarantees.
        is_last: Whether nothing follows this run.
    """
    replaced = list(frames)
    started: Event | None = None
    for index, frame in enumerate(frames[:-1] if is_last else frames):
        if b'"RUN_' not in frame:  # deltas are many, and need not be parsed
            continue
        event = decode(frame)
        if event["type"] == "RUN_STARTED":
            started = event
        elif event["type"] == "RUN_FINISHED":
            started = None
        elif event["type"] == "RUN_ERROR":
            replaced[index] = b"" if started is None else _finished_frame(frame, started)
            started = None
    return replaced


def _finished_frame(frame: bytes, started: Event) -> bytes:
    ids = {"threadId": started["threadId"], "runId": started["runId"]}
    return replace_event(frame, {"type": "RUN_FINISHED", **ids})
