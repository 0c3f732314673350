"""The CopilotKit runtime as a Flask blueprint."""

from .blueprint import create_copilot_blueprint
from .view import copilot_view

__all__ = ["copilot_view", "create_copilot_blueprint"]
