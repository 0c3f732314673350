"""Executes the Python of pages that are about Django, in a process of their own, whose settings are a new project's."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import django
from django.conf import settings

from .stand_ins import names_for

CONTRIB = ("admin", "auth", "contenttypes", "messages", "sessions")


def main(pages: list[str]) -> None:
    settings.configure(
        SECRET_KEY="only for tests",
        DEBUG=True,
        ROOT_URLCONF="project.urls",
        INSTALLED_APPS=[*(f"django.contrib.{name}" for name in CONTRIB), "copilot_runtime_django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    )
    django.setup()
    from django.contrib import admin

    from .python_pages import documentation_folder, run_blocks
    from .test_python import python_blocks

    admin.autodiscover()
    for page in pages:
        with tempfile.TemporaryDirectory() as folder, documentation_folder(Path(folder)):
            run_blocks(python_blocks(page), Path(folder), names_for(page))


if __name__ == "__main__":
    main(sys.argv[1:])
