"""An ASGI application as a Starlette response. Imported only by applications that have Starlette."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ._asgi_types import ASGIApp, Message, Receive, Scope, Send


def app_endpoint(app: ASGIApp) -> Callable[[Request], Awaitable[Response]]:
    """Returns an endpoint that leaves its requests to an ASGI application."""

    async def copilotkit(request: Request) -> Response:
        return _AppResponse(app, request)

    # FastAPI evaluates annotations in a way of its own, so these are no strings.
    copilotkit.__annotations__ = {"request": Request, "return": Response}
    return copilotkit


class _AppResponse(Response):
    def __init__(self, app: ASGIApp, request: Request) -> None:
        super().__init__()
        self._app = app
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, _receive_again(self._request, receive), send)
        if self.background is not None:
            await self.background()


def _receive_again(request: Request, receive: Receive) -> Receive:
    """Returns a `receive` with the request's body in it, even if a dependency has read that already."""
    body = request.stream()
    has_more = True

    async def receive_again() -> Message:
        nonlocal has_more
        if not has_more:
            return await receive()
        try:
            chunk = await anext(body, b"")
        except ClientDisconnect:
            return {"type": "http.disconnect"}
        has_more = chunk != b""  # which a request's stream ends with
        return {"type": "http.request", "body": chunk, "more_body": has_more}

    return receive_again
