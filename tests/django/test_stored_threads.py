"""How the admin reads the rows of threads: their outcomes, and damaged ones."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.db.utils import load_backend

from copilot_runtime.stores._sqlite.schema import migrate
from copilot_runtime_django._stored_threads import as_time, select_runs

pytestmark = pytest.mark.requirement("DJANGO-07")


@pytest.fixture
def db(tmp_path: Any) -> Iterator[Any]:
    """A connection of Django's to the tables of a store."""
    with sqlite3.connect(tmp_path / "copilot.db", isolation_level=None) as tables:
        migrate(tables)
    tables.close()
    backend = load_backend("django.db.backends.sqlite3")
    connection = backend.DatabaseWrapper({**connections.settings["default"], "NAME": ":memory:"})
    with connection.cursor() as cursor:
        cursor.execute("ATTACH DATABASE %s AS copilot_runtime", [str(tmp_path / "copilot.db")])
    yield connection
    connection.close()


def add_run(db: Any, *events: dict[str, Any], **values: Any) -> None:
    """Adds a run of the thread 1 with these events, and with other values in some columns."""
    frames = [f"id: 1.{number}\ndata: {json.dumps(event)}\n\n" for number, event in enumerate(events, 1)]
    texts = dict.fromkeys(("run_id", "agent_id", "recorded_by"), "text")
    numbers = dict.fromkeys(
        ("frames_id", "frames", "frames_bytes", "raw_until", "checksum", "has_run_error", "bytes"), 1
    )
    row = {
        "thread": 1,
        "ordinal": 1,
        **texts,
        "duplicates": "[]",
        **numbers,
        "records": "".join(frames).encode(),
        **values,
    }
    with db.cursor() as cursor:
        places = ", ".join(["%s"] * len(row))
        cursor.execute(f"INSERT INTO copilot_runtime.runs ({', '.join(row)}) VALUES ({places})", list(row.values()))


START = {"type": "RUN_STARTED"}
LONG = "x" * 100_000


def failed(message: str) -> dict[str, str]:
    return {"type": "RUN_ERROR", "code": "CODE", "message": message}


def interrupted(text: str) -> dict[str, Any]:
    return {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [{"id": "1", "message": text}]}}


@pytest.mark.parametrize(
    ("event", "has_run_error", "outcome", "detail"),
    [
        ({"type": "RUN_FINISHED"}, 0, "finished", ""),
        (failed("no rows"), 1, "failed", "CODE: no rows"),
        (failed("bad data: no rows"), 1, "failed", "CODE: bad data: no rows"),
        (failed(LONG), 1, "failed", f"CODE: {'x' * 993}…"),
        ({"type": "RUN_ERROR", "message": 7}, 1, "failed", "7"),
        (interrupted("approve?"), 0, "interrupted", ""),
        (interrupted("some data: approve?"), 0, "interrupted", ""),
        (interrupted(LONG), 0, "interrupted", ""),
    ],
)
def test_outcome_is_that_of_the_last_event(
    db: Any, event: dict[str, Any], has_run_error: int, outcome: str, detail: str
) -> None:
    add_run(db, START, event, has_run_error=has_run_error)
    [run] = select_runs(db, 1)
    assert (run.outcome, run.detail) == (outcome, detail)


@pytest.mark.parametrize("data", ["[" * 3000, "[1]", "x", LONG * 20])
def test_outcome_of_a_run_whose_last_event_cannot_be_read(db: Any, data: str) -> None:
    add_run(db, records=f"id: 1.1\ndata: {data}\n\n".encode(), has_run_error=1)
    [run] = select_runs(db, 1)
    assert (run.outcome, run.detail) == ("failed", "")


@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "x'ff'", "'text'", "9e999"])
def test_runs_with_damaged_columns_are_listed(db: Any, value: str) -> None:
    columns = ("run_id", "agent_id", "started_at", "ended_at", "records", "has_run_error", "was_stopped")
    with db.cursor() as cursor:
        for number, column in enumerate(columns, 1):
            add_run(db, START, ordinal=number)
            cursor.execute(f"UPDATE copilot_runtime.runs SET {column} = {value} WHERE ordinal = {number}")
    assert len(select_runs(db, 1)) == len(columns)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300, 1e300])
def test_as_time_of_no_time(value: float) -> None:
    assert as_time(value) is None
