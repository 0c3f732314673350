"""What the command line serves beside the runtime: a redirect from ``/`` to the playground."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._http.target import normalize_base_path

if TYPE_CHECKING:
    from copilot_runtime_asgi._asgi_types import Receive, Scope, Send


def playground_path(base_path: str) -> str:
    """Returns the path of the playground of the runtime at ``base_path``. Raises ValueError for no path."""
    return f"{normalize_base_path(base_path)}/playground/"


class FrontPage:
    """An ASGI application that redirects ``/`` to the playground, and answers everything else with 404."""

    def __init__(self, base_path: str) -> None:
        self._location = playground_path(base_path).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # the middleware answers lifespan events, and the server accepts no WebSockets
        if scope["path"] != "/":
            await _respond(send, 404, b"Not found\n")
        elif scope["method"] not in ("GET", "HEAD"):
            await _respond(send, 405, b"Method not allowed\n", (b"allow", b"GET, HEAD"))
        else:
            await _respond(send, 307, b"", (b"location", self._location))


async def _respond(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    described = (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*described, *headers]})
    await send({"type": "http.response.body", "body": body})
