"""The CopilotKit runtime as an ASGI application, as ASGI middleware, and as a FastAPI endpoint."""

from ._app import create_copilot_asgi_app, to_asgi
from ._endpoint import copilot_endpoint
from ._middleware import CopilotMiddleware

__all__ = ["CopilotMiddleware", "copilot_endpoint", "create_copilot_asgi_app", "to_asgi"]
