"""What the admin shows of a stored thread beyond its row."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.utils.text import Truncator

from copilot_runtime import User

from ._columns import as_text, as_type
from ._databases import SCHEMA

MAX_RUNS = 100
"""How many runs of a thread are shown, the newest ones."""

_TAIL_BYTES = (4096, 1024 * 1024)
"""How much of a run is read, from its end: its last event says how it has ended. More where that is longer."""

_MAX_DETAIL_LENGTH = 1000

_TAIL: Mapping[str, str] = {
    "sqlite": "substr(CAST(records AS BLOB), -{size})",
    "postgresql": "substring(records FROM greatest(1, octet_length(records) - {size} + 1))",
}
"""The end of a run as SQL, by ``vendor`` of Django's database backends."""


@dataclasses.dataclass(frozen=True, slots=True)
class RunRow:
    """A run of a thread. Times are None where they are not known."""

    run_id: str
    agent_id: str
    outcome: str
    detail: str
    """The code and the message of a run that has failed."""
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def duration(self) -> str:
        """How long it took, in seconds; empty if that is not known."""
        if self.started_at is None or self.ended_at is None:
            return ""
        return f"{(self.ended_at - self.started_at).total_seconds():.1f} s"


def select_runs(connection: Any, thread: int) -> Sequence[RunRow]:
    """Returns the runs of a thread, given by its row id: the active one, then those that have ended, newest first."""
    vendor = connection.vendor
    run_id, agent_id = (as_type(vendor, name, "BLOB") for name in ("run_id", "agent_id"))
    started_at, ended_at = (as_type(vendor, name, "REAL") for name in ("started_at", "ended_at"))
    stopping, has_run_error, was_stopped = (
        as_type(vendor, name, "INTEGER") for name in ("stopping", "has_run_error", "was_stopped")
    )
    with connection.cursor() as cursor:

        def select_tail(ordinal: int, size: int) -> bytes:
            tail = _TAIL[vendor].format(size=size)
            cursor.execute(f"SELECT {tail} FROM {SCHEMA}.runs WHERE thread = %s AND ordinal = %s", [thread, ordinal])
            return b"".join(bytes(found) for (found,) in cursor.fetchall())

        cursor.execute(
            f"SELECT {run_id}, {agent_id}, {stopping}, {started_at} FROM {SCHEMA}.live WHERE thread = %s", [thread]
        )
        active = [
            RunRow(as_text(run), as_text(agent), "stopping" if stops else "active", "", as_time(started), None)
            for run, agent, stops, started in cursor.fetchall()
        ]
        cursor.execute(
            f"SELECT ordinal, {run_id}, {agent_id}, {has_run_error}, {was_stopped}, {started_at}, {ended_at},"
            f" {_TAIL[vendor].format(size=_TAIL_BYTES[0])}"
            f" FROM {SCHEMA}.runs WHERE thread = %s ORDER BY ordinal DESC LIMIT {MAX_RUNS}",
            [thread],
        )
        ended = []
        for ordinal, run, agent, has_error, stopped, started, finished, tail in cursor.fetchall():
            event = _last_event(bytes(tail), partial(select_tail, ordinal))
            outcome = ("stopped", "") if stopped else _outcome(event, has_error)
            ended.append(RunRow(as_text(run), as_text(agent), *outcome, as_time(started), as_time(finished)))
    return [*active, *ended]


def _last_event(tail: bytes, select_tail: Callable[[int], bytes]) -> Mapping[str, Any]:
    """Returns the last event of a run; empty if it is damaged, or very long.

    Args:
        tail: The last ``_TAIL_BYTES[0]`` bytes of the run.
        select_tail: Returns that many of its last bytes.
    """
    for size in _TAIL_BYTES:
        if size != _TAIL_BYTES[0]:
            tail = select_tail(size)
        # JSON contains no raw line feeds, so an empty line is always between two frames.
        _, before, frame = tail.removesuffix(b"\n\n").rpartition(b"\n\n")
        if before or len(tail) < size:
            try:
                event = json.loads(frame.partition(b"data: ")[2])
            except (ValueError, RecursionError):
                break
            return event if isinstance(event, dict) else {}
    return {}


def _outcome(event: Mapping[str, Any], has_run_error: bool) -> tuple[str, str]:
    """Returns how a run has ended that was not stopped, and why. ``event`` is its last one."""
    if has_run_error or event.get("type") == "RUN_ERROR":
        detail = ": ".join(str(event[name]) for name in ("code", "message") if event.get(name))
        return "failed", Truncator(detail).chars(_MAX_DETAIL_LENGTH)
    outcome = event.get("outcome")
    is_interrupted = isinstance(outcome, dict) and outcome.get("type") == "interrupt"
    return ("interrupted" if is_interrupted else "finished"), ""


def as_time(value: float | datetime | None) -> datetime | None:
    """Returns a time of the tables, which are seconds since the epoch with SQLite; None if it is not set."""
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromtimestamp(value, UTC) if value else None
    except (ValueError, OverflowError, OSError):  # damaged
        return None


def user_of(owner: str) -> User | None:
    """Returns the user under whose key a store has filed threads; None where users are not identified.

    Raises ValueError if it is no such key.
    """
    if not owner:
        return None
    try:
        tenant, user_id = json.loads(owner)
    except TypeError as error:
        raise ValueError(owner) from error
    return User(id=user_id, tenant=tenant)
