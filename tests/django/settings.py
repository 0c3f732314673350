"""The settings of a project, for tests in this process and for the servers that they start.

Environment variables set what differs between servers.
"""

from __future__ import annotations

import os
from typing import Any

DATABASE = "DJANGO_TEST_DATABASE"
FIRST_MIDDLEWARE = "DJANGO_TEST_MIDDLEWARE"
"""Comma-separated dotted paths of the outermost middleware."""
SCRIPT_NAME = "DJANGO_TEST_SCRIPT_NAME"

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.django.site.urls"
COPILOT_RUNTIME = "tests.django.site.runtimes.named"
INSTALLED_APPS = (
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "copilot_runtime_django",
)
MIDDLEWARE = (
    *filter(None, os.environ.get(FIRST_MIDDLEWARE, "").split(",")),
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "tests.django.site.middleware.reads_the_body",
    "tests.django.site.middleware.loses_answers",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "tests.django.counting",
        "NAME": os.environ.get(DATABASE, ":memory:"),
        "ATOMIC_REQUESTS": True,
        "OPTIONS": {"timeout": 20},
    }
}
FORCE_SCRIPT_NAME = os.environ.get(SCRIPT_NAME)
PASSWORD_HASHERS = ("django.contrib.auth.hashers.MD5PasswordHasher",)
DATA_UPLOAD_MAX_MEMORY_SIZE = 100_000
USE_TZ = True
