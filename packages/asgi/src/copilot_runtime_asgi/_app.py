"""A handler as an ASGI application (ASGI 3.0, HTTP and lifespan)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable
from typing import Unpack, overload

from copilot_runtime import CopilotHandler, CopilotRuntime, Request, Response
from copilot_runtime.adapters import (
    SHUTTING_DOWN,
    FrameworkContext,
    FrameworkScope,
    HandlerOptions,
    KeptResults,
    build_handler,
    decode_headers,
    ensure_handler,
    response_stream,
    split_raw_target,
)

from ._asgi_types import ASGIApp, Message, Receive, Scope, Send
from ._lifespan import serve_lifespan
from ._received_body import ReceivedBody, may_have_body
from ._stream_begin import begin_stream


@overload
def create_copilot_asgi_app(
    *, runtime: CopilotRuntime, framework: FrameworkContext | None = None, **options: Unpack[HandlerOptions]
) -> ASGIApp: ...
@overload
def create_copilot_asgi_app(*, handler: CopilotHandler, framework: FrameworkContext | None = None) -> ASGIApp: ...
def create_copilot_asgi_app(
    *,
    runtime: CopilotRuntime | None = None,
    handler: CopilotHandler | None = None,
    framework: FrameworkContext | None = None,
    **options: Unpack[HandlerOptions],
) -> ASGIApp:
    """Returns an ASGI application that serves a runtime.

    Args:
        runtime: the runtime to serve, with the options of `create_copilot_runtime_handler`.
        handler: a handler to serve instead, which takes no options.
        framework: the framework whose contexts and connections hooks and agents use, such as
            `copilot_runtime_django.django_context`. None if they use none.
        **options: ``base_path``, ``mode``, ``cors``, ``hooks`` and ``playground`` of
            `create_copilot_runtime_handler`.

    Raises:
        TypeError: for both a runtime and a handler, neither, or a handler with options; and as
            `create_copilot_runtime_handler` does.
        ValueError: as `create_copilot_runtime_handler` does.
    """
    return to_asgi(build_handler(runtime=runtime, handler=handler, options=options), framework=framework)


def to_asgi(handler: CopilotHandler, *, framework: FrameworkContext | None = None) -> ASGIApp:
    """Returns an ASGI application that serves a handler.

    Args:
        handler: what `create_copilot_runtime_handler` returned.
        framework: as for `create_copilot_asgi_app`.

    Raises:
        TypeError: if ``handler`` is not a handler.
    """
    if ensure_handler(handler).has_playground and framework is not None:
        framework.check_playground()
    return CopilotASGIApp(handler, framework)


class CopilotASGIApp:
    """An ASGI application that serves a handler.

    An object, because Starlette's ``Route`` calls a function with a request, and only objects as ASGI applications.
    """

    def __init__(self, handler: CopilotHandler, framework: FrameworkContext | None) -> None:
        self._handler = handler
        self._respond = handler if framework is None else functools.partial(_respond_in_framework, framework, handler)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "http":
            rest = await self._begin_response(scope, receive, send)
            if rest is not None:
                await rest
        elif scope["type"] == "lifespan":
            await serve_lifespan(self._handler.runtime, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _begin_response(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None] | None:
        """Responds to a request. Returns what sends the rest of a stream, if there is one.

        Apart from that: thousands of streams may be idle, and need nothing that is known here.
        """
        runtime = self._handler.runtime
        body = ReceivedBody(runtime.body_limits, receive) if may_have_body(scope) else None
        path, root_path = _targets[scope["path"], scope.get("root_path") or "", scope.get("raw_path")]
        response = self._handler.respond_at_once(scope["method"], path, root_path) if body is None else None
        if response is None:
            try:
                response = await self._respond(_create_request(scope, path, root_path, body))
            except asyncio.CancelledError:
                # A server that shuts down cancels what is still open, and would log a traceback for the exception.
                if not runtime.is_shutting_down:
                    raise
                response = SHUTTING_DOWN
        if body is not None and body.is_disconnected:
            response.close()
            return None
        headers = response.encoded_wire_headers()
        start: Message = {"type": "http.response.start", "status": response.status, "headers": headers}
        content = response.body
        stream = response_stream(runtime, response)
        if stream is None:
            try:
                await send(start)
                if body is not None and body.may_be_left(scope):
                    # A client that is still sending when the connection closes never sees the response.
                    await send({"type": "http.response.body", "body": content, "more_body": True})
                    await body.drain(scope)
                    content = b""
                await send({"type": "http.response.body", "body": content})
            except asyncio.CancelledError:
                if not runtime.is_shutting_down:
                    raise
            return None
        return await begin_stream(
            start,
            stream.source,
            receive,
            send,
            runtime,
            is_endless=stream is content,
            has_body_ended=body is not None and body.has_ended,
        )


async def _respond_in_framework(framework: FrameworkContext, handler: CopilotHandler, request: Request) -> Response:
    with FrameworkScope(framework):
        async with framework.background_scope():
            return await handler(request)


def _read_target(target: tuple[str, str, bytes | None]) -> tuple[str, str]:
    """Returns the path of a request and its root path, percent-encoded.

    Args:
        target: the path, the root path and the raw path of its scope.
    """
    path, root_path, raw = target
    root_path = root_path.rstrip("/")
    if not f"{path}/".startswith(f"{root_path}/"):
        # Some servers and frameworks leave the root path out of the path, as the specification once had it.
        path = root_path + path
    return split_raw_target(raw, path.encode("utf-8", "surrogateescape"), root_path.encode())


_targets = KeptResults(_read_target, size=lambda target: len(target[0]) + len(target[1]) + len(target[2] or b""))


def _create_request(scope: Scope, path: str, root_path: str, body: ReceivedBody | None) -> Request:
    return Request(
        method=scope["method"],
        path=path,
        root_path=root_path,
        query_string=(scope.get("query_string") or b"").decode("latin-1"),
        headers=decode_headers(scope["headers"]),
        body=b"" if body is None else body,
        native=scope,
    )
