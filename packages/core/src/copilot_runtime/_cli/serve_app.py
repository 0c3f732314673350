"""The application of ``copilot-runtime serve``: a runtime, and a page to chat with its agents."""

from __future__ import annotations

from typing import Literal

from copilot_runtime_asgi import CopilotMiddleware, create_copilot_asgi_app
from copilot_runtime_asgi._asgi_types import ASGIApp

from .._http.cors import CorsConfig
from .._server.runtime import CopilotRuntime
from .chat_page.app import ChatPage

Mode = Literal["auto", "multi-route", "single-route"]


def shows_page(base_path: str, mode: Mode) -> bool:
    """Returns whether the page is at ``/``: not if the runtime is there itself, or has no REST routes."""
    return base_path.strip("/") != "" and mode != "single-route"


def create_serve_app(runtime: CopilotRuntime, base_path: str, mode: Mode, cors: bool | CorsConfig) -> ASGIApp:
    """Returns the application. Raises TypeError and ValueError as `create_copilot_asgi_app` does."""
    if not shows_page(base_path, mode):
        return create_copilot_asgi_app(runtime=runtime, base_path=base_path, mode=mode, cors=cors)
    page = ChatPage(base_path=base_path, title="CopilotKit runtime")
    return CopilotMiddleware(page, path=base_path, runtime=runtime, mode=mode, cors=cors)
