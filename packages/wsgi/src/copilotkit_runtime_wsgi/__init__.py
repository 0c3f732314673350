"""The CopilotKit runtime as a WSGI application."""

from .app import create_copilot_wsgi_app, to_wsgi

__all__ = ["create_copilot_wsgi_app", "to_wsgi"]
