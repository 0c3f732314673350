"""PostgreSQL stores in other environments: versions, encodings, settings of a role, poolers, failovers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from copilot_runtime._concurrency.fair_semaphore import FairSemaphore
from copilot_runtime.stores import LeaseLost, PostgresStore, StoreError, store_from_url
from copilot_runtime.stores import protocol as p
from copilot_runtime.stores._postgres import schema as schema_module
from copilot_runtime.testing._factories import (
    BOB,
    T1,
    append_one,
    begin,
    list_thread_ids,
    poll_signal,
    race,
    store_run,
)

from ..services.pgbouncer import run_pgbouncer
from ..services.postgres import shared_postgres
from .postgres_helpers import Stores
from .test_postgres_guarantees import BOUND_SECONDS, eventually

JAPANESE = p.ThreadKey("日本", "ł")


@pytest.fixture
def setting(request: pytest.FixtureRequest) -> Iterator[None]:
    """A setting of the role, for new connections."""
    with shared_postgres().connect() as db:
        db.execute(f"ALTER ROLE postgres SET {request.param}")
        yield
        db.execute(f"ALTER ROLE postgres RESET {request.param.partition(' ')[0]}")


def test_a_lease_that_a_failover_has_lost_does_not_fit_another_run(stores: Stores) -> None:
    """A standby that lags hands out numbers of its sequences again."""
    store, other = stores.open(), stores.open()
    old = begin(store).lease
    stores.execute("DELETE FROM live")
    stores.execute("DELETE FROM threads")
    stores.execute("SELECT setval('tokens', last_value, false) FROM tokens")
    new = begin(other, p.ThreadKey(BOB, "another")).lease
    assert isinstance(append_one(store, old, [b"ada's\n\n"]), LeaseLost)
    assert poll_signal(store, old) is p.LeaseSignal.LOST
    assert list(other.follow(new.run, 0).frames) == []


def test_a_server_without_compression_of_columns(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL 13 cannot parse it."""
    [statements] = schema_module.MIGRATIONS
    assert "COMPRESSION" in statements
    monkeypatch.setattr(schema_module, "MIGRATIONS", (statements.replace("COMPRESSION", "SOMETHING"),))
    store_run(stores.open())


@pytest.mark.parametrize(("encoding", "is_suitable"), [("LATIN1", False), ("SQL_ASCII", True)])
def test_encodings_of_databases(encoding: str, is_suitable: bool) -> None:
    name = f"encoded_{encoding.lower()}"
    with shared_postgres().connect() as db:
        db.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        stores = Stores(shared_postgres().url(database=name).partition("?")[0])
        try:
            if is_suitable:
                _store_all_characters(stores.open())
            else:
                with pytest.raises(StoreError, match=f"the encoding {encoding}.*ENCODING 'UTF8'"):
                    stores.open().read(T1)
        finally:
            stores.close()
            db.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_encoding_of_the_client_is_not_that_of_the_environment(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    _store_all_characters(stores.open())


def _store_all_characters(store: PostgresStore) -> None:
    store_run(store, JAPANESE)
    assert list_thread_ids(store, JAPANESE.owner) == [JAPANESE.thread_id]


@pytest.mark.parametrize("setting", ["default_transaction_isolation = 'serializable'"], indirect=True)
@pytest.mark.usefixtures("setting")
def test_isolation_level_of_a_role(stores: Stores) -> None:
    opened = [stores.open() for _ in range(4)]

    def work(index: int) -> int:
        run = p.NewRun(thread=T1, run_id=f"r{index}", agent_id="a", size=0)
        return sum(isinstance(opened[index].begin(run), p.RunStarted) for _ in range(10))

    assert sorted(race(4, work)) == [0, 0, 0, 1]  # also the tables are created once
    assert opened[0]._calls.fetch("SHOW transaction_isolation", ()) == [("read committed",)]


@pytest.mark.parametrize("setting", ["statement_timeout = '30s'"], indirect=True)
@pytest.mark.usefixtures("setting")
def test_a_migration_behind_pgbouncer_leaves_no_setting_to_other_clients(stores: Stores) -> None:
    server = shared_postgres()
    with run_pgbouncer(server, pool_size=1) as port:
        store = stores.open(stores.url.replace(f":{server.port}/", f":{port}/"))
        store.migrate()
        assert store._calls.fetch("SELECT current_setting('statement_timeout')", ()) == [("30s",)]
        store.close()


def test_options_of_libpq_are_passed_on_as_they_are(stores: Stores) -> None:
    """In libpq's URLs, a plus sign is no space."""
    store = store_from_url(f"{stores.url}?schema={stores.schema}&application_name=a+b%20%2526&max_threads=5")
    assert isinstance(store, PostgresStore)
    assert store._calls.fetch("SELECT current_setting('application_name')", ()) == [("a+b %26",)]
    store.close()


def test_a_clock_that_was_set_forward_concerns_no_request(stores: Stores) -> None:
    """All connections have measured the server's clock before."""
    store = stores.open(max_connections=6)
    store.migrate()
    connections = store._connections
    process = connections._process()
    opened = [connections._acquire(process, time.monotonic() + BOUND_SECONDS) for _ in range(6)]
    for db in opened:
        db.clock_offset -= 3600
        connections._release(process, db)
    eventually(lambda: process.pool.get_stats()["pool_available"] == 6)
    store_run(store)


# --- more threads than connections ---


def test_connections_are_used_in_turn(stores: Stores) -> None:
    """Who has waited longest is next, however often the pool is asked meanwhile."""
    store = stores.open(max_connections=1, timeout_seconds=BOUND_SECONDS)
    store.migrate()
    turns = store._connections._process().turns
    stores.execute("SELECT pg_advisory_lock(hashtext(%s))", stores.schema)
    order: list[int] = []

    def work(index: int) -> None:
        store._calls.fetch("SELECT pg_advisory_lock_shared(hashtext(%b))", (stores.schema,))
        order.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for count, thread in enumerate(threads):
        thread.start()
        eventually(partial(lambda expected: turns.waiting == expected and not turns.free, count))
    stores.execute("SELECT pg_advisory_unlock(hashtext(%s))", stores.schema)
    for thread in threads:
        thread.join(BOUND_SECONDS)
    assert order == list(range(6))
    assert (turns.free, turns.waiting) == (1, 0)


def test_semaphore_that_is_not_acquired_in_time_is_left_to_others() -> None:
    semaphore = FairSemaphore(1)
    assert semaphore.acquire(0)
    assert not semaphore.acquire(0.01)
    assert semaphore.waiting == 0
    semaphore.release()
    assert semaphore.acquire(0)


@pytest.mark.parametrize("is_passed_on", [False, True])
def test_semaphore_whose_waiter_is_interrupted_is_left_to_others(
    monkeypatch: pytest.MonkeyPatch, is_passed_on: bool
) -> None:
    semaphore = FairSemaphore(1)
    assert semaphore.acquire(0)

    class Interrupted(threading.Event):
        def wait(self, timeout: Any = None) -> bool:
            if is_passed_on:
                semaphore.release()
            raise KeyboardInterrupt

    monkeypatch.setattr(threading, "Event", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        semaphore.acquire(1)
    assert (semaphore.free, semaphore.waiting) == (int(is_passed_on), 0)
