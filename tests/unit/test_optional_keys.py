"""Servers, and frameworks in front of the adapters, that leave out what they may, or say None for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime_asgi import CopilotMiddleware, create_copilot_asgi_app
from copilot_runtime_wsgi import create_copilot_wsgi_app

from .engine_helpers import bounded

pytestmark = pytest.mark.requirement("ASGI-03")

LIMIT = 100
OPTIONAL = (
    "http_version",
    "scheme",
    "query_string",
    "root_path",
    "raw_path",
    "client",
    "server",
    "extensions",
    "state",
)
SCOPES: Mapping[str, Mapping[str, Any]] = {
    "left out": {},
    "None": dict.fromkeys(OPTIONAL),
    "empty": {"query_string": b"", "root_path": "", "raw_path": b"", "extensions": {}, "state": {}},
    "tuples": {"headers": ((b"host", b"localhost"), (b"x-a", b"1"))},
    "lists": {"headers": [[b"host", b"localhost"], [b"x-a", b"1"]]},
}
ENVIRONS: Mapping[str, Mapping[str, Any]] = {
    "left out": {},
    "empty": dict.fromkeys(("SCRIPT_NAME", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_PROTOCOL"), ""),
    "None": dict.fromkeys(("RAW_URI", "REQUEST_URI")),
}
REQUESTS = [("GET", 0, 200), ("POST", LIMIT, 400), ("POST", LIMIT + 1, 413)]
"""Methods, sizes of bodies, and the status of the response."""


def agent(input: Any) -> list[Any]:
    return []


def make_runtime() -> CopilotRuntime:
    return CopilotRuntime(agents={"a": agent}, single_user=True, max_body_bytes=LIMIT)


@pytest.mark.parametrize(("method", "size", "status"), REQUESTS)
@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
@pytest.mark.parametrize("has_middleware", [False, True], ids=["app", "middleware"])
@bounded
async def test_asgi(has_middleware: bool, scope: Mapping[str, Any], method: str, size: int, status: int) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * size}

    async def send(message: Any) -> None:
        sent.append(message)

    async def other(scope: Any, receive: Any, send: Any) -> None:
        sent.append("other")

    app: Any = create_copilot_asgi_app(runtime=make_runtime())
    if has_middleware:
        app = CopilotMiddleware(other, path="/c", runtime=make_runtime())
        await app({"type": "http", "method": method, "headers": [], **scope, "path": "/"}, receive, send)
        assert sent.pop() == "other"
    path = f"{'/c' * has_middleware}/{'info' if method == 'GET' else 'agent/a/run'}"
    await app({"type": "http", "method": method, "headers": [], **scope, "path": path}, receive, send)
    assert sent[0]["status"] == status
    body = json.loads(b"".join(message["body"] for message in sent[1:]))
    assert ("agents" in body) == (status == 200)


@pytest.mark.parametrize(("method", "size", "status"), REQUESTS)
@pytest.mark.parametrize("environ", ENVIRONS.values(), ids=ENVIRONS)
def test_wsgi(environ: Mapping[str, Any], method: str, size: int, status: int) -> None:
    started: list[str] = []
    path = "/info" if method == "GET" else "/agent/a/run"
    required = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": BytesIO(b"x" * size)}
    if size:
        environ = {**environ, "CONTENT_LENGTH": str(size)}
    app = create_copilot_wsgi_app(runtime=make_runtime())
    content = app({**required, **environ}, lambda status, headers, exc_info=None: started.append(status))
    body = json.loads(b"".join(content))
    assert started[0].startswith(str(status))
    assert ("agents" in body) == (status == 200)
