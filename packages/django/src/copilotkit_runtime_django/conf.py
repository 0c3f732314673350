"""The runtime that the settings name."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from copilotkit_runtime import CopilotHandler, CopilotRuntime, create_copilot_runtime_handler

SETTING = "COPILOT_RUNTIME"


def configured_handler() -> CopilotHandler:
    """The handler of ``settings.COPILOT_RUNTIME``: the path of a runtime, or of a handler with options of its own.

    Raises ImproperlyConfigured, with what is wrong, where there is none.
    """
    path = getattr(settings, SETTING, None)
    if not path:
        raise ImproperlyConfigured(f'{SETTING} is not set: name your runtime, such as "project.copilot.runtime"')
    try:
        found = import_string(path)
    except Exception as error:
        raise ImproperlyConfigured(f"{SETTING} = {path!r} cannot be imported: {error}") from error
    if isinstance(found, CopilotRuntime):
        return create_copilot_runtime_handler(runtime=found)
    if isinstance(found, CopilotHandler):
        return found
    raise ImproperlyConfigured(f"{SETTING} = {path!r} is {found!r}: name a CopilotRuntime, or a handler of one")
