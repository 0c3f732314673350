"""What tests of PostgreSQL stores share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from copilot_runtime.stores import PostgresStore

from ..services.postgres import new_schema, shared_postgres

TABLES = ("threads", "live", "runs", "frames", "messages", "garbage", "usage", "usage_changes")


class Stores:
    """Stores in one schema, which are closed at the end of the test.

    Args:
        url: The database; by default that of the server which all tests share.
    """

    def __init__(self, url: str = "") -> None:
        self.schema = new_schema()
        self.url = url or shared_postgres().url().partition("?")[0]
        self._opened: list[PostgresStore] = []
        self._db: psycopg.Connection | None = None

    def open(self, url: str | Callable[[], str] = "", **options: Any) -> PostgresStore:
        """Returns a new store, as another process would open it."""
        store = PostgresStore(url or self.url, schema=self.schema, **options)
        self._opened.append(store)
        return store

    def close_stores(self) -> None:
        """Closes the stores, but not the connection of `execute`."""
        while self._opened:
            self._opened.pop().close()

    def close(self) -> None:
        self.close_stores()
        if self._db is not None:
            self._db.close()
            self._db = None

    def execute(self, sql: str, *values: Any) -> list[Any]:
        """Executes SQL in the schema. Returns the rows, if there are any."""
        if self._db is None:
            self._db = shared_postgres().connect()
            self._db.execute(f"SET search_path = {self.schema}")
        cursor = self._db.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        """Deletes all threads: in less time than a new schema takes."""
        for table in TABLES:
            self.execute(f"DELETE FROM {table}")
        self.execute("INSERT INTO usage (owner_key) VALUES ('')")

    def count(self, table: str) -> int:
        [(count,)] = self.execute(f"SELECT count(*) FROM {table}")
        return int(count)
