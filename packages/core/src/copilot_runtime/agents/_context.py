"""`RunContext`, and settings of an agent that are resolved against it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from .._concurrency import driver
from .._slot_setters import slot_setters
from .._users import User

if TYPE_CHECKING:  # only passed on: agents do not depend on the HTTP types
    from .._http.types import Request


class WorkerThreads(Protocol):
    """The OS threads of synchronous agents."""

    async def start(self, work: Callable[[], None], user: str | None, *, name: str) -> None:
        """Runs ``work``, which must not raise, on a thread of its own, as soon as one is free for the user."""


class RunControl:
    """What the engine and the code of a run share: whether the run is being stopped, and where its code runs."""

    __slots__ = ("_callbacks", "agent", "is_stopping", "loop", "threads", "workers")

    def __init__(self) -> None:
        self.is_stopping = False
        self.agent: Any = None
        """The agent that the engine calls; None outside of a runtime."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop of the run; None outside of a runtime, like the next one."""
        self.workers: WorkerThreads | None = None
        """The threads for its agent."""
        self.threads = 0
        """How many of these threads middlewares of the run, and what they are around, have."""
        self._callbacks: tuple[Callable[[], object], ...] = ()

    def stop(self) -> None:
        """Sets `is_stopping`, from any thread."""
        self.is_stopping = True
        for callback in self._callbacks:
            callback()

    def add_stop_callback(self, callback: Callable[[], object]) -> None:
        """Has a function called when the run is stopped, at least once, on any thread; now if it is being stopped."""
        self._callbacks = (*self._callbacks, callback)
        if self.is_stopping:
            callback()

    def remove_stop_callback(self, callback: Callable[[], object]) -> None:
        """Forgets a function."""
        self._callbacks = tuple(each for each in self._callbacks if each != callback)


_NO_MEMBERS: Mapping[str, Any] = MappingProxyType({})


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
    _control: RunControl = dataclasses.field(default_factory=RunControl, repr=False, compare=False)

    @staticmethod
    def _of(
        request: Request | None,
        headers: Mapping[str, str],
        user: User | None,
        body: Mapping[str, Any],
        debug: bool,
        open_interrupts: Mapping[str, Mapping[str, Any]] | None,
        control: RunControl,
    ) -> RunContext:
        """Returns a context of all that it has, in half the time: each run has one or two."""
        context = object.__new__(RunContext)
        _set_request(context, request)
        _set_headers(context, headers)
        _set_user(context, user)
        _set_body(context, body)
        _set_debug(context, debug)
        _set_open_interrupts(context, open_interrupts)
        _set_control(context, control)
        return context

    def _without_request(self) -> RunContext:
        """Returns what the engine needs of a context: without the request, and what has been made of it."""
        return self._of(None, _NO_MEMBERS, self.user, _NO_MEMBERS, self.debug, self.open_interrupts, self._control)

    @property
    def stop_requested(self) -> bool:
        """Whether the run is being stopped; for agents that cannot be interrupted."""
        return self._control.is_stopping


(
    _set_request,
    _set_headers,
    _set_user,
    _set_body,
    _set_debug,
    _set_open_interrupts,
    _set_control,
) = slot_setters(RunContext)


async def resolve_for_run(setting: Any, context: RunContext | None) -> Any:
    """Resolves a per-run setting: a constant, or a callable that takes the RunContext.

    A plain function runs on a worker thread, since it may block. Raises whatever the callable raises.
    """
    return await driver.call_user_function(setting, context or RunContext()) if callable(setting) else setting
