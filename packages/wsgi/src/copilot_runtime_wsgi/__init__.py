"""The CopilotKit runtime as a WSGI application."""

from ._app import create_copilot_wsgi_app, status_line, to_wsgi
from ._request import read_environ_body, request_from_environ

__all__ = ["create_copilot_wsgi_app", "read_environ_body", "request_from_environ", "status_line", "to_wsgi"]
