"""How runs end that their agent did not end: the messages and codes of every RUN_ERROR that the runtime sends."""

from __future__ import annotations

from collections.abc import Mapping

from .._events import STOPPED, RunEnding, decode, error_frame, is_reapers

RUN_ERROR_CODES: Mapping[str, str] = {
    "INCOMPLETE_STREAM": "the agent raised an exception, emitted an invalid event, or returned without a terminal one",
    "RUN_TIMEOUT": "the run took longer than `run_timeout_seconds`",
    "RUN_INTERRUPTED": "the server shut down during the run, or could not reach its store for too long",
    "RUN_LOST": "the process of the run died, or another process took over the thread",
    "RUN_TOO_LARGE": "the run has become larger than the store, or `max_runs_bytes`, allows",
    "STORE_UNAVAILABLE": "the end of the run could not be stored",
    "SERVER_SHUTDOWN": "not a failure of the run: the server of the stream shut down; the client should reconnect",
    "SLOW_READER": "not a failure of the run: the client read its stream too slowly; it should reconnect",
}
"""Every code and its meaning. docs/errors.md lists them; agents have codes of their own beside these."""

STOPPED_BY_USER = RunEnding(STOPPED, stopped=True)
LOST = RunEnding("The run was lost", "RUN_LOST", failed=True)
TOO_LARGE = RunEnding("The run is larger than the store allows", "RUN_TOO_LARGE", failed=True)
MEMORY_EXCEEDED = RunEnding("The run is larger than the server allows", "RUN_TOO_LARGE", failed=True)
INTERRUPTED = RunEnding("The server shut down before the run ended", "RUN_INTERRUPTED", failed=True)
STORE_UNREACHABLE = RunEnding("The server could not reach its store for too long", "RUN_INTERRUPTED", failed=True)
NOT_STORED = RunEnding("The run could not be stored", "STORE_UNAVAILABLE", failed=True)
SERVER_SHUTDOWN = RunEnding(
    "The stream was closed because the server is shutting down. Reconnect to the thread to receive all events.",
    "SERVER_SHUTDOWN",
)
SLOW_READER = RunEnding(
    "The stream was closed because the client read too slowly. Reconnect to the thread to receive all events.",
    "SLOW_READER",
)

AGENT_FAILED = "The agent failed"
"""What clients read of an agent's exception, unless `debug` is on."""


def lost_ending(terminal: bytes) -> bytes:
    """Returns how a stream ends whose reader has received events that a crash took, so that the rest contradicts them.

    With ``terminal``, the end of the run, unless that is a reaper's RUN_FINISHED: what the reader has may have left
    something open, and clients accept RUN_FINISHED only where nothing is.
    """
    if terminal and (not is_reapers(terminal) or decode(terminal)["type"] == "RUN_ERROR"):
        return terminal
    return error_frame(LOST)


def timed_out(seconds: float) -> RunEnding:
    """Returns the ending of a run that took longer than ``seconds``."""
    return RunEnding(f"The run took longer than {seconds:g} seconds", "RUN_TIMEOUT", failed=True)


def describe_error(error: BaseException) -> str:
    """Returns an exception's type and text, which clients read only if `debug` is on."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # raised by the exception's own __str__
        text = type(error).__name__
    return text.encode("utf-8", "replace").decode()
