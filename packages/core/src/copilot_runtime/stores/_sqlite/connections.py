"""The SQLite connections of one process: one for writing, one for reading."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from ..._concurrency.process_local import ProcessLocal
from ..migrations import MigrationRequired
from ..protocol import StoreError
from . import file_access
from .group_commit import Group, PendingWrite, ReportedWrite, Work, withdraw
from .room import StoreConnection
from .schema import UnsuitableFileError, migrate, missing_migration, supported_version
from .sizes import PAGE_BYTES

logger = logging.getLogger("copilot_runtime.stores.sqlite")

T = TypeVar("T")

MIN_SQLITE_VERSION = (3, 35)
"""The first version with RETURNING."""

FAST_FAIL_TIMEOUT_SECONDS = 0.25
"""Busy timeout after one has already expired: fail fast, or queued requests would each wait for the full timeout."""

MIGRATION_SECONDS = 120.0
"""How long a process that starts waits for another one that migrates the file."""

OPEN_RETRY_INTERVAL = 0.01
"""Pause in seconds between attempts to open a file that another process is creating."""

JOURNAL_TIMEOUT_SECONDS = 1.0
"""How long a write waits for the ``-wal`` file to be emptied, which ends with those who are reading at that time."""

JOURNAL_PAUSE_SECONDS = 10.0
"""How long writes no longer wait for that if it has failed: somebody reads for long, such as a program for backups."""

JOURNAL_RETRY_INTERVAL = 0.005
"""Pause in seconds between looks whether another process has emptied the ``-wal`` file."""


class ConnectionPair:
    """The connections to one file. They are opened on first use, and again after a fork or if the file is replaced.

    All methods except `check` and `after_fork` raise StoreError if SQLite fails.

    Args:
        path: The file's absolute path.
        timeout_seconds: The longest wait for a lock of another process, and for other threads of this process.
        journal_bytes: How large the ``-wal`` file should become at most.
        migrates: Whether to create the file and its tables, or to bring them up to date, where that is necessary.
    """

    def __init__(
        self, path: str, timeout_seconds: float, journal_bytes: int = 4 * 1024 * 1024, *, migrates: bool = True
    ) -> None:
        self.path = path
        self._migrates = migrates
        self._timeout = timeout_seconds
        self._journal_bytes = journal_bytes
        self._state = ProcessLocal(_State)
        self._abandoned: list[ProcessLocal[_State]] = []

    def write(self, work: Work[T], split: Callable[[], Sequence[Work[T]]] | None = None, size: int = 1) -> T:
        """Runs ``work`` in a transaction, and returns its result once that has been committed.

        Threads that write at the same time share a transaction (group commit): the one that holds the connection
        runs the works of all that are waiting, and commits once. If one work raises, only its own changes are
        rolled back, and with ``split``, which is as in a `PendingWrite`, only those of the part that raises.
        """
        pending, state = PendingWrite(work, split, size), self._state.get()
        state.waiting.append(pending)
        if state.had_company:
            _yield()
        try:
            with self._locked(state.writer):
                if not pending.is_done:
                    with self._reporting(state.writer):
                        db = self._connection(state.writer)
                        while not pending.is_done:
                            self._commit(db, state.waiting)
        except StoreError:
            if not pending.is_done:
                if withdraw(pending, state.waiting):
                    raise
                # Another thread has taken it into its transaction, whose waits are bounded as well.
                with self._locked(state.writer, 2 * self._timeout):
                    pass
        except BaseException:  # such as a timeout of gevent: nobody is left who would know that it was done
            withdraw(pending, state.waiting)
            raise
        return pending.outcome.take()

    def write_soon(self, work: Work[object], committed: Callable[[], object]) -> None:
        """Runs ``work`` in a transaction, now if that is possible without waiting, or else in that of the next write.

        For what must not make a reader wait. ``committed`` is called after the commit; if there is none, as that write
        has failed, it is up to the caller to try again.
        """
        pending, state = ReportedWrite(work, committed), self._state.get()
        if state.writer.lock.acquire(blocking=False):
            try:
                db = self._connection(state.writer)
                with _busy_timeout(db, 0, self._timeout):
                    db.execute("BEGIN IMMEDIATE")
                # Alone: with others, it might have to begin another transaction, and wait for the lock again.
                self._commit(db, deque([pending]))
                return
            except (sqlite3.Error, StoreError):
                pass  # such as a lock; if the connection is of no use any more, the next write finds out
            finally:
                state.writer.lock.release()
        if all(work != other.work for other in tuple(state.waiting)):
            state.waiting.append(pending)

    def _commit(self, db: StoreConnection, waiting: deque[PendingWrite[Any]]) -> None:
        """Runs the writes that are waiting, in one transaction, which may have begun already."""
        group = Group(waiting)
        self._state.get().had_company = group.has_several_writers
        try:
            if not db.in_transaction:
                self._begin(db)
            if db.room.refresh(db):
                self._check_version(db)
            db.execute(group.run(db))
        except BaseException as error:
            db.remember_nothing()
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            group.fail(f"{self.path}: {error}")
            raise
        if group.complete():
            self._state.get().writer.is_stale = True  # as in `read`
        self._trim_journal(db)

    def _check_version(self, db: sqlite3.Connection) -> None:
        """Raises StoreError if a newer version has migrated the file meanwhile: this one would damage it."""
        try:
            supported_version(db)
        except UnsuitableFileError as error:
            raise StoreError(str(error)) from error

    def _begin(self, db: sqlite3.Connection) -> None:
        """Begins a transaction, in a ``-wal`` file that is not too large.

        It can be emptied only at a moment when nobody reads it, and such a moment does not come by itself where
        processes read and write without pause. So whoever wants to write waits here until one of them has emptied it.
        """
        state, deadline = self._state.get(), time.monotonic() + min(JOURNAL_TIMEOUT_SECONDS, self._timeout)
        db.execute("BEGIN IMMEDIATE")
        # Only now can no other process enlarge it any more.
        while self._is_journal_too_large() and time.monotonic() >= state.next_wait_for_journal:
            db.execute("ROLLBACK")
            # It waits for those who read, but not for another process that does the same.
            if not self._empty_journal(db, deadline - time.monotonic()):
                time.sleep(JOURNAL_RETRY_INTERVAL)
            if time.monotonic() >= deadline:
                state.next_wait_for_journal = time.monotonic() + JOURNAL_PAUSE_SECONDS
            db.execute("BEGIN IMMEDIATE")

    def _empty_journal(self, db: sqlite3.Connection, timeout: float) -> bool:
        """Empties the ``-wal`` file, after waiting for those who read it. Returns whether that was possible."""
        with _busy_timeout(db, max(0.0, timeout), self._timeout):
            [(is_busy, _, _)] = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return not is_busy

    def _trim_journal(self, db: sqlite3.Connection) -> None:
        """Empties the ``-wal`` file if it has become too large and nobody is using it: the next write may be far away.

        SQLite itself leaves what a large transaction has made of it.
        """
        if self._is_journal_too_large():
            with contextlib.suppress(sqlite3.Error):
                self._empty_journal(db, 0)

    def _is_journal_too_large(self) -> bool:
        try:
            return os.stat(self._state.get().writer.journal).st_size > self._journal_bytes
        except OSError:
            return False

    def read(self, work: Work[T]) -> T:
        """Runs ``work`` on one snapshot of the file, and returns its result."""
        slot = self._state.get().reader
        with self._locked(slot), self._reporting(slot):
            db = self._connection(slot)
            db.execute("BEGIN")
            try:
                return work(db)
            except BaseException:
                # Its traceback may keep a cursor alive, and that the snapshot, so that no later change is seen.
                slot.is_stale = True
                raise
            finally:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("COMMIT")

    def fetch_all(self, sql: str) -> list[Any]:
        """Returns the rows that one statement finds, without a transaction of its own."""
        slot = self._state.get().reader
        with self._locked(slot), self._reporting(slot):
            return self._connection(slot).execute(sql).fetchall()

    def foreign_version(self) -> tuple[int, int] | None:
        """Returns a value that changes whenever another connection has written to the file, such as another process's.

        None if this process is writing, for which it does not wait.
        """
        writer = self._state.get().writer
        if not writer.lock.acquire(blocking=False):
            return None
        try:
            with self._reporting(writer):
                [(data_version,)] = self._connection(writer).execute("PRAGMA data_version")
                return writer.generation, data_version
        finally:
            writer.lock.release()

    def version(self) -> tuple[int, int]:
        """Returns a value that changes whenever this process or another one has written to the file."""
        reader = self._state.get().reader
        with self._locked(reader), self._reporting(reader):
            db = self._connection(reader)
            data_version: int = db.execute("PRAGMA data_version").fetchone()[0]
            return reader.generation, data_version

    def after_fork(self) -> None:
        """Abandons the parent's connections: even closing one would corrupt it (sqlite.org/howtocorrupt, 2.6)."""
        self._abandoned.append(self._state)
        self._state = ProcessLocal(_State)

    @contextlib.contextmanager
    def _locked(self, slot: _ConnectionSlot, timeout: float | None = None) -> Iterator[None]:
        if not slot.lock.acquire(timeout=self._timeout if timeout is None else timeout):
            raise StoreError(f"{self.path}: timed out after {self._timeout:g} s waiting for other threads")
        try:
            yield
        finally:
            slot.lock.release()

    def _reporting(self, slot: _ConnectionSlot) -> _Reporting:
        return _Reporting(self.path, slot)

    def _connection(self, slot: _ConnectionSlot) -> StoreConnection:
        file_id = _file_id(self.path)
        if slot.db is None or slot.is_stale or file_id is None or slot.file_id != file_id:
            self._report_replaced_file(file_id)
            # The new connection is opened before the former one is closed: closing a file's last connection removes
            # the journal, and on a full disk no new one could be created.
            db = self._open(min(FAST_FAIL_TIMEOUT_SECONDS, self._timeout) if slot.is_failing else self._timeout)
            slot.close()
            slot.db, slot.is_stale = db, False
            slot.generation += 1
            slot.file_id = file_id
            slot.journal = file_access.companion(self.path, "-wal")
        return slot.db

    def _report_replaced_file(self, file_id: tuple[int, int] | None) -> None:
        """Logs, once for the process, that the file which it has used is not there any more."""
        state = self._state.get()
        before, state.file_id = state.file_id, file_id or _file_id(self.path)
        if before not in (None, file_id):
            logger.error(
                "%s was %s while it was in use: its threads and active runs are lost, unless it is put back",
                self.path,
                "deleted" if file_id is None else "replaced",
            )

    def check(self) -> None:
        """Opens the file, which creates it if it does not exist, and closes it. Raises ValueError if that fails."""
        if sqlite3.sqlite_version_info < MIN_SQLITE_VERSION:
            minimum = ".".join(map(str, MIN_SQLITE_VERSION))
            raise ValueError(
                f"SQLite {minimum} or newer is required, and this Python has {sqlite3.sqlite_version}: "
                "use a Python that is built with a newer SQLite"
            )
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            raise ValueError(f"the directory {directory} does not exist: create it, or choose another path")
        if os.path.isdir(self.path):
            raise ValueError(f"{self.path} is a directory: choose the path of a file")
        # Checked in advance, because SQLite opens files that it may only read, and would fail at the first run.
        # It also creates two files next to the database.
        for required in (self.path, directory):
            if os.path.exists(required) and not os.access(required, os.W_OK):
                raise ValueError(f"this process may not write to {required}: allow it, or choose another path")
        file_access.warn_if_public(self.path)
        try:
            # Several workers may start at once, and the first of them migrates the file.
            self._open(self._timeout, max(self._timeout, MIGRATION_SECONDS)).close()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise ValueError(f"{self.path} is not a SQLite file: choose another path") from error
            raise ValueError(f"{self.path} cannot be opened: {error}") from error
        except StoreError as error:
            raise ValueError(str(error)) from error

    def _open(self, timeout: float, migration_timeout: float | None = None) -> StoreConnection:
        """Opens a new connection.

        Args:
            timeout: How long to wait for other processes.
            migration_timeout: How long to wait for another process that migrates the file, if longer.

        Raises:
            sqlite3.Error: SQLite failed.
            StoreError: The file is not suitable.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self._connect(max(0.0, deadline - time.monotonic()), timeout, migration_timeout)
            except sqlite3.OperationalError as error:
                # If several processes create the file at once, SQLite lets one of them wait and refuses the others.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            time.sleep(OPEN_RETRY_INTERVAL)

    def _connect(self, connect_timeout: float, busy_timeout: float, migration_timeout: float | None) -> StoreConnection:
        if self._migrates:
            file_access.create(self.path)
        elif not os.path.exists(self.path):
            raise MigrationRequired(self.path, "the file does not exist yet")
        db = sqlite3.connect(
            self.path,
            timeout=connect_timeout,
            isolation_level=None,
            check_same_thread=False,
            factory=StoreConnection,
        )
        db.remember_nothing()
        try:
            # A power failure may lose the last transactions, but never corrupts the file. A crash of the process
            # loses none.
            db.execute("PRAGMA synchronous = NORMAL")
            # For what a statement or a savepoint may have to undo, which SQLite would write to a temporary file as soon
            # as it has 64 KiB.
            db.execute("PRAGMA temp_store = MEMORY")
            # What was deleted is overwritten, and not only left out.
            db.execute("PRAGMA secure_delete = ON").fetchall()
            if self._migrates:
                migrate(db, migration_timeout)
            elif reason := missing_migration(db):
                raise MigrationRequired(self.path, reason)
            # After that, since it changes the file: so far it may have been another program's.
            db.execute("PRAGMA journal_mode = WAL")
            # Where nobody reads at that moment, the file is then written again from its beginning.
            db.execute(f"PRAGMA wal_autocheckpoint = {self._journal_bytes * 3 // 4 // PAGE_BYTES}")
            db.execute(f"PRAGMA journal_size_limit = {self._journal_bytes}")
            _set_busy_timeout(db, busy_timeout)
            file_access.restrict_journal(self.path)
        except UnsuitableFileError as error:
            db.close()
            raise StoreError(f"{self.path}: {error}") from error
        except BaseException:
            db.close()
            raise
        return db


_yield: Callable[[], object] = getattr(os, "sched_yield", lambda: None)
"""Lets other threads run that may be about to write: of 16, twice as many then share a transaction."""


@contextlib.contextmanager
def _busy_timeout(db: sqlite3.Connection, seconds: float, usual: float) -> Iterator[None]:
    """Lets SQLite wait for other processes for another time than usual; with 0 it fails at once."""
    _set_busy_timeout(db, seconds)
    try:
        yield
    finally:
        _set_busy_timeout(db, usual)


def _set_busy_timeout(db: sqlite3.Connection, seconds: float) -> None:
    db.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")


class _ConnectionSlot:
    """A place for one connection, and the lock of its current user."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.db: StoreConnection | None = None
        self.is_stale = False
        """Whether the next user needs a new connection."""
        self.is_failing = False
        """Whether the last use has failed."""
        self.generation = 0
        """How many connections there have been. Their data versions cannot be compared with each other."""
        self.file_id: tuple[int, int] | None = None
        self.journal = ""
        """The ``-wal`` file of the connection, which costs too much to find out at every write."""

    def close(self) -> None:
        db, self.db = self.db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()


class _Reporting:
    """Raises StoreError where SQLite fails, and has the connection replaced then.

    No generator: since CPython 3.12, an exception that one replaces and the frames of `contextlib` refer to each other.
    """

    __slots__ = ("_path", "_slot")

    def __init__(self, path: str, slot: _ConnectionSlot) -> None:
        self._path = path
        self._slot = slot

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        slot = self._slot
        if isinstance(error, sqlite3.Error):
            slot.is_failing = slot.is_stale = True  # the cause is unknown, so the next attempt uses a new connection
            if slot.db is not None and slot.db.in_transaction:
                slot.close()  # or others would wait for the locks that it holds
            raise StoreError(f"{self._path}: {error}") from error
        if error is None and slot.is_failing:
            slot.is_failing, slot.is_stale = False, True  # replaced, because its busy timeout is the short one


class _State:
    """The connections of one process, and its writes that wait for a transaction."""

    def __init__(self) -> None:
        self.writer = _ConnectionSlot()
        self.reader = _ConnectionSlot()
        self.waiting: deque[PendingWrite[Any]] = deque()
        self.next_wait_for_journal = 0.0
        """The monotonic time from which on writes wait until the ``-wal`` file is small again."""
        self.had_company = False
        """Whether several threads shared the last transaction."""
        self.file_id: tuple[int, int] | None = None
        """Which file was last used."""


def _file_id(path: str) -> tuple[int, int] | None:
    """Identifies the file at a path: one that was deleted and created again is another file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
