"""The CopilotKit runtime as an ASGI application, and as ASGI middleware."""

from ._app import create_copilot_asgi_app, to_asgi
from ._middleware import CopilotMiddleware, mount_before

__all__ = ["CopilotMiddleware", "create_copilot_asgi_app", "mount_before", "to_asgi"]
