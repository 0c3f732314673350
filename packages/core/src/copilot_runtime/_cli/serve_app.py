"""The application of ``copilot-runtime serve``: a runtime with the playground, to which ``/`` leads."""

from __future__ import annotations

from typing import Literal

from copilot_runtime_asgi import CopilotMiddleware, create_copilot_asgi_app
from copilot_runtime_asgi._asgi_types import ASGIApp

from .._http.cors import CorsConfig
from .._server.runtime import CopilotRuntime
from .front_page import FrontPage

Mode = Literal["auto", "multi-route", "single-route"]


def create_serve_app(runtime: CopilotRuntime, base_path: str, mode: Mode, cors: bool | CorsConfig) -> ASGIApp:
    """Returns the application. Raises TypeError and ValueError as `create_copilot_asgi_app` does."""
    if base_path.strip("/") == "":
        return create_copilot_asgi_app(runtime=runtime, base_path=base_path, mode=mode, cors=cors, playground=True)
    page = FrontPage(base_path)
    return CopilotMiddleware(page, path=base_path, runtime=runtime, mode=mode, cors=cors, playground=True)
