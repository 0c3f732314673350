"""Threads that are moved to and from PostgreSQL, in addition to what the suite tests of every store."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._cli.main import main
from copilot_runtime.stores import MemoryStore, PostgresStore, SqliteStore, copy_threads
from copilot_runtime.stores.portable import ImportOutcome
from copilot_runtime.stores.protocol import ThreadKey
from copilot_runtime.testing._factories import ADA, T1, begin, message_events, record_run, store_run

from ..services.postgres import new_schema, shared_postgres

pytestmark = pytest.mark.requirement("COPY-01")


def query(sql: str) -> Any:
    with shared_postgres().connect() as db:
        return db.execute(sql).fetchall()


def test_imported_threads_are_counted_like_others() -> None:
    schema = new_schema()
    store = PostgresStore(shared_postgres().url(schema).partition("?")[0], schema=schema)

    def totals() -> Any:
        query(f"SELECT {schema}.fold_usage()")
        return query(f"SELECT owners, threads, bytes FROM {schema}.usage WHERE owner_key = ''")

    for _ in range(2):
        lease = begin(store).lease
        _, completion = record_run(lease, message_events(), [{"id": "q", "role": "user", "content": "?"}])
        store.finish(lease, (), completion)
    store.update(T1, name="a name")
    before, exported = totals(), store.export_thread(T1)
    assert exported is not None
    assert all(run.started_at <= run.ended_at for run in exported.runs)
    store.delete(T1)
    assert store.import_thread(exported) is ImportOutcome.CREATED
    assert totals() == before
    assert store.import_thread(dataclasses.replace(exported, name="another")) is ImportOutcome.REPLACED
    store.delete(T1)
    while store.sweep():
        pass
    assert totals() == [(0, 0, 0)]
    assert query(f"SELECT (SELECT count(*) FROM {schema}.runs), (SELECT count(*) FROM {schema}.messages)") == [(0, 0)]


def test_copy_threads_keeps_how_long_runs_have_taken_and_which_were_stopped(tmp_path: Path) -> None:
    schema = new_schema()
    stores = [
        SqliteStore(tmp_path / "source.db"),
        PostgresStore(shared_postgres().url(schema).partition("?")[0], schema=schema),
        SqliteStore(tmp_path / "target.db"),
    ]
    store_run(stores[0])
    lease = begin(stores[0]).lease
    _, completion = record_run(lease, message_events("m2"))
    stores[0].finish(lease, (), completion._replace(was_stopped=True))
    found = []
    for store in stores:
        exported = store.export_thread(T1)
        assert exported is not None
        found.append([(run.was_stopped, run.started_at, run.ended_at) for run in exported.runs])
        if len(found) < len(stores):
            copy_threads(store, stores[len(found)])
    assert [was_stopped for was_stopped, *_ in found[0]] == [False, True]
    assert found[1] == found[2] == [(each[0], *map(pytest.approx, each[1:])) for each in found[0]]


def test_copy_threads_creates_no_tables_in_the_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A URL with another schema than was meant is not an empty store."""
    url, target = shared_postgres().url("mistyped"), f"sqlite:///{tmp_path}/to.db"
    assert main(["copy-threads", url, target]) == 1
    assert "schema mistyped: there are no tables yet" in capsys.readouterr().err
    assert query("SELECT count(*) FROM pg_namespace WHERE nspname = 'mistyped'") == [(0,)]
    assert main(["copy-threads", target, url]) == 0


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE {}.runs SET records = 'x'",
        "UPDATE {}.runs SET event_messages = '{{'",
        "UPDATE {}.messages SET message = '{{}}'",
        "UPDATE {}.threads SET updated_at = 'infinity'",
    ],
)
def test_copy_threads_goes_on_after_a_damaged_row(damage: str) -> None:
    schema = new_schema()
    store = PostgresStore(shared_postgres().url(schema).partition("?")[0], schema=schema)
    store_run(store)
    query(damage.format(schema) + " RETURNING 1")
    store_run(store, ThreadKey(ADA, "other"))
    report = copy_threads(store, MemoryStore())
    assert (report.outcomes, report.unreadable) == ({ImportOutcome.CREATED: 1}, 1)


def test_copy_threads_with_characters_that_postgres_has_not() -> None:
    schema = new_schema()
    store = PostgresStore(shared_postgres().url(schema).partition("?")[0], schema=schema)
    source, back, key = MemoryStore(), MemoryStore(), ThreadKey("o\x00\x1a", "t\x00")
    lease = begin(source, key, "r\x00", agent="a\x1a0").lease
    source.finish(
        lease, *record_run(lease, message_events("m\x00"), [{"id": "q\x00", "role": "user", "content": "\0"}])
    )
    source.update(key, name="n\x00")
    store_run(source, T1)
    copy_threads(source, store)
    copy_threads(store, back)
    for each in (key, T1):
        assert back.messages(each) == source.messages(each)
        assert [(run.run_id, run.agent_id, list(run.records)) for run in back.read(each).runs] == [
            (run.run_id, run.agent_id, list(run.records)) for run in source.read(each).runs
        ]
    exported = back.export_thread(key)
    assert exported is not None
    assert (exported.name, set(exported.runs[0].event_messages)) == ("n\x00", {"m\x00"})
