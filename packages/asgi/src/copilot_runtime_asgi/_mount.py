"""Serving a runtime ahead of another ASGI application."""

from __future__ import annotations

from typing import Any

from copilot_runtime import CopilotHandler, CopilotRuntime, build_handler
from copilot_runtime._concurrency.framework import FrameworkContext

from ._app import (
    App,
    Message,
    Receive,
    Scope,
    Send,
    to_asgi,
)


def mount_before(
    app: App,
    path: str,
    *,
    runtime: CopilotRuntime | None = None,
    handler: CopilotHandler | None = None,
    host: FrameworkContext | None = None,
    **options: Any,
) -> App:
    """``app``, with a runtime at ``path`` that is served without going through it.

    Takes what `create_copilot_asgi_app` takes, less ``base_path``, which is ``path``. The
    middleware of ``app`` does not see the runtime's requests. The lifespan goes to both.
    Raises ValueError for a path without a leading slash.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"mount_before(path={path!r}): give a path that begins with '/', such as '/api/copilotkit'")
    given = {**options, "base_path": path} if handler is None else options
    ready = build_handler(runtime=runtime, handler=handler, options=given)
    ours = to_asgi(ready, host=host)
    prefix = path.rstrip("/")

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _shared_lifespan(app, ready.runtime, scope, receive, send)
        elif scope["type"] == "http" and _is_below(scope, prefix):
            await ours(scope, receive, send)
        else:
            await app(scope, receive, send)

    return mounted


def _is_below(scope: Scope, prefix: str) -> bool:
    path: str = scope["path"]
    below = path.removeprefix(scope.get("root_path", ""))
    return any(one == prefix or one.startswith(f"{prefix}/") for one in (path, below))


async def _shared_lifespan(app: App, runtime: CopilotRuntime, scope: Scope, receive: Receive, send: Send) -> None:
    """The other application's lifespan, or a plain one where it has none; ours ends before its."""
    answered: list[str] = []
    asked: list[str] = []

    async def receive_wrapper() -> Message:
        message = await receive()
        asked.append(message["type"])
        if message["type"] == "lifespan.shutdown":
            await runtime.shutdown()
        return message

    async def send_wrapper(message: Message) -> None:
        answered.append(message["type"])
        await send(message)

    try:
        await app(scope, receive_wrapper, send_wrapper)
    except Exception:
        if answered:
            raise
    if answered:
        return
    # It knows no lifespan, which it may say by raising (as Django does) or by returning; the runtime has one.
    if not asked:
        await receive_wrapper()
    await send({"type": "lifespan.startup.complete"})
    await receive_wrapper()
    await send({"type": "lifespan.shutdown.complete"})
