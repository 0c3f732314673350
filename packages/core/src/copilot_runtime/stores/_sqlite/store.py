"""Threads in a SQLite file, shared by all processes of one machine."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence, Set
from typing import Any, cast

from ..._events import CompactedFrame, messages_after_run
from .._pagination import next_cursor, parse_cursor
from ..protocol import (
    ActiveRun,
    Batch,
    ClaimedRun,
    Lease,
    LeaseLost,
    LeaseSignal,
    NewRun,
    RunCompletion,
    RunKey,
    RunStarted,
    RunTooLarge,
    RunUpdate,
    StoredRun,
    ThreadBusy,
    ThreadInfo,
    ThreadKey,
    ThreadPage,
    ThreadQuery,
    ThreadSnapshot,
)
from .connections import ConnectionPair
from .retention import Retention, delete_thread

RAW_RETENTION_SECONDS = 60.0
"""How long the frames of an ended run are kept as they were sent, for exact resumption."""

SWEEP_SECONDS = 10.0
"""How often what has grown too old is looked for."""

Db = sqlite3.Connection


class SqliteStore:
    """Keeps threads in the file ``path``, which is made where it is missing.

    The file and its ``-wal`` and ``-shm`` beside it are for the processes of one machine,
    on a local disk. A transaction that was answered survives a crash of the process; a
    power cut may take the last moments (``PRAGMA synchronous = NORMAL``).

    ``max_threads``, ``max_runs_per_thread``, ``max_age_seconds`` (since a thread was last
    used) and ``max_bytes`` bound what is kept; 0 means no bound. What is used least goes
    first, and nothing that runs. ``lease_seconds`` is how long a run outlives its process
    for others, ``poll_seconds`` how late they see what it does, ``timeout_seconds`` how
    long anything waits for the file. Raises ValueError for what cannot work, a file of a
    newer version included.
    """

    blocking = True

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
                raise ValueError(f"SqliteStore({name}={value!r}): give a number above 0")
        self._connections = ConnectionPair(os.path.abspath(path), timeout_seconds)
        self._swept = 0.0
        self._asked: tuple[object, frozenset[Lease]] | None = None
        self._followed: dict[RunKey, tuple[object, int, float, Set[int]]] = {}
        try:
            # Nothing stays open: a process may fork after this.
            self._connections.check()
        except ValueError as error:
            raise ValueError(f"SqliteStore({os.fspath(path)!r}): {error}") from error

    # --- runs ---

    def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        def work(db: Db) -> RunStarted | ThreadBusy:
            now = time.time()
            self._sweep(db, now)
            live = _live(db, run.thread, now)
            if live is not None:
                return ThreadBusy(live)
            thread, ordinal, runs = db.execute(
                "INSERT INTO threads (owner, thread_id, used_at, ordinal)"
                " VALUES (?, ?, ?, (SELECT value FROM counters WHERE name = 'ordinal') + 1)"
                " ON CONFLICT DO UPDATE SET used_at = excluded.used_at, ordinal = ordinal + 1"
                " RETURNING id, ordinal, runs",
                (*run.thread, now),
            ).fetchone()
            token = db.execute(
                "INSERT INTO live (thread, ordinal, run_id, agent_id, expires_at, size) VALUES (?,?,?,?,?,?)",
                (thread, ordinal, run.run_id, run.agent_id, now + self._lease_seconds, run.size),
            ).lastrowid
            known = _message_ids(db, thread) if runs else (frozenset[str](), frozenset[str]())
            return RunStarted(Lease(RunKey(run.thread, ordinal), run.run_id, cast(int, token)), *known)

        return self._connections.write(work)

    def append(self, batches: Sequence[Batch]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
        def work(db: Db) -> Mapping[Lease, LeaseLost | RunTooLarge]:
            refused: dict[Lease, LeaseLost | RunTooLarge] = {}
            for batch in batches:
                grown = sum(map(len, batch.frames))
                found = db.execute(
                    "UPDATE live SET frames = frames + ?, size = size + ?, repeats = ? WHERE token = ?"
                    " RETURNING thread, frames, size",
                    (len(batch.frames), grown, json.dumps(sorted(batch.duplicates)), batch.lease.token),
                ).fetchone()
                if found is None:
                    refused[batch.lease] = LeaseLost()
                    continue
                thread, count, size = found
                _add(db, thread, batch.lease.run, count, batch.frames)
                self._retention.evict(db, thread)
                if 0 < self._retention.max_bytes < size:
                    refused[batch.lease] = RunTooLarge()
            return refused

        return self._connections.write(work)

    def finish(self, lease: Lease, frames: Sequence[bytes], finished: RunCompletion) -> None:
        # Made before the transaction: nobody else can write while one is open.
        messages = {
            message["id"]: json.dumps(message, separators=(",", ":"))
            for message in messages_after_run(finished.messages, finished.records, finished.last_agent_event)
        }
        records = b"".join(record.frame for record in finished.records)
        ids = [
            json.dumps(sorted(ids)) for ids in (finished.event_messages, finished.input_messages, finished.duplicates)
        ]

        def work(db: Db) -> None:
            now = time.time()
            found = db.execute(
                "DELETE FROM live WHERE token = ? RETURNING thread, agent_id, frames", (lease.token,)
            ).fetchone()
            if found is None:
                raise LeaseLost
            thread, agent_id, count = found
            if finished.persist:
                _add(db, thread, lease.run, count + len(frames), frames)
                db.execute(
                    "INSERT INTO runs (thread, ordinal, run_id, agent_id, frames, raw_until, records, event_messages,"
                    " input_messages, repeats) VALUES (?,?,?,?,?,?,?,?,?,?)",
                    (
                        thread,
                        lease.run.ordinal,
                        lease.run_id,
                        agent_id,
                        count + len(frames),
                        now + RAW_RETENTION_SECONDS,
                        records,
                        *ids,
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
                if not runs:
                    delete_thread(db, thread)
            self._retention.evict(db, thread)

        self._connections.write(work)

    def renew(self, leases: Sequence[Lease]) -> None:
        def work(db: Db) -> None:
            until = time.time() + self._lease_seconds
            db.executemany("UPDATE live SET expires_at = ? WHERE token = ?", [(until, lease.token) for lease in leases])

        if leases:
            self._connections.write(work)

    def poll_signals(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        # Nobody has written and the question is the old one: so is the answer, which was acted upon.
        asked = (self._connections.version(), frozenset(leases))
        if asked == self._asked:
            return {}

        def work(db: Db) -> Mapping[Lease, LeaseSignal]:
            held = dict(db.execute("SELECT token, stopping FROM live").fetchall())
            return {
                lease: LeaseSignal.LOST if lease.token not in held else LeaseSignal.STOP
                for lease in leases
                if held.get(lease.token, 1)
            }

        signals = self._connections.read(work)
        self._asked = asked
        return signals

    def claim(self, run: RunKey, *, force: bool = False) -> ClaimedRun | None:
        def work(db: Db) -> ClaimedRun | None:
            now = time.time()
            found = db.execute(
                "SELECT live.thread, live.run_id, live.agent_id, expires_at FROM threads JOIN live"
                " ON live.thread = threads.id WHERE owner = ? AND thread_id = ? AND live.ordinal = ?",
                (*run.thread, run.ordinal),
            ).fetchone()
            if found is None:
                return None
            thread, run_id, agent_id, expires_at = found
            if expires_at > now and not force:
                return None
            token = db.execute(
                "INSERT OR REPLACE INTO live (thread, ordinal, run_id, agent_id, expires_at, stopping, frames, repeats,"
                " size) SELECT thread, ordinal, run_id, agent_id, ?, stopping, frames, repeats, size FROM live"
                " WHERE thread = ?",
                (now + self._lease_seconds, thread),
            ).lastrowid
            lease = Lease(run, run_id, cast(int, token))
            known, _ = _message_ids(db, thread)
            return ClaimedRun(lease, agent_id, _frames(db, thread, run.ordinal, 0), _messages(db, thread), known)

        return self._connections.write(work)

    def request_stop(self, thread: ThreadKey, run_id: str | None) -> ActiveRun | None:
        def work(db: Db) -> ActiveRun | None:
            live = _live(db, thread, time.time())
            if live is not None and not live.expired and run_id in (None, live.run_id):
                db.execute("UPDATE live SET stopping = 1 WHERE thread = ?", (_id_of(db, thread),))
            return live

        return self._connections.write(work)

    # --- readers ---

    def read(self, thread: ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> ThreadSnapshot:
        def work(db: Db) -> ThreadSnapshot:
            now = time.time()
            number = _id_of(db, thread)
            if number is None:
                return ThreadSnapshot()
            runs = []
            for ordinal, run_id, agent_id, records, raw_until in db.execute(
                "SELECT ordinal, run_id, agent_id, records, raw_until FROM runs WHERE thread = ? ORDER BY ordinal",
                (number,),
            ):
                raw = _frames(db, number, ordinal, 0) if ordinal == raw_ordinal and raw_until > now else None
                runs.append(StoredRun(ordinal, run_id, agent_id, _records(records), raw))
            return ThreadSnapshot(runs, _live(db, thread, now))

        view = self._connections.read(work)
        if touch and self._retention.tracks_usage and (view.runs or view.live):
            self._connections.write(
                lambda db: db.execute(
                    "UPDATE threads SET used_at = ? WHERE owner = ? AND thread_id = ?", (time.time(), *thread)
                )
            )
        return view

    def follow(self, run: RunKey, after: int) -> RunUpdate:
        version = self._connections.version()
        known = self._followed.get(run)
        if known is not None and known[:2] == (version, after):
            return RunUpdate((), known[3], False, expired=known[2] <= time.time())

        def work(db: Db) -> tuple[RunUpdate, float]:
            number = _id_of(db, run.thread)
            if number is None:
                return RunUpdate((), frozenset(), True), 0.0
            live = db.execute(
                "SELECT expires_at, repeats FROM live WHERE thread = ? AND ordinal = ?", (number, run.ordinal)
            ).fetchone()
            if live is not None:
                expires_at, repeats = live
                frames = _frames(db, number, run.ordinal, after)
                return RunUpdate(frames, frozenset(json.loads(repeats)), False, expires_at <= time.time()), expires_at
            ended = db.execute(
                "SELECT frames, repeats FROM runs WHERE thread = ? AND ordinal = ?", (number, run.ordinal)
            ).fetchone()
            if ended is None:
                return RunUpdate((), frozenset(), True), 0.0
            count, repeats = ended
            frames = _frames(db, number, run.ordinal, min(after, count - 1) if after > count else after)
            return RunUpdate(frames, frozenset(json.loads(repeats)), True), 0.0

        view, expires_at = self._connections.read(work)
        if view.ended:
            self._followed.pop(run, None)
        else:
            self._followed[run] = (version, after + len(view.frames), expires_at, view.duplicates)
        return view

    def messages(self, thread: ThreadKey) -> list[dict[str, Any]]:
        def work(db: Db) -> list[dict[str, Any]]:
            number = _id_of(db, thread)
            return [] if number is None else _messages(db, number)

        return self._connections.read(work)

    def threads(self, owner: str, query: ThreadQuery) -> ThreadPage:
        where, values = ["owner = ?", "runs > 0"], [owner]
        more: list[Any] = []
        if query.agent_id is not None:
            where.append("agent_id = ?")
            more.append(query.agent_id)
        if not query.include_archived:
            where.append("archived = 0")
        if query.cursor is not None:
            updated_at, thread_id = parse_cursor(query.cursor)
            where.append("(updated_at < ? OR (updated_at = ? AND thread_id > ?))")
            more += [updated_at, updated_at, thread_id]
        limit = -1 if query.limit is None else query.limit + 1
        sql = (
            "SELECT thread_id, agent_id, name, archived, created_at, updated_at FROM threads WHERE "
            + " AND ".join(where)
            + " ORDER BY updated_at DESC, thread_id LIMIT ?"
        )
        rows = self._connections.read(lambda db: db.execute(sql, (*values, *more, limit)).fetchall())
        infos = [
            ThreadInfo(
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
            return ThreadPage(infos)
        page = infos[: query.limit]
        return ThreadPage(page, next_cursor(page[-1]))

    # --- changes ---

    def update(self, thread: ThreadKey, *, name: str | None = None, archived: bool | None = None) -> bool:
        def work(db: Db) -> bool:
            changed = db.execute(
                "UPDATE threads SET name = coalesce(?, name), archived = coalesce(?, archived)"
                " WHERE owner = ? AND thread_id = ? AND runs > 0",
                (name, archived, *thread),
            )
            return changed.rowcount > 0

        return self._connections.write(work)

    def delete(self, thread: ThreadKey) -> bool:
        def work(db: Db) -> bool:
            found = db.execute(
                "SELECT id, runs FROM threads WHERE owner = ? AND thread_id = ?", tuple(thread)
            ).fetchone()
            if found is None:
                return False
            delete_thread(db, found[0])
            return bool(found[1])

        return self._connections.write(work)

    def clear(self, owner: str) -> None:
        def work(db: Db) -> None:
            for thread, is_live in db.execute(
                "SELECT id, EXISTS (SELECT 1 FROM live WHERE live.thread = threads.id) FROM threads WHERE owner = ?",
                (owner,),
            ).fetchall():
                if not is_live:
                    delete_thread(db, thread)
                    continue
                # The run goes on, on a thread that knows nothing of what was before.
                db.execute(
                    "DELETE FROM frames WHERE thread = ? AND ordinal < (SELECT ordinal FROM live WHERE thread = ?)",
                    (thread, thread),
                )
                db.execute("DELETE FROM runs WHERE thread = ?", (thread,))
                db.execute("DELETE FROM messages WHERE thread = ?", (thread,))
                db.execute(
                    "UPDATE threads SET runs = 0, name = NULL, archived = 0, created_at = 0, message_ids = '[]'"
                    " WHERE id = ?",
                    (thread,),
                )

        self._connections.write(work)

    def after_fork(self) -> None:
        self._connections.after_fork()
        self._asked = None
        self._followed.clear()

    def _sweep(self, db: Db, now: float) -> None:
        if now - self._swept >= SWEEP_SECONDS and self._retention.sweep(db, now):
            self._swept = now


# --- rows ---


def _id_of(db: Db, key: ThreadKey) -> int | None:
    found = db.execute("SELECT id FROM threads WHERE owner = ? AND thread_id = ?", tuple(key)).fetchone()
    return None if found is None else found[0]


def _live(db: Db, key: ThreadKey, now: float) -> ActiveRun | None:
    found = db.execute(
        "SELECT live.ordinal, run_id, live.agent_id, stopping, expires_at FROM threads JOIN live"
        " ON live.thread = threads.id WHERE owner = ? AND thread_id = ?",
        tuple(key),
    ).fetchone()
    if found is None:
        return None
    ordinal, run_id, agent_id, stopping, expires_at = found
    return ActiveRun(RunKey(key, ordinal), run_id, agent_id, bool(stopping), expires_at <= now)


def _add(db: Db, thread: int, run: RunKey, count: int, frames: Sequence[bytes]) -> None:
    """Adds frames to a run, which has ``count`` with them."""
    if frames:
        db.execute(
            "INSERT INTO frames (thread, ordinal, first, frames) VALUES (?,?,?,?)",
            (thread, run.ordinal, count - len(frames) + 1, b"".join(frames)),
        )


def _frames(db: Db, thread: int, ordinal: int, after: int) -> list[bytes]:
    """The frames of a run after number ``after``, as far as they are kept."""
    rows = db.execute(
        "SELECT first, frames FROM frames WHERE thread = ? AND ordinal = ? AND first >= coalesce("
        "(SELECT max(first) FROM frames WHERE thread = ? AND ordinal = ? AND first <= ?), 0) ORDER BY first",
        (thread, ordinal, thread, ordinal, after + 1),
    ).fetchall()
    frames: list[bytes] = []
    for first, data in rows:
        frames += _split(data)[max(0, after + 1 - first) :]
    return frames


def _split(data: bytes) -> list[bytes]:
    # JSON holds no raw line feeds, so an empty line is always the end of a frame.
    return [piece + b"\n\n" for piece in data.split(b"\n\n")[:-1]]


def _records(data: bytes) -> list[CompactedFrame]:
    return [
        CompactedFrame(int(framed[framed.index(b".") + 1 : framed.index(b"\n")]), framed) for framed in _split(data)
    ]


def _message_ids(db: Db, thread: int) -> tuple[set[str], set[str]]:
    """The ids of the messages of a thread's events, and of its runs' inputs."""
    events: set[str] = set()
    inputs: set[str] = set()
    for event_messages, input_messages in db.execute(
        "SELECT event_messages, input_messages FROM runs WHERE thread = ?", (thread,)
    ):
        events.update(json.loads(event_messages))
        inputs.update(json.loads(input_messages))
    return events, inputs


def _messages(db: Db, thread: int) -> list[dict[str, Any]]:
    ids = json.loads(db.execute("SELECT message_ids FROM threads WHERE id = ?", (thread,)).fetchone()[0])
    stored = dict(db.execute("SELECT id, message FROM messages WHERE thread = ?", (thread,)).fetchall())
    return [json.loads(stored[identity]) for identity in ids if identity in stored]


def _store_messages(db: Db, thread: int, messages: Mapping[str, str], *, replaces: bool) -> None:
    """Stores messages, each once by its id; what is no longer among them goes, if there may be any (``replaces``)."""
    known = dict(db.execute("SELECT id, message FROM messages WHERE thread = ?", (thread,))) if replaces else {}
    db.executemany(
        "INSERT INTO messages (thread, id, message) VALUES (?,?,?)"
        " ON CONFLICT DO UPDATE SET message = excluded.message",
        [(thread, identity, text) for identity, text in messages.items() if known.get(identity) != text],
    )
    db.executemany(
        "DELETE FROM messages WHERE thread = ? AND id = ?",
        [(thread, identity) for identity in known.keys() - messages.keys()],
    )
