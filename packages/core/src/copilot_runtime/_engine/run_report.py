"""What a run came to: one log line for each run of this process."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._events import decode, is_terminal, last_frame
from .._log_text import one_line
from .._users import owner_hash
from .run import Run
from .types import EndedRun

logger = logging.getLogger("copilot_runtime.runs")

MAX_ID_CHARACTERS = 200
"""How much of an id is logged: clients choose those of threads and runs."""

TOKEN_KINDS: Mapping[str, str] = {"inputTokens": "input", "outputTokens": "output"}
"""AG-UI's names of the counts of tokens that add up, and ours."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run that this process no longer has.

    Attributes:
        agent_id: the agent.
        thread_id: the thread.
        run_id: the run.
        owner_hash: a hash of the key of its owner; None where users are not identified.
        outcome: ``finished``, ``failed``, ``stopped``, ``deleted`` with its thread, or ``lost`` to another
            process, which ends it.
        error_code: the code of its RUN_ERROR; empty for none.
        duration_seconds: how long it took.
        events: how many events there were.
        bytes: how large its frames were.
        usage: what its last event says of tokens, by model.
        is_suggestion: whether it was on no thread, and nothing of it is stored.
    """

    agent_id: str
    thread_id: str
    run_id: str
    owner_hash: str | None
    outcome: str
    error_code: str
    duration_seconds: float
    events: int
    bytes: int
    usage: Sequence[Mapping[str, Any]]
    is_suggestion: bool

    @classmethod
    def of_run(cls, run: Run, *, is_lost: bool = False) -> RunReport:
        """Returns the report of a run whose log is complete, or that was lost to another process."""
        request = run.request
        terminal = {} if is_lost else _terminal_event(last_frame(run.log.pieces))
        return cls(
            agent_id=request.agent_id,
            thread_id=request.thread_id,
            run_id=request.run_id,
            owner_hash=owner_hash(request.owner),
            outcome=_outcome(run, terminal, is_lost=is_lost),
            error_code=_error_code(terminal),
            duration_seconds=max(0.0, time.time() - run.started_at),
            events=run.event_count,
            bytes=run.size,
            usage=_usage(terminal),
            is_suggestion=run.log.run is None,
        )

    @classmethod
    def of_reaped(cls, ended: EndedRun, owner: str) -> RunReport:
        """Returns the report of a run whose process had died, or from which its thread was taken."""
        frames = [record.frame for record in ended.records]
        terminal = _terminal_event(frames[-1] if frames else b"")
        return cls(
            agent_id=ended.agent_id,
            thread_id=ended.thread_id,
            run_id=ended.run_id,
            owner_hash=owner_hash(owner),
            outcome=ended.outcome,
            error_code=_error_code(terminal),
            duration_seconds=max(0.0, ended.ended_at - ended.started_at),
            events=len(frames),
            bytes=sum(map(len, frames)),
            usage=_usage(terminal),
            is_suggestion=False,
        )

    def tokens(self, kind: str) -> int | None:
        """Returns how many tokens of a kind, ``input`` or ``output``, there were; None if nothing is known."""
        name = next(name for name, ours in TOKEN_KINDS.items() if ours == kind)
        counts = [count for entry in self.usage if isinstance(count := entry.get(name), int)]
        return sum(counts) if counts else None

    def log(self) -> None:
        """Logs the run in one line, with its parts in ``extra``."""
        input_tokens, output_tokens = self.tokens("input"), self.tokens("output")
        fields = {
            "agent_id": _shortened(self.agent_id),
            "thread_id": _shortened(self.thread_id),
            "run_id": _shortened(self.run_id),
            "owner_hash": self.owner_hash,
            "outcome": self.outcome,
            "error_code": self.error_code or None,
            "duration_seconds": round(self.duration_seconds, 3),
            "event_count": self.events,
            "byte_count": self.bytes,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "suggestion": self.is_suggestion,
        }
        logger.info(
            "%s %s%s: agent=%s thread=%s run=%s owner=%s duration=%.3fs events=%d bytes=%d tokens=%s",
            "suggestions" if self.is_suggestion else "run",
            self.outcome,
            f" ({one_line(self.error_code)})" if self.error_code else "",
            one_line(fields["agent_id"]),
            one_line(fields["thread_id"]),
            one_line(fields["run_id"]),
            self.owner_hash or "-",
            self.duration_seconds,
            self.events,
            self.bytes,
            "-" if input_tokens is output_tokens is None else f"{input_tokens or 0}+{output_tokens or 0}",
            extra=fields,
        )


def log_run(run: Run, *, is_lost: bool = False) -> None:
    """Logs a run of this process. Raises nothing: whatever happens here, the run has to end for its readers."""
    try:
        RunReport.of_run(run, is_lost=is_lost).log()
    except Exception:
        logger.exception("run %r cannot be reported", run.request.run_id)


def log_reaped_run(ended: EndedRun, owner: str) -> None:
    """Logs a run that this process has ended in place of its own, on a thread of an owner."""
    RunReport.of_reaped(ended, owner).log()


def _outcome(run: Run, terminal: Mapping[str, Any], *, is_lost: bool) -> str:
    if is_lost:
        return "deleted" if run.is_deleted else "lost"
    return "stopped" if run.was_stopped else "failed" if terminal.get("type") == "RUN_ERROR" else "finished"


def _terminal_event(last: bytes) -> Mapping[str, Any]:
    """Returns the last event of a run, if it is a terminal one; else an empty mapping."""
    event = decode(last) if last and is_terminal(last) else {}
    return event if isinstance(event, Mapping) else {}


def _error_code(terminal: Mapping[str, Any]) -> str:
    if terminal.get("type") != "RUN_ERROR":
        return ""
    code = terminal.get("code")
    return code[:MAX_ID_CHARACTERS] if isinstance(code, str) and code else "RUN_ERROR"


def _usage(terminal: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    usage = terminal.get("usage")
    entries: Iterable[Any] = usage if isinstance(usage, list) else ()
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_ID_CHARACTERS else f"{text[:MAX_ID_CHARACTERS]}…"
