"""Creates the tables of stores after ``manage.py migrate``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.apps import AppConfig
from django.apps.registry import Apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import connections, router

from copilot_runtime.stores import StoreError

from ._databases import find_database
from ._mounts import find_mounts
from ._store import aliases_of_project, close_stores
from ._test_connections import is_test_environment
from ._urlconf import CopilotPattern
from .models import Thread


def create_tables(
    app_config: AppConfig, using: str, verbosity: int = 1, apps: Apps | None = None, stdout: Any = None, **_: Any
) -> None:
    """Creates the tables in a database, or brings them up to date, whether or not a migration was applied just now.

    The store has migrations of its own, which may come with a new version without one for Django. A database is left
    alone if no runtime of the project has a store in it; where that is not known, if it cannot have the tables.

    Raises:
        CommandError: The project has a store in the database, and its tables could not be created.
    """
    if apps is None or not _needs_tables(using):
        return  # without apps it was `flush`, which leaves tables alone
    if not router.allow_migrate_model(using, Thread):
        if using in aliases_of_project() and verbosity > 0:
            text = f"A database router does not allow the tables of CopilotKit's threads in the database {using!r}."
            print(text, file=stdout or sys.stdout)
        return
    try:
        apps.get_model(app_config.label, Thread.__name__)
    except LookupError:
        return  # the migration of this app was undone, or has not been applied yet
    try:
        find_database(using).create_tables()
    except (ImproperlyConfigured, ImportError) as error:
        _report(using, error, is_error=using in aliases_of_project(), is_shown=verbosity > 1, stdout=stdout)
    except (StoreError, ValueError) as error:
        _report(using, error, is_error=using in aliases_of_project(), is_shown=verbosity > 0, stdout=stdout)

    if is_test_environment():
        _close_stores_with(connections[using])


def _needs_tables(using: str) -> bool:
    """Returns whether the project has a store in a database, or may have one that was not found."""
    if using in aliases_of_project() or is_test_environment():
        return True
    try:
        patterns = [pattern for _, pattern in find_mounts()]
    except Exception:  # whatever importing the project's URLconf raises
        return True
    # A runtime that only ``asgi.py`` imports is not among them.
    is_complete = patterns and all(isinstance(pattern, CopilotPattern) for pattern in patterns)
    return using in aliases_of_project() or not is_complete


def _close_stores_with(connection: Any) -> None:
    """Has the connections of stores closed when a test runner is about to delete their database.

    PostgreSQL deletes no database that has connections.
    """
    close_pool = getattr(connection, "close_pool", None)  # only of Django's backend for PostgreSQL
    if close_pool is None or isinstance(close_pool, _CloseStores):
        return
    connection.close_pool = _CloseStores(connection.alias, close_pool)


class _CloseStores:
    """What Django calls before it deletes a test database."""

    def __init__(self, alias: str, close_pool: Callable[[], object]) -> None:
        self._alias = alias
        self._close_pool = close_pool

    def __call__(self) -> None:
        close_stores(self._alias)
        self._close_pool()


def _report(using: str, error: Exception, *, is_error: bool, is_shown: bool, stdout: Any) -> None:
    message = f"The tables of CopilotKit's threads could not be created in the database {using!r}: {error}"
    if is_error:
        raise CommandError(message) from error
    if is_shown:
        print(message, file=stdout or sys.stdout)
