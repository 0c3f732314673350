"""The runtime: everything an application configures, checked once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

from .. import _validation as validation
from .._concurrency import driver
from .._engine import EndedRun, Engine, EngineOptions
from .._http.forward_headers import ForwardHeaders
from .._http.types import Request
from .._users import ANONYMOUS_OWNER, User
from ..agents._base import agent_callable
from ..stores import RunStore, store_from_url
from ..transcription import TranscriptionService

ThreadAccess = Literal["none", "read", "manage"]
Agents = Mapping[str, Any] | Callable[..., Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentsContext:
    """What a factory of agents is told: the request that they are for (``/info`` included), and its user."""

    request: Request
    user: User | None = None


class Unauthenticated(Exception):
    """``identify_user`` knows nobody who makes the request."""


class CopilotRuntime:
    """Agents, and how they are run and reached.

    Args:
        agents: by id; or a plain or coroutine function from a `FactoryContext` to such a mapping,
            asked anew for every request.
        store: where threads live, as a URL (``memory://``) or a store object.
        transcription_service: turns speech into text, for ``/transcribe``.
        on_run_end: a plain or coroutine function that is called with an `EndedRun` once for each run that has ended, in
            the process that ended it; suggestions are not runs. What it raises is logged.
        identify_user: a plain or coroutine function from a `Request` to its `User`; None is answered with 401.
        single_user: whoever reaches the mount is one and the same user. For development.
        thread_access: what ``/threads`` offers: ``none``, ``read`` or ``manage``. ``manage`` where there
            are users or ``single_user``, else ``none``.
        forward_headers: which request headers reach agents.
        on_concurrent_run: ``reject`` (409) a second run on a busy thread, or let it ``supersede`` the first.
        on_disconnect: ``continue`` a run that nobody reads any more, or ``stop`` it.
        max_body_bytes: larger requests are answered with 413.
        max_streams: more open streams than this are answered with 503; None for no bound.
        sse_keep_alive_seconds: of silence, after which a stream gets a comment; 0 for never.
        run_timeout_seconds: how long a run may take; None for no bound.
        stop_grace_seconds: how long an agent may take to heed a stop.
        shutdown_grace_seconds: how long runs may take to end when the process does.
        expose_memory_routes: the hosted backend's memory routes answer 422 and not 404.
        debug: the debug feed, and texts of exceptions in answers. Not for production.

    Raises ValueError or TypeError, with what to write instead, for what cannot work or is not safe.
    """

    def __init__(
        self,
        *,
        agents: Agents,
        store: str | RunStore = "memory://",
        transcription_service: TranscriptionService | None = None,
        on_run_end: Callable[[EndedRun], Any] | None = None,
        identify_user: Callable[[Request], Any] | None = None,
        single_user: bool = False,
        thread_access: ThreadAccess | None = None,
        forward_headers: ForwardHeaders | None = None,
        on_concurrent_run: Literal["reject", "supersede"] = "reject",
        on_disconnect: Literal["continue", "stop"] = "continue",
        max_body_bytes: int = 32 * 1024 * 1024,
        max_streams: int | None = None,
        sse_keep_alive_seconds: float = 15,
        run_timeout_seconds: float | None = None,
        stop_grace_seconds: float = 10,
        shutdown_grace_seconds: float = 10,
        expose_memory_routes: bool = False,
        debug: bool = False,
    ) -> None:
        validation.check_choice("on_concurrent_run", on_concurrent_run, ("reject", "supersede"))
        validation.check_choice("on_disconnect", on_disconnect, ("continue", "stop"))
        validation.check_bool("single_user", single_user)
        validation.check_bool("expose_memory_routes", expose_memory_routes)
        validation.check_bool("debug", debug)
        validation.check_number("max_body_bytes", max_body_bytes, minimum=1, integer=True)
        validation.check_number("max_streams", max_streams, minimum=1, integer=True, allow_none=True)
        validation.check_number("sse_keep_alive_seconds", sse_keep_alive_seconds)
        validation.check_number("run_timeout_seconds", run_timeout_seconds, allow_none=True)
        validation.check_number("stop_grace_seconds", stop_grace_seconds)
        validation.check_number("shutdown_grace_seconds", shutdown_grace_seconds)
        if transcription_service is not None and not callable(getattr(transcription_service, "transcribe", None)):
            raise TypeError("transcription_service: give an object with transcribe(audio, filename, mime_type)")
        if on_run_end is not None and not callable(on_run_end):
            raise TypeError(f"on_run_end={on_run_end!r} must be a function or a coroutine function")
        if forward_headers is not None and not isinstance(forward_headers, ForwardHeaders):
            raise TypeError("forward_headers: give ForwardHeaders(allow=[...], deny=[...])")
        self.agents = _checked_agents(agents)
        self.identify_user = _checked_identification(identify_user, single_user)
        self.thread_access = _checked_access(thread_access, identify_user is not None or single_user)
        self.transcription_service = transcription_service
        self.forward_headers = forward_headers or ForwardHeaders()
        self.max_body_bytes = max_body_bytes
        self.expose_memory_routes = expose_memory_routes
        self.debug = debug
        self.engine = Engine(
            store_from_url(store),
            EngineOptions(
                on_concurrent_run=on_concurrent_run,
                on_disconnect=on_disconnect,
                max_streams=max_streams,
                sse_keep_alive_seconds=sse_keep_alive_seconds,
                run_timeout_seconds=run_timeout_seconds,
                stop_grace_seconds=stop_grace_seconds,
                shutdown_grace_seconds=shutdown_grace_seconds,
                debug=debug,
            ),
            on_run_end,
        )

    @property
    def store(self) -> RunStore:
        """Where threads live."""
        return self.engine.store

    @property
    def is_single_process(self) -> bool:
        """Whether the store is seen by this process alone."""
        return self.store.poll_seconds is None

    async def agents_for(self, request: Request, user: User | None) -> Mapping[str, Any]:
        """The agents that a request may use. Raises whatever the factory raises, and TypeError for no mapping."""
        if isinstance(self.agents, Mapping):
            return self.agents
        agents = await driver.call_user_function(self.agents, AgentsContext(request=request, user=user))
        if not isinstance(agents, Mapping):
            raise TypeError(f"the factory of agents gave {type(agents).__name__}, not a mapping of ids to agents")
        return agents

    async def identify(self, request: Request) -> User | None:
        """Who makes a request; None where users are not told apart.

        Raises NobodyKnown for nobody, and TypeError where ``identify_user`` gives something else.
        """
        if self.identify_user is None:
            return None
        user = await driver.call_user_function(self.identify_user, request)
        if user is None:
            raise Unauthenticated
        if not isinstance(user, User):
            raise TypeError(f"identify_user gave {type(user).__name__}: give a User(id=...) or None")
        return user

    async def shutdown(self) -> None:
        """Ends this process's runs. Adapters call it where their server tells them of its end."""
        await self.engine.shutdown()


def owner_of(user: User | None) -> str:
    """The owner under which a user's threads are kept."""
    return ANONYMOUS_OWNER if user is None else user.owner_key


def _checked_agents(agents: Agents) -> Agents:
    if callable(agents):
        return agents
    if not isinstance(agents, Mapping):
        raise TypeError(f"agents={agents!r}: give a mapping of ids to agents, or a function that gives one")
    for name, agent in agents.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"agents: {name!r} is no id of an agent: give a string that is not blank")
        agent_callable(agent)
    return MappingProxyType(dict(agents))


def _checked_identification(
    identify_user: Callable[[Request], Any] | None, single_user: bool
) -> Callable[[Request], Any] | None:
    if identify_user is None:
        return None
    if single_user:
        raise ValueError(
            "identify_user tells users apart and single_user=True says there is one: give just one of them"
        )
    if not callable(identify_user):
        raise TypeError("identify_user: give a function from a Request to a User or None")
    return identify_user


def _checked_access(access: ThreadAccess | None, has_users: bool) -> ThreadAccess:
    if access is None:
        return "manage" if has_users else "none"
    validation.check_choice("thread_access", access, get_args(ThreadAccess))
    if access != "none" and not has_users:
        raise ValueError(
            f"thread_access={access!r} would show every caller everybody's threads: give identify_user, or "
            "single_user=True where whoever reaches the runtime is one person"
        )
    return access
