"""A runtime as a blueprint."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from copilot_runtime import CopilotHandler, CopilotRuntime, build_handler

from ._view import copilot_view

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


class _RestConverter(BaseConverter):
    """All that is left of a path, slashes included."""

    regex = "(?s:.*)"
    part_isolating = False


def create_copilot_blueprint(
    *,
    runtime: CopilotRuntime | None = None,
    handler: CopilotHandler | None = None,
    name: str = "copilotkit",
    **options: Any,
) -> Blueprint:
    """A blueprint that serves a runtime: ``app.register_blueprint(blueprint, url_prefix="/api/copilotkit")``.

    Give a ``runtime`` with the options of `create_copilot_runtime_handler` (``base_path``,
    which is the blueprint's prefix unless given, ``mode``, ``cors``, ``hooks``), or a ready
    ``handler``. Two blueprints in one application need two names. Raises TypeError for both,
    neither, or options beside a handler, and what `create_copilot_runtime_handler` raises.
    """
    view = copilot_view(build_handler(runtime=runtime, handler=handler, options=options), path_kwarg="rest")
    blueprint = Blueprint(name, __name__)

    def add_rules(state: BlueprintSetupState) -> None:
        state.app.url_map.converters["copilotkit"] = _RestConverter
        rule = {
            "methods": _METHODS,
            "merge_slashes": False,
            "strict_slashes": False,  # a prefix may end with a slash, and a POST must not be redirected to it
            "provide_automatic_options": False,
        }
        state.add_url_rule("/<copilotkit:rest>", "runtime", view, **rule)
        if (state.url_prefix or "/") != "/":
            state.add_url_rule("", "runtime", view, **rule)

    blueprint.record(add_rules)
    return blueprint
