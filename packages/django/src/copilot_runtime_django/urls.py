"""The URLconf of ``settings.COPILOT_RUNTIME``: ``path(route, include("copilot_runtime_django.urls"))``."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern

from ._conf import configured_handler
from ._urlconf import MisconfiguredPattern, create_copilot_urls

urlpatterns: list[URLPattern]
try:
    urlpatterns = create_copilot_urls(handler=configured_handler())
except ImproperlyConfigured as error:
    # Raised here it would take the whole site along, and `manage.py check` could not say it in order.
    urlpatterns = [MisconfiguredPattern(error)]
