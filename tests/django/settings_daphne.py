"""The settings of a project with daphne's ``runserver``."""

from __future__ import annotations

from . import settings
from .settings import *  # noqa: F403 - what a project's second settings file does

INSTALLED_APPS = ("daphne", *settings.INSTALLED_APPS)
ASGI_APPLICATION = "tests.django.site.asgi.application"
