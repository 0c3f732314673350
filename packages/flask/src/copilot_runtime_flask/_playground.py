"""Refuses the playground where a Flask application runs as in production."""

from __future__ import annotations

from flask.sansio.app import App

from copilot_runtime import CopilotHandler
from copilot_runtime.adapters import not_for_production


def refuse_playground_in_production(handler: CopilotHandler, app: App) -> None:
    """Raises ValueError if a handler serves the playground although the application is not in debug mode."""
    if handler.has_playground and not (app.debug or app.testing):
        raise ValueError(
            not_for_production(
                "the application is not in debug mode",
                "Start it with flask run --debug or with FLASK_DEBUG=1 in its environment, set app.debug = True before "
                "this, or leave playground out.",
            )
        )
