"""The schema of a PostgreSQL store: its name, its version, and the migrations that bring it up to date."""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple

from ..protocol import StoreError
from .functions import read_functions
from .settings import milliseconds
from .tables import TABLES

MIGRATIONS = (TABLES + read_functions(),)
"""The statements that bring a schema from each version to the next. Once released, they are only ever added to."""

DEFAULT_SCHEMA = "copilot_runtime"

_ENCODINGS = ("UTF8", "SQL_ASCII")
"""Those in which any text can be stored. SQL_ASCII takes all bytes as they are."""

MIGRATION_SECONDS = 120.0
"""How long a migration may take."""

IDLE_SECONDS = 10.0
"""After what time the server gives up a migration whose process asks for nothing more."""

_ANSWER_SECONDS = 1.0
"""How long to wait for the server to say that the lock was not available in time."""

_LOCK_NOT_AVAILABLE = "55P03"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class UnsuitableSchemaError(StoreError):
    """The schema is none that this version can use. Nothing in it was changed."""


class MigrationInProgressError(StoreError):
    """Another process migrates the schema."""


class Migrated(NamedTuple):
    """The versions before and after a migration; 0 for a schema without tables."""

    before: int
    after: int


def check_name(schema: str) -> None:
    """Raises ValueError for anything but a plain name."""
    if not _NAME.fullmatch(schema) or schema.startswith("pg_"):
        raise ValueError(
            f"schema={schema!r}: use a name of up to 63 letters, digits and underscores, such as {DEFAULT_SCHEMA!r}"
        )


def quoted(schema: str) -> str:
    """Returns a schema's name as SQL."""
    return f'"{schema}"'


def read_version(db: Any, schema: str) -> int:
    """Returns the version of a schema; 0 if it has no tables.

    Args:
        db: A connection of psycopg.
        schema: The name of the schema.

    Raises:
        UnsuitableSchemaError: The version is newer than this package, the tables are another program's, or the database
            has another encoding.
    """
    [(table, others, encoding)] = db.execute(
        "SELECT to_regclass(%s), (SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = %s AND relkind IN ('r', 'p', 'v', 'm')), current_setting('server_encoding')",
        (f"{quoted(schema)}.schema_versions", schema),
    ).fetchall()
    if encoding not in _ENCODINGS:
        raise UnsuitableSchemaError(
            f"the database has the encoding {encoding}, in which not all texts can be stored: use a database that was "
            "created with ENCODING 'UTF8'"
        )
    if table is None:
        if others:
            raise UnsuitableSchemaError(
                f"the schema {schema} has tables of another program, in which nothing was changed: choose another "
                f"name, such as schema={DEFAULT_SCHEMA}"
            )
        return 0
    [(version,)] = db.execute(f"SELECT coalesce(max(version), 0) FROM {quoted(schema)}.schema_versions").fetchall()
    if version > len(MIGRATIONS):
        raise UnsuitableSchemaError(
            f"the schema {schema} has version {version}, but this version of copilot-runtime supports only versions up "
            f"to {len(MIGRATIONS)}: upgrade copilot-runtime, or choose another schema"
        )
    return int(version)


def migrate(db: Any, schema: str, lock_seconds: float) -> Migrated:
    """Migrates a schema to the current version, in one transaction. One process at a time does so.

    Args:
        db: A `BoundedConnection` in autocommit mode, whose deadline is changed.
        schema: The name of the schema, which is created if it does not exist.
        lock_seconds: How long to wait for another process that migrates it.

    Raises:
        UnsuitableSchemaError: As in `read_version`.
        MigrationInProgressError: Another process has not finished in time.
    """
    db.deadline = time.monotonic() + lock_seconds + _ANSWER_SECONDS
    before = read_version(db, schema)
    if before == len(MIGRATIONS):
        return Migrated(before, before)
    with db.transaction():
        # Whatever the role's settings are, and only here: behind a pooler, a session is soon another client's.
        db.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        db.execute("SET LOCAL statement_timeout = 0")
        # Or a process that is suspended, or whose machine is gone, would keep the lock.
        db.execute(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds(IDLE_SECONDS)}")
        db.execute(f"SET LOCAL lock_timeout = {milliseconds(lock_seconds)}")
        try:
            db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"copilot_runtime migrates {schema}",))
        except Exception as error:
            if getattr(error, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            raise MigrationInProgressError(
                f"another process has been migrating the schema {schema} for more than {lock_seconds:g} s"
            ) from error
        db.deadline = time.monotonic() + MIGRATION_SECONDS
        db.execute("SET LOCAL lock_timeout = 0")
        before = read_version(db, schema)  # again: another process may have migrated it meanwhile
        # Who may not create schemas may still use one that an administrator has created.
        if not db.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchall():
            db.execute(f"CREATE SCHEMA {quoted(schema)}")
        if before == 0:
            db.execute(
                f"CREATE TABLE {quoted(schema)}.schema_versions"
                " (version integer PRIMARY KEY, migrated_at timestamptz NOT NULL DEFAULT now())"
            )
        for number in range(before, len(MIGRATIONS)):
            db.execute(MIGRATIONS[number].replace("{s}", quoted(schema)))
            db.execute(f"INSERT INTO {quoted(schema)}.schema_versions (version) VALUES (%s)", (number + 1,))
    return Migrated(before, len(MIGRATIONS))
