"""The URLconf for ``settings.COPILOT_RUNTIME``: ``path("api/copilotkit", include("copilot_runtime_django.urls"))``."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern

from ._conf import configured_handler
from ._urlconf import MisconfiguredPattern, create_copilot_urls

urlpatterns: list[URLPattern]
try:
    urlpatterns = create_copilot_urls(handler=configured_handler())
except ImproperlyConfigured as error:
    # Raised here, it would break the whole site, and `manage.py check` could not report it.
    urlpatterns = [MisconfiguredPattern(error)]
