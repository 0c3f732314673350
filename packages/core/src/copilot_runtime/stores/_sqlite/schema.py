"""The schema of a SQLite store, the migrations that bring an older file up to date, and whose file it is."""

from __future__ import annotations

import sqlite3

from .message_ids import format_old_run
from .totals import THREAD_BYTES

_V1 = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('threads', 0), ('bytes', 0), ('owners', 0);

CREATE TABLE threads (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    agent_id TEXT NOT NULL DEFAULT '',
    name TEXT,
    archived INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL DEFAULT 0,
    updated_at REAL NOT NULL DEFAULT 0,
    used_at REAL NOT NULL,
    ordinal INTEGER NOT NULL,
    runs INTEGER NOT NULL DEFAULT 0,
    message_ids TEXT NOT NULL DEFAULT '[]',
    bytes INTEGER NOT NULL,
    UNIQUE (owner, thread_id)
);
CREATE INDEX threads_listed ON threads (owner, updated_at DESC, thread_id) WHERE runs > 0;
CREATE INDEX threads_used ON threads (used_at);
CREATE INDEX threads_used_by_owner ON threads (owner, used_at);

-- What each owner has, kept up to date by the triggers below.
CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL UNIQUE,
    threads INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX owners_threads ON owners (threads);
CREATE INDEX owners_bytes ON owners (bytes);

-- The run's frames are those with its ``frames_id``, which is its first token. Of the bytes that they take,
-- ``counted_bytes`` are among those of the thread.
CREATE TABLE live (
    token INTEGER PRIMARY KEY AUTOINCREMENT,
    thread INTEGER NOT NULL UNIQUE,
    ordinal INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    started_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    lease_seconds REAL NOT NULL,
    stopping INTEGER NOT NULL DEFAULT 0,
    frames_id INTEGER NOT NULL DEFAULT 0,
    frames INTEGER NOT NULL DEFAULT 0,
    frames_bytes INTEGER NOT NULL DEFAULT 0,
    counted_bytes INTEGER NOT NULL DEFAULT 0,
    duplicates TEXT NOT NULL DEFAULT '[]',
    size INTEGER NOT NULL
);
-- Tokens start at a random number: a lease of a deleted file must not be valid in the file that replaces it.
INSERT INTO sqlite_sequence VALUES ('live', abs(random() % 1000000000000));

-- With row ids, and the records last: SQLite would otherwise read all of a row to find it, or what is after them.
CREATE TABLE runs (
    thread INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    frames_id INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    frames_bytes INTEGER NOT NULL,
    raw_until REAL NOT NULL,
    checksum INTEGER NOT NULL,
    event_messages TEXT NOT NULL,
    input_messages TEXT NOT NULL,
    duplicates TEXT NOT NULL,
    has_run_error INTEGER NOT NULL,
    recorded_by TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    records BLOB NOT NULL,
    PRIMARY KEY (thread, ordinal)
);
CREATE INDEX runs_raw ON runs (raw_until) WHERE raw_until > 0;

-- Frames and messages have row ids, too: without them, a row of more than 1002 bytes takes a page for the rest of it,
-- and what many runs append at the same time would change a page of each of them.
CREATE TABLE frames (
    frames_id INTEGER NOT NULL,
    first INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    frames BLOB NOT NULL,
    UNIQUE (frames_id, first)
);

CREATE TABLE messages (
    thread INTEGER NOT NULL,
    id TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    message TEXT NOT NULL,
    UNIQUE (thread, id)
);

-- What is not visible any more, and is to be deleted in small pieces: all rows of a thread, or the frames of a run.
CREATE TABLE garbage (id INTEGER PRIMARY KEY, thread INTEGER, frames_id INTEGER);

-- Totals, kept up to date so that they need not be counted, and integers even if a row is damaged.
-- (Lines end with a semicolon only between statements.)
CREATE TRIGGER threads_added AFTER INSERT ON threads
    BEGIN
        UPDATE counters SET value = value + 1 WHERE name = 'threads'; UPDATE counters SET value = value + new.bytes
        WHERE name = 'bytes'; INSERT INTO owners (owner) SELECT new.owner WHERE NOT EXISTS
        (SELECT 1 FROM owners WHERE owner = new.owner); UPDATE owners SET threads = threads + 1,
        bytes = bytes + new.bytes WHERE owner = new.owner; END;
CREATE TRIGGER threads_changed AFTER UPDATE OF bytes ON threads
    BEGIN
        UPDATE counters SET value = value + {new_bytes} - {old_bytes} WHERE name = 'bytes'; UPDATE owners
        SET bytes = bytes + {new_bytes} - {old_bytes} WHERE owner = new.owner; END;
CREATE TRIGGER threads_dropped AFTER DELETE ON threads
    BEGIN
        UPDATE counters SET value = value - 1 WHERE name = 'threads'; UPDATE counters SET value = value - {old_bytes}
        WHERE name = 'bytes'; UPDATE owners SET threads = threads - 1, bytes = bytes - {old_bytes}
        WHERE owner = old.owner; DELETE FROM owners WHERE owner = old.owner AND threads = 0; END;
CREATE TRIGGER owners_added AFTER INSERT ON owners
    BEGIN UPDATE counters SET value = value + 1 WHERE name = 'owners'; END;
CREATE TRIGGER owners_dropped AFTER DELETE ON owners
    BEGIN UPDATE counters SET value = value - 1 WHERE name = 'owners'; END;
""".format(**{f"{row}_bytes": f"min(max(CAST({row}.bytes AS INTEGER), 0), 1 << 50)" for row in ("old", "new")})

# Behind the records, where only those who look for them read them. 0 for the runs that were stored before.
_V2 = """
ALTER TABLE runs ADD COLUMN started_at REAL NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN ended_at REAL NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN was_stopped INTEGER NOT NULL DEFAULT 0;
"""

# Every list of threads is a range of an index, and a list with archived threads two of them.
_V3 = """
DROP INDEX threads_listed;
CREATE INDEX threads_listed ON threads (owner, archived <> 0, updated_at DESC, thread_id) WHERE runs > 0;
CREATE INDEX threads_listed_by_agent ON threads (owner, agent_id, archived <> 0, updated_at DESC, thread_id)
    WHERE runs > 0;
"""

# The ids of the messages of a thread's runs (see ``message_ids.py``): those of the last runs are in the row of the
# thread, which each run changes anyway, and those of the runs up to ``ids_until`` in rows of their own. The oldest run
# that is left has the ordinal ``first_run`` or a later one.
_V4 = """
ALTER TABLE threads ADD COLUMN first_run INTEGER NOT NULL DEFAULT 0;
ALTER TABLE threads ADD COLUMN ids_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE threads ADD COLUMN recent_ids TEXT NOT NULL DEFAULT '';
CREATE TABLE message_ids (
    thread INTEGER NOT NULL,
    last INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    ids TEXT NOT NULL,
    UNIQUE (thread, last)
);
INSERT INTO message_ids (thread, last, bytes, ids)
    SELECT thread, ordinal, 0, ids_of_run(event_messages, input_messages, ordinal) FROM runs;
UPDATE threads SET ids_until = coalesce((SELECT max(ordinal) FROM runs WHERE thread = threads.id), 0);
ALTER TABLE runs DROP COLUMN event_messages;
ALTER TABLE runs DROP COLUMN input_messages;
"""

# Less to write per run. The totals are kept by what writes, once for all of a transaction (see ``totals.py``). A thread
# gets its place among those that may be deleted (``used_at`` is 0 before) when its first run ends. And what is the
# newest comes at the end of an index, where SQLite begins a new page and does not divide a full one.
_V5 = """
DROP INDEX threads_used;
CREATE INDEX threads_used ON threads (used_at) WHERE used_at <> 0;
DROP INDEX threads_used_by_owner;
CREATE INDEX threads_used_by_owner ON threads (owner, used_at) WHERE used_at <> 0;
DROP INDEX threads_listed;
CREATE INDEX threads_listed ON threads (owner, archived <> 0, updated_at, thread_id DESC) WHERE runs > 0;
DROP INDEX threads_listed_by_agent;
CREATE INDEX threads_listed_by_agent ON threads (owner, agent_id, archived <> 0, updated_at, thread_id DESC)
    WHERE runs > 0;
DROP TRIGGER threads_added;
DROP TRIGGER threads_changed;
DROP TRIGGER threads_dropped;
DROP TRIGGER owners_added;
DROP TRIGGER owners_dropped;

-- What ``messages`` has are those of the input of this run, which those of its events follow; if 0, they are all there.
ALTER TABLE threads ADD COLUMN messages_run INTEGER NOT NULL DEFAULT 0;
ALTER TABLE threads ADD COLUMN last_agent_event INTEGER NOT NULL DEFAULT 0;
"""

MIGRATIONS = (_V1, _V2, _V3, _V4, _V5)
"""The statements that bring a file from each version to the next. Once released, they are only ever added to."""


APPLICATION_ID = 0x436F5277
"""Marks a file as a store of this package (sqlite.org/fileformat2, 1.3.8)."""


class UnsuitableFileError(Exception):
    """The file is no store of this package that this version can use. Nothing in it was changed."""


_FOREIGN = (
    "the file is another program's database, or one of a development version of copilot-runtime; nothing in it was "
    "changed: choose a path where there is no file yet, such as copilot.db"
)


def migrate(db: sqlite3.Connection, lock_seconds: float | None = None) -> None:
    """Migrates a file to the current schema, in place.

    Args:
        db: A connection to the file, whose busy timeout is changed.
        lock_seconds: How long to wait for another process that migrates the file, if not for the busy timeout.

    Raises:
        UnsuitableFileError: The file cannot be used.
        sqlite3.Error: SQLite failed. Nothing was changed.
    """
    _claim(db)
    if supported_version(db) == len(MIGRATIONS):
        _repair_counters(db)
        return
    db.create_function("ids_of_run", 3, format_old_run, deterministic=True)
    if lock_seconds is not None:
        db.execute(f"PRAGMA busy_timeout = {round(lock_seconds * 1000)}")
    db.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may have migrated it meanwhile.
        for number in range(_version(db), len(MIGRATIONS)):
            for statement in MIGRATIONS[number].split(";\n"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {number + 1}")
        db.execute("COMMIT")
    except BaseException:
        _roll_back(db)
        raise


def missing_migration(db: sqlite3.Connection) -> str | None:
    """Returns why a file has to be migrated, without doing so; None if it has the current schema.

    Raises UnsuitableFileError or sqlite3.Error.
    """
    db.execute("BEGIN")
    try:
        is_ours = _is_ours(db)
    finally:
        _roll_back(db)
    if not is_ours or not supported_version(db):
        return "the tables do not exist yet"
    if supported_version(db) < len(MIGRATIONS):
        return "the tables are those of an earlier version of copilot-runtime"
    _repair_counters(db)
    return None


def supported_version(db: sqlite3.Connection) -> int:
    """Returns the schema version of a file. Raises UnsuitableFileError for one that this version does not know."""
    version = _version(db)
    if version > len(MIGRATIONS):
        raise UnsuitableFileError(
            f"the file has schema version {version}, but this version of copilot-runtime supports only versions up to "
            f"{len(MIGRATIONS)}: upgrade copilot-runtime, or choose another file"
        )
    return version


def _repair_counters(db: sqlite3.Connection) -> None:
    """Counts again where the totals are damaged, on which every write depends."""
    # A text, a blob and an infinity are sorted behind the integers.
    is_intact = (
        "SELECT (SELECT count(*) FROM counters"
        " WHERE typeof(value) = 'integer' AND name IN ('threads', 'bytes', 'owners')) = 3"
        " AND (SELECT typeof(max(threads)) FROM owners) IN ('integer', 'null')"
        " AND (SELECT typeof(max(bytes)) FROM owners) IN ('integer', 'null')"
    )
    if db.execute(is_intact).fetchone() == (1,):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in _COUNT_AGAIN:
            db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        _roll_back(db)
        raise


_COUNT_AGAIN = (
    "DELETE FROM owners",
    "INSERT INTO owners (owner, threads, bytes)"
    f" SELECT owner, count(*), sum({THREAD_BYTES}) FROM threads GROUP BY owner",
    "DELETE FROM counters",
    "INSERT INTO counters SELECT 'threads', coalesce(sum(threads), 0) FROM owners"
    " UNION ALL SELECT 'bytes', coalesce(sum(bytes), 0) FROM owners"
    " UNION ALL SELECT 'owners', count(*) FROM owners",
)


def _is_ours(db: sqlite3.Connection) -> bool:
    """Returns whether the file is a store, and not empty. To be called in a transaction.

    Raises UnsuitableFileError if it is something else.
    """
    application_id: int = db.execute("PRAGMA application_id").fetchone()[0]
    if application_id == APPLICATION_ID:
        return True
    [(tables,)] = db.execute("SELECT count(*) FROM sqlite_schema")
    if tables or application_id or _version(db):
        raise UnsuitableFileError(_FOREIGN)
    return False


def _claim(db: sqlite3.Connection) -> None:
    """Makes an empty file a store without any tables. Raises UnsuitableFileError."""
    # First without a lock: another program's file is only read. Not as a file, but by SQLite, since closing a file
    # releases all locks that this process has on it (sqlite.org/howtocorrupt, 2.2).
    for begin in ("BEGIN", "BEGIN IMMEDIATE"):
        db.execute(begin)
        try:
            is_ours = _is_ours(db)
            if not is_ours and begin != "BEGIN":
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("COMMIT")
        except BaseException:
            _roll_back(db)
            raise
        if is_ours:
            return


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:  # some errors, such as that of a full disk, have ended it
        db.execute("ROLLBACK")


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version
