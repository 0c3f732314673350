"""The CopilotKit runtime as a Django URLconf, under WSGI and ASGI."""

from .host import django_host
from .patterns import create_copilot_urls
from .users import django_user
from .views import copilot_view

__all__ = ["copilot_view", "create_copilot_urls", "django_host", "django_user"]
