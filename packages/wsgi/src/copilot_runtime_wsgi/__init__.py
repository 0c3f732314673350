"""The CopilotKit runtime as a WSGI application."""

from ._app import create_copilot_wsgi_app, status_line, to_wsgi
from ._environ_body import EnvironBody, environ_body
from ._request import environ_target, request_from_environ

__all__ = [
    "EnvironBody",
    "create_copilot_wsgi_app",
    "environ_body",
    "environ_target",
    "request_from_environ",
    "status_line",
    "to_wsgi",
]
