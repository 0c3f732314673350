"""SQLite connections of one process: one that writes, one that reads."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from .protocol import StoreError
from .schema import NewerSchemaError, migrate

T = TypeVar("T")


class Connections:
    """A file's connections, opened when first used, and anew after a fork or when the file is another one.

    ``timeout_seconds`` bounds every wait: for another process's lock, and for this process's
    own threads. Everything raises StoreError where SQLite does not work.
    """

    def __init__(self, path: str, timeout_seconds: float) -> None:
        self._path = path
        self._timeout = timeout_seconds
        self._writer = _Slot()
        self._reader = _Slot()
        self._left: list[_Slot] = []

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does ``work`` in a transaction of its own, which holds if it returns."""
        with self._using(self._writer) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            return result

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does ``work`` on one view of the file."""
        with self._using(self._reader) as db:
            db.execute("BEGIN")
            try:
                return work(db)
            finally:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("COMMIT")

    def version(self) -> tuple[int, int]:
        """Something that changes whenever anybody has written."""
        with self._using(self._reader) as db:
            version: int = db.execute("PRAGMA data_version").fetchone()[0]
            return id(db), version

    def after_fork(self) -> None:
        """Leaves the parent's connections alone: even closing one would harm it (sqlite.org/howtocorrupt, 2.6)."""
        self._left += [self._writer, self._reader]
        self._writer, self._reader = _Slot(), _Slot()

    @contextlib.contextmanager
    def _using(self, slot: _Slot) -> Iterator[sqlite3.Connection]:
        if not slot.lock.acquire(timeout=self._timeout):
            raise StoreError(f"{self._path}: other threads have waited for the file for {self._timeout:g} seconds")
        try:
            yield self._connection(slot)
        except sqlite3.Error as error:
            slot.drop()  # what is wrong with a connection is not known; a new one has nothing wrong
            raise StoreError(f"{self._path}: {error}") from error
        finally:
            slot.lock.release()

    def _connection(self, slot: _Slot) -> sqlite3.Connection:
        if slot.db is None or slot.file != _file(self._path):
            slot.drop()
            slot.db = self.open()
            slot.file = _file(self._path)
        return slot.db

    def open(self) -> sqlite3.Connection:
        """A new connection to the file, which is made where it is missing. Raises sqlite3.Error, StoreError."""
        db = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # A power cut may take the last transactions, never the file's order; a crash of ours takes none.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            migrate(db)
        except NewerSchemaError as error:
            db.close()
            raise StoreError(f"{self._path}: {error}") from error
        except BaseException:
            db.close()
            raise
        return db


class _Slot:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.db: sqlite3.Connection | None = None
        self.file: tuple[int, int] | None = None

    def drop(self) -> None:
        db, self.db = self.db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()


def _file(path: str) -> tuple[int, int] | None:
    """Which file a path is: one that was deleted and made anew is another."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
