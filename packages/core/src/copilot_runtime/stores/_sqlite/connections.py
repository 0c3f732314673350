"""SQLite connections of one process: one that writes, one that reads."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from ..protocol import StoreError
from .schema import NewerSchemaError, migrate

T = TypeVar("T")

MIN_SQLITE_VERSION = (3, 35)
"""The first SQLite that has RETURNING."""

FAST_FAIL_TIMEOUT_SECONDS = 0.25
"""How long a lock is waited for once it was waited for in vain: a queue of requests must not wait in turn."""

OPEN_RETRY_INTERVAL = 0.01

MAX_GROUP_COMMIT = 64
"""How many writes share a transaction at most: those who wait for its end should not wait for long."""


class ConnectionPair:
    """A file's connections, opened when first used, and anew after a fork or when the file is another one.

    ``timeout_seconds`` bounds every wait: for another process's lock, and for this process's
    own threads. Everything raises StoreError where SQLite does not work.
    """

    def __init__(self, path: str, timeout_seconds: float) -> None:
        self._path = path
        self._timeout = timeout_seconds
        self._writer = _ConnectionSlot()
        self._reader = _ConnectionSlot()
        self._left: list[_ConnectionSlot] = []
        self._waiting: deque[Write[Any]] = deque()

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does ``work`` in a transaction, which holds if this returns.

        Threads that write at the same time share a transaction: whoever has the connection
        does the work of all who wait for it, and commits once. What one piece of work raises
        undoes that piece alone.
        """
        mine = Write(work)
        self._waiting.append(mine)
        try:
            with self._using(self._writer) as db:
                while not mine.is_done:
                    self._commit(db)
        except StoreError:
            if not mine.is_done:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(mine)
                    raise
                # Another thread has taken it along: it is being done now, and its end is bounded as all waits are.
                if not mine.finished.wait(2 * self._timeout):
                    raise
        return mine.result()

    def _commit(self, db: sqlite3.Connection) -> None:
        together: list[Write[Any]] = []
        with contextlib.suppress(IndexError):
            while len(together) < MAX_GROUP_COMMIT:
                together.append(self._waiting.popleft())
        try:
            db.execute("BEGIN IMMEDIATE")
            for one in together:
                one.run(db)
            db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            for one in together:
                one.complete(StoreError(f"{self._path}: {error}"))
            raise
        for one in together:
            one.complete()

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
        self._writer, self._reader = _ConnectionSlot(), _ConnectionSlot()
        self._waiting.clear()

    @contextlib.contextmanager
    def _using(self, slot: _ConnectionSlot) -> Iterator[sqlite3.Connection]:
        if not slot.lock.acquire(timeout=self._timeout):
            raise StoreError(f"{self._path}: other threads have waited for the file for {self._timeout:g} seconds")
        try:
            yield self._connection(slot)
            if slot.is_failing:
                slot.is_failing, slot.is_stale = False, True  # it has little patience
        except sqlite3.Error as error:
            slot.is_failing = slot.is_stale = True  # what is wrong with it is not known; a new one has nothing wrong
            if slot.db is not None and slot.db.in_transaction:
                slot.drop()  # others must not wait for what it has locked
            raise StoreError(f"{self._path}: {error}") from error
        finally:
            slot.lock.release()

    def _connection(self, slot: _ConnectionSlot) -> sqlite3.Connection:
        file = _file(self._path)
        if slot.db is None or slot.is_stale or file is None or slot.file != file:
            # Before the former is closed: a file's last connection takes the journal along, and where nothing
            # may grow there would be no new one.
            db = self._open(min(FAST_FAIL_TIMEOUT_SECONDS, self._timeout) if slot.is_failing else self._timeout)
            slot.drop()
            slot.db, slot.is_stale = db, False
            slot.opened += 1
            slot.file = file
        return slot.db

    def check(self) -> None:
        """Opens the file, or makes it, and closes it again. Raises ValueError with what is wrong."""
        if sqlite3.sqlite_version_info < MIN_SQLITE_VERSION:
            oldest = ".".join(map(str, MIN_SQLITE_VERSION))
            raise ValueError(
                f"this Python has SQLite {sqlite3.sqlite_version}, and {oldest} is the oldest that "
                "will do: use a Python that was built with a newer one"
            )
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

    def _open(self, timeout: float) -> sqlite3.Connection:
        """A new connection to the file. Raises sqlite3.Error, StoreError."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self._connect(max(0.0, deadline - time.monotonic()), timeout)
            except sqlite3.OperationalError as error:
                # Where processes make a file at once, SQLite has one of them wait and refuses the others.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            time.sleep(OPEN_RETRY_INTERVAL)

    def _connect(self, wait: float, timeout: float) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=wait, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # A power cut may take the last transactions, never the file's order; a crash of ours takes none.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            migrate(db)
            db.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")
        except NewerSchemaError as error:
            db.close()
            raise StoreError(f"{self._path}: {error}") from error
        except BaseException:
            db.close()
            raise
        return db


class Write(Generic[T]):
    """A piece of work that waits for its transaction."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.finished = threading.Event()
        self._work = work
        self._result: T | None = None
        self._error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether its transaction has ended."""
        return self.finished.is_set()

    def run(self, db: sqlite3.Connection) -> None:
        """Does the work. Raises sqlite3.Error, which is the end of the whole transaction; keeps what else is raised."""
        db.execute("SAVEPOINT one")
        try:
            self._result = self._work(db)
        except sqlite3.Error:
            raise
        except Exception as error:
            self._error = error
            db.execute("ROLLBACK TO one")
        db.execute("RELEASE one")

    def complete(self, error: Exception | None = None) -> None:
        """Its transaction has ended, by a failure if one is given."""
        self._error = error or self._error
        self.finished.set()

    def result(self) -> T:
        """What the work gave. Raises what it raised, and StoreError where its transaction failed."""
        if self._error is not None:
            raise self._error
        return cast(T, self._result)


class _ConnectionSlot:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.db: sqlite3.Connection | None = None
        self.is_stale = False
        """Whether the next user gets a new one."""
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
