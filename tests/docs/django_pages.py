"""Executes the Python of pages that are about Django, in a process of their own, whose settings are a new project's."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import django
from django.conf import settings

MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
CONTRIB = ("admin", "auth", "contenttypes", "messages", "sessions")


def main(pages: list[str]) -> None:
    settings.configure(
        SECRET_KEY="only for tests",
        DEBUG=True,
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF="project.urls",
        MIDDLEWARE=MIDDLEWARE,
        COPILOT_RUNTIME="project.copilot.runtime",
        INSTALLED_APPS=[*(f"django.contrib.{name}" for name in CONTRIB), "copilot_runtime_django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    )
    django.setup()
    from django.contrib import admin
    from django.urls import clear_url_caches

    from .test_python import missed_lines

    admin.autodiscover()
    missed = {}
    for page in pages:
        # Each page has a site of its own.
        sys.modules.pop("copilot_runtime_django.urls", None)
        clear_url_caches()
        with tempfile.TemporaryDirectory() as folder:
            missed |= missed_lines(page, Path(folder))
    assert missed == {}, missed


if __name__ == "__main__":
    main(sys.argv[1:])
