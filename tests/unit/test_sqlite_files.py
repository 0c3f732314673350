"""The files of a SQLite store: who may read them, and what the log says when they are gone."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_runtime.stores import SqliteStore
from copilot_runtime.testing._factories import T1, T2, begin, message_events, record_run, store_run

pytestmark = [
    pytest.mark.requirement("STORE-12"),
    pytest.mark.skipif(os.name != "posix", reason="other systems have no such permissions"),
]


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"], autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


def modes(path: Path) -> dict[str, int]:
    """Returns the permissions of the database and the files next to it."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}


OWNER_ONLY = {"threads.db": 0o600, "threads.db-wal": 0o600, "threads.db-shm": 0o600}


def test_new_files_are_for_their_owner_only(path: Path) -> None:
    store = SqliteStore(path)
    assert modes(path) == {"threads.db": 0o600}
    store_run(store)
    assert modes(path) == OWNER_ONLY
    for file in path.parent.iterdir():
        file.unlink()
    store_run(store)
    assert modes(path) == OWNER_ONLY


def test_file_behind_a_link_is_for_its_owner_only(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    SqliteStore(link)
    assert modes(path)["threads.db"] == 0o600


def test_files_next_to_a_database_behind_a_link_are_restricted(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "links" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    path.touch(0o644)
    path.chmod(0o644)
    first = SqliteStore(path)
    store_run(first)  # keeps the files open
    path.chmod(0o600)
    store_run(SqliteStore(link), T2)
    assert {name: mode for name, mode in modes(path).items() if name.startswith("threads")} == OWNER_ONLY


def test_permissions_that_were_set_are_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Such as those of a group that makes backups."""
    SqliteStore(path)
    path.chmod(0o640)
    store = SqliteStore(path)
    store_run(store)
    assert modes(path) == dict.fromkeys(OWNER_ONLY, 0o640)
    assert not caplog.records


def test_public_file_is_reported(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.touch()
    path.chmod(0o644)
    SqliteStore(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"every user of this machine can read {path}: restrict it with chmod o-rwx"
    ]


def test_files_next_to_a_restricted_database_are_restricted(path: Path) -> None:
    path.touch()
    path.chmod(0o644)
    store_run(SqliteStore(path))
    other = sqlite3.connect(path)
    try:
        other.execute("SELECT count(*) FROM threads").fetchone()
        path.chmod(0o600)
        assert modes(path)["threads.db-wal"] == 0o644
        store_run(SqliteStore(path))
        assert modes(path) == OWNER_ONLY
    finally:
        other.close()


def test_deleted_text_is_overwritten(path: Path) -> None:
    store = SqliteStore(path)
    lease = begin(store).lease
    question = {"id": "u", "role": "user", "content": "a long secret " * 500}
    store.finish(lease, *record_run(lease, message_events(delta="another secret " * 500), [question]))
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert b"secret" in path.read_bytes()
        assert store.delete(T1)
        while store.sweep():
            pass
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert all(b"secret" not in file.read_bytes() for file in path.parent.iterdir())
    finally:
        other.close()


def test_deleted_files_are_reported_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqliteStore(path)
    lease = begin(store).lease
    for file in path.parent.iterdir():
        file.unlink()
    for _ in range(3):
        assert store.follow(lease.run, 0).ended
        store.renew([lease])
        store.poll_signals([lease])
        store_run(store, T2)
        store.read(T1)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.ERROR,
            f"{path} was deleted while it was in use: its threads and active runs are lost, unless it is put back",
        )
    ]
