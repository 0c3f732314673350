"""The pipeline: what happens to a request, top to bottom."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from .._concurrency import driver
from .._concurrency.framework import current_framework
from .._http.cors import (
    CorsConfig,
    CorsDecision,
    add_cors_headers,
    evaluate_origin,
    preflight,
    reject_cross_site,
)
from .._http.target import (
    normalize_base_path,
)
from .._http.types import Request, Response
from .._users import User
from .endpoints import EndpointContext, error_response
from .hooks import (
    Hook,
    HookContext,
    RespondWith,
    RuntimeHooks,
)
from .route_table import (
    RouteMatch,
)
from .router import (
    Mode,
    Refused,
    ResolvedRequest,
    Router,
    missing_body,
)
from .runtime import CopilotRuntime, Unauthenticated

logger = logging.getLogger("copilot_runtime.handler")

_MODES = ("auto", "multi-route", "single-route")


@dataclasses.dataclass(slots=True)
class _RequestState:
    """How far a request has come: what hooks are told."""

    request: Request
    path: str
    route: RouteMatch | None = None


class CopilotHandler:
    """Answers requests: ``response = await handler(request)``.

    Raises nothing but a cancellation, and what the framework that it runs in answers itself.
    Made by `create_copilot_runtime_handler`. Adapters read at most ``read_limit`` bytes of
    a body and hand on what they have read: what is longer is refused here.
    """

    def __init__(
        self, *, runtime: CopilotRuntime, resolver: Router, cors: CorsConfig | None, hooks: RuntimeHooks
    ) -> None:
        self.runtime = runtime
        self.read_limit = runtime.max_body_bytes + 1
        self._resolver = resolver
        self._cors = cors
        self._hooks = hooks

    async def __call__(self, request: Request) -> Response:
        cors = self._cors
        if cors is None:
            return await self._respond_to(request, CorsDecision(None, False))
        verdict = CorsDecision(None, False)
        try:
            verdict = await evaluate_origin(cors, request)
        except Exception as error:
            response = await self._handle_error(_RequestState(request, request.path), error)
        else:
            response = (
                preflight(cors, request) if request.method == "OPTIONS" else await self._respond_to(request, verdict)
            )
        return add_cors_headers(cors, verdict, response)

    async def _respond_to(self, request: Request, verdict: CorsDecision) -> Response:
        progress = _RequestState(request, request.path)
        response: Response | None = None
        try:
            try:
                response = await self._handle(progress, verdict)
            except RespondWith as early:
                response = early.response
            except Refused as refused:
                progress.route = refused.route
                response = refused.response
            if self._hooks.on_response is not None:
                response = await self._run_response_hook(self._hooks.on_response, progress, response)
            return response
        except BaseException as error:
            if response is not None:
                response.close()
            if not isinstance(error, Exception) or current_framework.get().handles_exception(error):
                raise
            return await self._handle_error(progress, error)

    async def _handle(self, progress: _RequestState, verdict: CorsDecision) -> Response:
        runtime, hooks = self.runtime, self._hooks
        rejection = reject_cross_site(progress.request, verdict)
        if rejection is not None:
            return rejection
        too_large = _too_large(progress.request, runtime.max_body_bytes)
        if too_large is not None:
            return too_large
        if hooks.on_request is not None:
            progress.request = await self._run_request_hook(hooks.on_request, progress)
        user = await self._authenticate(progress.request)
        resolved = self._resolver.resolve(progress.request)
        progress.request, progress.route = resolved.request, resolved.route
        progress.path = resolved.request.path
        if hooks.on_before_handler is not None:
            progress.request = await self._run_request_hook(hooks.on_before_handler, progress)
        return await self._dispatch(progress.request, resolved, user)

    async def _dispatch(self, request: Request, resolved: ResolvedRequest, user: User | None) -> Response:
        if resolved.missing_body:
            return missing_body()
        response: Response = await resolved.row.endpoint(
            EndpointContext(
                request=request,
                runtime=self.runtime,
                route=resolved.route,
                user=user,
                hooks=self._hooks,
                single_route=resolved.single_route,
            )
        )
        return response

    async def _authenticate(self, request: Request) -> User | None:
        try:
            return await self.runtime.identify(request)
        except Unauthenticated:
            raise RespondWith(
                error_response(401, "unauthorized", message="This runtime serves users it knows. Sign in first.")
            ) from None

    # --- hooks ---

    def _context(self, progress: _RequestState, **members: Any) -> HookContext:
        return HookContext(
            request=progress.request, path=progress.path, runtime=self.runtime, route=progress.route, **members
        )

    async def _run_request_hook(self, hook: Hook, progress: _RequestState) -> Request:
        answer = await driver.call_user_function(hook, self._context(progress))
        if answer is None:
            return progress.request
        if isinstance(answer, Response):
            raise RespondWith(answer)
        if not isinstance(answer, Request):
            raise TypeError(f"a hook gave {type(answer).__name__}: give a Request, a Response or None")
        return answer

    async def _run_response_hook(self, hook: Hook, progress: _RequestState, response: Response) -> Response:
        try:
            answer = await driver.call_user_function(hook, self._context(progress, response=response))
        except RespondWith as instead:
            answer = instead.response
        if answer is None:
            return response
        if not isinstance(answer, Response):
            raise TypeError(f"on_response gave {type(answer).__name__}: give a Response or None")
        if answer.body is not response.body:
            response.close()
        return answer

    async def _handle_error(self, progress: _RequestState, error: Exception) -> Response:
        if self._hooks.on_error is None:
            logger.error("%s %s failed", progress.request.method, progress.path, exc_info=error)
        else:
            try:
                answer = await driver.call_user_function(self._hooks.on_error, self._context(progress, error=error))
            except Exception:
                logger.exception("on_error failed for %s %s", progress.request.method, progress.path)
            else:
                if isinstance(answer, Response):
                    return answer
                logger.error("%s %s failed", progress.request.method, progress.path, exc_info=error)
        return error_response(500, "internal_error")


def ensure_handler(handler: object) -> CopilotHandler:
    """What an adapter was given as its handler. Raises TypeError where it is none."""
    if not isinstance(handler, CopilotHandler):
        raise TypeError(f"{handler!r} is no handler: give what create_copilot_runtime_handler(runtime=...) made")
    return handler


def coerce_handler(named: object) -> CopilotHandler:
    """The handler of what an application's configuration names: a runtime, or a ready handler.

    Raises TypeError for anything else.
    """
    if isinstance(named, CopilotHandler):
        return named
    if isinstance(named, CopilotRuntime):
        return create_copilot_runtime_handler(runtime=named)
    raise TypeError(f"it is {named!r}: name a CopilotRuntime, or a handler of one")


def build_handler(
    *, runtime: CopilotRuntime | None, handler: CopilotHandler | None, options: Mapping[str, Any]
) -> CopilotHandler:
    """The handler that an adapter was given, or one for the runtime that it was given.

    Raises TypeError for both, neither, or options beside a handler.
    """
    if (runtime is None) == (handler is None) or (handler is not None and options):
        raise TypeError("give either runtime=..., with its options, or a ready handler=... alone")
    if runtime is None:
        return ensure_handler(handler)
    return create_copilot_runtime_handler(runtime=runtime, **options)


def create_copilot_runtime_handler(
    *,
    runtime: CopilotRuntime,
    base_path: str | None = None,
    mode: Mode = "auto",
    cors: bool | CorsConfig = False,
    hooks: RuntimeHooks | None = None,
) -> CopilotHandler:
    """A runtime as a function from `Request` to `Response`.

    ``base_path`` is where the runtime is mounted; None for wherever the server has mounted
    it, or anywhere. ``mode`` is ``multi-route`` (REST paths), ``single-route`` (an envelope
    POSTed to the base path) or ``auto``, which is both. ``cors`` is False for none, True for
    any origin without credentials. Raises ValueError or TypeError for what cannot work.
    """
    if not isinstance(runtime, CopilotRuntime):
        raise TypeError(f"runtime={runtime!r}: give a CopilotRuntime(agents=...)")
    if mode not in _MODES:
        raise ValueError(f"mode={mode!r}: give one of {', '.join(map(repr, _MODES))}")
    if not isinstance(cors, (bool, CorsConfig)):
        raise TypeError(f"cors={cors!r}: give False, True or CorsConfig(origin=[...])")
    if hooks is not None and not isinstance(hooks, RuntimeHooks):
        raise TypeError(f"hooks={hooks!r}: give RuntimeHooks(on_request=...)")
    return CopilotHandler(
        runtime=runtime,
        resolver=Router(
            mode=mode,
            base_path=normalize_base_path(base_path),
            expose_memory_routes=runtime.expose_memory_routes,
        ),
        cors=(CorsConfig() if cors else None) if isinstance(cors, bool) else cors,
        hooks=hooks or RuntimeHooks(),
    )


def _too_large(request: Request, ours: int) -> Response | None:
    limit, setting = ours, "runtime's max_body_bytes"
    if request.body_limit is not None and request.body_limit < ours:
        limit, setting = request.body_limit, "host application's own limit"
    if max(len(request.body), _declared_length(request)) <= limit:
        return None
    return error_response(
        413,
        "request_too_large",
        message=f"The body is larger than {limit} bytes. Send less, or raise the {setting}.",
    )


def _declared_length(request: Request) -> int:
    declared = request.headers.get("content-length") or ""
    return int(declared[:20]) if declared.isascii() and declared.isdigit() else 0
