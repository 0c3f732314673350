"""The demo as an ASGI application: a runtime with the demo agents, and a page to use them."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from copilot_runtime_asgi import CopilotMiddleware
from copilot_runtime_asgi._asgi_types import ASGIApp, Receive, Scope, Send

from ..._server.runtime import AgentMapping, CopilotRuntime
from .agents import DEMO_AGENTS
from .model import model_agents

BASE_PATH = "/api/copilotkit"

_FILES = {"/": ("index.html", "text/html; charset=utf-8"), "/app.js": ("app.js", "text/javascript; charset=utf-8")}


def create_demo_app() -> ASGIApp:
    """Returns an application with a new runtime at `BASE_PATH`, the page at ``/`` and its module at ``/app.js``."""
    # A demo on one's own machine has a single user, who may list its threads.
    agents: AgentMapping = {**DEMO_AGENTS, **model_agents()}
    runtime = CopilotRuntime(agents=agents, single_user=True, shutdown_grace_seconds=1)
    return CopilotMiddleware(_Page(), path=BASE_PATH, runtime=runtime, mode="auto")


class _Page:
    """Serves the files of ``static`` from memory."""

    def __init__(self) -> None:
        folder = resources.files(__package__) / "static"
        # A checkout on Windows may contain CRLF, which browsers turn into LF before they hash the style.
        self._bodies = {
            path: (folder / name).read_bytes().replace(b"\r\n", b"\n") for path, (name, _) in _FILES.items()
        }
        self._policy = _content_security_policy(self._bodies["/"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # the middleware answers lifespan events, and the server accepts no WebSockets
        path, method = scope["path"], scope["method"]
        if path not in _FILES:
            await self._respond(send, 404, b"Not found\n", "text/plain; charset=utf-8")
        elif method not in ("GET", "HEAD"):
            await self._respond(send, 405, b"Method not allowed\n", "text/plain; charset=utf-8", allow="GET, HEAD")
        else:
            await self._respond(send, 200, self._bodies[path], _FILES[path][1], hide_body=method == "HEAD")

    async def _respond(
        self, send: Send, status: int, body: bytes, content_type: str, *, allow: str = "", hide_body: bool = False
    ) -> None:
        headers = {
            "content-type": content_type,
            "content-length": str(len(body)),
            # After an upgrade, browsers must not show the page of the previous version.
            "cache-control": "no-cache",
            "content-security-policy": self._policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        } | ({"allow": allow} if allow else {})
        raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw_headers})
        await send({"type": "http.response.body", "body": b"" if hide_body else body})


def _content_security_policy(page: bytes) -> str:
    """Returns a policy that allows the module, the style by its hash (CSP level 3, section 8.3), and own requests."""
    style = re.search(rb"<style>(.*?)</style>", page, re.DOTALL)
    digest = hashlib.sha256(style.group(1) if style else b"").digest()
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'sha256-{base64.b64encode(digest).decode()}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
