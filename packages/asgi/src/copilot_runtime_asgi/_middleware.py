"""A runtime in front of another ASGI application."""

from __future__ import annotations

from typing import Literal, TypedDict, Unpack

from copilot_runtime import CopilotHandler, CopilotRuntime, CorsConfig, RuntimeHooks
from copilot_runtime.adapters import FrameworkContext, HandlerOptions, KeptResults, build_handler

from ._app import to_asgi
from ._asgi_types import ASGIApp, Receive, Scope, Send
from ._lifespan import share_lifespan


class MiddlewareOptions(TypedDict, total=False):
    """`HandlerOptions` without ``base_path``, for which the middleware has ``path``."""

    mode: Literal["auto", "multi-route", "single-route"]
    cors: bool | CorsConfig
    hooks: RuntimeHooks | None
    playground: bool


class CopilotMiddleware:
    """ASGI middleware that serves a runtime at ``path``, and everything else from ``app``.

    In Starlette and FastAPI, write ``app.add_middleware(CopilotMiddleware, path=..., runtime=...)``. The runtime's
    requests never reach ``app``, nor any middleware inside of this one. WebSocket connections always go to ``app``,
    lifespan events to both.

    Args:
        app: the application to wrap.
        path: the path of the runtime, such as ``"/api/copilotkit"``; in an application that is mounted itself, the
            path below its mount.
        runtime: the runtime to serve, with the options of `create_copilot_runtime_handler`.
        handler: a handler to serve instead, which takes no options. Its ``base_path`` is None or ``path``.
        framework: the framework whose contexts and connections hooks and agents use, such as
            `copilot_runtime_django.django_context`. None if they use none.
        **options: ``mode``, ``cors``, ``hooks`` and ``playground`` of `create_copilot_runtime_handler`.

    Raises:
        TypeError: for both a runtime and a handler, neither, a handler with options, or ``base_path``; and as
            `create_copilot_runtime_handler` does.
        ValueError: if ``path`` does not start with a slash; and as `create_copilot_runtime_handler` does.
    """

    # Without overloads: of a class with several, mypy offers `add_middleware` and `Middleware` only the first.
    def __init__(
        self,
        app: ASGIApp,
        *,
        path: str,
        runtime: CopilotRuntime | None = None,
        handler: CopilotHandler | None = None,
        framework: FrameworkContext | None = None,
        **options: Unpack[MiddlewareOptions],
    ) -> None:
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError(f"path={path!r} must start with '/', such as '/api/copilotkit'")
        if "base_path" in options:
            raise TypeError("CopilotMiddleware has no base_path: pass the runtime's path as path=...")
        is_bare_handler = handler is not None and not options
        handler_options: HandlerOptions = {} if is_bare_handler else {"base_path": path, **options}
        handler = build_handler(runtime=runtime, handler=handler, options=handler_options)
        self._app = app
        self._copilot_app = to_asgi(handler, framework=framework)
        self._runtime = handler.runtime
        self._prefix = path.rstrip("/")
        self._is_for_runtime = KeptResults(self._is_target_of_runtime, size=lambda target: sum(map(len, target)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the runtime's requests, and passes all others on to the application."""
        kind = scope["type"]
        if kind == "http" and self._is_for_runtime[scope["path"], scope.get("root_path") or ""]:
            await self._copilot_app(scope, receive, send)
        elif kind == "lifespan":
            await share_lifespan(self._app, self._runtime, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_target_of_runtime(self, target: tuple[str, str]) -> bool:
        path, root_path = target
        # Servers differ in whether the path includes the root path.
        return self._is_below(path) or bool(root_path and self._is_below(path.removeprefix(root_path)))

    def _is_below(self, path: str) -> bool:
        return path.startswith(self._prefix) and path[len(self._prefix) :][:1] in ("", "/")
