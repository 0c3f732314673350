"""Finds the runtime that ``module:attribute`` names, or says what to write instead."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType

from .._server.handler import CopilotHandler
from .._server.runtime import CopilotRuntime


class TargetError(Exception):
    """There is no runtime of that name. The text is a message for the user."""


def load_runtime(target: str) -> CopilotRuntime:
    """Returns the runtime that ``target`` names. Raises TargetError, and what the user's module raises."""
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise TargetError(f"{target!r} does not refer to a runtime: write module:attribute, such as app:runtime.")
    if module_name.endswith(".py") or os.sep in module_name or "/" in module_name:
        name = module_name.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".").replace(os.sep, ".")
        raise TargetError(f"{module_name!r} is a file: write the name of its module, {name}:{attribute}.")
    # `python -m` has the current folder on its path; an installed script does not.
    sys.path.insert(0, os.getcwd())
    module = _import(module_name, attribute)
    value = _attribute(module, attribute)
    if callable(value) and _takes_no_arguments(value):
        value = value()
    if not isinstance(value, CopilotRuntime):
        raise TargetError(
            f"{target} is not a CopilotRuntime, but {_kind(value)}. Name a CopilotRuntime, or a synchronous function "
            f"without parameters that returns one.{_suggestion(module)}"
        )
    return value


def _import(module_name: str, attribute: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # If it is the user's module that imports something missing, the traceback is more useful.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise TargetError(f"There is no module {error.name!r}, neither installed nor in {os.getcwd()}.") from error
    except ImportError as error:
        if "relative import" not in str(error):
            raise
        folder = os.path.basename(os.getcwd())
        raise TargetError(
            f"{module_name} uses a relative import, so it must be imported as a part of its package. Run this in the "
            f"folder above: cd .. && copilot-runtime serve {folder}.{module_name}:{attribute}"
        ) from error


def _attribute(module: ModuleType, attribute: str) -> object:
    value: object = module
    for name in attribute.split("."):
        if not hasattr(value, name):
            raise TargetError(f"{module.__name__} has no attribute {attribute!r}.{_suggestion(module)}")
        value = getattr(value, name)
    return value


def _suggestion(module: ModuleType) -> str:
    """Returns which of a module's names to write instead, or what to add to the module."""
    names = [name for name, value in vars(module).items() if isinstance(value, CopilotRuntime)]
    if not names:
        return f" {module.__name__} has no CopilotRuntime: write runtime = CopilotRuntime(...) there."
    return f" Did you mean {' or '.join(f'{module.__name__}:{name}' for name in names)}?"


_APPLICATIONS = {
    "fastapi": "uvicorn module:app",
    "starlette": "uvicorn module:app",
    "litestar": "uvicorn module:app",
    "copilot_runtime_asgi": "uvicorn module:app",
    "flask": "flask --app module:app run",
    "django": "python manage.py runserver",
    "copilot_runtime_wsgi": "gunicorn --worker-class gthread --threads 64 module:app",
}
"""The command that serves a whole application, by the package that it is made with."""


def _kind(value: object) -> str:
    """Returns what something is that is not a runtime, with how to use it."""
    if value is None:
        return "None: does the function return the runtime?"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    described = f"of type {type(value).__name__}"
    for module in (type(value).__module__, getattr(value, "__module__", None)):
        command = _APPLICATIONS.get(str(module).partition(".")[0])
        if command is not None:
            return f"{described}, a whole application, which you start with: {command}"
    if isinstance(value, CopilotHandler):
        return f"{described}, which is for adapters"
    if _is_generator_function(value) or callable(getattr(value, "run", None)):
        return f"{described}, an agent: make a runtime with CopilotRuntime(agents={{'default': agent}})"
    return described


def _is_generator_function(value: object) -> bool:
    return inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value)


def _takes_no_arguments(function: Callable[..., object]) -> bool:
    """Returns whether a function can be called without arguments, and is neither a coroutine function nor an agent."""
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return not (inspect.iscoroutinefunction(function) or _is_generator_function(function))
