"""Creates the tables of stores after ``manage.py migrate``."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import AppConfig
from django.apps import apps as global_apps
from django.apps.registry import Apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import router

from copilot_runtime.stores import StoreError

from ._databases import find_database
from ._store import aliases_of_project
from .models import Thread


def create_tables(
    app_config: AppConfig, using: str, verbosity: int = 1, apps: Apps | None = None, stdout: Any = None, **_: Any
) -> None:
    """Creates the tables in a database, or brings them up to date, whether or not a migration was applied just now.

    The store has migrations of its own, which may come with a new version without one for Django. A database that
    cannot have the tables is left alone, unless the project has a store in it.

    Raises:
        CommandError: The project has a store in the database, and its tables could not be created.
    """
    if not router.allow_migrate_model(using, Thread):
        return
    try:
        (apps or global_apps).get_model(app_config.label, Thread.__name__)
    except LookupError:
        return  # the migration of this app was undone, or has not been applied yet
    try:
        find_database(using).create_tables()
    except (ImproperlyConfigured, ImportError) as error:
        _report(using, error, is_error=using in aliases_of_project(), is_shown=verbosity > 1, stdout=stdout)
    except (StoreError, ValueError) as error:
        _report(using, error, is_error=using in aliases_of_project(), is_shown=verbosity > 0, stdout=stdout)


def _report(using: str, error: Exception, *, is_error: bool, is_shown: bool, stdout: Any) -> None:
    message = f"The tables of CopilotKit's threads could not be created in the database {using!r}: {error}"
    if is_error:
        raise CommandError(message) from error
    if is_shown:
        print(message, file=stdout or sys.stdout)
