"""What the admin shows of a stored thread beyond its row."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from copilot_runtime import User

from ._databases import SCHEMA

MAX_RUNS = 100
"""How many runs of a thread are shown, the newest ones."""

_TAIL_BYTES = 4096
"""How much of a run is read, from its end: its last event says how it has ended."""

_TAIL: Mapping[str, str] = {
    "sqlite": f"substr(records, -{_TAIL_BYTES})",
    "postgresql": f"substring(records FROM greatest(1, octet_length(records) - {_TAIL_BYTES - 1}))",
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
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT run_id, agent_id, stopping, started_at FROM {SCHEMA}.live WHERE thread = %s",
            [thread],
        )
        active = [
            RunRow(run_id, agent_id, "stopping" if stopping else "active", "", as_time(started_at), None)
            for run_id, agent_id, stopping, started_at in cursor.fetchall()
        ]
        cursor.execute(
            f"SELECT run_id, agent_id, has_run_error, started_at, ended_at, {_TAIL[connection.vendor]}"
            f" FROM {SCHEMA}.runs WHERE thread = %s ORDER BY ordinal DESC LIMIT {MAX_RUNS}",
            [thread],
        )
        ended = [
            RunRow(run_id, agent_id, *_outcome(bytes(tail), has_error), as_time(started_at), as_time(ended_at))
            for run_id, agent_id, has_error, started_at, ended_at, tail in cursor.fetchall()
        ]
    return [*active, *ended]


def _outcome(tail: bytes, has_run_error: bool) -> tuple[str, str]:
    """Returns how a run has ended, and why. ``tail`` is the end of its frames."""
    try:
        event = json.loads(tail.rpartition(b"data: ")[2])
    except ValueError:  # only the end of a long event
        event = {}
    if has_run_error or event.get("type") == "RUN_ERROR":
        return "failed", ": ".join(filter(None, (event.get("code"), event.get("message"))))
    outcome = event.get("outcome")
    is_interrupted = isinstance(outcome, dict) and outcome.get("type") == "interrupt"
    return ("interrupted" if is_interrupted else "finished"), ""


def as_time(value: float | datetime | None) -> datetime | None:
    """Returns a time of the tables, which are seconds since the epoch with SQLite; None if it is not set."""
    if isinstance(value, datetime):
        return value
    return datetime.fromtimestamp(value, UTC) if value else None


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
