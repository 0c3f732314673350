"""The CopilotKit runtime as an ASGI application."""

from .app import create_copilot_asgi_app, to_asgi
from .mount import mount_before

__all__ = ["create_copilot_asgi_app", "mount_before", "to_asgi"]
