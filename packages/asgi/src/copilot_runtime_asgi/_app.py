"""A handler as an ASGI application (ASGI 3.0, HTTP and lifespan)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any
from urllib.parse import quote

from copilot_runtime import (
    CopilotHandler,
    CopilotRuntime,
    EventStream,
    Headers,
    Request,
    Response,
    build_handler,
    ensure_handler,
    split_raw_target,
)
from copilot_runtime._concurrency.framework import FrameworkContext, framework_scope

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def create_copilot_asgi_app(
    *,
    runtime: CopilotRuntime | None = None,
    handler: CopilotHandler | None = None,
    host: FrameworkContext | None = None,
    **options: Any,
) -> App:
    """An ASGI application that serves a runtime.

    Give a ``runtime`` with the options of `create_copilot_runtime_handler` (``base_path``,
    ``mode``, ``cors``, ``hooks``), or a ready ``handler``. ``host`` is the framework whose
    contexts and connections hooks and agents use, if any. Raises TypeError for both, neither,
    or options beside a handler, and what `create_copilot_runtime_handler` raises.
    """
    return to_asgi(build_handler(runtime=runtime, handler=handler, options=options), host=host)


def to_asgi(handler: CopilotHandler, *, host: FrameworkContext | None = None) -> App:
    """A handler as an ASGI application. Raises TypeError for what is no handler."""
    ensure_handler(handler)
    surroundings = nullcontext if host is None else partial(_in_framework, host)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = await _request(scope, receive, handler.read_limit)
            if request is not None:
                async with surroundings():
                    response = await handler(request)
                await _respond(response, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(handler.runtime, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    return app


@asynccontextmanager
async def _in_framework(host: FrameworkContext) -> AsyncIterator[None]:
    """What a framework wants around a request that it does not see itself."""
    with framework_scope(host):
        async with host.background_scope():
            yield


async def _request(scope: Scope, receive: Receive, limit: int) -> Request | None:
    """The request, with no more than ``limit`` bytes of its body; None where the client left meanwhile."""
    pieces: list[bytes] = []
    size, more = 0, True
    # What is too long is read on for a while all the same: a client that is still sending
    # when the connection closes never sees the answer.
    while more and size < 2 * limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        if size < limit:
            pieces.append(piece[: limit - size])
        size += len(piece)
        more = message.get("more_body", False)
    full, raw, mount = scope["path"], scope.get("raw_path"), scope.get("root_path", "")
    if not full.startswith(mount):
        # Some leave the mount out of the path, as older specifications had it.
        full, raw = mount + full, raw and quote(mount).encode() + raw
    path, mount = split_raw_target(raw, full.encode("utf-8", "surrogateescape"), mount.encode())
    return Request(
        method=scope["method"],
        path=path,
        root_path=mount,
        query_string=scope.get("query_string", b"").decode("latin-1"),
        headers=Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        body=pieces[0] if len(pieces) == 1 else b"".join(pieces),
        native=scope,
    )


async def _respond(response: Response, receive: Receive, send: Send) -> None:
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.wire_headers()]
    start = {"type": "http.response.start", "status": response.status, "headers": fields}
    if not isinstance(response.body, EventStream):
        await send(start)
        await send({"type": "http.response.body", "body": response.body})
        return
    chunks = response.body.__aiter__()
    # Not every server makes `send` fail once the client has left, and a quiet stream sends
    # nothing: only `http.disconnect` tells at once.
    watch = asyncio.ensure_future(_disconnect(receive))
    watch.add_done_callback(lambda _: chunks.close())
    try:
        await send(start)
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except OSError:
        pass  # the client has left: ASGI 2.4 has `send` say so
    finally:
        chunks.close()
        watch.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(runtime: CopilotRuntime, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await runtime.shutdown()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
