"""The setting ``COPILOT_RUNTIME``."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from copilot_runtime import CopilotHandler
from copilot_runtime.adapters import coerce_handler

SETTING = "COPILOT_RUNTIME"


def configured_handler() -> CopilotHandler:
    """Returns the handler for ``settings.COPILOT_RUNTIME``: the dotted path of a runtime, or of a handler.

    Raises:
        ImproperlyConfigured: if the setting is missing or invalid, with the reason.
    """
    path = getattr(settings, SETTING, None)
    if not path:
        raise ImproperlyConfigured(f'{SETTING} is not set: name your runtime, such as "project.copilot.runtime"')
    try:
        return coerce_handler(import_string(path))
    except Exception as error:
        raise ImproperlyConfigured(f"{SETTING} = {path!r} cannot be used: {error}") from error
