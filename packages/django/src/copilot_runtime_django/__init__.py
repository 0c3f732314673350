"""The CopilotKit runtime as a Django URLconf, under WSGI and ASGI."""

from ._framework import django_context
from ._store import django_store
from ._urlconf import create_copilot_urls
from ._users import django_user
from ._views import copilot_view

__all__ = ["copilot_view", "create_copilot_urls", "django_context", "django_store", "django_user"]
