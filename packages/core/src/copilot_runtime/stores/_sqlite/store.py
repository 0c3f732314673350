"""Threads in a SQLite file, shared by all processes of one machine."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence, Set
from typing import Any, cast

from .. import protocol as p
from .._pagination import next_cursor, parse_cursor
from .connections import ConnectionPair
from .retention import Retention, delete_thread

SWEEP_INTERVAL_SECONDS = 10.0
"""How often expired frames and threads are looked for."""

Db = sqlite3.Connection


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
        max_bytes: The total size of all frames and messages, those of active runs included.
        lease_seconds: How long a run stays active after its process has stopped renewing its lease.
        poll_seconds: The delay until a process sees what another one has done.
        timeout_seconds: The longest wait for the file.

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
        max_threads: int = 0,
        max_runs_per_thread: int = 0,
        max_age_seconds: float = 0,
        max_bytes: int = 0,
        lease_seconds: float = 15.0,
        poll_seconds: float = 0.05,
        timeout_seconds: float = 5.0,
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
        for name, value in (
            ("lease_seconds", lease_seconds),
            ("poll_seconds", poll_seconds),
            ("timeout_seconds", timeout_seconds),
        ):
            if value <= 0:
                raise ValueError(f"SqliteStore({name}={value!r}): must be > 0")
        _check_path(os.fspath(path))
        self._connections = ConnectionPair(os.path.abspath(path), timeout_seconds)
        self._last_sweep = 0.0
        self._last_poll: tuple[object, frozenset[p.Lease]] | None = None
        """The version of the file and the leases of the last `poll_signals`."""
        self._followed: dict[p.RunKey, tuple[object, int, float, Set[int]]] = {}
        """By active run, what the last `follow` saw: the version of the file, the number of its last frame, when its
        lease expires, and its duplicates."""
        try:
            # No connection is left open: the process may fork after this.
            self._connections.check()
        except ValueError as error:
            raise ValueError(f"SqliteStore({os.fspath(path)!r}): {error}") from error

    # --- writing runs ---

    def begin(self, run: p.NewRun) -> p.RunStarted | p.ThreadBusy:
        def work(db: Db) -> p.RunStarted | p.ThreadBusy:
            now = time.time()
            self._sweep(db, now)
            active = _select_active_run(db, run.thread, now)
            if active is not None:
                return p.ThreadBusy(active)
            thread, ordinal, runs = db.execute(
                "INSERT INTO threads (owner, thread_id, used_at, ordinal)"
                " VALUES (?, ?, ?, (SELECT value FROM counters WHERE name = 'ordinal') + 1)"
                " ON CONFLICT DO UPDATE SET used_at = excluded.used_at, ordinal = ordinal + 1"
                " RETURNING id, ordinal, runs",
                (*run.thread, now),
            ).fetchone()
            token = db.execute(
                "INSERT INTO live (thread, ordinal, run_id, agent_id, started_at, expires_at, size)"
                " VALUES (?,?,?,?,?,?,?)",
                (thread, ordinal, run.run_id, run.agent_id, now, now + self._lease_seconds, run.size),
            ).lastrowid
            message_ids = _select_message_ids(db, thread) if runs else (frozenset[str](), frozenset[str]())
            return p.RunStarted(p.Lease(p.RunKey(run.thread, ordinal), run.run_id, cast(int, token)), *message_ids)

        return self._connections.write(work)

    def append(self, batches: Sequence[p.Batch]) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        def work(db: Db) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
            refused: dict[p.Lease, p.LeaseLost | p.RunTooLarge] = {}
            for batch in batches:
                row = db.execute(
                    "UPDATE live SET frames = frames + ?, size = size + ?, duplicates = ? WHERE token = ?"
                    " RETURNING thread, frames, size",
                    (
                        len(batch.frames),
                        sum(map(len, batch.frames)),
                        json.dumps(sorted(batch.duplicates)),
                        batch.lease.token,
                    ),
                ).fetchone()
                if row is None:
                    refused[batch.lease] = p.LeaseLost()
                    continue
                thread, count, size = row
                _insert_frames(db, thread, batch.lease.run, count, batch.frames)
                self._retention.evict(db, thread)
                if 0 < self._retention.max_bytes < size:
                    refused[batch.lease] = p.RunTooLarge()
            return refused

        return self._connections.write(work)

    def finish(self, lease: p.Lease, frames: Sequence[bytes], completion: p.RunCompletion) -> None:
        # Serialised before the transaction, during which no other process can write.
        messages = {
            message["id"]: json.dumps(message, separators=(",", ":"))
            for message in p.messages_after_run(completion.messages, completion.records, completion.last_agent_event)
        }
        records = b"".join(record.frame for record in completion.records)
        event_messages = json.dumps(sorted(completion.event_messages))
        input_messages = json.dumps(sorted(completion.input_messages))
        duplicates = json.dumps(sorted(completion.duplicates))

        def work(db: Db) -> None:
            now = time.time()
            row = db.execute(
                "DELETE FROM live WHERE token = ? RETURNING thread, agent_id, frames", (lease.token,)
            ).fetchone()
            if row is None:
                raise p.LeaseLost
            thread, agent_id, count = row
            if completion.persist:
                _insert_frames(db, thread, lease.run, count + len(frames), frames)
                db.execute(
                    "INSERT INTO runs (thread, ordinal, run_id, agent_id, frames, raw_until, records, event_messages,"
                    " input_messages, duplicates, has_run_error, recorded_by) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                    (
                        thread,
                        lease.run.ordinal,
                        lease.run_id,
                        agent_id,
                        count + len(frames),
                        now + p.RAW_RETENTION_SECONDS,
                        records,
                        event_messages,
                        input_messages,
                        duplicates,
                        completion.has_run_error,
                        completion.recorded_by,
                    ),
                )
                [(runs,)] = db.execute(
                    "UPDATE threads SET runs = runs + 1, agent_id = ?, updated_at = ?, used_at = ?,"
                    " created_at = CASE created_at WHEN 0 THEN ? ELSE created_at END,"
                    " message_ids = coalesce(?, message_ids) WHERE id = ? RETURNING runs",
                    (agent_id, now, now, now, json.dumps(list(messages)) if messages else None, thread),
                )
                if messages:
                    _store_messages(db, thread, messages, replaces=runs > 1)
            else:
                db.execute("DELETE FROM frames WHERE thread = ? AND ordinal = ?", (thread, lease.run.ordinal))
                [(runs,)] = db.execute("SELECT runs FROM threads WHERE id = ?", (thread,))
                if not runs and not completion.keep_ordinal:
                    delete_thread(db, thread)
            self._retention.evict(db, thread)

        self._connections.write(work)

    def renew(self, leases: Sequence[p.Lease]) -> None:
        def work(db: Db) -> None:
            expires_at = time.time() + self._lease_seconds
            db.executemany(
                "UPDATE live SET expires_at = ? WHERE token = ?", [(expires_at, lease.token) for lease in leases]
            )

        if leases:
            self._connections.write(work)

    def poll_signals(self, leases: Sequence[p.Lease]) -> Mapping[p.Lease, p.LeaseSignal]:
        # If nothing was written since the last poll of the same leases, their signals were returned then.
        poll = (self._connections.version(), frozenset(leases))
        if poll == self._last_poll:
            return {}

        def work(db: Db) -> Mapping[p.Lease, p.LeaseSignal]:
            stopping = dict(db.execute("SELECT token, stopping FROM live").fetchall())
            return {
                lease: p.LeaseSignal.LOST if lease.token not in stopping else p.LeaseSignal.STOP
                for lease in leases
                if stopping.get(lease.token, 1)
            }

        signals = self._connections.read(work)
        self._last_poll = poll
        return signals

    def claim(self, run: p.RunKey, *, force: bool = False) -> p.ClaimedRun | None:
        def work(db: Db) -> p.ClaimedRun | None:
            now = time.time()
            row = db.execute(
                "SELECT live.thread, live.run_id, live.agent_id, started_at, expires_at FROM threads JOIN live"
                " ON live.thread = threads.id WHERE owner = ? AND thread_id = ? AND live.ordinal = ?",
                (*run.thread, run.ordinal),
            ).fetchone()
            if row is None:
                return None
            thread, run_id, agent_id, started_at, expires_at = row
            if expires_at > now and not force:
                return None
            token = db.execute(
                "INSERT OR REPLACE INTO live"
                " (thread, ordinal, run_id, agent_id, started_at, expires_at, stopping, frames, duplicates, size)"
                " SELECT thread, ordinal, run_id, agent_id, started_at, ?, stopping, frames, duplicates, size"
                " FROM live WHERE thread = ?",
                (now + self._lease_seconds, thread),
            ).lastrowid
            event_messages, _ = _select_message_ids(db, thread)
            return p.ClaimedRun(
                p.Lease(run, run_id, cast(int, token)),
                agent_id,
                started_at,
                _select_frames(db, thread, run.ordinal, 0),
                _select_messages(db, thread),
                event_messages,
            )

        return self._connections.write(work)

    def request_stop(self, thread: p.ThreadKey, run_id: str | None) -> p.ActiveRun | None:
        def work(db: Db) -> p.ActiveRun | None:
            active = _select_active_run(db, thread, time.time())
            if active is not None and not active.expired and run_id in (None, active.run_id):
                db.execute("UPDATE live SET stopping = 1 WHERE thread = ?", (_select_row_id(db, thread),))
            return active

        return self._connections.write(work)

    # --- reading ---

    def read(self, thread: p.ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> p.ThreadSnapshot:
        def work(db: Db) -> p.ThreadSnapshot:
            now = time.time()
            row = db.execute(
                "SELECT id, ordinal FROM threads WHERE owner = ? AND thread_id = ?", tuple(thread)
            ).fetchone()
            if row is None:
                return p.ThreadSnapshot()
            row_id, last_ordinal = row
            runs = []
            for ordinal, run_id, agent_id, records, raw_until, has_run_error, recorded_by in db.execute(
                "SELECT ordinal, run_id, agent_id, records, raw_until, has_run_error, recorded_by FROM runs"
                " WHERE thread = ? ORDER BY ordinal",
                (row_id,),
            ):
                raw = _select_frames(db, row_id, ordinal, 0) if ordinal == raw_ordinal and raw_until > now else None
                runs.append(
                    p.StoredRun(
                        ordinal, run_id, agent_id, _parse_records(records), raw, bool(has_run_error), recorded_by
                    )
                )
            return p.ThreadSnapshot(runs, _select_active_run(db, thread, now), last_ordinal)

        snapshot = self._connections.read(work)
        if touch and self._retention.tracks_usage and (snapshot.runs or snapshot.live):
            self._connections.write(
                lambda db: db.execute(
                    "UPDATE threads SET used_at = ? WHERE owner = ? AND thread_id = ?", (time.time(), *thread)
                )
            )
        return snapshot

    def follow(self, run: p.RunKey, after: int) -> p.RunUpdate:
        version = self._connections.version()
        last = self._followed.get(run)
        if last is not None and last[:2] == (version, after):
            _, _, expires_at, duplicates = last
            return p.RunUpdate((), duplicates, False, expired=expires_at <= time.time())

        def work(db: Db) -> tuple[p.RunUpdate, float]:
            row_id = _select_row_id(db, run.thread)
            if row_id is None:
                return p.RunUpdate((), frozenset(), True), 0.0
            row = db.execute(
                "SELECT expires_at, duplicates FROM live WHERE thread = ? AND ordinal = ?", (row_id, run.ordinal)
            ).fetchone()
            if row is not None:
                expires_at, duplicates = row
                frames = _select_frames(db, row_id, run.ordinal, after)
                is_expired = expires_at <= time.time()
                return p.RunUpdate(frames, frozenset(json.loads(duplicates)), False, is_expired), expires_at
            row = db.execute(
                "SELECT frames, duplicates FROM runs WHERE thread = ? AND ordinal = ?", (row_id, run.ordinal)
            ).fetchone()
            if row is None:
                return p.RunUpdate((), frozenset(), True), 0.0
            count, duplicates = row
            frames = _select_frames(db, row_id, run.ordinal, count - 1 if after > count else after)
            return p.RunUpdate(frames, frozenset(json.loads(duplicates)), True), 0.0

        update, expires_at = self._connections.read(work)
        if update.ended:
            self._followed.pop(run, None)
        else:
            self._followed[run] = (version, after + len(update.frames), expires_at, update.duplicates)
        return update

    def messages(self, thread: p.ThreadKey) -> list[dict[str, Any]]:
        def work(db: Db) -> list[dict[str, Any]]:
            row_id = _select_row_id(db, thread)
            return [] if row_id is None else _select_messages(db, row_id)

        return self._connections.read(work)

    def threads(self, owner: str, query: p.ThreadQuery) -> p.ThreadPage:
        conditions: list[str] = ["owner = ?", "runs > 0"]
        values: list[Any] = [owner]
        if query.agent_id is not None:
            conditions.append("agent_id = ?")
            values.append(query.agent_id)
        if not query.include_archived:
            conditions.append("archived = 0")
        if query.cursor is not None:
            updated_at, thread_id = parse_cursor(query.cursor)
            conditions.append("(updated_at < ? OR (updated_at = ? AND thread_id > ?))")
            values += [updated_at, updated_at, thread_id]
        # One more than the page holds, which shows whether there is another page.
        limit = -1 if query.limit is None else query.limit + 1
        sql = (
            "SELECT thread_id, agent_id, name, archived, created_at, updated_at FROM threads WHERE "
            + " AND ".join(conditions)
            + " ORDER BY updated_at DESC, thread_id LIMIT ?"
        )
        rows = self._connections.read(lambda db: db.execute(sql, (*values, limit)).fetchall())
        infos = [
            p.ThreadInfo(
                thread_id=thread_id,
                agent_id=agent_id,
                name=name,
                archived=bool(archived),
                created_at=created_at,
                updated_at=updated_at,
            )
            for thread_id, agent_id, name, archived, created_at, updated_at in rows
        ]
        if query.limit is None or len(infos) <= query.limit:
            return p.ThreadPage(infos)
        page = infos[: query.limit]
        return p.ThreadPage(page, next_cursor(page[-1]))

    # --- changing threads ---

    def update(self, thread: p.ThreadKey, *, name: str | None = None, archived: bool | None = None) -> bool:
        def work(db: Db) -> bool:
            updated = db.execute(
                "UPDATE threads SET name = coalesce(?, name), archived = coalesce(?, archived)"
                " WHERE owner = ? AND thread_id = ? AND runs > 0",
                (name, archived, *thread),
            )
            return updated.rowcount > 0

        return self._connections.write(work)

    def delete(self, thread: p.ThreadKey) -> bool:
        def work(db: Db) -> bool:
            row = db.execute("SELECT id, runs FROM threads WHERE owner = ? AND thread_id = ?", tuple(thread)).fetchone()
            if row is None:
                return False
            row_id, runs = row
            delete_thread(db, row_id)
            return bool(runs)

        return self._connections.write(work)

    def clear(self, owner: str) -> None:
        def work(db: Db) -> None:
            for row_id, is_active in db.execute(
                "SELECT id, EXISTS (SELECT 1 FROM live WHERE live.thread = threads.id) FROM threads WHERE owner = ?",
                (owner,),
            ).fetchall():
                if not is_active:
                    delete_thread(db, row_id)
                    continue
                # The active run continues on a thread without any history.
                db.execute(
                    "DELETE FROM frames WHERE thread = ? AND ordinal < (SELECT ordinal FROM live WHERE thread = ?)",
                    (row_id, row_id),
                )
                db.execute("DELETE FROM runs WHERE thread = ?", (row_id,))
                db.execute("DELETE FROM messages WHERE thread = ?", (row_id,))
                db.execute(
                    "UPDATE threads SET runs = 0, name = NULL, archived = 0, created_at = 0, message_ids = '[]'"
                    " WHERE id = ?",
                    (row_id,),
                )

        self._connections.write(work)

    def after_fork(self) -> None:
        self._connections.after_fork()
        self._last_poll = None
        self._followed.clear()

    def _sweep(self, db: Db, now: float) -> None:
        if now - self._last_sweep >= SWEEP_INTERVAL_SECONDS and self._retention.sweep(db, now):
            self._last_sweep = now


def _check_path(path: str) -> None:
    if os.path.basename(path) in ("", ":memory:") or path.startswith("file:"):
        raise ValueError(
            f"SqliteStore({path!r}): a path is required, as in 'copilot.db', and no URI: use store='memory://' "
            "for threads in memory"
        )


# --- rows; ``thread`` is the row id of a thread ---


def _select_row_id(db: Db, key: p.ThreadKey) -> int | None:
    row = db.execute("SELECT id FROM threads WHERE owner = ? AND thread_id = ?", tuple(key)).fetchone()
    return None if row is None else row[0]


def _select_active_run(db: Db, key: p.ThreadKey, now: float) -> p.ActiveRun | None:
    row = db.execute(
        "SELECT live.ordinal, run_id, live.agent_id, stopping, expires_at FROM threads JOIN live"
        " ON live.thread = threads.id WHERE owner = ? AND thread_id = ?",
        tuple(key),
    ).fetchone()
    if row is None:
        return None
    ordinal, run_id, agent_id, stopping, expires_at = row
    return p.ActiveRun(p.RunKey(key, ordinal), run_id, agent_id, bool(stopping), expires_at <= now)


def _insert_frames(db: Db, thread: int, run: p.RunKey, count: int, frames: Sequence[bytes]) -> None:
    """Appends frames to a run. ``count`` is the number of its frames with these included."""
    if frames:
        db.execute(
            "INSERT INTO frames (thread, ordinal, first, frames) VALUES (?,?,?,?)",
            (thread, run.ordinal, count - len(frames) + 1, b"".join(frames)),
        )


def _select_frames(db: Db, thread: int, ordinal: int, after: int) -> list[bytes]:
    """Returns the frames of a run after number ``after``, if they are still kept."""
    rows = db.execute(
        "SELECT first, frames FROM frames WHERE thread = ? AND ordinal = ? AND first >= coalesce("
        "(SELECT max(first) FROM frames WHERE thread = ? AND ordinal = ? AND first <= ?), 0) ORDER BY first",
        (thread, ordinal, thread, ordinal, after + 1),
    ).fetchall()
    frames: list[bytes] = []
    for first, data in rows:
        frames += _split_frames(data)[max(0, after + 1 - first) :]
    return frames


def _split_frames(data: bytes) -> list[bytes]:
    # JSON contains no raw line feeds, so an empty line is always the end of a frame.
    return [frame + b"\n\n" for frame in data.split(b"\n\n")[:-1]]


def _parse_records(data: bytes) -> list[p.CompactedFrame]:
    return [p.CompactedFrame.from_frame(frame) for frame in _split_frames(data)]


def _select_message_ids(db: Db, thread: int) -> tuple[set[str], set[str]]:
    """Returns the ids of the messages in the events of a thread's runs, and of those in their inputs."""
    in_events: set[str] = set()
    in_inputs: set[str] = set()
    for event_messages, input_messages in db.execute(
        "SELECT event_messages, input_messages FROM runs WHERE thread = ?", (thread,)
    ):
        in_events.update(json.loads(event_messages))
        in_inputs.update(json.loads(input_messages))
    return in_events, in_inputs


def _select_messages(db: Db, thread: int) -> list[dict[str, Any]]:
    message_ids = json.loads(db.execute("SELECT message_ids FROM threads WHERE id = ?", (thread,)).fetchone()[0])
    messages = dict(db.execute("SELECT id, message FROM messages WHERE thread = ?", (thread,)).fetchall())
    return [json.loads(messages[message_id]) for message_id in message_ids if message_id in messages]


def _store_messages(db: Db, thread: int, messages: Mapping[str, str], *, replaces: bool) -> None:
    """Stores a thread's messages, given as JSON by their ids.

    ``replaces`` is whether the thread may have messages already: those whose ids are missing in ``messages`` are
    deleted, and those that have not changed are not written again.
    """
    stored = dict(db.execute("SELECT id, message FROM messages WHERE thread = ?", (thread,))) if replaces else {}
    db.executemany(
        "INSERT INTO messages (thread, id, message) VALUES (?,?,?)"
        " ON CONFLICT DO UPDATE SET message = excluded.message",
        [
            (thread, message_id, message)
            for message_id, message in messages.items()
            if stored.get(message_id) != message
        ],
    )
    db.executemany(
        "DELETE FROM messages WHERE thread = ? AND id = ?",
        [(thread, message_id) for message_id in stored.keys() - messages.keys()],
    )
