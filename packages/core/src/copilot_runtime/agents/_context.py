"""`RunContext`, and settings of an agent that are resolved against it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._concurrency import driver
from .._users import User

if TYPE_CHECKING:  # only passed on: agents do not depend on the HTTP types
    from .._http.types import Request


class StopFlag:
    """Whether a run is being stopped: set by the engine, and read by the agent."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The context of a run, for the agent that executes it.

    Args:
        request: the request that started the run.
        headers: the forwarded headers, in lower case, merged with those that the server has set on the agent, which
            take precedence.
        user: the authenticated user, if the runtime identifies users.
        body: the run's input as JSON on the wire, unknown members included.
        debug: whether the runtime's ``debug`` is on, so that causes of failures may be sent to the client.
        open_interrupts: the interrupts, by id and as JSON on the wire, that this run's ``resume`` may respond to: those
            that the thread's last run ended with, as far as the store knows. None if the run is not a runtime's.
    """

    request: Request | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    user: User | None = None
    body: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    debug: bool = False
    open_interrupts: Mapping[str, Mapping[str, Any]] | None = None
    _stop_flag: StopFlag = dataclasses.field(default_factory=StopFlag, repr=False, compare=False)

    @property
    def stop_requested(self) -> bool:
        """Whether the run is being stopped; for agents that cannot be interrupted."""
        return self._stop_flag.is_set


async def resolve_for_run(setting: Any, context: RunContext | None) -> Any:
    """Resolves a per-run setting: a constant, or a callable that takes the RunContext.

    A plain function runs on a worker thread, since it may block. Raises whatever the callable raises.
    """
    return await driver.call_user_function(setting, context or RunContext()) if callable(setting) else setting
