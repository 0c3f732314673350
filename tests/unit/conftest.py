"""Fixtures of the tests of stores."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from copilot_runtime.stores._sqlite import connections

from .postgres_helpers import Stores


@pytest.fixture
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file is written back often, and a disk takes its time for that."""
    connect = connections.ConnectionPair._connect

    def connect_without_syncs(self: connections.ConnectionPair, *timeouts: float) -> sqlite3.Connection:
        db = connect(self, *timeouts)
        db.execute("PRAGMA synchronous = OFF")
        return db

    monkeypatch.setattr(connections.ConnectionPair, "_connect", connect_without_syncs)


@pytest.fixture
def stores() -> Iterator[Stores]:
    """PostgreSQL stores in a new schema."""
    stores = Stores()
    yield stores
    stores.close()
