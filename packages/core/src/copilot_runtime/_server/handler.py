"""The pipeline: what happens to a request, from top to bottom."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from .._concurrency import driver
from .._concurrency.framework import current_framework
from .._concurrency.lifecycle import notice_fork
from .._engine.endings import describe_error
from .._http.body import BodyError, BodyLimit
from .._http.body_limits import BodyLimits
from .._http.cors import (
    NOT_ALLOWED,
    CorsConfig,
    CorsDecision,
    add_cors_headers,
    evaluate_origin,
    preflight,
    reject_cross_site,
)
from .._http.kept_results import KeptResults, total_length
from .._http.types import Request, Response
from .._lazy_exports import LazyModule
from .._log_text import log_failure, one_line
from .._users import User
from .._validation import UnusableResult
from .access import require_thread_access
from .cors_log import RefusedOrigins
from .endpoints.context import EndpointContext
from .errors import SHUTTING_DOWN, HTTPError, error_response, response_for
from .health import PATH as HEALTH_PATH
from .health import HealthCheck
from .hooks import HookContext, RequestHook, ResponseHook, RuntimeHooks
from .route_table import RespondAtOnce, RouteMatch
from .router import Mode, RequestHead, Router
from .runtime import CopilotRuntime

if TYPE_CHECKING:
    from .._playground import page as playground_page
else:
    playground_page = LazyModule(".._playground.page", __package__)

logger = logging.getLogger("copilot_runtime.handler")


class _RequestState:
    """How far a request has come: what hooks are called with, and what has raised if something does."""

    __slots__ = ("path", "request", "route", "step")

    def __init__(self, request: Request, step: str = "the request") -> None:
        self.request = request
        self.path = request.path
        self.route: RouteMatch | None = None
        self.step = step


class CopilotHandler:
    """Handles requests: ``response = await handler(request)``.

    Raises nothing but cancellations, unless the server shuts down, and the exceptions that the framework around it
    answers itself. Made by `create_copilot_runtime_handler`.

    Attributes:
        runtime: the runtime that it serves.
    """

    runtime: CopilotRuntime

    def __init__(
        self,
        *,
        runtime: CopilotRuntime,
        router: Router,
        cors: CorsConfig | None,
        hooks: RuntimeHooks,
        playground: playground_page.Playground | None,
    ) -> None:
        self.runtime = runtime
        self._router = router
        self._cors = cors
        self._refused_origins = RefusedOrigins(cors)
        self._hooks = hooks
        self._playground = playground
        called = (hooks.on_request, hooks.on_before_handler, hooks.on_response, hooks.on_error)
        self._has_hooks = any(hook is not None for hook in called)  # not by ==, which a hook may have of its own
        self._health = HealthCheck(runtime) if runtime.healthz else None
        self._responders = KeptResults(self._find_responder, size=total_length)

    @property
    def base_path(self) -> str | None:
        """The path at which the runtime is mounted, if it was configured."""
        return self._router.base_path

    @property
    def mode(self) -> Mode:
        """Whether requests are recognised by path, by envelope, or by both."""
        return self._router.mode

    @property
    def has_playground(self) -> bool:
        """Whether it serves the playground, which adapters refuse where they know that this is production."""
        return self._playground is not None

    @property
    def body_limits(self) -> BodyLimits:
        """The limits with which an adapter creates the `RequestBody` of a request."""
        return self.runtime.body_limits

    async def __call__(self, request: Request) -> Response:
        """Returns the response to a request. Its body is closed then, and may be unread."""
        notice_fork()
        try:
            if self._playground is not None:
                page = self._playground.respond(request)
                if page is not None:
                    return page
            if self._cors is not None:
                return await self._respond_with_cors(self._cors, request)
            if request.method == "OPTIONS":
                self._refused_origins.check(request, NOT_ALLOWED)
            return await self._respond(request, NOT_ALLOWED)
        finally:
            request.close()

    def respond_at_once(self, method: str, path: str, root_path: str) -> Response | None:
        """Returns the response to a request without a body, if its target alone decides about it.

        For adapters, which then need no `Request`. Others get None, as does everybody if a hook, CORS,
        ``identify_user`` or the playground has to see the request.

        Args:
            method: as for `Request`, like the others.
            path: its path.
            root_path: its root path.
        """
        if self.runtime.identify_user is not None:
            return None
        notice_fork()
        try:
            respond = self._responders[method, path, root_path]
            return None if respond is None else respond()
        except Exception:
            return None  # it is raised again, and reported, where the request is handled

    def _find_responder(self, target: tuple[str, str, str]) -> RespondAtOnce | None:
        is_plain = self._cors is None and not self._has_hooks and self._playground is None
        return self._router.responder(self.runtime, *target) if is_plain else None

    async def _respond_with_cors(self, cors: CorsConfig, request: Request) -> Response:
        decision = NOT_ALLOWED
        try:
            decision = await evaluate_origin(cors, request)
        except Exception as error:
            state = _RequestState(request, step="allow_origins of cors")
            response = await self._handle_error(state, error)
        else:
            self._refused_origins.check(request, decision)
            if request.method == "OPTIONS":
                response = preflight(cors, request)
            else:
                response = await self._respond(request, decision)
        return add_cors_headers(cors, decision, response)

    async def _respond(self, request: Request, decision: CorsDecision) -> Response:
        state = _RequestState(request)
        response: Response | None = None
        try:
            if self._health is not None and self._is_probe(request):
                # Before hooks and `identify_user`: a probe is nobody, and must not fail because of that.
                return await self._health.respond(request)
            try:
                response = await self._handle(state, decision)
            except HTTPError as error:
                response, state.route = error.response, error.route or state.route
            except BodyError as error:
                response = response_for(error, debug=self.runtime.debug)
                assert response is not None
            response = _keep_private(response, state.route)
            if self._hooks.on_response is not None:
                state.step = "on_response"
                response = await self._run_response_hook(self._hooks.on_response, state, response)
            return response
        except BaseException as error:
            if response is not None:
                response.close()
            if isinstance(error, asyncio.CancelledError) and self.runtime.is_shutting_down:
                return SHUTTING_DOWN
            if not isinstance(error, Exception) or current_framework.get().handles_exception(error):
                raise
            return await self._handle_error(state, error)

    async def _handle(self, state: _RequestState, decision: CorsDecision) -> Response:
        request = state.request
        cross_site = reject_cross_site(request, decision)
        if cross_site is not None:
            self._refused_origins.check(request, decision, is_refused=True)
            raise HTTPError(cross_site)
        head = self._read_head(request)
        runtime, has_hooks, user = self.runtime, self._has_hooks, None
        if has_hooks or runtime.identify_user is not None:
            head, user = await self._admit(state, head)
            request = state.request
        state.step = "the router"
        if head.max_body_bytes != 0:
            await request.read()
        resolved = head.resolved or self._router.resolve(request, head)
        if resolved.inner is not None:
            request = state.request = resolved.inner
        state.route, state.path = resolved.match, request.path
        if has_hooks:
            request = await self._prepare_hooked(state)
        state.step = "the endpoint"
        try:
            if resolved.route.access is not None:
                require_thread_access(runtime.thread_access, resolved.route.access)
            single_route = resolved.inner is not None
            return await resolved.endpoint(EndpointContext(request, runtime, resolved.match, user, single_route))
        except Exception as error:
            response = response_for(error, debug=self.runtime.debug)
            if response is None:
                raise
            return response

    async def _admit(self, state: _RequestState, head: RequestHead) -> tuple[RequestHead, User | None]:
        """Has the application look at a request before its body is read.

        Returns its head, which is another one if it has been replaced, and who makes it.
        """
        received, hook = state.request, self._hooks.on_request
        if hook is not None:
            state.step = "on_request"
            state.request = await self._run_request_hook(hook, state)
        request = state.request
        state.step = "identify_user"
        user = await self.runtime.identify(request)
        if user is not None and not request.is_body_read:
            request.set_body_owner(user.owner_key)
        state.step = "the router"
        return head if request is received else self._read_head(request), user

    async def _prepare_hooked(self, state: _RequestState) -> Request:
        """Returns the request as hooks that know its route leave it."""
        before, after = self._hooks.on_before_handler, self._hooks.on_response
        if before is not None or after is not None:
            await state.request.read()
        if before is not None:
            state.step = "on_before_handler"
            state.request = await self._run_request_hook(before, state)
        return state.request

    def _is_probe(self, request: Request) -> bool:
        if request.method != "GET":
            return False
        head = self._router.read_head(request)
        # Below any mount, as routes are.
        return head.match is None and head.segments is not None and tuple(head.segments[-1:]) == HEALTH_PATH

    def _read_head(self, request: Request) -> RequestHead:
        """Returns what the head of a request tells, and limits its body accordingly.

        Raises BodyTooLarge if the head declares a larger one.
        """
        head = self._router.read_head(request)
        limit = self.runtime.body_limits.largest
        if request.body_limit is not None and request.body_limit < limit.max_bytes:
            limit = BodyLimit(request.body_limit, "raise the framework's own limit")
        if head.max_body_bytes and head.max_body_bytes < limit.max_bytes:
            limit = BodyLimit(head.max_body_bytes, "use another request: this one needs few bytes")
        request.limit_body(limit)
        return head

    # --- hooks ---

    def _hook_context(self, state: _RequestState, **members: Any) -> HookContext:
        return HookContext(request=state.request, path=state.path, runtime=self.runtime, route=state.route, **members)

    async def _run_request_hook(self, hook: RequestHook, state: _RequestState) -> Request:
        result = await driver.call_user_function(hook, self._hook_context(state))
        if result is None:
            return state.request
        if isinstance(result, Response):
            raise HTTPError(result)
        if not isinstance(result, Request):
            raise UnusableResult(
                f"a hook returned {type(result).__name__}: it must return a Request, a Response or None"
            )
        return result

    async def _run_response_hook(self, hook: ResponseHook, state: _RequestState, response: Response) -> Response:
        state.request = state.request.without_unread_body()
        try:
            result = await driver.call_user_function(hook, self._hook_context(state, response=response))
        except HTTPError as error:
            result = error.response
        if result is None:
            return response
        if not isinstance(result, Response):
            raise UnusableResult(f"on_response returned {type(result).__name__}: it must return a Response or None")
        if result.body is not response.body:
            response.close()
        return result

    async def _handle_error(self, state: _RequestState, error: Exception) -> Response:
        step = f"{state.step} {state.route.name}" if state.step == "the endpoint" and state.route else state.step
        failures = [f"{step} raised {describe_error(error)}"]
        if self._hooks.on_error is not None:
            state.request = state.request.without_unread_body()
            try:
                result = await driver.call_user_function(self._hooks.on_error, self._hook_context(state, error=error))
            except Exception as failure:
                log_failure(logger, failure, "on_error failed for %s %s", state.request.method, one_line(state.path))
                failures.append(f"on_error raised {describe_error(failure)}")
            else:
                if isinstance(result, Response):
                    return result
        log_failure(logger, error, "%s %s failed", state.request.method, one_line(state.path))
        members: dict[str, object] = {"message": "; ".join(failures)} if self.runtime.debug else {}
        return error_response(500, "internal_error", headers=(), **members)


def _keep_private(response: Response, route: RouteMatch | None) -> Response:
    """Returns the response with a header that keeps it out of caches, if it is about a user's threads.

    Of the two words, Django's cache middleware knows only ``private``.
    """
    if route is None or not route.name.startswith("threads/") or "cache-control" in response.headers:
        return response
    return response.replace(headers=response.headers.set("cache-control", "no-store, private"))
