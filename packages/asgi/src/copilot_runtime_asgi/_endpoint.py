"""A handler as a Starlette endpoint, which FastAPI calls once its dependencies have been resolved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from copilot_runtime import CopilotHandler

from ._app import to_asgi

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


def copilot_endpoint(handler: CopilotHandler) -> Callable[[Request], Awaitable[Response]]:
    """Returns an endpoint for routes of your own, whose dependencies then apply to the runtime.

    ``app.add_api_route("/chat{path:path}", copilot_endpoint(handler), methods=[...], dependencies=[Depends(...)])``

    Args:
        handler: what `create_copilot_runtime_handler` returned.

    Raises:
        TypeError: if ``handler`` is not a handler.
        ImportError: if Starlette is not installed.
    """
    from ._starlette import app_endpoint

    return app_endpoint(to_asgi(handler))
