"""What a run is given when it begins, and what is told when it has ended."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from ag_ui.core import RunAgentInput

from .._events import (
    CompactedFrame,
    Event,
    decode,
    messages_after_run,
)
from .._users import ANONYMOUS_OWNER, User
from ..agents._context import RunContext

Outcome = Literal["finished", "failed", "stopped"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """Everything that a run is given.

    ``input`` is for the agent; ``body`` is the same in wire form, as it came.
    """

    agent_id: str
    agent: Any
    input: RunAgentInput
    body: Mapping[str, Any]
    context: RunContext
    size: int = 0

    @property
    def thread_id(self) -> str:
        return self.input.thread_id

    @property
    def run_id(self) -> str:
        return self.input.run_id

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        messages: Sequence[Mapping[str, Any]] = self.body["messages"]
        return messages

    @property
    def owner(self) -> str:
        user = self.context.user
        return ANONYMOUS_OWNER if user is None else user.owner_key


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that has ended, as ``on_run_end`` is told of it. Times are seconds since the epoch.

    ``failure`` is for the log, not for the caller: it may hold an exception's text.
    """

    thread_id: str
    run_id: str
    agent_id: str
    user: User | None
    outcome: Outcome
    failure: str
    started_at: float
    ended_at: float
    input_messages: Sequence[Mapping[str, Any]] = dataclasses.field(repr=False)
    records: Sequence[CompactedFrame] = dataclasses.field(repr=False)
    last_agent_event: int = dataclasses.field(repr=False)

    @classmethod
    def from_run(
        cls,
        given: RunRequest,
        *,
        records: Sequence[CompactedFrame],
        last_agent_event: int,
        outcome: Outcome,
        failure: str,
        started_at: float,
    ) -> Self:
        """What is told of a run that was given ``given``."""
        return cls(
            thread_id=given.thread_id,
            run_id=given.run_id,
            agent_id=given.agent_id,
            user=given.context.user,
            outcome=outcome,
            failure=failure,
            started_at=started_at,
            ended_at=time.time(),
            input_messages=given.messages,
            records=records,
            last_agent_event=last_agent_event,
        )

    def events(self) -> list[Event]:
        """The run's events, compacted as a replay shows them."""
        return [decode(record.frame) for record in self.records]

    def messages(self) -> list[dict[str, Any]]:
        """The messages at the end of the run, those it was given included."""
        return messages_after_run(self.input_messages, self.records, self.last_agent_event)
