"""A handler as an ASGI application (ASGI 3.0, HTTP and lifespan)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Unpack, overload

from copilot_runtime import CopilotHandler, CopilotRuntime, EventStream, Headers, Request, Response
from copilot_runtime.adapters import (
    SHUTTING_DOWN,
    AsyncBody,
    BodyLimits,
    FrameworkContext,
    HandlerOptions,
    build_handler,
    ensure_handler,
    framework_scope,
    response_stream,
    split_raw_target,
)

from ._asgi_types import ASGIApp, Message, Receive, Scope, Send
from ._lifespan import serve_lifespan
from ._received_body import ReceivedBody


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
        **options: ``base_path``, ``mode``, ``cors`` and ``hooks`` of `create_copilot_runtime_handler`.

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
    return CopilotASGIApp(ensure_handler(handler), framework)


class CopilotASGIApp:
    """An ASGI application that serves a handler.

    An object, because Starlette's ``Route`` calls a function with a request, and only objects as ASGI applications.
    """

    def __init__(self, handler: CopilotHandler, framework: FrameworkContext | None) -> None:
        self._handler = handler
        self._request_scope = nullcontext if framework is None else partial(_in_framework, framework)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "http":
            runtime, body = self._handler.runtime, ReceivedBody(scope, receive)
            response = SHUTTING_DOWN
            with _quiet_shutdown(runtime):
                response = await self._respond(scope, body)
            if body.is_disconnected:
                response.close()
            else:
                await _send_response(response, body, send, runtime)
        elif scope["type"] == "lifespan":
            await serve_lifespan(self._handler.runtime, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _respond(self, scope: Scope, body: ReceivedBody) -> Response:
        request = _create_request(scope, body, self._handler.body_limits)
        async with self._request_scope():
            return await self._handler(request)


@contextmanager
def _quiet_shutdown(runtime: CopilotRuntime) -> Iterator[None]:
    """Ends the cancellation of a request by a server that shuts down, which would log a traceback for it."""
    try:
        yield
    except asyncio.CancelledError:
        if not runtime.is_shutting_down:
            raise


@asynccontextmanager
async def _in_framework(framework: FrameworkContext) -> AsyncIterator[None]:
    """Enters what a framework needs around a request that it does not handle itself."""
    with framework_scope(framework):
        async with framework.background_scope():
            yield


def _create_request(scope: Scope, body: ReceivedBody, limits: BodyLimits) -> Request:
    path, root_path = scope["path"], scope.get("root_path", "").rstrip("/")
    if not f"{path}/".startswith(f"{root_path}/"):
        # Some servers and frameworks leave the root path out of the path, as the specification once had it.
        path = root_path + path
    path, root_path = split_raw_target(
        scope.get("raw_path"), path.encode("utf-8", "surrogateescape"), root_path.encode()
    )
    return Request(
        method=scope["method"],
        path=path,
        root_path=root_path,
        query_string=scope.get("query_string", b"").decode("latin-1"),
        headers=Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        body=AsyncBody(limits, body.receive_chunk) if body.may_exist else b"",
        native=scope,
    )


CANCELLED_SECONDS = 0.5
"""How long a stream that was cancelled waits for the server to announce that it shuts down."""

SEND_SECONDS = 1.0
"""How long the end of a stream that was cancelled may take to be sent."""


async def _send_response(response: Response, body: ReceivedBody, send: Send, runtime: CopilotRuntime) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.wire_headers()]
    start = {"type": "http.response.start", "status": response.status, "headers": headers}
    stream = await response_stream(runtime, response)
    if stream is None:
        with _quiet_shutdown(runtime):
            await _send_body(start, response.body, body, send)
        return
    is_endless = isinstance(response.body, EventStream)
    chunks = aiter(stream)
    # Not every server makes `send` fail once the client has disconnected, and a quiet stream sends nothing: only
    # `http.disconnect` is immediate.
    watcher = asyncio.ensure_future(body.wait_for_disconnect())
    watcher.add_done_callback(lambda _: chunks.close())
    try:
        with nullcontext() if is_endless else _quiet_shutdown(runtime):
            async with asyncio.timeout(None) as limit:
                stream.on_stalled(_expirer(limit))
                await send(start)
                try:
                    await _send_chunks(chunks, send)
                except asyncio.CancelledError:
                    has_end = is_endless and not watcher.done() and not limit.expired()
                    if not has_end or not await _send_end(stream, chunks, send, runtime):
                        raise
    except OSError:
        pass  # the client has disconnected (since ASGI 2.4, `send` raises), or does not read (a TimeoutError)
    finally:
        chunks.close()
        watcher.cancel()


def _expirer(limit: asyncio.Timeout) -> Callable[[], None]:
    """Returns a function that has a timeout expire, from any thread."""
    loop = asyncio.get_running_loop()

    def expire() -> None:
        with suppress(RuntimeError):  # the response has ended meanwhile
            limit.reschedule(loop.time())

    def expire_soon() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(expire)

    return expire_soon


async def _send_body(start: Message, content: bytes | EventStream, body: ReceivedBody, send: Send) -> None:
    await send(start)
    if body.may_be_left:
        # A client that is still sending when the connection closes never sees the response.
        await send({"type": "http.response.body", "body": content, "more_body": True})
        await body.drain()
        content = b""
    await send({"type": "http.response.body", "body": content})


async def _send_chunks(chunks: AsyncIterator[bytes], send: Send) -> None:
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_end(stream: EventStream, chunks: AsyncIterator[bytes], send: Send, runtime: CopilotRuntime) -> bool:
    """Sends the end of a stream that was cancelled, since one that breaks off looks like success to a client.

    Returns whether the server shuts down. uvicorn and hypercorn cancel what is still open after their graceful timeout,
    and a CancelledError would fill their logs. Whatever else cancels, such as `asyncio.timeout`, relies on one.
    """
    loop = asyncio.get_running_loop()
    has_shut_down = False
    timer: asyncio.TimerHandle

    def check_shutdown() -> bool:
        nonlocal has_shut_down
        has_shut_down = has_shut_down or runtime.is_shutting_down
        return runtime.is_shutting_down

    async def checked_send(message: Message) -> None:
        check_shutdown()  # while the end is sent, the shutdown that has caused it is still at work
        await send(message)

    def cut() -> None:
        nonlocal timer
        if check_shutdown():  # the end of the run is about to be sent
            timer = loop.call_later(CANCELLED_SECONDS, cut)
        else:
            cut_now()

    def cut_now() -> None:
        stream.cut()
        limit.reschedule(loop.time() + SEND_SECONDS)

    timer = loop.call_later(CANCELLED_SECONDS, cut)
    try:
        async with asyncio.timeout(None) as limit:  # a client that does not read would hold up `send` for good
            try:
                await _send_chunks(chunks, checked_send)
            except asyncio.CancelledError:
                if not limit.expired():  # cancelled again: the event loop is closed, or this is one of anyio's scopes
                    cut_now()
                    await _send_chunks(chunks, send)
                raise
    except TimeoutError:
        pass
    finally:
        timer.cancel()
    return has_shut_down
