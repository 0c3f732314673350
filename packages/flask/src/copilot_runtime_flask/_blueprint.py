"""A runtime as a Flask blueprint."""

from __future__ import annotations

from typing import Unpack, overload

from flask import Blueprint
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from copilot_runtime import CopilotHandler, CopilotRuntime
from copilot_runtime.adapters import HandlerOptions, build_handler

from ._playground import refuse_playground_in_production
from ._view import copilot_view

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


class _RestConverter(BaseConverter):
    """Matches the rest of a path, including slashes."""

    regex = "(?s:.*)"
    part_isolating = False


@overload
def create_copilot_blueprint(
    *, runtime: CopilotRuntime, name: str = "copilotkit", **options: Unpack[HandlerOptions]
) -> Blueprint: ...
@overload
def create_copilot_blueprint(*, handler: CopilotHandler, name: str = "copilotkit") -> Blueprint: ...
def create_copilot_blueprint(
    *,
    runtime: CopilotRuntime | None = None,
    handler: CopilotHandler | None = None,
    name: str = "copilotkit",
    **options: Unpack[HandlerOptions],
) -> Blueprint:
    """Returns a blueprint that serves a runtime: ``app.register_blueprint(blueprint, url_prefix="/api/copilotkit")``.

    Args:
        runtime: the runtime to serve, with the options of `create_copilot_runtime_handler`.
        handler: a handler to serve instead, which takes no options.
        name: the blueprint's name. Two blueprints in one application need different names.
        **options: ``base_path`` (the blueprint's prefix by default), ``mode``, ``cors``, ``hooks`` and ``playground``
            of `create_copilot_runtime_handler`. With ``playground=True``, ``register_blueprint`` raises ValueError
            unless the application is in debug mode.

    Raises:
        TypeError: for both a runtime and a handler, neither, or a handler with options; and as
            `create_copilot_runtime_handler` does.
        ValueError: as `create_copilot_runtime_handler` does.
    """
    handler = build_handler(runtime=runtime, handler=handler, options=options)
    view = copilot_view(handler, path_kwarg="rest")
    blueprint = Blueprint(name, __name__)

    def add_rules(state: BlueprintSetupState) -> None:
        refuse_playground_in_production(handler, state.app)
        state.app.url_map.converters["copilotkit"] = _RestConverter
        rule_options = {
            "methods": _METHODS,
            "merge_slashes": False,
            "strict_slashes": False,  # a prefix may end with a slash, and a POST must not be redirected to it
            "provide_automatic_options": False,
        }
        state.add_url_rule("/<copilotkit:rest>", "runtime", view, **rule_options)
        if (state.url_prefix or "/") != "/":
            state.add_url_rule("", "runtime", view, **rule_options)

    blueprint.record(add_rules)
    return blueprint
