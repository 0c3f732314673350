"""A proxy before the MCP servers of the tests: it misbehaves on request, and records all requests.

``/mcp`` and ``/sse`` are the server's own endpoints. ``/legacy/mcp`` is as ``/mcp``, but of the
days when each client had to open a session. ``/broken/METHOD/mcp`` and ``/silent/METHOD/mcp``
are as ``/legacy/mcp`` up to the request of that method, which is answered by an error, or
never; ``/garbled/METHOD/mcp`` answers it by something that is no JSON. ``/paged/mcp`` lists its
tools in pages. ``/odd/mcp`` breaks the protocol: `ODD_TOOLS` and `ODD_RESULTS` are what it sends.

``GET /forget`` has all sessions forgotten, as after a restart.

``GET /seen`` returns all requests so far; ``GET /until/METHOD/COUNT`` does once there were ``COUNT`` of that
method; ``GET /until-idle`` once no session and no request is open.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGES = [["one", "two"], ["three"], ["four"]]
"""The names of the tools of ``/paged/mcp``."""

ODD_TOOLS: list[Any] = [
    {"name": "null_schema", "inputSchema": None, "description": None, "title": "Untitled"},
    {"name": "no_schema"},
    {"name": "typeless", "inputSchema": {"properties": {"a": True}}, "outputSchema": "none", "annotations": 1},
    {"name": ""},
    {"inputSchema": {"type": "object"}},
    "a tool",
    {"name": "declared", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object", "required": ["a"]}},
]

ODD_RESULTS: dict[str, Any] = {
    "without structured content": {"content": [{"type": "text", "text": "only text"}]},
    "structured content that does not fit": {"content": [], "structuredContent": {"b": 1}},
    "structured content that is a list": {"content": [], "structuredContent": [1, 2]},
    "no content": {"structuredContent": {"a": 1}},
    "content null": {"content": None, "structuredContent": None, "isError": None},
    "content a text": {"content": "plain"},
    "blocks": {
        "content": [
            "bare",
            {"type": "text", "text": None},
            {"text": "untyped"},
            {"type": "chart", "data": 1},
            {"type": "image"},
            {"type": "resource", "resource": {"uri": "file:///a"}},
        ]
    },
}
"""By the argument ``odd`` of a call."""


@dataclasses.dataclass
class McpProxy:
    """The ASGI application: a server's endpoints of both transports behind it."""

    streamable: ASGIApp
    sse: ASGIApp
    requests: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sessions: set[str] = dataclasses.field(default_factory=set)
    forgotten: set[str] = dataclasses.field(default_factory=set)
    open_requests: int = 0
    changed: asyncio.Condition = dataclasses.field(default_factory=asyncio.Condition)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.streamable(scope, receive, send)
            return
        kind, *rest = scope["path"].strip("/").split("/")
        if kind == "forget":
            self.forgotten |= self.sessions
            self.sessions.clear()
        if kind in ("seen", "until", "until-idle", "forget"):
            await self.until(self.condition(kind, "/".join(rest[:-1]), rest[-1:]))
            await JSONResponse(self.requests)(scope, receive, send)
            return
        await self.watched(kind, "/".join(rest[:-1]), scope, receive, send)

    def condition(self, kind: str, method: str, count: list[str]) -> Callable[[], bool]:
        if kind == "until":
            return lambda: sum(request["method"] == method for request in self.requests) >= int(count[0])
        return lambda: kind in ("seen", "forget") or not (self.sessions or self.open_requests)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with self.changed:
            await self.changed.wait_for(holds)

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def watched(self, kind: str, method: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = await Request(scope, receive).body() if scope["method"] == "POST" else b""
        request = json.loads(body or "{}")
        self.requests.append({"method": request.get("method", scope["method"]), "headers": headers})
        self.open_requests += 1
        await self.notify()
        try:
            answer = self.answer(kind, method, request, headers)
            opens_session = request.get("method") == "initialize"
            await answer(scope, replayed(body, receive), self.noting_session(send) if opens_session else send)
        finally:
            self.open_requests -= 1
            if scope["method"] == "DELETE":
                self.sessions.discard(headers["mcp-session-id"])
            await self.notify()

    def answer(self, kind: str, method: str, request: Any, headers: dict[str, str]) -> ASGIApp:
        if kind in ("sse", "messages"):
            return self.sse
        if kind != "mcp" and headers.get("mcp-protocol-version", "") > "2026":
            return Response("Bad Request: unsupported protocol version", 400)
        if headers.get("mcp-session-id") in self.forgotten:
            return JSONResponse(
                {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "Session not found"}}, 404
            )
        if kind == "paged":
            return paged(request)
        if kind == "odd":
            return odd(request)
        if method == request.get("method"):
            if kind == "silent":
                return silence
            # Its sessions are lost with it: not every client closes a broken one.
            self.sessions.discard(headers.get("mcp-session-id", ""))
            if kind == "garbled":
                return Response("{sk-secret", media_type="application/json")
            return Response("broken", 500)
        return self.elsewhere

    async def elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.streamable({**scope, "path": "/mcp", "raw_path": b"/mcp"}, receive, send)

    def noting_session(self, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.sessions.update(value.decode() for name, value in message["headers"] if name == b"mcp-session-id")
            await send(message)

        return noting


async def silence(scope: Scope, receive: Receive, send: Send) -> None:
    """Never answers."""
    while (await receive())["type"] != "http.disconnect":
        pass


def paged(request: Any) -> Response:
    """A server by hand, since the SDK's lists everything at once; it has no sessions."""
    page = int(request.get("params", {}).get("cursor", 0))
    tools = {
        "tools": [{"name": name, "inputSchema": {"type": "object"}} for name in PAGES[page]],
        **({"nextCursor": str(page + 1)} if page + 1 < len(PAGES) else {}),
    }
    return by_hand(request, {"tools/list": tools})


def odd(request: Any) -> Response:
    """A server by hand, since the SDK's keeps to the protocol; its cursor leads back to where it comes from."""
    case = request.get("params", {}).get("arguments", {}).get("odd")
    tools = {"tools": ODD_TOOLS, "nextCursor": "again"}
    return by_hand(request, {"tools/list": tools, "tools/call": ODD_RESULTS.get(case)})


def by_hand(request: Any, results: dict[str, Any]) -> Response:
    """Responds to a request with the result for its method."""
    if "id" not in request:
        return Response(status_code=202 if request else 405)
    initialized = {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "by hand", "version": "1"},
    }
    result = {"initialize": initialized, **results}[request["method"]]
    return JSONResponse({"jsonrpc": "2.0", "id": request["id"], "result": result})


def replayed(body: bytes, receive: Receive) -> Receive:
    """Returns a receive function that first returns a body that has been read already."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        return next(messages, None) or await receive()

    return again
