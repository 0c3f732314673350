"""The stores that several processes of a test share: of each kind, one of its own for each test."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

from psycopg import sql

from copilot_runtime.stores import RunStore, store_from_url

from .services.postgres import PostgresServer, new_schema, shared_postgres
from .services.redis import RedisServer, shared_redis


class SharedStore(Protocol):
    """A store that nobody but one test uses."""

    def url(self, **options: object) -> str:
        """Returns the URL that an application passes as ``store=``, with options in its query."""

    def url_of(self, placeholder: str) -> str:
        """Returns a URL of several stores, with a placeholder for the name of each."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keeps all processes from writing."""

    def is_writable(self) -> bool:
        """Returns whether a write would not have to wait for one that is under way."""


def open_store(store: SharedStore, **options: object) -> RunStore:
    """Returns the store object of one more process."""
    return store_from_url(store.url(**options))


class SqliteFile:
    """A SQLite file, whether or not it exists yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def url(self, **options: object) -> str:
        return f"sqlite:///{self._path}?{urlencode(options)}"

    def url_of(self, placeholder: str) -> str:
        return f"sqlite:///{self._path.parent}/{placeholder}.db"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with self._connect(30) as db:
            db.execute("BEGIN IMMEDIATE")
            yield

    def is_writable(self) -> bool:
        with self._connect(0.3) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            db.execute("ROLLBACK")
        return True

    def _connect(self, timeout: float) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(self._path, timeout=timeout, isolation_level=None))


class PostgresSchema:
    """A schema of a server, whether or not it exists yet."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._schema = new_schema()

    def url(self, **options: object) -> str:
        return self._server.url(self._schema, **options)

    def url_of(self, placeholder: str) -> str:
        return self.url().replace(self._schema, f"{self._schema}_{placeholder}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with self._server.connect() as db, db.transaction():
            tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [self._schema]).fetchall()
            names = sql.SQL(", ").join(sql.Identifier(self._schema, name) for (name,) in tables)
            db.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(names))
            yield

    def is_writable(self) -> bool:
        return True  # one statement is all that a process ever has under way


class RedisPrefix:
    """A prefix of a server."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._url = server.url

    def url(self, **options: object) -> str:
        return "&".join([self._url, *filter(None, [urlencode(options)])])

    def url_of(self, placeholder: str) -> str:
        return f"{self._url}-{placeholder}"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self._server.command("CLIENT", "PAUSE", "600000", "WRITE")
        try:
            yield
        finally:
            self._server.command("CLIENT", "UNPAUSE")

    def is_writable(self) -> bool:
        return True  # one command is all that a process ever has under way


@contextlib.contextmanager
def _sqlite(folder: Path) -> Iterator[SharedStore]:
    yield SqliteFile(folder / "threads.db")


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[SharedStore]:
    yield PostgresSchema(shared_postgres())


FULL_REPETITIONS = "FULL_REPETITIONS"
"""In the environment: all repetitions and all stores, where the everyday suite makes do with a few."""


SHARED_STORES = "SHARED_STORES"
"""In the environment: the kinds of stores to test, separated by commas, such as ``postgres``."""


def repetitions(few: int, all_: int) -> int:
    """Returns ``all_`` if the environment wants all repetitions, else ``few``."""
    return all_ if os.environ.get(FULL_REPETITIONS) else few


def kinds(everyday: Iterable[str]) -> list[str]:
    """Returns the kinds of stores to test: those that the environment names or, with all repetitions, all; or these."""
    if chosen := os.environ.get(SHARED_STORES):
        return chosen.split(",")
    return list(STORES) if os.environ.get(FULL_REPETITIONS) else list(everyday)


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[SharedStore]:
    yield RedisPrefix(shared_redis())


STORES: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[SharedStore]]] = {
    "sqlite": _sqlite,
    "postgres": _postgres,
    "redis": _redis,
}
"""Creates an empty store of each kind; SQLite has its file in that folder."""
