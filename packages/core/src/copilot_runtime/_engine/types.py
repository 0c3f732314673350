"""What a run is started with, how runs are run, and what is reported when one has ended."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from .._events import CompactedFrame, Event, InputMessages, decode, messages_after_run
from .._users import User, owner_key
from ..agents._context import RunContext
from ..agents._json_body import JSONBody
from ..stores.protocol import RunCompletion

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

Outcome = Literal["finished", "failed", "stopped"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How one run is run. Times are in seconds."""

    run_timeout_seconds: float | None = None
    stop_grace_seconds: float = 10
    debug: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions(RunSettings):
    """How runs are run. Times are in seconds."""

    on_concurrent_run: Literal["reject", "supersede"] = "reject"
    on_disconnect: Literal["continue", "stop"] = "continue"
    history: Literal["client", "stored"] = "client"
    max_streams: int | None = None
    max_runs: int | None = None
    max_runs_per_user: int | None = None
    max_runs_bytes: int | None = None
    max_agent_threads: int | None = None
    sse_keep_alive_seconds: float = 15
    send_timeout_seconds: float | None = 120
    shutdown_grace_seconds: float = 10


@dataclasses.dataclass(slots=True, kw_only=True)  # not frozen: each run makes one, which would take twice as long
class RunRequest:
    """Everything that a run is started with. Never changed.

    ``input`` is for the agent; ``body`` is the same in wire form, as the client sent it. ``size`` is the size of the
    body, and ``memory`` an estimate of what input and body take in memory while the run lasts. ``opening`` are events
    that begin the run, and are stored before its agent starts. ``insert_messages`` returns a run with further messages,
    in wire form, by the index in its own that they come before; None if the client's messages are all.
    ``agent_without_ui`` is the agent for runs that nobody sees, if that is another one.
    """

    agent_id: str
    agent: Any
    input: RunAgentInput
    body: JSONBody
    context: RunContext
    size: int = 0
    memory: int = 0
    opening: Sequence[Event] = ()
    agent_without_ui: Any = None
    insert_messages: Callable[[RunRequest, Mapping[int, Sequence[Mapping[str, Any]]]], RunRequest] | None = None

    def without_context(self) -> RunRequest:
        """Returns what the engine needs once the agent runs, which takes no context and has not been given one."""
        return RunRequest(
            agent_id=self.agent_id,
            agent=self.agent,
            input=self.input,
            body=self.body,
            context=self.context._without_request(),
        )

    @property
    def thread_id(self) -> str:
        return self.input.thread_id

    @property
    def run_id(self) -> str:
        return self.input.run_id

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The messages in wire form."""
        body = self.body
        return InputMessages(body, body.data if body.stands_for_messages else None)

    @property
    def has_resume(self) -> bool:
        """Whether the client responds to interrupts."""
        return bool(self.body.members.get("resume"))

    @property
    def owner(self) -> str:
        """The key under which the store files the thread."""
        return owner_key(self.context.user)

    @property
    def user_key(self) -> str | None:
        """The key of the user whose runs are counted together; None where users are not identified."""
        return None if self.context.user is None else self.context.user.owner_key


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that has ended, as ``on_run_end`` receives it.

    Attributes:
        thread_id: the thread.
        run_id: the run.
        agent_id: the agent.
        user: whose run it was; None without `identify_user`, and for a run that was reaped because its process died.
        outcome: ``finished``, ``failed`` (it ended in RUN_ERROR), or ``stopped`` on request.
        failure: what went wrong, for the log and not for the client, since it may hold an exception's text; ``""``
            if the agent ended the run itself.
        started_at: when the run began, in seconds since the epoch.
        ended_at: when it ended, in seconds since the epoch.
        input_messages: the messages of the run's input, in wire form.
        records: the compacted run; `events` decodes it.
        last_agent_event: the number of the last event that the agent itself emitted.
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
    def from_completion(
        cls,
        completion: RunCompletion,
        *,
        thread_id: str,
        run_id: str,
        agent_id: str,
        user: User | None,
        outcome: Outcome,
        failure: str,
        started_at: float,
    ) -> Self:
        """Returns the report of a run that has just ended."""
        return cls(
            thread_id=thread_id,
            run_id=run_id,
            agent_id=agent_id,
            user=user,
            outcome=outcome,
            failure=failure,
            started_at=started_at,
            ended_at=time.time(),
            input_messages=list(completion.messages),
            records=completion.records,
            last_agent_event=completion.last_agent_event,
        )

    def events(self) -> list[Event]:
        """Returns the run's events, compacted as a replay shows them."""
        return [decode(record.frame) for record in self.records]

    def messages(self) -> list[dict[str, Any]]:
        """Returns the messages at the end of the run, those of its input included."""
        return messages_after_run(self.input_messages, self.records, self.last_agent_event)


RunEndHook = Callable[[EndedRun], object]
"""A plain or coroutine function that is called once for each run that has ended."""
