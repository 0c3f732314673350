"""Threads in a SQLite file, shared by all processes of one machine."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from .. import protocol as p
from .._limits import check_seconds
from .._pagination import next_cursor
from ..portable import ImportOutcome, KeyPage, PortableThread, check_room, import_outcome
from . import rows
from .connections import ConnectionPair
from .frame_appends import FrameAppends
from .garbage import clear_active_thread, collect, delete_threads
from .last_uses import LastUses
from .lease_signals import LeaseSignals
from .retention import BATCH_SIZE, Retention
from .room import StoreConnection
from .run_claims import claim_run
from .run_follower import RunFollower
from .run_writes import RunWrites
from .sizes import text_bytes
from .snapshots import Snapshots
from .thread_list import select_infos
from .writer import Writer

logger = logging.getLogger("copilot_runtime.stores.sqlite")

T = TypeVar("T")

_MIN_JOURNAL_BYTES = 64 * 1024
_MAX_JOURNAL_BYTES = 16 * 1024 * 1024
"""A larger ``-wal`` file is written to the file itself less often, and a page that has changed often only once: with 16
MiB in place of 4, storing a run takes a tenth less. It would hold copies of deleted text for longer, too."""

Db = StoreConnection


class SqliteStore:
    """Keeps threads in a SQLite file.

    The file, and the ``-wal`` and ``-shm`` files next to it, are for the processes of one machine, on a local disk.
    A committed transaction survives a crash of the process; a power failure may lose the last moments
    (``PRAGMA synchronous = NORMAL``).

    Args:
        path: The file, which is created if it does not exist.
        max_threads: How many threads to keep. The least recently used are deleted first.
        max_runs_per_thread: How many runs of each thread to keep. The oldest are deleted first.
        max_age_seconds: Threads that have not been used for this long are deleted.
        max_bytes: How large the file may become. The least recently used threads are deleted first. Deleted rows and
            the ``-wal`` file may take up to half as much again.
        lease_seconds: How long a run stays active after its process has stopped renewing its lease.
        poll_seconds: The delay until a process sees what another one has done.
        timeout_seconds: The longest wait for the file.
        migrate: Whether to create the file and its tables, and to bring them up to date. Without it, the file is first
            opened when it is used, and until somebody else has migrated it, methods raise `MigrationRequired`.

    0 means no limit. Threads with an active run are never deleted.

    Raises:
        ValueError: The value of an option is invalid, or the file cannot be used, for example because a newer
            version of this package has created it.
    """

    blocking: bool = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_threads: int = 100_000,
        max_runs_per_thread: int = 1000,
        max_age_seconds: float = 0,
        max_bytes: int = 4 * 1024 * 1024 * 1024,
        lease_seconds: float = 15.0,
        poll_seconds: float = 0.05,
        timeout_seconds: float = 5.0,
        migrate: bool = True,
    ) -> None:
        self.lease_seconds: float | None = lease_seconds
        self.poll_seconds: float | None = poll_seconds
        self._lease_seconds = lease_seconds
        self._retention = Retention(
            max_threads=max_threads,
            max_runs_per_thread=max_runs_per_thread,
            max_age_seconds=max_age_seconds,
            max_bytes=max_bytes,
        )
        check_seconds(
            "SqliteStore", lease_seconds=lease_seconds, poll_seconds=poll_seconds, timeout_seconds=timeout_seconds
        )
        _check_path(os.fspath(path))
        self._connections = ConnectionPair(
            os.path.abspath(path), timeout_seconds, _journal_bytes(max_bytes), migrates=migrate
        )
        self._writer = Writer(self._connections, self._retention)
        self._last_uses = LastUses(self._connections)
        self._signals = LeaseSignals(self._connections)
        self._runs = RunWrites(self._writer, self._retention, self._signals, lease_seconds)
        self._follower = RunFollower(self._connections)
        self._snapshots = Snapshots()
        self._appends = FrameAppends(self._writer, self._retention)
        if migrate:
            try:
                # No connection is left open: the process may fork after this.
                self._connections.check()
            except ValueError as error:
                raise ValueError(f"SqliteStore({os.fspath(path)!r}): {error}") from error

    # --- writing runs ---

    def begin(self, run: p.NewRun) -> p.RunStarted | p.ThreadBusy:
        return cast("p.RunStarted | p.ThreadBusy", self._write_run(run))

    def finish(self, lease: p.Lease, frames: Sequence[bytes], completion: p.RunCompletion) -> None:
        self._write_run(p.RunEnd(lease, frames, completion))

    def _write_run(self, change: p.NewRun | p.RunEnd) -> p.RunStarted | p.ThreadBusy | None:
        [result] = self._runs.write([change])
        if isinstance(result, Exception):
            try:
                raise result
            finally:
                del result  # whose traceback has this frame
        return result

    def write_runs(
        self, changes: Sequence[p.NewRun | p.RunEnd]
    ) -> Sequence[p.RunStarted | p.ThreadBusy | Exception | None]:
        return self._runs.write(changes)

    def append(self, batches: Sequence[p.Batch]) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        return self._appends.append(batches)

    def renew(self, leases: Sequence[p.Lease]) -> None:
        def work(db: Db) -> None:
            expires_at = time.time() + self._lease_seconds
            db.executemany(
                "UPDATE live SET expires_at = ?, lease_seconds = ? WHERE token = ?",
                [(expires_at, self._lease_seconds, lease.token) for lease in leases],
            )

        if leases:
            self._writer.write(work)

    def poll_signals(self, leases: Sequence[p.Lease]) -> Mapping[p.Lease, p.LeaseSignal]:
        return self._signals.poll(leases)

    def claim(self, run: p.RunKey, *, force: bool = False) -> p.ClaimedRun | None:
        def work(db: Db) -> p.ClaimedRun | None:
            return claim_run(db, run, time.time(), self._lease_seconds, force=force)

        return self._write_signals(work)

    def request_stop(self, thread: p.ThreadKey, run_id: str | None) -> p.ActiveRun | None:
        def work(db: Db) -> p.ActiveRun | None:
            active = rows.select_active_run(db, thread, time.time())
            if active is not None and not active.expired and run_id in (None, active.run_id):
                db.execute("UPDATE live SET stopping = 1 WHERE thread = ?", (rows.select_row_id(db, thread),))
            return active

        return self._write_signals(work)

    # --- reading ---

    def read(self, thread: p.ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> p.ThreadSnapshot:
        snapshot = self._read(lambda db: self._snapshots.select(db, thread, raw_ordinal, time.time()))
        if touch and self._retention.tracks_usage and (snapshot.runs or snapshot.live):
            self._last_uses.note(thread, time.time())
        return snapshot

    def follow(self, run: p.RunKey, after: int) -> p.RunUpdate:
        return self._follower.follow(run, after)

    def messages(self, thread: p.ThreadKey) -> list[dict[str, Any]]:
        def work(db: Db) -> list[dict[str, Any]]:
            row_id = rows.select_row_id(db, thread)
            return [] if row_id is None else rows.select_messages(db, row_id)

        return self._read(work)

    def threads(self, owner: str, query: p.ThreadQuery) -> p.ThreadPage:
        infos, damage = self._connections.read(lambda db: select_infos(db, owner, query))
        if damage:
            # The others are listed, or nobody would find them.
            logger.error("%d threads are not listed, since their rows are damaged: %s", len(damage), damage[0])
        if query.limit is None or len(infos) <= query.limit:
            return p.ThreadPage(infos)
        page = infos[: query.limit]
        return p.ThreadPage(page, next_cursor(page[-1]) if page else None)

    # --- changing threads ---

    def update(
        self, thread: p.ThreadKey, *, name: str | None = None, archived: bool | None = None, if_unnamed: bool = False
    ) -> bool:
        def work(db: Db) -> bool:
            row = db.execute(
                "SELECT id, length(CAST(coalesce(name, '') AS BLOB)) FROM threads"
                " WHERE owner = ? AND thread_id = ? AND runs > 0 AND (name IS NULL OR NOT ?)",
                (*thread, if_unnamed),
            ).fetchone()
            if row is None:
                return False
            row_id, length = row
            db.execute(
                "UPDATE threads SET name = coalesce(?, name), archived = coalesce(?, archived) WHERE id = ?",
                (name, archived, row_id),
            )
            if name is not None:
                db.totals.add_to_thread(db, row_id, text_bytes(name) - length)
                db.room.take(size=text_bytes(name))
            return True

        return self._writer.write(work)

    def delete(self, thread: p.ThreadKey) -> bool:
        def work(db: Db) -> bool:
            row = db.execute(
                "SELECT id, runs <> 0 FROM threads WHERE owner = ? AND thread_id = ?", tuple(thread)
            ).fetchone()
            if row is None:
                return False
            row_id, was_listed = row
            delete_threads(db, (row_id,))
            collect(db)
            return bool(was_listed)

        return self._write_signals(work)

    def clear(self, owner: str, cursor: str | None = None) -> str | None:
        last_seen = None if cursor is None else int(cursor)

        def work(db: Db) -> str | None:
            # Row ids increase, so the threads that have been created since the first call are known by theirs.
            last = last_seen
            if last is None:
                [(last,)] = db.execute(
                    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'threads'), 0)"
                ).fetchall()
            found = db.execute(
                "SELECT id, EXISTS (SELECT 1 FROM live WHERE live.thread = threads.id) FROM threads"
                " WHERE owner = ? AND +id <= ? LIMIT ?",
                (owner, last, BATCH_SIZE),
            ).fetchall()
            for thread, is_active in found:
                if is_active:
                    clear_active_thread(db, thread)
                else:
                    delete_threads(db, (thread,))
            return str(last) if len(found) == BATCH_SIZE else None

        return self._writer.write(work)

    # --- moving threads; modules for this alone are imported when it is done, which few processes do ---

    def thread_keys(self, cursor: str | None, limit: int) -> KeyPage:
        from .portable_rows import select_keys

        return self._read(lambda db: select_keys(db, cursor, limit))

    def export_thread(self, thread: p.ThreadKey) -> PortableThread | None:
        from .portable_rows import select_thread

        return self._read(lambda db: select_thread(db, thread))

    def import_thread(self, thread: PortableThread) -> ImportOutcome:
        from .portable_rows import ThreadRows, select_state

        imported = ThreadRows(thread)
        self._writer.make_room_for(imported.size)

        def work(db: Db) -> ImportOutcome:
            row_id, size, state = select_state(db, thread.key) or (None, 0, None)
            outcome = import_outcome(state, thread)
            if outcome.is_written:
                check_room("max_runs_per_thread", self._retention.max_runs_per_thread, len(thread.runs))
                self._retention.make_room(db, imported.size)
                self._retention.check_room(db, 1 if row_id is None else 0, imported.size - size)
                if row_id is not None:
                    delete_threads(db, (row_id,))
                imported.insert(db, time.time())
                db.room.take(size=imported.size, threads=1)
            return outcome

        return self._writer.write(work)

    # --- retention and forks ---

    def sweep(self) -> bool:
        def work(db: Db) -> bool:
            has_more = self._retention.sweep(db, time.time())
            return collect(db) or has_more

        return self._writer.write(work)

    def after_fork(self) -> None:
        self._connections.after_fork()
        self._signals.after_fork()
        self._follower.after_fork()
        self._last_uses.after_fork()
        self._snapshots.after_fork()

    # --- helpers ---

    def _read(self, work: Callable[[Db], T]) -> T:
        return self._connections.read(rows.checked(work))

    def _write_signals(self, work: Callable[[Db], T]) -> T:
        """Writes what `poll_signals` may have to report of the runs of this process."""
        try:
            return self._writer.write(work)
        finally:
            self._signals.written()


def _journal_bytes(max_bytes: int) -> int:
    """Returns how large the ``-wal`` file may become before it is written to the file itself, if that is possible."""
    return min(_MAX_JOURNAL_BYTES, max(_MIN_JOURNAL_BYTES, max_bytes // 16)) if max_bytes else _MAX_JOURNAL_BYTES


def _check_path(path: str) -> None:
    if os.path.basename(path) in ("", ":memory:") or path.startswith("file:"):
        raise ValueError(
            f"SqliteStore({path!r}): a path is required, as in 'copilot.db', and no URI: use store='memory://' "
            "for threads in memory"
        )
