"""A store in a database of ``settings.DATABASES``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, cast
from weakref import WeakSet, WeakValueDictionary

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from copilot_runtime.stores import RunStore

from ._databases import Database, find_database


def django_store(alias: str = "default", **options: Any) -> RunStore:
    """Returns a store in a database of ``settings.DATABASES``: ``CopilotRuntime(store=django_store("default"))``.

    It has connections of its own, with the credentials and options of that database. ``manage.py migrate`` creates its
    tables; the app ``copilot_runtime_django`` must be in ``INSTALLED_APPS``. Nothing is connected to until the store is
    used, and under Django's test runner it uses the test database.

    With PostgreSQL, the tables are in the schema ``copilot_runtime``. With SQLite, they are in a file of their own next
    to the database: that of ``db.sqlite3`` is ``db-copilot.sqlite3``.

    Args:
        alias: the database.
        **options: options of the store, such as ``max_threads``.

    Raises:
        ImproperlyConfigured: there is no such database, its engine is not supported, an option is invalid, or the app
            is not installed.
    """
    if apps.apps_ready and not apps.is_installed(__package__):
        raise ImproperlyConfigured(
            f"django_store({alias!r}): add {__package__!r} to INSTALLED_APPS, or manage.py migrate creates no tables"
        )
    try:
        store = DjangoStore(find_database(alias), options)
    except (TypeError, ValueError, ImportError, ImproperlyConfigured) as error:
        raise ImproperlyConfigured(f"django_store({alias!r}): {error}") from error
    _stores[alias] = store
    _all_stores.add(store)
    return cast(RunStore, store)


class DjangoStore:
    """A store in the database that Django uses at the moment, which test runners replace.

    It has whatever members the store of that database has, the optional ones included.

    Args:
        database: the database.
        options: options of the store.

    Raises:
        TypeError: an option does not exist.
        ValueError: the value of an option is invalid.
    """

    def __init__(self, database: Database, options: Mapping[str, Any]) -> None:
        self.database = database
        self._options = options
        self._lock = threading.Lock()
        self._opened: tuple[Hashable, RunStore] = (database.identity(), database.open_store(options))
        store = self._opened[1]
        for name in dir(store):
            if not name.startswith("_") and callable(getattr(store, name)) and name not in vars(type(self)):
                setattr(self, name, partial(self._call, name))

    def __getattr__(self, name: str) -> Any:
        # Its attributes. The methods are attributes of this object, where the engine looks for optional ones.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._opened[1], name)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._opened[1].after_fork()

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        method: Callable[..., Any] = getattr(self._store(), name)
        return method(*args, **kwargs)

    def _store(self) -> RunStore:
        identity, store = self._opened
        if identity != self.database.identity():
            with self._lock:
                identity = self.database.identity()
                if self._opened[0] != identity:
                    self.close_connections()
                    self._opened = identity, self.database.open_store(self._options)
                store = self._opened[1]
        return store

    def close_connections(self) -> None:
        """Closes the connections of this process, if the store leaves any open. They are opened again when needed."""
        close = getattr(self._opened[1], "close", None)
        if close is not None:
            close()


def aliases_of_project() -> Sequence[str]:
    """Returns the databases in which the project has created stores."""
    return list(_stores)


def store_in(alias: str) -> RunStore:
    """Returns the store that the project has created in a database, or another one for the same tables.

    Raises:
        ImproperlyConfigured: as `django_store` does.
    """
    store = _stores.get(alias)
    return cast(RunStore, store) if store is not None else django_store(alias)


def close_stores(alias: str) -> None:
    """Closes the connections of all stores in a database, which a test runner is about to delete."""
    for store in list(_all_stores):
        if store.database.alias == alias:
            store.close_connections()


_stores: WeakValueDictionary[str, DjangoStore] = WeakValueDictionary()
"""By alias, the store that was created last."""
_all_stores: WeakSet[DjangoStore] = WeakSet()
