"""The databases of ``settings.DATABASES`` in which threads can be stored."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Hashable, Mapping
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.connection import ConnectionDoesNotExist

from copilot_runtime import stores

from ._test_connections import is_test_environment

SCHEMA = "copilot_runtime"
"""What the tables are qualified with, as PostgreSQL's schema and as the name of SQLite's attached file."""


class Database(Protocol):
    """A database of ``settings.DATABASES``, in which a store has its tables."""

    alias: str

    def identity(self) -> Hashable:
        """Returns a value that changes when a test runner puts another database in its place. Called often."""

    def open_store(self, options: Mapping[str, Any]) -> stores.RunStore:
        """Returns a store that does not create its tables, without using the database yet.

        Raises TypeError or ValueError for invalid options.
        """

    def create_tables(self) -> None:
        """Creates the tables of the store, or brings them up to date. Raises StoreError or ValueError."""

    def has_tables(self, connection: Any) -> bool:
        """Returns whether one of Django's connections can read the tables, whose names begin with `SCHEMA`."""

    def decode(self, text: str) -> str:
        """Returns an id or a name as it was before the store wrote it to a row."""


class SqliteDatabase:
    """A SQLite database: the tables are in a file of their own next to it.

    SQLite has one writer per file. In the same file, each event of a run would refuse the transactions of the site that
    have read something and are about to write, without waiting ("database is locked"), and a long transaction of the
    site would keep all runs waiting.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def identity(self) -> Hashable:
        return (self._name(), os.getpid()) if self._is_temporary() else self._name()

    def open_store(self, options: Mapping[str, Any]) -> stores.RunStore:
        return stores.SqliteStore(self.path(), migrate=self._is_temporary(), **options)

    def create_tables(self) -> None:
        path = self.path()
        if not self._is_temporary():
            _create_as(path, self._path_of_site())
        stores.SqliteStore(path)

    def has_tables(self, connection: Any) -> bool:
        path = self.path()
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA database_list")
            attached = {name: file for _, name, file in cursor.fetchall()}.get(SCHEMA)
            if attached is not None and not _is_same_file(attached, path):
                cursor.execute(f"DETACH DATABASE {SCHEMA}")
                attached = None
            if attached is None:
                if not path.exists():
                    return False
                cursor.execute(f"ATTACH DATABASE %s AS {SCHEMA}", [f"file:{quote(str(path.resolve()))}?mode=ro"])
            cursor.execute(f"SELECT 1 FROM {SCHEMA}.sqlite_master WHERE name = 'threads'")
            return cursor.fetchone() is not None

    def decode(self, text: str) -> str:
        return text

    def path(self) -> Path:
        """Returns where the tables are."""
        if self._is_temporary():
            return _temporary_folder() / f"{quote(self._name(), safe='')[-100:]}.sqlite3"
        path = self._path_of_site()
        return path.with_name(f"{path.stem}-copilot{path.suffix}")

    def _path_of_site(self) -> Path:
        name = self._name()
        return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)

    def _is_temporary(self) -> bool:
        """Returns whether the threads need not be kept: the database of the site is not, or belongs to a test run."""
        name = self._name()
        return name == ":memory:" or "mode=memory" in name or is_test_environment()

    def _name(self) -> str:
        return str(connections.settings[self.alias]["NAME"])


class PostgresDatabase:
    """A PostgreSQL database: the tables are in a schema of their own."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def identity(self) -> Hashable:
        return str(connections.settings[self.alias]["NAME"])

    def open_store(self, options: Mapping[str, Any]) -> stores.RunStore:
        if "schema" in options:
            raise TypeError(f"schema is always {SCHEMA!r}, where the admin looks for the tables")
        # For each connection: a database backend may have passwords that are valid for some minutes.
        return stores.PostgresStore(self._url, migrate=False, **options)

    def create_tables(self) -> None:
        store = stores.PostgresStore(self._url)
        try:
            store.migrate()
        finally:
            store.close()

    def has_tables(self, connection: Any) -> bool:
        with connection.cursor() as cursor:
            # Not to_regclass, which raises an error where the schema is another program's.
            cursor.execute(
                "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
                " WHERE nspname = %s AND relname = 'threads'"
                " AND has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(pg_class.oid, 'SELECT')",
                [SCHEMA],
            )
            return cursor.fetchone() is not None

    def decode(self, text: str) -> str:
        return stores.PostgresStore.decode_text(text)

    def _url(self) -> str:
        """Returns the URL for libpq that has Django's connection parameters."""
        connection: Any = connections[self.alias]
        parameters = connection.get_connection_params()
        role = connection.settings_dict["OPTIONS"].get("assume_role")
        if role:
            escaped = re.sub(r"([\\ ])", r"\\\1", role)
            parameters["options"] = f"{parameters.get('options', '')} -c role={escaped}".strip()
        return "postgresql:///?" + urlencode(
            {name: value for name, value in parameters.items() if name not in _NOT_OF_LIBPQ and value is not None},
            quote_via=quote,
        )


_NOT_OF_LIBPQ = frozenset(
    {"autocommit", "connection_factory", "context", "cursor_factory", "prepare_threshold", "row_factory"}
)
"""The connection parameters that are for Django's driver."""


_KINDS: Mapping[str, Callable[[str], Database]] = {"postgresql": PostgresDatabase, "sqlite": SqliteDatabase}
"""By ``vendor`` of Django's database backends."""


def find_database(alias: str) -> Database:
    """Returns a database of ``settings.DATABASES``.

    Raises:
        ImproperlyConfigured: there is no such database, or its engine is not supported.
    """
    try:
        connection = connections[alias]
    except ConnectionDoesNotExist as error:
        raise ImproperlyConfigured(
            f"settings.DATABASES has no database {alias!r}, only {', '.join(map(repr, connections.settings))}"
        ) from error
    kind = _KINDS.get(connection.vendor)
    if kind is None:
        raise ImproperlyConfigured(
            f"threads cannot be stored in a database of the engine {connection.settings_dict['ENGINE']}: use the alias "
            'of a PostgreSQL or SQLite database, or another store, such as store="sqlite:////var/lib/site/copilot.db"'
        )
    return kind(alias)


def _create_as(path: Path, model: Path) -> None:
    """Creates an empty file whose owner, group and their permissions are those of ``model``, as far as possible.

    Otherwise only the user who runs ``migrate`` could use it, and not the site.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        status = model.stat()
        with contextlib.suppress(OSError):
            os.chown(path, status.st_uid, status.st_gid)
        if path.stat().st_gid == status.st_gid:
            path.chmod(0o600 | status.st_mode & 0o060)


def _is_same_file(path: str, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(path, other)
    return False


_folders: dict[int, Path] = {}
"""The folder for temporary files, by process."""


def _temporary_folder() -> Path:
    process = os.getpid()
    folder = _folders.get(process)
    if folder is None:
        folder = _folders.setdefault(process, Path(tempfile.mkdtemp(prefix="copilot-runtime-")))
        # At the end of this process alone. The workers of test runners end without what `atexit` has registered.
        Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=0)
    return folder
