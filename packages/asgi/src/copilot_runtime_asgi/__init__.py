"""The CopilotKit runtime as an ASGI application."""

from ._app import create_copilot_asgi_app, to_asgi
from ._mount import mount_before

__all__ = ["create_copilot_asgi_app", "mount_before", "to_asgi"]
