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

IMPATIENCE_SECONDS = 0.25
"""How long a lock is waited for once it was waited for in vain: a queue of requests must not wait in turn."""


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
            return self._reader.opened, version

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
            if slot.is_failing:
                slot.is_failing = False
                slot.drop()  # it has little patience
        except sqlite3.Error as error:
            slot.is_failing = True
            slot.drop()  # what is wrong with a connection is not known; a new one has nothing wrong
            raise StoreError(f"{self._path}: {error}") from error
        finally:
            slot.lock.release()

    def _connection(self, slot: _Slot) -> sqlite3.Connection:
        if slot.db is None or slot.file != _file(self._path):
            slot.drop()
            slot.db = self._open(min(IMPATIENCE_SECONDS, self._timeout) if slot.is_failing else self._timeout)
            slot.opened += 1
            slot.file = _file(self._path)
        return slot.db

    def check(self) -> None:
        """Opens the file, or makes it, and closes it again. Raises ValueError with what is wrong."""
        folder = os.path.dirname(self._path)
        if not os.path.isdir(folder):
            raise ValueError(f"the folder {folder} does not exist: make it, or give another path")
        if os.path.isdir(self._path):
            raise ValueError(f"{self._path} is a folder: give the path of a file")
        # Looked at in advance: SQLite opens what it may only read, and fails at the first run. Beside the
        # file it makes two others.
        for needed in (self._path, folder):
            if os.path.exists(needed) and not os.access(needed, os.W_OK):
                raise ValueError(f"this process may not write to {needed}: let it, or give another path")
        try:
            self._open(self._timeout).close()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise ValueError(f"{self._path} is no SQLite file: give another path") from error
            raise ValueError(f"{self._path} cannot be opened: {error}") from error
        except StoreError as error:
            raise ValueError(str(error)) from error

    def _open(self, patience: float) -> sqlite3.Connection:
        """A new connection to the file. Raises sqlite3.Error, StoreError."""
        db = sqlite3.connect(self._path, timeout=patience, isolation_level=None, check_same_thread=False)
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
        self.is_failing = False
        """Whether the last attempt to use one has failed."""
        self.opened = 0
        """How many connections there have been: what one of them says of its changes means nothing to the next."""
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
