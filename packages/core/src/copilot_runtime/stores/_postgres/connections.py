"""The connections of one process to a PostgreSQL server, and the errors that they raise.

To be imported when the first connection is needed: psycopg's pool has the locks that Python had when it was imported,
and gevent may replace them late, in a child process.
"""

from __future__ import annotations

import logging
import select
import sys
import time
from collections.abc import Callable, Generator
from typing import Any, Self, TypeVar

import psycopg
from psycopg import errors, waiting
from psycopg_pool import ConnectionPool, PoolTimeout

from ..._concurrency.fair_semaphore import FairSemaphore
from ..._concurrency.process_local import ProcessLocal
from ..migrations import MigrationRequired
from ..protocol import StoreError, ThreadUnreadable
from .functions import TOO_LATE
from .schema import MIGRATION_SECONDS, MIGRATIONS, Migrated, UnsuitableSchemaError, migrate, read_version
from .settings import milliseconds

logger = logging.getLogger("copilot_runtime.stores.postgres")

T = TypeVar("T")

FAST_FAIL_SECONDS = 0.25
"""How long is waited for a connection after that has already failed: or each request would wait for the full time."""

ATTEMPT_SECONDS = 0.2
"""How often a connection is asked for, of a pool that tries to connect once each time."""

MAX_IDLE_SECONDS = 120.0
MAX_ATTEMPTS = 4
"""How often a statement is tried that was rolled back, or that may be repeated."""

_DAMAGE = (errors.DataError, errors.IntegrityError, errors.DataCorrupted)

_NOT_THERE = (errors.UndefinedTable, errors.UndefinedFunction, errors.InvalidSchemaName, errors.UndefinedColumn)
"""Raised if the schema was dropped, such as by a test, or one of an older backup is there."""


_NOTHING_DONE = (errors.ReadOnlySqlTransaction, errors.AdminShutdown)
"""Raised if another server is the primary now, or has ended the connection. `TOO_LATE` as well: the clock was set."""


class OutcomeUnknown(StoreError):
    """The server has not answered: it may have done what it was to do, or not."""


class TimedOut(Exception):
    """The server has not answered before the deadline. The connection is of no use any more."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that does not wait beyond a deadline, by the monotonic clock."""

    deadline = float("inf")
    clock_offset = 0.0
    """What to add to the monotonic clock for the server's time."""
    is_pooled = False
    """Whether something in between, such as PgBouncer, may use another connection for each transaction."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        if _IS_PATCHED:  # perhaps since psycopg was imported, and chose how to wait
            return waiting.wait_poll(self._bounded(gen), self.pgconn.socket, interval=0.1)
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if time.monotonic() >= self.deadline:
                    raise TimedOut
                wanted = gen.send(ready)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def not_after(self) -> float:
        """Returns the deadline by the server's clock, in seconds since the epoch."""
        return self.deadline + self.clock_offset

    def configure(self, timeout_seconds: float, *, is_pooled: bool) -> None:
        """Prepares a new connection. ``is_pooled``: as the attribute, also if it cannot be recognised."""
        before = time.monotonic()
        [(process, now)] = self.execute(
            "SELECT pg_backend_pid(), extract(epoch FROM clock_timestamp())::double precision"
        ).fetchall()
        self.clock_offset = now - (before + time.monotonic()) / 2
        # PgBouncer has process ids of its own. A setting would be that of another client later.
        self.is_pooled = is_pooled or process != self.info.backend_pid
        if self.is_pooled:
            self.prepare_threshold = None
        else:
            self.execute(
                "SELECT set_config('statement_timeout', %s, false), set_config('client_min_messages', 'error', false),"
                " set_config('default_transaction_isolation', 'read committed', false)",
                (str(milliseconds(timeout_seconds)),),
            )

    def is_usable(self) -> bool:
        """Returns whether the connection is alive, as far as is known without a round trip."""
        # While nothing is asked, a server says nothing but that the connection is over.
        if self.closed:
            return False
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return not poll.poll(0)

    @classmethod
    def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",
        *,
        read_conninfo: Callable[[], str],
        report: Callable[[Exception], object],
        **kwargs: Any,
    ) -> Self:
        """Opens a connection.

        Args:
            conninfo: Ignored.
            read_conninfo: Returns libpq's options for this connection.
            report: Called with the error if that fails: a pool does not pass it on.
            **kwargs: As psycopg has them.
        """
        try:
            try:
                conninfo = read_conninfo()
            except Exception as error:  # of the application
                raise psycopg.OperationalError(f"the function that returns the URL failed: {error}") from error
            return super().connect(conninfo, **kwargs)
        except psycopg.Error as error:
            report(error)
            raise


class _QuietPool(logging.Filter):
    """Drops what the pool logs of each attempt to connect: who needs a connection reports that there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(each, BoundedConnection) or each == POOL_NAME for each in arguments)


POOL_NAME = "copilot-runtime"

logging.getLogger("psycopg.pool").addFilter(_QuietPool())

_monkey: Any = sys.modules.get("gevent.monkey")
_IS_PATCHED = _monkey is not None and _monkey.is_module_patched("select")

Work = Callable[[BoundedConnection], T]


class Connections:
    """The connections to a store's schema. They are opened on first use, and again after a fork.

    All methods but `close` and `after_fork` raise StoreError if the server fails.

    Args:
        conninfo: Returns libpq's options for a new connection.
        schema: The name of the schema.
        where: The server, for errors and logs.
        timeout_seconds: The longest wait for a connection or for an answer.
        max_size: How many connections there are at most.
        migrates: Whether to bring the schema up to date on first use.
        assumes_pooler: Whether to leave nothing behind in a session, as for PgBouncer, which is recognised.
    """

    def __init__(
        self,
        conninfo: Callable[[], str],
        schema: str,
        where: str,
        timeout_seconds: float,
        max_size: int,
        migrates: bool,
        *,
        assumes_pooler: bool = False,
    ) -> None:
        self.where = where
        self.timeout_seconds = timeout_seconds
        self._conninfo = conninfo
        self._schema = schema
        self._migrates = migrates
        self._assumes_pooler = assumes_pooler
        self._max_size = max_size
        self._processes = ProcessLocal(self._new_process)

    def _new_process(self) -> _Process:
        process = _Process(self._max_size)
        process.pool = ConnectionPool(
            connection_class=BoundedConnection,
            kwargs={"autocommit": True, "report": process.failed, "read_conninfo": self._conninfo},
            name=POOL_NAME,
            min_size=0,
            max_size=self._max_size,
            open=False,
            configure=self._configure,
            max_idle=MAX_IDLE_SECONDS,
            # One attempt each time that a connection is asked for: no pauses that grow while the server is away.
            reconnect_timeout=ATTEMPT_SECONDS,
            num_workers=1,
        )
        return process

    @property
    def is_pooled(self) -> bool | None:
        """Whether PgBouncer or the like is in between; None if that is not known yet."""
        process = self._processes.get_existing()
        return None if process is None else process.is_pooled

    def run(self, work: Work[T], *, repeatable: bool = False) -> T:
        """Calls ``work`` with a connection, on which it may execute one statement, in a transaction of its own.

        Args:
            work: May be called again if nothing was changed.
            repeatable: Whether it may also be called again where that is not known.

        Raises:
            OutcomeUnknown: The server has not answered, and the work is not repeatable.
        """
        process = self._process()
        deadline = time.monotonic() + self.timeout_seconds
        most = MAX_ATTEMPTS + self._max_size  # each of the connections may be one of before the clock was set
        for attempt in range(most):
            is_last = attempt >= MAX_ATTEMPTS - 1
            db = self._acquire(process, deadline)
            try:
                if not process.is_ready:
                    self._prepare(db)
                    process.is_ready = True
                db.deadline = max(deadline, time.monotonic() + FAST_FAIL_SECONDS)
                return work(db)
            except TimedOut:
                process.failing = True
                raise OutcomeUnknown(f"{self.where}: no answer within {self.timeout_seconds:g} s") from None
            except (errors.DeadlockDetected, errors.SerializationFailure) as error:
                if is_last:
                    raise self._error(error) from error
            except _NOT_THERE as error:
                process.is_ready = False
                if is_last:
                    raise self._error(error) from error
            except _DAMAGE as error:
                raise ThreadUnreadable(f"{self.where}: rows of the thread are damaged: {_text(error)}") from error
            except psycopg.Error as error:
                if error.sqlstate == TOO_LATE or isinstance(error, _NOTHING_DONE):
                    db.close()
                    if attempt == most - 1 or time.monotonic() >= deadline:
                        raise self._error(error) from error
                elif not db.closed:
                    raise self._error(error) from error
                else:
                    db.close()
                    if is_last or not repeatable:
                        raise OutcomeUnknown(f"{self.where}: {_text(error)}") from error
            finally:
                self._release(process, db)
        raise AssertionError("the last attempt returns or raises")

    def migrate(self) -> Migrated:
        """Brings the schema up to date."""
        process = self._process()
        db = self._acquire(process, time.monotonic() + self.timeout_seconds)
        try:
            return self._migrate(db, MIGRATION_SECONDS)
        except (psycopg.Error, TimedOut) as error:
            raise self._error(error) from error
        finally:
            self._release(process, db)

    def connect(self) -> BoundedConnection:
        """Opens a connection of the caller's own."""
        try:
            db = BoundedConnection.connect(read_conninfo=self._conninfo, autocommit=True, report=lambda error: None)
            self._configure(db)
        except (psycopg.Error, TimedOut) as error:
            raise self._error(error) from error
        return db

    def close(self) -> None:
        """Closes the connections of this process."""
        process = self._processes.get_existing()
        if process is not None:
            process.pool.close()
            self._processes = ProcessLocal(self._new_process)

    def _process(self) -> _Process:
        process = self._processes.get()
        if not process.is_open:
            process.pool.open()  # several threads may do so
            process.is_open = True
        return process

    def _acquire(self, process: _Process, deadline: float) -> BoundedConnection:
        if process.failing:
            deadline = min(deadline, time.monotonic() + FAST_FAIL_SECONDS)
        if not process.turns.acquire(deadline - time.monotonic()):
            raise StoreError(
                f"{self.where}: all connections were in use for {self.timeout_seconds:g} s{process.last_error}"
            )
        try:
            return self._get_usable(process, deadline)
        except BaseException:
            process.turns.release()
            raise

    def _release(self, process: _Process, db: BoundedConnection) -> None:
        if db.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            db.close()
        process.pool.putconn(db)
        process.turns.release()

    def _get_usable(self, process: _Process, deadline: float) -> BoundedConnection:
        while True:
            try:
                db = process.pool.getconn(timeout=max(0.01, min(ATTEMPT_SECONDS, deadline - time.monotonic())))
            except PoolTimeout:
                if time.monotonic() < deadline:
                    continue
                process.failing = True
                raise StoreError(
                    f"{self.where}: no connection within {self.timeout_seconds:g} s{process.last_error}"
                ) from None
            except psycopg.Error as error:  # such as that the store was closed meanwhile
                raise self._error(error) from error
            if db.is_usable():
                process.failing, process.last_error = False, ""
                process.is_pooled = db.is_pooled
                return db
            db.close()
            process.pool.putconn(db)

    def _configure(self, db: BoundedConnection) -> None:
        db.deadline = time.monotonic() + self.timeout_seconds
        try:
            db.configure(self.timeout_seconds, is_pooled=self._assumes_pooler)
        except TimedOut:
            db.close()
            raise psycopg.OperationalError("the server does not answer") from None

    def _prepare(self, db: BoundedConnection) -> None:
        """Checks the schema, and migrates it."""
        db.deadline = time.monotonic() + self.timeout_seconds
        try:
            version = read_version(db, self._schema)
            if version == len(MIGRATIONS):
                return
            if not self._migrates:
                raise MigrationRequired(
                    f"{self.where}, schema {self._schema}",
                    f"the tables have version {version}, and {len(MIGRATIONS)} is required"
                    if version
                    else "there are no tables yet",
                )
            # Who waits is a request.
            self._migrate(db, self.timeout_seconds)
        except (MigrationRequired, UnsuitableSchemaError) as error:
            logger.error("%s: %s", self.where, error)
            raise

    def _migrate(self, db: BoundedConnection, lock_seconds: float) -> Migrated:
        migrated = migrate(db, self._schema, lock_seconds)
        if migrated.before != migrated.after:
            logger.info("%s: schema %s migrated from version %d to %d", self.where, self._schema, *migrated)
        return migrated

    def _error(self, error: Exception) -> StoreError:
        return StoreError(f"{self.where}: {_text(error)}")


class _Process:
    """What belongs to one process."""

    pool: ConnectionPool[BoundedConnection]

    def __init__(self, max_size: int) -> None:
        self.turns = FairSemaphore(max_size)
        """Who may ask the pool, which has no turns: it is asked again and again."""
        self.is_open = False
        self.is_ready = False
        """Whether the schema was checked."""
        self.failing = False
        self.last_error = ""
        """Why the last attempt to connect has failed."""
        self.is_pooled: bool | None = None

    def failed(self, error: Exception) -> None:
        self.last_error = f": {_text(error)}"


def _text(error: BaseException) -> str:
    """Returns what an error says, without its details, which may have values of rows, and the whole statement."""
    text = str(error)
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        hint = error.diag.message_hint
        text = f"{error.diag.message_primary} ({hint})" if hint else error.diag.message_primary
    return " ".join(text.split()) or type(error).__name__
