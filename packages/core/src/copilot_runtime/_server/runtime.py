"""The runtime: everything that an application configures, validated once."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from .. import _validation as validation
from .._concurrency import driver, loops
from .._concurrency.worker_pools import IDENTIFY_USER
from .._engine import Engine, EngineOptions, RunEndHook, RunRequest
from .._http.body_limits import BodyBudget, BodyLimits
from .._http.forward_headers import ForwardHeaders, header_selector
from .._http.headers import Headers
from .._http.types import Request
from .._http.url_safety import WEB_SCHEMES
from .._lazy_exports import LazyModule
from .._optional.optional_imports import import_optional
from .._telemetry.options import OpenTelemetry
from .._users import User
from ..agents._agent_checks import agent_instead_of_agents, check_agents
from ..middleware._layers import Layer, parse_layers
from ..stores import RunStore, store_from_url
from ..transcription import TranscriptionService
from .access import ThreadAccess
from .agents_context import AgentsContext
from .errors import Unauthenticated
from .generative_ui_options import validate_a2ui, validate_mcp_apps, validate_open_generative_ui
from .input_limits import InputLimits
from .memory_store_check import MemoryStoreCheck
from .store_override import current_engine, store_of_new_runtime
from .thread_names import ThreadNames, parse_thread_names

if TYPE_CHECKING:
    from .._telemetry.telemetry import Telemetry
    from ..middleware import _mcp_apps
    from ..middleware import _types as middleware_types
    from ..middleware._a2ui import options as a2ui_options
    from . import agents_types
else:
    agents_types = LazyModule(".agents_types", __package__)
    _mcp_apps = LazyModule("..middleware._mcp_apps", __package__)
    middleware_types = LazyModule("..middleware._types", __package__)
    a2ui_options = LazyModule("..middleware._a2ui.options", __package__)


_BODIES = 8
"""How many bodies of the largest size a process may hold at a time, unless ``max_total_body_bytes`` says otherwise."""

IdentifyUser = Callable[[Request], Awaitable[User | None] | User | None]
"""A plain or coroutine function that returns the user who makes a request, or None if nobody is signed in."""


class CopilotRuntime:
    """Agents, and how they are run and reached.

    Args:
        agents: by id; or a plain or coroutine function from an `AgentsContext` to such a mapping, which is called for
            every request.
        middleware: put around every agent of every run, outermost first, as `copilot_runtime.middleware.use` does; also
            around suggestions.
        a2ui: how agents describe interfaces with A2UI. Not needed where a frontend has a catalog of components.
        mcp_apps: the MCP servers whose apps are shown.
        open_generative_ui: whether pages that agents write are shown, in a sandbox of the frontend; or the ids of the
            agents whose pages are.
        store: where threads are stored, as a URL (``memory://``, ``sqlite:///path``) or a store object.
        transcription_service: turns speech into text, for ``/transcribe``.
        on_run_end: a plain or coroutine function that is called with an `EndedRun` once for each run that has ended, in
            the process that ended it; suggestions are not runs. What it raises is logged.
        identify_user: a plain or coroutine function from a `Request` to its `User`; None is answered with 401.
            It is called before the body is read, and should need only the head.
        single_user: all requests come from one person. For development.
        thread_access: what ``/threads`` offers: ``none``, ``read`` or ``manage``. The default is ``manage`` with
            ``identify_user`` or ``single_user``, else ``none``.
        forward_headers: which request headers reach agents.
        on_concurrent_run: whether to ``reject`` (409) a second run on a busy thread, or to let it ``supersede`` the
            first.
        on_disconnect: whether to ``continue`` or to ``stop`` a run that no client reads any more.
        history: whose messages an agent receives: those that the ``client`` sends, or all that are ``stored`` of the
            thread, merged with those (docs/threads.md has the rule).
        thread_names: how a new thread gets a name after its first run: True asks the thread's own agent; the name of a
            model, or an agent, is asked instead; a function of (input) or (input, context), plain or coroutine,
            returns the name. None for no names.
        max_body_bytes: larger requests are answered with 413.
        max_total_body_bytes: how large the bodies of all requests that are being handled may be together; further ones
            are answered with 503, those of a user whose bodies would then have more than half of it with 429. One body
            of the largest size is always possible. The default is eight times ``max_body_bytes``.
        body_timeout_seconds: how late the body of a request may be, in seconds, compared with one that arrives at
            32 KiB a second. Later ones are answered with 408. None for no limit.
        input_limits: how many messages, tools and so on the input of a run may have; more are answered with 400.
        attachment_url_schemes: agents receive the URLs of messages that have one of these schemes and no link-local
            host, and data URLs. A text takes the place of others.
        max_streams: further streams than this many open ones are answered with 503; None for no limit.
        max_runs: further runs than this many active ones, suggestions included, are answered with 503; None for no
            limit. Counted in each process by itself, like the three that follow.
        max_runs_per_user: further runs of a user who has this many active ones are answered with 429; None for no
            limit. Only with ``identify_user``.
        max_runs_bytes: how much memory the inputs and events of active runs may take together, as far as it can be
            estimated; further runs are answered with 503, those of a user whose runs would then take more than half of
            it with 429. None for no limit.
        max_agent_threads: how many OS threads run synchronous agents; further runs of such agents wait until one is
            free. None for no limit. Agents of one user keep at most ``max_runs_per_user`` of them.
        sse_keep_alive_seconds: a stream that is silent for this long gets a comment; 0 for never.
        send_timeout_seconds: a response is broken off if its client accepts nothing for this long; None for never.
        run_timeout_seconds: how long a run may take; None for no limit.
        stop_grace_seconds: how long an agent may take to react to a stop.
        shutdown_grace_seconds: how long active runs may take to end by themselves when the process shuts down.
        expose_memory_routes: whether the hosted backend's memory routes are answered with 422 and not with 404.
        healthz: whether ``GET {mount}/healthz`` reports the health of this process, to everybody, before hooks and
            ``identify_user`` (docs/observability.md).
        opentelemetry: whether the runtime is traced and measured with OpenTelemetry's API, extra ``otel``; an
            `OpenTelemetry` says with which providers (docs/observability.md).
        debug: serves the debug feed, logs events, and puts texts of exceptions into responses. Not for production.

    Raises:
        ValueError: an option has a value that cannot work, or that is not safe together with another.
        TypeError: an option has a value of the wrong type.
    """

    agents: agents_types.Agents
    initial_agents: agents_types.Agents
    """Those that it was created with: if they are a mapping, it is a copy that nothing can change."""
    middleware: Sequence[Layer]
    history: Literal["client", "stored"]
    a2ui: a2ui_options.A2UI | None
    mcp_apps: _mcp_apps.MCPApps | None
    has_open_generative_ui: bool
    """Whether pages that agents write are shown, of some agents at least."""
    has_generative_ui: bool
    """Whether runs may show user interfaces, of some agents at least, whatever their frontends send."""
    identify_user: IdentifyUser | None
    thread_access: ThreadAccess
    transcription_service: TranscriptionService | None
    select_headers: Callable[[Headers], dict[str, str]]
    body_limits: BodyLimits
    input_limits: InputLimits
    attachment_url_schemes: frozenset[str]
    expose_memory_routes: bool
    healthz: bool
    debug: bool

    def __init__(
        self,
        *,
        agents: agents_types.Agents,
        middleware: Sequence[middleware_types.Middleware] = (),
        a2ui: a2ui_options.A2UI | None = None,
        mcp_apps: _mcp_apps.MCPApps | None = None,
        open_generative_ui: bool | Collection[str] = False,
        store: str | RunStore = "memory://",
        transcription_service: TranscriptionService | None = None,
        on_run_end: RunEndHook | None = None,
        identify_user: IdentifyUser | None = None,
        single_user: bool = False,
        thread_access: ThreadAccess | None = None,
        forward_headers: ForwardHeaders | None = None,
        on_concurrent_run: Literal["reject", "supersede"] = "reject",
        on_disconnect: Literal["continue", "stop"] = "continue",
        history: Literal["client", "stored"] = "client",
        thread_names: ThreadNames | None = None,
        max_body_bytes: int = 32 * 1024 * 1024,
        max_total_body_bytes: int | None = None,
        body_timeout_seconds: float | None = 30,
        input_limits: InputLimits | None = None,
        attachment_url_schemes: Iterable[str] = WEB_SCHEMES,
        max_streams: int | None = None,
        max_runs: int | None = 2_000,
        max_runs_per_user: int | None = 50,
        max_runs_bytes: int | None = 1024 * 1024 * 1024,
        max_agent_threads: int | None = 200,
        sse_keep_alive_seconds: float = 15,
        send_timeout_seconds: float | None = 120,
        run_timeout_seconds: float | None = None,
        stop_grace_seconds: float = 10,
        shutdown_grace_seconds: float = 10,
        expose_memory_routes: bool = False,
        healthz: bool = False,
        opentelemetry: bool | OpenTelemetry = False,
        debug: bool = False,
    ) -> None:
        validation.check_choice("on_concurrent_run", on_concurrent_run, ("reject", "supersede"))
        validation.check_choice("on_disconnect", on_disconnect, ("continue", "stop"))
        validation.check_choice("history", history, ("client", "stored"))
        validation.check_bool("single_user", single_user)
        validation.check_bool("expose_memory_routes", expose_memory_routes)
        validation.check_bool("healthz", healthz)
        if not isinstance(opentelemetry, (bool, OpenTelemetry)):
            raise TypeError(f"opentelemetry={opentelemetry!r}: must be True, False, or an OpenTelemetry(...)")
        validation.check_bool("debug", debug)
        validation.check_number("max_body_bytes", max_body_bytes, minimum=1, integer=True)
        if max_total_body_bytes is None:
            max_total_body_bytes = _BODIES * max_body_bytes
        validation.check_number("max_total_body_bytes", max_total_body_bytes, minimum=max_body_bytes, integer=True)
        validation.check_number("body_timeout_seconds", body_timeout_seconds, allow_none=True)
        validation.check_number("max_streams", max_streams, minimum=1, integer=True, allow_none=True)
        validation.check_number("max_runs", max_runs, minimum=1, integer=True, allow_none=True)
        validation.check_number("max_runs_per_user", max_runs_per_user, minimum=1, integer=True, allow_none=True)
        validation.check_number("max_runs_bytes", max_runs_bytes, minimum=1, integer=True, allow_none=True)
        validation.check_number("max_agent_threads", max_agent_threads, minimum=1, integer=True, allow_none=True)
        validation.check_number("sse_keep_alive_seconds", sse_keep_alive_seconds)
        validation.check_number("send_timeout_seconds", send_timeout_seconds, minimum=1, allow_none=True)
        validation.check_number("run_timeout_seconds", run_timeout_seconds, allow_none=True)
        validation.check_number("stop_grace_seconds", stop_grace_seconds)
        validation.check_number("shutdown_grace_seconds", shutdown_grace_seconds)
        if transcription_service is not None and not callable(getattr(transcription_service, "transcribe", None)):
            raise TypeError(
                f"transcription_service={transcription_service!r}: must have a method "
                "transcribe(audio, filename, mime_type)"
            )
        if on_run_end is not None and not callable(on_run_end):
            raise TypeError(f"on_run_end={on_run_end!r}: must be a function or a coroutine function")
        if forward_headers is not None and not isinstance(forward_headers, ForwardHeaders):
            raise TypeError(
                f"forward_headers={forward_headers!r}: must be a ForwardHeaders, such as ForwardHeaders(allow=[...])"
            )
        if input_limits is not None and not isinstance(input_limits, InputLimits):
            raise TypeError(
                f"input_limits={input_limits!r}: must be an InputLimits, such as InputLimits(max_messages=500)"
            )
        self.agents = self.initial_agents = _validate_agents(agents)
        self.middleware = parse_layers("middleware", middleware)
        self.history = history
        self.a2ui = validate_a2ui(a2ui, self.agents)
        self.mcp_apps = validate_mcp_apps(mcp_apps, self.agents)
        self._open_generative_ui = validate_open_generative_ui(open_generative_ui, self.agents)
        self.has_open_generative_ui = bool(self._open_generative_ui)
        self.has_generative_ui = self.a2ui is not None or self.mcp_apps is not None or self.has_open_generative_ui
        self.identify_user = _validate_identify_user(identify_user, single_user)
        self.thread_access = _validate_thread_access(thread_access, identify_user is not None or single_user)
        self.transcription_service = transcription_service
        self.forward_headers = forward_headers or ForwardHeaders()
        self.body_limits = BodyLimits(
            max_bytes=max_body_bytes,
            timeout_seconds=body_timeout_seconds,
            budget=BodyBudget(
                max_total_body_bytes,
                # Without users nobody knows whose bodies they are.
                None if identify_user is None else max(max_total_body_bytes // 2, max_body_bytes),
            ),
        )
        self.input_limits = input_limits or InputLimits()
        self.attachment_url_schemes = _validate_url_schemes(attachment_url_schemes)
        self.expose_memory_routes = expose_memory_routes
        self.healthz = healthz
        self.debug = debug
        self._memory_store_check = MemoryStoreCheck() if isinstance(store, str) else None
        # Not annotated on the class, whose type hints must not need OpenTelemetry.
        self.telemetry: Telemetry | None = _make_telemetry(opentelemetry)
        """Where requests and runs are reported; None for nowhere."""
        self._engine = _make_engine(
            self.telemetry,
            store_from_url(store_of_new_runtime(self, store)),
            EngineOptions(
                on_concurrent_run=on_concurrent_run,
                on_disconnect=on_disconnect,
                history=history,
                max_streams=max_streams,
                max_runs=max_runs,
                max_runs_per_user=max_runs_per_user,
                max_runs_bytes=max_runs_bytes,
                max_agent_threads=max_agent_threads,
                sse_keep_alive_seconds=sse_keep_alive_seconds,
                send_timeout_seconds=send_timeout_seconds,
                run_timeout_seconds=run_timeout_seconds,
                stop_grace_seconds=stop_grace_seconds,
                shutdown_grace_seconds=shutdown_grace_seconds,
                debug=debug,
            ),
            on_run_end,
            parse_thread_names(thread_names, self.attachment_url_schemes),
        )

    @property
    def forward_headers(self) -> ForwardHeaders:
        """Which headers of a request its agent gets."""
        return self._forward_headers

    @forward_headers.setter
    def forward_headers(self, config: ForwardHeaders) -> None:
        self._forward_headers = config
        self.select_headers = header_selector(config)

    @property
    def max_body_bytes(self) -> int:
        """The size of the largest body."""
        return self.body_limits.max_bytes

    @max_body_bytes.setter
    def max_body_bytes(self, max_bytes: int) -> None:
        self.body_limits = dataclasses.replace(self.body_limits, max_bytes=max_bytes)

    @property
    def engine(self) -> Engine:
        """The runs of this process."""
        return current_engine(self, self._engine)

    @property
    def store(self) -> RunStore:
        """Where threads are stored."""
        return self.engine.store

    @property
    def is_single_process(self) -> bool:
        """Whether no other process shares the store that the runtime was created with."""
        return self._engine.store.poll_seconds is None

    def shows_sandboxed_pages(self, agent_id: str) -> bool:
        """Returns whether the pages that an agent writes are shown."""
        shown = self._open_generative_ui
        return shown if isinstance(shown, bool) else agent_id in shown

    def note_run(self, request: RunRequest) -> None:
        """Called for each run that is about to begin."""
        check = self._memory_store_check
        if check is not None and self.is_single_process:
            self._memory_store_check = None
            check.run_begins(request.messages)

    @property
    def fixed_agents(self) -> agents_types.AgentMapping | None:
        """The agents, if they are the same for all requests."""
        agents = self.agents
        if type(agents) is MappingProxyType or isinstance(agents, Mapping):  # of which the former takes less time
            return agents
        return None

    async def agents_for(self, request: Request, user: User | None) -> agents_types.AgentMapping:
        """Returns the agents that a request may use.

        Raises UnusableResult if the factory of agents returns something else, and what it raises itself.
        """
        agents = self.fixed_agents
        if agents is not None:
            return agents
        agents = await driver.call_user_function(
            cast("agents_types.AgentsFactory", self.agents), AgentsContext(request=request, user=user)
        )
        if not isinstance(agents, Mapping):
            raise validation.UnusableResult(
                f"the factory of agents returned {type(agents).__name__}: it must return a mapping of ids to agents, "
                "such as {'default': agent}"
            )
        try:
            check_agents(agents)
        except (TypeError, ValueError) as error:
            raise validation.UnusableResult(str(error)) from None
        return agents

    async def identify(self, request: Request) -> User | None:
        """Returns who makes a request; None if users are not identified.

        Raises Unauthenticated if nobody is signed in, UnusableResult if ``identify_user`` returns something else than
        a `User`, and what it raises itself.
        """
        if self.identify_user is None:
            return None
        user = await driver.call_user_function(self.identify_user, request, pool=IDENTIFY_USER)
        if user is None:
            raise Unauthenticated(debug=self.debug)
        if not isinstance(user, User):
            raise validation.UnusableResult(
                f"identify_user returned {type(user).__name__}: it must return a User(id=...) or None"
            )
        return user

    async def shutdown(self, grace: float | None = None) -> None:
        """Ends this process's runs and streams. Adapters call it where their server announces its end.

        New runs are refused with 503 and ``Retry-After`` from now on, on this event loop until the startup event of an
        ASGI server. Active ones may end by themselves; then they end with ``RUN_INTERRUPTED``, are stored, and their
        streams end. That takes up to 7 seconds more where agents do not react to their stop, or the store fails.

        Args:
            grace: how long active runs may take, in seconds; 0 to end them at once. By default
                ``shutdown_grace_seconds``, counted from when the server began to shut down if that is known, and no
                longer than the server waits.

        Raises:
            ValueError: if ``grace`` is negative.
        """
        validation.check_number("grace", grace, allow_none=True)
        await self.engine.shutdown(grace)

    def shutdown_sync(self, grace: float | None = None) -> None:
        """Does the same as `shutdown`, and returns when all has ended: for signal handlers and hooks of servers.

        Args:
            grace: as for `shutdown`.

        Raises:
            ValueError: if ``grace`` is negative.
            RuntimeError: if called on an event loop, which would have to go on meanwhile.
        """
        validation.check_number("grace", grace, allow_none=True)
        if loops.would_block_loop():
            raise RuntimeError("shutdown_sync() would block this event loop: write 'await runtime.shutdown()'")
        self.engine.shutdown_sync(grace)

    def startup(self) -> None:
        """Accepts runs again after `shutdown`. Adapters call it where their server announces its start."""
        self.engine.accept_runs()

    @property
    def is_shutting_down(self) -> bool:
        """Whether `shutdown` is at work, or the server is known to shut down."""
        return self.engine.is_shutting_down


def _make_telemetry(options: bool | OpenTelemetry) -> Telemetry | None:
    """Returns what the runtime reports to; None for nothing. Raises ImportError without OpenTelemetry's API."""
    if options is False:
        return None
    import_optional("opentelemetry.trace", feature="CopilotRuntime(opentelemetry=...)", extra="otel")
    from .._telemetry.telemetry import Telemetry  # with what few processes need

    return Telemetry(OpenTelemetry() if options is True else options)


def _make_engine(telemetry: Telemetry | None, *arguments: Any) -> Engine:
    if telemetry is None:
        return Engine(*arguments)
    from .._engine.traced_engine import TracedEngine

    return TracedEngine(*arguments, telemetry=telemetry)


def _validate_agents(agents: agents_types.Agents) -> agents_types.Agents:
    instead = agent_instead_of_agents(agents)
    if instead is not None:
        raise TypeError(f"agents={type(agents).__name__}: must be a mapping of ids to agents, but {instead}")
    if isinstance(agents, Mapping):
        if not agents:
            raise ValueError("agents={}: must name at least one agent, such as {'default': agent}")
        check_agents(agents)
        return MappingProxyType(dict(agents))
    if not callable(agents):
        raise TypeError(
            f"agents={agents!r}: must be a mapping of ids to agents, such as {{'default': agent}}, or a function that "
            "returns one"
        )
    _check_agents_factory(agents)
    return agents


def _check_agents_factory(factory: agents_types.AgentsFactory) -> None:
    try:
        signature = inspect.signature(factory, follow_wrapped=False)
    except (TypeError, ValueError):  # a builtin may have none
        return
    try:
        signature.bind(None)
    except TypeError:
        name = getattr(factory, "__name__", type(factory).__name__)
        raise TypeError(
            f"agents={name}: a function that returns the agents must accept one argument, an AgentsContext. "
            f"If {name} is an agent, write agents={{'default': {name}}}"
        ) from None


def _validate_identify_user(identify_user: IdentifyUser | None, single_user: bool) -> IdentifyUser | None:
    if identify_user is None:
        return None
    if single_user:
        raise ValueError(
            "identify_user=... distinguishes users and single_user=True says that there is one: use just one of them"
        )
    if not callable(identify_user):
        raise TypeError(f"identify_user={identify_user!r}: must be a function from a Request to a User or None")
    return identify_user


_URL_SCHEME = re.compile("[a-z][a-z0-9+.-]*")  # RFC 3986, section 3.1


def _validate_url_schemes(schemes: Iterable[str]) -> frozenset[str]:
    names = frozenset(name.lower() for name in validation.check_names("attachment_url_schemes", schemes))
    for name in names:
        if not _URL_SCHEME.fullmatch(name):
            raise ValueError(f"attachment_url_schemes={schemes!r}: {name!r} is no scheme, such as 'https'")
    return names


def _validate_thread_access(access: ThreadAccess | None, has_users: bool) -> ThreadAccess:
    if access is None:
        return "manage" if has_users else "none"
    validation.check_choice("thread_access", access, get_args(ThreadAccess))
    if access != "none" and not has_users:
        raise ValueError(
            f"thread_access={access!r} would give every client access to the threads of all others: use identify_user, "
            "or single_user=True if all requests come from one person"
        )
    return access
