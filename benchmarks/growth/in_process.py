"""Calls an ASGI application in process, as a server would."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

PIECE = 64 * 1024
"""The size in which servers pass a request's body on."""


class HttpRequest(NamedTuple):
    """A POST request with a JSON body."""

    path: str
    body: bytes


async def send(app: Any, request: HttpRequest) -> bytes:
    """Sends a request and returns the body of the response. Raises RuntimeError for a status other than 200."""
    pieces = [request.body[start : start + PIECE] for start in range(0, len(request.body), PIECE)]
    pieces.reverse()
    has_ended = asyncio.Event()
    received: list[bytes] = []
    status = 0

    async def receive() -> dict[str, Any]:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}
        await has_ended.wait()
        return {"type": "http.disconnect"}

    async def collect(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            return
        received.append(message.get("body", b""))
        if not message.get("more_body", False):
            has_ended.set()

    await app(_scope(request), receive, collect)
    body = b"".join(received)
    if status != 200:
        raise RuntimeError(f"{request.path}: {status} {body[:200]!r}")
    return body


def _scope(request: HttpRequest) -> dict[str, Any]:
    """Returns the scope that uvicorn creates."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "POST",
        "root_path": "",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"content-type", b"application/json"),
            (b"accept", b"text/event-stream"),
            (b"content-length", b"%d" % len(request.body)),
        ],
        "state": {},
    }
