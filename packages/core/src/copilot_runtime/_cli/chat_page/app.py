"""The chat page as an ASGI application."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from importlib import resources
from urllib.parse import quote

from copilot_runtime_asgi._asgi_types import Receive, Scope, Send

_FILES = {"/": ("index.html", "text/html; charset=utf-8"), "/app.js": ("app.js", "text/javascript; charset=utf-8")}


class ChatPage:
    """Serves the page at ``/`` and its module at ``/app.js``, from memory.

    Args:
        base_path: the path of the runtime that the page uses, on the same server.
        title: the title of the page.
        has_examples: whether the page offers the example messages for the demo's agents.
    """

    def __init__(self, *, base_path: str, title: str, has_examples: bool = False) -> None:
        folder = resources.files(__package__) / "static"
        # A checkout on Windows may contain CRLF, which browsers turn into LF before they hash the style.
        self._bodies = {
            path: (folder / name).read_bytes().replace(b"\r\n", b"\n") for path, (name, _) in _FILES.items()
        }
        variables = {
            "base": quote(base_path.strip("/") + "/", safe="/%"),
            "title": title,
            "examples": "demo" if has_examples else "",
        }
        for name, value in variables.items():
            self._bodies["/"] = self._bodies["/"].replace(f"{{{{{name}}}}}".encode(), html.escape(value).encode())
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
