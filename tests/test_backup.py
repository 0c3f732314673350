"""Backups of stores, as docs/stores.md says to make and to restore them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from copilot_runtime.stores import PostgresStore, RunStore, SqliteStore
from copilot_runtime.stores import protocol as p
from copilot_runtime.testing._factories import (
    ADA,
    append_one,
    begin,
    list_thread_ids,
    message_events,
    record_run,
    store_run,
)

from .missing import skip_unless_ci
from .serve import ROOT
from .services.postgres import shared_postgres

pytestmark = pytest.mark.requirement("STORE-17")

PAGE = (ROOT / "docs/stores.md").read_text("utf-8")
LIVE = p.ThreadKey(ADA, "live")


def commands_of(store: str) -> list[str]:
    """Returns the commands in the row of a store, in the table of backups."""
    [row] = re.findall(rf"^\| {store} \| (.*sqlite3 copilot.db.*|.*pg_dump.*)$", PAGE, re.MULTILINE)
    return re.findall("`([^`]+)`", row)


def run(command: str, folder: Path, **env: str) -> None:
    subprocess.run(command, shell=True, check=True, cwd=folder, stdout=subprocess.DEVNULL, env={**os.environ, **env})


def fill(store: RunStore) -> p.Lease:
    """Stores two threads, and begins a run on a third one."""
    for name in ("t1", "t2"):
        store_run(store, p.ThreadKey(ADA, name))
    lease = begin(store, LIVE).lease
    append_one(store, lease, record_run(lease, message_events())[0][:3])
    return lease


def check_restored(store: RunStore, lease: p.Lease) -> None:
    """The threads are there, what came after the backup is not, and the run that was active then can be ended."""
    assert list_thread_ids(store) == ["t2", "t1"]
    claimed = store.claim(lease.run, force=True)
    assert claimed is not None
    assert len(claimed.frames) == 3
    store.finish(claimed.lease, *record_run(claimed.lease, message_events("m2")))
    store_run(store, p.ThreadKey(ADA, "t3"))
    assert list_thread_ids(store) == ["t3", "live", "t2", "t1"]


def test_backup_of_sqlite(tmp_path: Path) -> None:
    skip_unless_ci(None if shutil.which("sqlite3") else "sqlite3 is not installed")
    store = SqliteStore(tmp_path / "copilot.db")
    lease = fill(store)
    copy, *files = commands_of("SQLite")
    run(copy, tmp_path)
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    store_run(store, p.ThreadKey(ADA, "later"))
    del store
    (tmp_path / "copy.db").rename(tmp_path / "copilot.db")
    assert files == ["copilot.db-wal", "copilot.db-shm"]
    for name in files:
        (tmp_path / name).unlink(missing_ok=True)
    check_restored(SqliteStore(tmp_path / "copilot.db"), lease)


def test_backup_of_postgres(tmp_path: Path) -> None:
    skip_unless_ci(None if shutil.which("pg_dump") else "pg_dump is not installed")
    server = shared_postgres()
    with server.connect() as db:
        db.execute("DROP DATABASE IF EXISTS backup WITH (FORCE)")
        db.execute("CREATE DATABASE backup")
    url = f"postgresql://postgres@127.0.0.1:{server.port}/backup"
    store = PostgresStore(url)
    lease = fill(store)
    dump, drop, psql = commands_of("PostgreSQL")
    environment = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres", "PGDATABASE": "backup"}
    run(f"{dump} > dump.sql", tmp_path, **environment)
    store_run(store, p.ThreadKey(ADA, "later"))
    store.close()
    run(f"{psql} --quiet --command '{drop}'", tmp_path, **environment)
    run(f"{psql} --quiet --set ON_ERROR_STOP=1 --file dump.sql", tmp_path, **environment)
    restored = PostgresStore(url)
    check_restored(restored, lease)
    restored.close()
