"""What a PostgreSQL store guarantees beyond the public suite: with real servers, also ones that fail."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._cli.main import main
from copilot_runtime.stores import LeaseLost, MigrationRequired, PostgresStore, StoreError, store_from_url
from copilot_runtime.stores import protocol as p
from copilot_runtime.stores._postgres import connections as connections_module
from copilot_runtime.stores._postgres import notifications, process_state, retention
from copilot_runtime.stores._postgres import schema as schema_module
from copilot_runtime.testing._factories import (
    ADA,
    BOB,
    QUESTION,
    T1,
    T2,
    append_one,
    begin,
    clear_all,
    list_thread_ids,
    message_events,
    poll_signal,
    race,
    record_run,
    store_run,
)

from ..services.pgbouncer import run_pgbouncer
from ..services.postgres import PostgresServer, run_postgres, shared_postgres
from .postgres_helpers import Stores
from .store_helpers import check_fork

LOG = "copilot_runtime.stores.postgres"
BOUND_SECONDS = 30.0


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that tests may stop."""
    with run_postgres("fsync=off") as server:
        yield server


@pytest.fixture
def own_stores(server: PostgresServer) -> Iterator[Stores]:
    stores = Stores(server.url().partition("?")[0])
    yield stores
    stores.close()


# --- configuration ---


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:secret@h/db?max_thread=1", "max_thread"),
        ("postgresql://u:secret@h/db?schema=a b", "schema='a b'"),
        ("postgresql://u:secret@h/db?schema=pg_mine", "letters, digits"),
        ("postgresql://u:secret@h/db?migrate=perhaps", "true or false"),
        ("postgresql://u:secret@h/db?max_threads=-1", "max_threads=-1"),
        ("postgresql://u:secret@h/db?timeout_seconds=0", "timeout_seconds"),
        ("postgresql://u:secret@h/db?timeout_seconds=1e10", "timeout_seconds"),
        ("postgresql://u:secret@h/db#x", "%23"),
        ("postgresqll://u:secret@h/db", "postgresql://"),
    ],
)
def test_options_that_are_invalid_are_refused_without_the_password(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        store_from_url(url)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_options_of_libpq_and_of_the_store_in_one_url(stores: Stores) -> None:
    url = shared_postgres().url(stores.schema, max_threads=7, application_name="mine", connect_timeout=3)
    store = store_from_url(url.replace("postgresql://", "postgres://"))
    assert isinstance(store, PostgresStore)
    store_run(store)
    assert list_thread_ids(store) == ["t1"]
    assert stores.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = 'mine'")
    assert "secret" not in repr(store)
    store.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///app?max_threads=3", {"dbname": "app"}),
        ("postgresql:///app?host=/run/postgresql&max_threads=3", {"dbname": "app", "host": "/run/postgresql"}),
        ("postgresql://?max_threads=3&dbname=app", {"dbname": "app"}),
        ("postgresql://", {}),
    ],
)
def test_url_without_a_host_is_that_of_the_local_server(url: str, expected: dict[str, str]) -> None:
    store: Any = store_from_url(url)
    assert store._given == expected


def test_nothing_is_connected_until_the_first_use() -> None:
    PostgresStore("postgresql://nobody@192.0.2.1/none")


def test_error_says_what_is_wrong_but_not_the_password() -> None:
    store = PostgresStore("postgresql://u:secret@127.0.0.1:1/db", timeout_seconds=0.3)
    with pytest.raises(StoreError, match=r"PostgreSQL on 127.0.0.1:1/db: no connection.*refused") as raised:
        store.read(T1)
    assert "secret" not in str(raised.value)
    store.close()


# --- the schema ---


@pytest.mark.requirement("POSTGRES-01")
def test_many_processes_create_the_schema_at_once(stores: Stores) -> None:
    opened = [stores.open() for _ in range(6)]
    assert race(6, lambda index: store_run(opened[index], p.ThreadKey(ADA, f"t{index}")) and None) == [None] * 6
    assert len(list_thread_ids(opened[0])) == 6


@pytest.mark.requirement("POSTGRES-01")
def test_a_newer_schema_is_refused(stores: Stores) -> None:
    store_run(stores.open())
    stores.execute("INSERT INTO schema_versions (version) VALUES (1000)")
    for use in (lambda: stores.open().read(T1), lambda: stores.open().migrate()):
        with pytest.raises(StoreError, match=r"version 1000.*upgrade copilot-runtime"):
            use()
    assert stores.count("runs") == 1


@pytest.mark.requirement("POSTGRES-01")
def test_an_older_schema_is_migrated_in_place(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores.open()
    store_run(store)
    lease = begin(store, T2).lease
    added = "CREATE TABLE {s}.later (x integer NOT NULL); INSERT INTO {s}.later VALUES (7)"
    migrations = (*schema_module.MIGRATIONS, added)
    monkeypatch.setattr(schema_module, "MIGRATIONS", migrations)
    monkeypatch.setattr(connections_module, "MIGRATIONS", migrations)
    newer = stores.open()
    assert list_thread_ids(newer) == ["t1"]
    assert stores.execute("SELECT x FROM later") == [(7,)]
    # A process that has it open continues.
    assert append_one(store, lease, record_run(lease, message_events())[0]) is None
    assert newer.migrate() == (2, 2)


@pytest.mark.requirement("POSTGRES-01")
def test_a_migration_that_fails_changes_nothing(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    store_run(stores.open())
    with monkeypatch.context() as patch:
        migrations = (
            *schema_module.MIGRATIONS,
            "CREATE TABLE {s}.later (x integer); CREATE TABLE {s}.later (x integer)",
        )
        patch.setattr(schema_module, "MIGRATIONS", migrations)
        patch.setattr(connections_module, "MIGRATIONS", migrations)
        with pytest.raises(StoreError, match="later"):
            stores.open().read(T1)
    assert stores.execute("SELECT to_regclass('later')") == [(None,)]
    assert list_thread_ids(stores.open()) == ["t1"]


@pytest.mark.requirement("POSTGRES-01")
def test_a_migration_of_another_process_delays_a_request_for_timeout_seconds(stores: Stores) -> None:
    store = stores.open(timeout_seconds=0.2)
    with shared_postgres().connect() as db, db.transaction():
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
        db.execute(lock, [f"copilot_runtime migrates {stores.schema}"])
        with pytest.raises(StoreError, match=r"another process has been migrating the schema \w+ for more than 0.2 s"):
            store.read(T1)
    store_run(store)


@pytest.mark.requirement("POSTGRES-01")
def test_a_migration_whose_process_is_suspended_is_left_to_another(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_resumed, is_suspended = threading.Event(), threading.Event()
    [statements] = schema_module.MIGRATIONS

    class Migrations(tuple[str, ...]):
        def __getitem__(self, number: Any) -> Any:
            if threading.current_thread() is suspended:
                is_suspended.set()
                assert has_resumed.wait(BOUND_SECONDS)
            return statements

    monkeypatch.setattr(schema_module, "MIGRATIONS", Migrations((statements,)))
    monkeypatch.setattr(schema_module, "IDLE_SECONDS", 0.1)
    found: list[object] = []
    first, second = stores.open(), stores.open()

    def use_first() -> None:
        try:
            first.migrate()
        except StoreError as error:
            found.append(error)

    suspended = threading.Thread(target=use_first)
    suspended.start()
    assert is_suspended.wait(BOUND_SECONDS)
    store_run(second)
    has_resumed.set()
    suspended.join()
    assert "idle-in-transaction" in str(found)
    assert list_thread_ids(first) == ["t1"]


@pytest.mark.requirement("POSTGRES-01")
def test_tables_of_another_program_are_left_alone(stores: Stores) -> None:
    stores.execute(f"CREATE SCHEMA {stores.schema}")
    stores.execute("CREATE TABLE threads (x integer)")
    with pytest.raises(StoreError, match=r"tables of another program.*choose another"):
        stores.open().read(T1)
    assert stores.execute("SELECT count(*) FROM pg_tables WHERE schemaname = %s", stores.schema) == [(1,)]


def test_without_migrate_missing_tables_are_an_error_until_they_are_there(stores: Stores) -> None:
    store = stores.open(migrate=False)
    with pytest.raises(MigrationRequired, match="no tables yet"):
        store.read(T1)
    assert stores.open().migrate() == (0, len(schema_module.MIGRATIONS))
    store_run(store)


def test_a_role_that_may_not_create_schemas_uses_an_existing_one(stores: Stores) -> None:
    stores.execute(f"CREATE ROLE role_{stores.schema} LOGIN")
    stores.execute(f"CREATE SCHEMA {stores.schema} AUTHORIZATION role_{stores.schema}")
    store_run(stores.open(stores.url.replace("postgres:secret", f"role_{stores.schema}")))


def test_a_role_that_has_not_migrated_needs_these_rights(stores: Stores) -> None:
    stores.open().migrate()
    role = f"role_{stores.schema}"
    stores.execute(f"CREATE ROLE {role} LOGIN")
    stores.execute(f"GRANT USAGE ON SCHEMA {stores.schema} TO {role}")
    stores.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {stores.schema} TO {role}")
    stores.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {stores.schema} TO {role}")
    store = stores.open(stores.url.replace("postgres:secret", role), migrate=False, max_threads=1, max_age_seconds=9)
    store_run(store, T1)
    store_run(store, T2)
    store.sweep()
    assert list_thread_ids(store) == ["t2"]
    clear_all(store, ADA)


def test_a_schema_that_was_dropped_is_created_again_and_old_leases_do_not_hold(stores: Stores) -> None:
    store = stores.open()
    old = begin(store).lease
    stores.execute(f"DROP SCHEMA {stores.schema} CASCADE")
    new = begin(store).lease
    assert old.token != new.token
    assert isinstance(append_one(store, old, [b"x\n\n"]), LeaseLost)
    assert poll_signal(store, old) is p.LeaseSignal.LOST
    assert poll_signal(store, new) is None


# --- connections ---


@pytest.mark.requirement("POSTGRES-02")
def test_url_is_read_for_each_connection(own_stores: Stores, server: PostgresServer) -> None:
    """Where a password, here a user, is valid for some time only."""
    users = ["first"]
    for user in ("first", "second"):
        execute(server, f"CREATE ROLE {user} SUPERUSER LOGIN")

    def url() -> str:
        if not users:
            raise ValueError("there is no token")
        return own_stores.url.replace("postgres:secret", users[-1])

    store = own_stores.open(url, timeout_seconds=1.0)
    store_run(store)
    execute(server, "ALTER ROLE first NOLOGIN")
    users.append("second")
    server.terminate_backends()
    store_run(store)
    assert execute(server, "SELECT DISTINCT usename FROM pg_stat_activity WHERE usename <> 'postgres'") == [("second",)]
    users.clear()
    server.terminate_backends()
    with pytest.raises(StoreError, match="there is no token"):
        store_run(store)
    users.append("second")
    store_run(store)


def execute(server: PostgresServer, sql: str) -> list[Any]:
    with server.connect() as db:
        cursor = db.execute(sql)
        return cursor.fetchall() if cursor.description else []


def test_terminated_connections_are_replaced(own_stores: Stores, server: PostgresServer) -> None:
    store, other = own_stores.open(), own_stores.open()
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    changed = threading.Event()
    stop_watching = other.watch(lease.run, changed.set)
    assert changed.wait(BOUND_SECONDS)
    changed.clear()
    assert server.terminate_backends() >= 2
    assert append_one(store, lease, frames[:2]) is None
    assert changed.wait(BOUND_SECONDS)  # the connection for notifications is back, too
    changed.clear()
    other.follow(lease.run, 0)
    assert append_one(store, lease, frames[2:3]) is None
    assert changed.wait(BOUND_SECONDS)
    stop_watching()
    server.terminate_backends()
    store.finish(lease, frames[3:], completion)
    assert len(store.read(T1).runs) == 1


@pytest.mark.requirement("POSTGRES-02")
@pytest.mark.parametrize("how", ["SIGINT", "SIGQUIT"])
def test_restart_of_the_server(own_stores: Stores, server: PostgresServer, how: str) -> None:
    store = own_stores.open(timeout_seconds=10)
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    assert append_one(store, lease, frames[:2]) is None
    server.restart(getattr(signal, how))
    store.finish(lease, frames[2:], completion)
    [run] = store.read(T1, raw_ordinal=lease.run.ordinal).runs
    assert list(run.raw or ()) == frames


@pytest.mark.requirement("POSTGRES-02")
def test_a_server_that_is_away_is_reported_and_used_again(own_stores: Stores, server: PostgresServer) -> None:
    store = own_stores.open(timeout_seconds=0.5)
    store_run(store)
    server.stop()
    try:
        for use in (lambda: store.read(T1), lambda: begin(store), lambda: store.threads(ADA, p.ThreadQuery())):
            with pytest.raises(StoreError):
                use()
    finally:
        server.start()
    assert list_thread_ids(store) == ["t1"]


def test_watching_starts_again_after_no_thread_could_be_started(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    store = stores.open()
    lease = begin(store).lease
    with monkeypatch.context() as patched:
        patched.setattr(notifications, "start_thread", failing)
        store.watch(lease.run, lambda: None)()
    changed = threading.Event()
    stop = store.watch(lease.run, changed.set)
    stores.open().request_stop(T1, None)
    assert changed.wait(10)
    stop()


def test_a_server_without_room_can_be_read(stores: Stores) -> None:
    store = stores.open()
    store_run(store)
    stores.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full', HINT = 'free some',"
        " DETAIL = 'of a row'; END $$"
    )
    stores.execute("CREATE TRIGGER refuse BEFORE UPDATE ON threads FOR EACH ROW EXECUTE FUNCTION refuse()")
    with pytest.raises(StoreError) as raised:
        begin(store)
    # Without the statement, which is long, and what is in rows.
    assert re.fullmatch(r"PostgreSQL on \S+: no space left \(free some\)", str(raised.value))
    assert len(store.read(T1, touch=True).runs) == 1


@pytest.mark.requirement("POSTGRES-02")
def test_what_a_frozen_server_was_asked_is_not_done_later(own_stores: Stores, server: PostgresServer) -> None:
    store = own_stores.open(timeout_seconds=0.5)
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    completion = completion._replace(frame_count=len(frames))
    first = p.Batch(lease, frames[:2], frame_count=2)
    server.pause()
    try:
        for use in (
            lambda: begin(store, T2),
            lambda: store.append([first]),
            lambda: store.read(T1),
            lambda: store.finish(lease, frames, completion),
        ):
            with pytest.raises(StoreError):
                use()
    finally:
        server.resume()
    eventually(lambda: _reads(store))
    assert store.read(T2) == p.ThreadSnapshot()
    assert not store.append([first])
    store.finish(lease, frames[2:], completion)
    [run] = store.read(T1, raw_ordinal=lease.run.ordinal).runs
    assert list(run.raw or ()) == frames
    assert store.read(T2) == p.ThreadSnapshot()


@pytest.mark.requirement("POSTGRES-02")
def test_what_a_frozen_server_was_asked_to_change_is_not_changed_later(
    own_stores: Stores, server: PostgresServer
) -> None:
    """Or a thread could be deleted that was created again since then, or a later run be stopped."""
    store = own_stores.open(timeout_seconds=0.5)
    for thread in (T1, T2):
        store_run(store, thread)
    lease = begin(store).lease
    server.pause()
    try:
        for use in (
            lambda: store.delete(T2),
            lambda: store.clear(T1.owner, "1000"),
            lambda: store.update(T1, name="too late"),
            lambda: store.update(T1, name="too late", if_unnamed=True),
            lambda: store.request_stop(T1, None),
            lambda: store.claim(lease.run, force=True),
        ):
            with pytest.raises(StoreError):
                use()
    finally:
        server.resume()
    eventually(lambda: _reads(store))
    infos = store.threads(T1.owner, p.ThreadQuery()).threads
    assert {(info.thread_id, info.name) for info in infos} == {("t1", None), ("t2", None)}
    assert store.poll_signals([lease]) == {}
    assert store.update(T1, name="in time")
    assert store.request_stop(T1, None) is not None
    assert store.delete(T2)


@pytest.mark.requirement("POSTGRES-02")
def test_listening_goes_on_after_a_server_was_frozen(
    own_stores: Stores, server: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifications, "CHECK_SECONDS", 0.1)
    store, other = own_stores.open(timeout_seconds=0.5), own_stores.open()
    lease = begin(store).lease
    changed = threading.Event()
    stop_watching = store.watch(lease.run, changed.set)
    assert changed.wait(BOUND_SECONDS)
    server.pause()
    try:
        eventually(lambda: "listening for changes failed" in caplog.text)
    finally:
        server.resume()
    changed.clear()
    assert changed.wait(BOUND_SECONDS)  # since something may have been missed
    changed.clear()
    other.request_stop(T1, None)
    assert changed.wait(BOUND_SECONDS)
    stop_watching()
    assert "Traceback" not in caplog.text


@pytest.fixture
def more_than_1024_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("a process may have no more than 1,024 files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with contextlib.ExitStack() as files:
        while files.enter_context(open(os.devnull)).fileno() < 1024:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.requirement("POSTGRES-02")
@pytest.mark.usefixtures("more_than_1024_files")
def test_listening_in_a_process_with_many_connections(own_stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    store, other = own_stores.open(), own_stores.open()
    lease = begin(store).lease
    changed = threading.Event()
    stop_watching = store.watch(lease.run, changed.set)
    assert changed.wait(BOUND_SECONDS)
    changed.clear()
    other.request_stop(T1, None)
    assert changed.wait(BOUND_SECONDS)
    stop_watching()
    assert "Traceback" not in caplog.text


def _reads(store: PostgresStore) -> bool:
    try:
        store.read(T1)
    except StoreError:
        return False
    return True


@pytest.mark.requirement("POSTGRES-02")
def test_an_end_whose_answer_was_lost_is_repeated(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores.open()
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    run = connections_module.Connections.run

    def lose_answer(self: Any, *args: Any, **options: Any) -> Any:
        run(self, *args, **options)
        raise connections_module.OutcomeUnknown("lost")

    with monkeypatch.context() as patch:
        patch.setattr(connections_module.Connections, "run", lose_answer)
        with pytest.raises(StoreError):
            store.finish(lease, frames, completion)
    store.finish(lease, frames, completion)
    assert len(store.read(T1).runs) == 1
    with pytest.raises(LeaseLost):
        store.finish(lease, frames, completion)


@pytest.mark.requirement("POSTGRES-03")
def test_processes_that_write_the_same_threads_in_other_orders_do_not_block_each_other(stores: Stores) -> None:
    opened = [stores.open(), stores.open()]
    keys = [p.ThreadKey(ADA, f"t{number}") for number in range(12)]

    def work(index: int) -> int:
        store, done = opened[index % 2], 0
        for _ in range(15):
            begins = [p.NewRun(thread=key, run_id="r", agent_id="a") for key in keys[:: 1 if index % 2 else -1]]
            leases = [each.lease for each in store.write_runs(begins) if isinstance(each, p.RunStarted)]
            store.append([p.Batch(lease, [b"x\n\n"]) for lease in leases])
            store.renew(leases[::-1])
            ends = [p.RunEnd(lease, *record_run(lease, message_events())) for lease in leases]
            outcomes = store.write_runs(ends)
            assert not any(isinstance(outcome, StoreError) for outcome in outcomes), outcomes
            done += len(leases)
        return done

    results = race(4, work)
    assert all(isinstance(result, int) for result in results), results
    assert sum(results) == stores.count("runs")


@pytest.mark.requirement("POSTGRES-03")
def test_beginning_a_run_takes_one_round_trip(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores.open()
    for number in range(12):  # so many that ids of messages are kept in the process
        store_run(store, message=f"m{number}")
    statements: list[str] = []
    execute = connections_module.BoundedConnection.execute

    def count(self: Any, sql: str, *args: Any, **options: Any) -> Any:
        statements.append(sql)
        return execute(self, sql, *args, **options)

    monkeypatch.setattr(connections_module.BoundedConnection, "execute", count)
    started = begin(store)
    assert len(statements) == 1
    assert len(started.event_messages) == 12
    assert append_one(store, started.lease, [b"x\n\n"]) is None
    store.finish(started.lease, *record_run(started.lease, message_events("m"), [QUESTION]))
    assert len(statements) == 3
    store.read_with_messages(T1)
    assert len(statements) == 4


def test_fork(stores: Stores) -> None:
    check_fork(stores.open())


UNDER_GEVENT = """
import sys, threading
from copilot_runtime.stores import PostgresStore
from copilot_runtime.stores import protocol as p
stores = [PostgresStore(sys.argv[1], schema=sys.argv[2]) for _ in range(2)]
from gevent import monkey, pool, sleep, spawn
monkey.patch_all()  # late, as in a worker that was forked with the application
from copilot_runtime.testing._factories import T1, begin, store_run
ticks = []
def tick():
    while True:
        ticks.append(None)
        sleep(0.002)
ticker = spawn(tick)
workers = pool.Pool(8)
for number in range(24):
    workers.spawn(store_run, stores[0], p.ThreadKey("o", f"t{number}"))
workers.join(raise_error=True)
lease, changed = begin(stores[0]).lease, threading.Event()
stores[0].watch(lease.run, changed.set)
assert changed.wait(10)
changed.clear()
stores[1].request_stop(T1, None)
assert changed.wait(10)
before = len(ticks)
stores[0]._calls.fetch("SELECT pg_sleep(0.2)", ())
print(len(stores[0].threads("o", p.ThreadQuery()).threads), len(ticks) > before + 10)
"""


def test_gevent_that_replaces_modules_late(stores: Stores) -> None:
    """The process goes on while a greenlet waits for the server."""
    command = [sys.executable, "-c", UNDER_GEVENT, stores.url, stores.schema]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_SECONDS, check=False)
    assert ended.stdout.split() == ["24", "True"], ended.stderr


# --- PgBouncer ---


@pytest.mark.requirement("POSTGRES-03")
def test_pgbouncer_in_transaction_mode(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    server = shared_postgres()
    with run_pgbouncer(server, pool_size=2) as port:
        url = stores.url.replace(f":{server.port}/", f":{port}/")
        store, other = stores.open(url), stores.open(url)
        with caplog.at_level(logging.WARNING, LOG):
            results = race(6, lambda index: store_run(store, p.ThreadKey(BOB, f"t{index}")) and None)
            assert results == [None] * 6
            lease = begin(store).lease
            frames, completion = record_run(lease, message_events())
            changes = threading.Semaphore(0)
            stops = [other.watch(lease.run, changes.release) for _ in range(2)]
            for count in range(4):
                assert append_one(store, lease, frames[count : count + 1]) is None
                eventually(
                    lambda count=count: changes.acquire() and len(other.follow(lease.run, 0).frames) == count + 1
                )
            store.finish(lease, frames[4:], completion)
            while not other.follow(lease.run, 0).ended:
                assert changes.acquire(timeout=BOUND_SECONDS)
            for stop in stops:
                stop()
            snapshot, messages = other.read_with_messages(T1)
            assert (len(snapshot.runs), [message["id"] for message in messages]) == (1, ["m"])
    assert [record.message for record in caplog.records if "pooler" in record.message] != []
    assert len([record for record in caplog.records if "pooler" in record.message]) == 1
    other.close()
    store.close()


def test_without_notifications_nothing_is_left_behind_in_a_session(stores: Stores) -> None:
    """As other poolers need it that share connections, and are not recognised."""
    store = stores.open(notifications=False, max_connections=1, timeout_seconds=7)
    for number in range(8):
        store_run(store, message=f"m{number}")
    assert store._calls.fetch("SELECT count(*) FROM pg_prepared_statements", ()) == [(0,)]
    assert store._calls.fetch("SELECT current_setting('statement_timeout')", ()) == [("0",)]
    lease = begin(store).lease
    changed = threading.Event()
    stop_watching = store.watch(lease.run, changed.set)
    for _ in range(3):  # who watches looks again and again
        assert changed.wait(BOUND_SECONDS)
        changed.clear()
    stop_watching()


# --- retention ---


def test_raw_frames_expire(stores: Stores) -> None:
    store = stores.open()
    frames = store_run(store)
    lease = begin(store, T2).lease
    append_one(store, lease, frames[:1])
    ordinal = store.read(T1).runs[0].ordinal
    assert list(store.read(T1, raw_ordinal=ordinal).runs[0].raw or ()) == frames
    stores.execute("UPDATE runs SET raw_until = raw_until - interval '60 seconds'")
    assert store.read(T1, raw_ordinal=ordinal).runs[0].raw is None
    assert not store.sweep()
    assert stores.count("frames") == 1
    assert list(store.follow(lease.run, 0).frames) == frames[:1]
    update = store.follow(p.RunKey(T1, ordinal), 0)
    assert (list(update.frames), update.ended) == ([], True)


def test_max_age_seconds(stores: Stores) -> None:
    store = stores.open(max_age_seconds=100)
    a, b, c = (p.ThreadKey(ADA, name) for name in "abc")
    for key in (a, b):
        store_run(store, key)
    lease = begin(store, c).lease
    stores.execute("UPDATE threads SET used_at = used_at - interval '101 seconds'")
    store.read(b, touch=True)
    while store.sweep():
        pass
    assert set(list_thread_ids(store)) == {"b"}
    assert poll_signal(store, lease) is None


def test_deleted_threads_leave_no_rows(stores: Stores) -> None:
    store = stores.open()
    for key in (T1, T2):
        store_run(store, key)
    lease = begin(store, T1).lease
    append_one(store, lease, record_run(lease, message_events())[0][:2])
    store.delete(T1)
    clear_all(store)
    lease = begin(store, T1).lease
    append_one(store, lease, record_run(lease, message_events())[0][:2])
    store.finish(lease, (), p.RunCompletion(persist=False))
    while store.sweep():
        pass
    for table in ("threads", "live", "runs", "frames", "messages", "garbage", "usage_changes"):
        assert stores.count(table) == 0, table
    assert stores.execute("SELECT owner_key, owners, threads, bytes FROM usage") == [(b"", 0, 0, 0)]


def test_sweep_deletes_the_raw_frames_of_all_runs_of_a_thread(stores: Stores) -> None:
    store = stores.open()
    for number in range(40):
        store_run(store, T1, f"m{number}")
    stores.execute("UPDATE runs SET raw_until = clock_timestamp() - interval '1 second'")
    while store.sweep():
        pass
    assert stores.count("frames") == 0


def test_a_process_sweeps_by_itself(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_state, "SWEEP_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(retention, "SWEEP_INTERVAL_SECONDS", 0.0)
    store = stores.open()
    store_run(store)
    store.delete(T1)
    begin(store, T2)
    eventually(lambda: stores.count("runs") == 0)


def test_a_new_limit_is_reached_in_batches(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "EVICTION_BATCH", 3)
    for number in range(10):
        store_run(stores.open(), p.ThreadKey(ADA, f"t{number}"))
    store = stores.open(max_threads=2)
    for remaining in (7, 4, 2, 2):
        store_run(store, T1)
        assert len(list_thread_ids(store)) == remaining


def test_only_messages_that_are_new_are_sent(stores: Stores) -> None:
    store = stores.open()
    history: list[Any] = []
    for number in range(5):
        history.append({"id": f"u{number}", "role": "user", "content": "x" * 1000})
        lease = begin(store).lease
        store.finish(lease, *record_run(lease, message_events(f"m{number}"), history))
        history = store.messages(T1)
    assert len(history) == 10
    assert stores.count("messages") == 10
    # None of them was written again.
    assert stores.execute("SELECT count(DISTINCT xmin::text) FROM messages") == [(5,)]


def test_long_and_random_ids(stores: Stores) -> None:
    """Longer than an index takes, and not compressible."""
    store = stores.open()
    owner, thread, message = (os.urandom(4000).hex() for _ in range(3))
    key = p.ThreadKey(owner, thread)
    store_run(store, key, message)
    assert list_thread_ids(store, owner) == [thread]
    assert store.messages(key)[-1]["id"] == message
    assert store.delete(key)


# --- the command ---


def migrate(url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Returns the exit code of ``copilot-runtime migrate``, and its last line."""
    status = main(["migrate", url])
    captured = capsys.readouterr()
    return status, (captured.out + captured.err).strip().splitlines()[-1]


def test_migrate_command(stores: Stores, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = shared_postgres().url(stores.schema)
    for expected in ("created the tables, version 1", "up to date, with version 1"):
        status, line = migrate(url, capsys)
        assert (status, expected in line, "secret" in line) == (0, True, False)
    stores.execute("INSERT INTO schema_versions (version) VALUES (1000)")
    status, line = migrate(url, capsys)
    assert (status, "version 1000" in line, "secret" in line) == (1, True, False)
    assert migrate(f"sqlite:///{tmp_path}/threads.db", capsys) == (0, f"sqlite:///{tmp_path}/threads.db: up to date.")
    assert (tmp_path / "threads.db").exists()
    # Not that it was up to date: nothing was connected.
    nothing = "redis://127.0.0.1:1: nothing to do, since Redis has no tables."
    assert migrate("redis://127.0.0.1:1", capsys) == (0, nothing)
    for wrong in ("memory://", "nothing://x", "postgresql://u:secret@h/db?nothing=1"):
        status, line = migrate(wrong, capsys)
        assert (status, "secret" in line) == (2, False)
