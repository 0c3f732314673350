"""The CopilotKit runtime as a Flask blueprint."""

from ._blueprint import create_copilot_blueprint
from ._view import copilot_view

__all__ = ["copilot_view", "create_copilot_blueprint"]
