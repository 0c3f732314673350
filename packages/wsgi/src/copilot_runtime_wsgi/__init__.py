"""The CopilotKit runtime as a WSGI application."""

from ._app import create_copilot_wsgi_app, status_line, to_wsgi
from ._request import read_body, request_of

__all__ = ["create_copilot_wsgi_app", "read_body", "request_of", "status_line", "to_wsgi"]
