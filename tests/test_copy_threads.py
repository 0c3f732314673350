"""Threads that are moved from one store to another: the command, what it leaves out, and what it costs."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime._cli.main import main
from copilot_runtime.stores import MemoryStore, RunStore, SqliteStore, StoreError, copy_threads, store_from_url
from copilot_runtime.stores.portable import ImportOutcome, PortableThread
from copilot_runtime.stores.protocol import ThreadKey, ThreadQuery
from copilot_runtime.testing import RunResult, TestClient
from copilot_runtime.testing._factories import (
    ADA,
    BOB,
    T1,
    T2,
    begin,
    list_thread_ids,
    message_events,
    record_run,
    store_run,
)

from .shared_stores import SharedStore, open_store
from .unit.store_helpers import recomputed
from .workers import eventually

pytestmark = pytest.mark.requirement("COPY-01")

FROM, TO = "sqlite:///from.db", "sqlite:///to.db"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def source() -> SqliteStore:
    """Three threads, the second of which has two runs."""
    store = SqliteStore("from.db")
    for number in range(3):
        store_run(store, ThreadKey(ADA, f"t{number}"))
    store_run(store)
    return store


def run_command(source: str = FROM, target: str = TO) -> int:
    return main(["copy-threads", source, target])


def all_threads(store: RunStore, *owners: str) -> Mapping[str, Any]:
    return {owner: store.threads(owner, ThreadQuery(include_archived=True)) for owner in owners or (ADA, BOB)}


# --- the command ---


def test_copy_threads_prints_what_was_copied(source: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    source.update(T1, name="first")
    assert run_command() == 0
    assert capsys.readouterr() == ("3 threads copied\nIn total 4 runs and 6 messages copied\n", "")
    assert all_threads(SqliteStore("to.db")) == all_threads(source)


def test_copy_threads_again_copies_what_has_changed(source: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A first time while the application runs, and once more when it has ended."""
    run_command()
    store_run(source, T2, "m2")
    store_run(source, ThreadKey(BOB, "new"))
    capsys.readouterr()
    assert run_command() == 0
    assert capsys.readouterr() == (
        "1 thread copied\n"
        "1 thread copied again, since it was continued or changed after it had been copied\n"
        "2 threads already there\n"
        "In total 3 runs and 4 messages copied\n",
        "",
    )
    assert all_threads(SqliteStore("to.db")) == all_threads(source)


def test_copy_threads_from_an_empty_store(capsys: pytest.CaptureFixture[str]) -> None:
    SqliteStore("from.db")
    assert run_command() == 0
    assert capsys.readouterr().out == "FROM has no threads\nIn total 0 runs and 0 messages copied\n"


def test_copy_threads_reports_an_active_run(source: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    lease = begin(source, T1, "active").lease
    alone = begin(source, ThreadKey(BOB, "alone"), "alone").lease
    assert run_command() == 1
    out, err = capsys.readouterr()
    assert "2 active runs left out" in out
    assert f"thread t1 of {ADA}: its active run active was left out\n" in err
    assert f"thread alone of {BOB}: its active run alone was left out\n" in err
    target = SqliteStore("to.db")
    assert len(target.read(T1).runs) == 2
    assert target.read(T1).live is None
    assert list_thread_ids(target, BOB) == []
    for ended in (lease, alone):
        source.finish(ended, *record_run(ended, message_events("m3")))
    assert run_command() == 0
    assert all_threads(target) == all_threads(source)


def test_copy_threads_leaves_what_the_target_has_continued(
    source: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command()
    target = SqliteStore("to.db")
    store_run(target, T1, "theirs")
    begin(target, T2)
    before = all_threads(target)
    store_run(source, T1, "ours")
    store_run(source, T2, "ours")
    assert run_command() == 1
    err = capsys.readouterr().err
    assert f"thread t1 of {ADA}: {ImportOutcome.DIVERGED.value}\n" in err
    assert f"thread t2 of {ADA}: {ImportOutcome.BUSY.value}\n" in err
    assert "copilot-runtime: TO does not have everything that FROM has" in err
    assert all_threads(target) == before


def test_copy_threads_goes_on_after_a_damaged_thread(source: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect("from.db")) as db, db:
        db.execute("UPDATE runs SET records = x'00' WHERE thread = (SELECT id FROM threads WHERE thread_id = 't1')")
    assert run_command() == 1
    out, err = capsys.readouterr()
    assert "1 thread not copied: damaged\n" in out
    assert f"thread t1 of {ADA}: not copied: what is stored of it is damaged\n" in err
    assert sorted(list_thread_ids(SqliteStore("to.db"))) == ["t0", "t2"]


@pytest.mark.parametrize("column", ["owner", "thread_id", "agent_id", "name", "ordinal", "used_at", "message_ids"])
def test_copy_threads_goes_on_after_a_damaged_column(source: SqliteStore, column: str) -> None:
    for value in ("CAST(x'ff00fe' AS TEXT)", "9e999"):
        for file, condition in (("from.db", "thread_id = 't1'"), ("to.db", "thread_id = 't2'")):
            SqliteStore(file)
            with closing(sqlite3.connect(file)) as db, db:
                db.execute(f"UPDATE threads SET {column} = {value} WHERE {condition}")
        copy_threads(source, SqliteStore("to.db"))
    assert "t0" in list_thread_ids(SqliteStore("to.db"))


def test_copy_threads_stops_at_a_limit(source: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(target=f"{TO}?max_threads=2") == 1
    assert "TO has no room for more threads: max_threads=2 is not enough, at least 3" in capsys.readouterr().err
    assert sorted(list_thread_ids(SqliteStore("to.db"))) == ["t0", "t1"]
    assert run_command(target=f"{TO}?max_runs_per_thread=1") == 0, "the thread with two runs is there already"
    assert all_threads(SqliteStore("to.db")) == all_threads(source)


def test_copy_threads_stops_at_max_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    source = SqliteStore("from.db")
    for number in range(40):
        lease = begin(source, ThreadKey(ADA, f"t{number}")).lease
        source.finish(lease, *record_run(lease, message_events(delta="x" * 50_000)))
    assert run_command(target=f"{TO}?max_bytes=1500000") == 1
    assert "max_bytes=1500000 is not enough" in capsys.readouterr().err
    copied = list_thread_ids(SqliteStore("to.db"))
    assert 5 < len(copied) < 20
    assert os.stat("to.db").st_size < 2_000_000


def test_copy_threads_escapes_what_it_prints(source: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    begin(source, ThreadKey("", "a\r\x1b[2Jb"), "r\n")
    assert run_command() == 1
    assert "thread a\\r\\x1b[2Jb: its active run r\\n was left out\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("memory://", TO, "FROM: the threads of memory://"),
        (FROM, "memory://", "TO: the threads of memory://"),
        (FROM, f"{FROM}?max_threads=7", "the same store"),
        (FROM, TO, "there is no file from.db"),
        ("from.db", TO, "use one of memory://, sqlite://"),
        (FROM, "sqlite:///missing/to.db", "missing does not exist"),
    ],
)
def test_copy_threads_refuses_urls(source: str, target: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "missing" in target:
        SqliteStore("from.db")
    assert run_command(source, target) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("copilot-runtime: ")
    assert message in err
    assert not os.path.exists("to.db")


def test_copy_threads_interrupted_before_the_first_thread(
    source: SqliteStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_store(url: str) -> RunStore:
        raise KeyboardInterrupt

    monkeypatch.setattr("copilot_runtime._cli.copy_threads.store_from_url", open_store)
    assert run_command() == 130
    assert "Interrupted" in capsys.readouterr().err


def test_copy_threads_waits_longer_than_requests(source: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """For large threads, and for a server that restarts meanwhile."""
    opened: list[str] = []

    def open_store(url: str) -> RunStore:
        opened.append(url)
        return store_from_url(url)

    monkeypatch.setattr("copilot_runtime._cli.copy_threads.store_from_url", open_store)
    assert run_command(FROM, f"{TO}?max_threads=9&timeout_seconds=7") == 0
    assert opened == [f"{FROM}?timeout_seconds=30", f"{TO}?max_threads=9&timeout_seconds=7"]


@pytest.mark.stores("sqlite", "postgres", "redis")
def test_copy_threads_can_be_killed_and_repeated(shared_store: SharedStore) -> None:
    source = SqliteStore("from.db")
    for number in range(150):
        store_run(source, ThreadKey(ADA, f"t{number}"))
    target = open_store(shared_store)
    command = [sys.executable, "-m", "copilot_runtime", "copy-threads", FROM, shared_store.url()]
    process = subprocess.Popen(command)
    eventually(lambda: list_thread_ids(target), seconds=30)
    process.kill()
    process.wait()
    for info in target.threads(ADA, ThreadQuery()).threads:
        key = ThreadKey(ADA, info.thread_id)
        assert target.read(key).runs == source.read(key).runs
        assert target.messages(key) == source.messages(key)
    assert run_command(FROM, shared_store.url()) == 0
    about: Any = partial(pytest.approx, abs=0.001)  # not every store keeps all digits of a time
    expected = [
        dataclasses.replace(info, created_at=about(info.created_at), updated_at=about(info.updated_at))
        for info in source.threads(ADA, ThreadQuery()).threads
    ]
    assert list(target.threads(ADA, ThreadQuery()).threads) == expected


def test_copy_threads_while_the_source_is_in_use() -> None:
    source, target = SqliteStore("from.db"), SqliteStore("to.db")
    random = Random(7)
    has_to_end = threading.Event()

    def use() -> None:
        store = SqliteStore("from.db")
        number = 0
        while not has_to_end.is_set():
            number += 1
            key = ThreadKey(random.choice((ADA, BOB)), f"t{random.randrange(20)}")
            store_run(store, key, f"m{number}")
            store.update(key, name=f"n{number}", archived=number % 3 == 0)

    user = threading.Thread(target=use)
    user.start()
    outcomes: Counter[ImportOutcome] = Counter()

    def copy() -> bool:
        outcomes.update(copy_threads(source, target).outcomes)
        return outcomes[ImportOutcome.REPLACED] > 20

    try:
        eventually(copy, seconds=30)
    finally:
        has_to_end.set()
        user.join()
    copy()
    assert outcomes.keys() <= {ImportOutcome.CREATED, ImportOutcome.REPLACED, ImportOutcome.UNCHANGED}
    assert all_threads(target) == all_threads(source)
    for owner in (ADA, BOB):
        for thread_id in list_thread_ids(source, owner, include_archived=True):
            key = ThreadKey(owner, thread_id)
            assert target.export_thread(key) == source.export_thread(key)


def test_copy_threads_takes_names_from_the_source_and_restores_deleted_threads(source: SqliteStore) -> None:
    """Nothing tells on which side a thread was renamed, or whether a missing one was deleted."""
    run_command()
    target = SqliteStore("to.db")
    target.update(ThreadKey(ADA, "t0"), name="renamed", archived=True)
    target.delete(ThreadKey(ADA, "t2"))
    assert run_command() == 0
    assert all_threads(target) == all_threads(source)


class Failing(SqliteStore):
    """A store that fails once it has imported two threads."""

    failure: BaseException = StoreError("to.db: \rno more")
    left = 2

    def import_thread(self, thread: PortableThread) -> ImportOutcome:
        if not self.left:
            raise self.failure
        self.left -= 1
        return super().import_thread(thread)


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (StoreError("to.db: \rno more"), 1, "A store is not working: to.db: \\rno more. What was copied is complete"),
        (KeyboardInterrupt(), 130, "Interrupted. What was copied is complete"),
    ],
)
def test_copy_threads_prints_what_was_copied_before_a_failure(
    failure: BaseException,
    code: int,
    message: str,
    source: SqliteStore,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def open_store(url: str) -> RunStore:
        return Failing("to.db") if url.startswith(TO) else store_from_url(url)

    monkeypatch.setattr(Failing, "failure", failure)
    monkeypatch.setattr("copilot_runtime._cli.copy_threads.store_from_url", open_store)
    assert run_command() == code
    out, err = capsys.readouterr()
    assert out == "2 threads copied\nIn total 3 runs and 4 messages copied\n"
    assert message in err


# --- what was copied ---


def agent(input: Any) -> Iterator[dict[str, Any]]:
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "STATE_SNAPSHOT", "snapshot": {"n": len(input.messages)}}
    for number in range(3):
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"a{input.run_id}", "delta": f"{number}"}
    yield {"type": "RUN_FINISHED", **ids}


def make_client(store: RunStore) -> TestClient:
    return TestClient(CopilotRuntime(agents={"a": agent}, single_user=True, store=store), timeout_seconds=10)


def test_a_copied_thread_is_replayed_and_continued_as_before() -> None:
    source, target = SqliteStore("from.db"), SqliteStore("to.db")

    def look(client: TestClient) -> tuple[RunResult, Any, Any]:
        replay = client.connect("a", "t")
        return replay, client.thread_messages("t"), client.threads()

    with make_client(source) as client:
        client.run("a", "one", thread_id="t", run_id="r1")
        client.run("a", "two", thread_id="t", run_id="r2")
        replay, *rest = look(client)
    copy_threads(source, target)
    with make_client(target) as client:
        copied, *copied_rest = look(client)
        assert copied.body == replay.body
        assert copied_rest == rest
        assert replay.last_event_id is not None
        assert client.connect("a", "t", last_event_id=replay.last_event_id).events == (), "nothing is replayed twice"
        assert client.run("a", "three", thread_id="t", run_id="r3").error is None
        assert len(client.threads()) == 1


def with_last_ids(thread: PortableThread) -> PortableThread:
    """Returns a thread whose runs have only ids that no later run has, as some stores keep them."""
    in_events = {text: run.ordinal for run in thread.runs for text in run.event_messages}
    in_inputs = {text: run.ordinal for run in thread.runs for text in run.input_messages}
    runs = [
        dataclasses.replace(
            run,
            event_messages={text for text, last in in_events.items() if last == run.ordinal},
            input_messages={text for text, last in in_inputs.items() if last == run.ordinal},
        )
        for run in thread.runs
    ]
    return dataclasses.replace(thread, runs=runs)


@pytest.mark.stores("sqlite", "postgres", "redis")
def test_copy_threads_to_each_store_and_back(
    shared_store: SharedStore, source: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    def exported(store: SqliteStore) -> list[PortableThread]:
        threads = [store.export_thread(ThreadKey(ADA, f"t{number}")) for number in range(3)]
        return [with_last_ids(thread) for thread in threads if thread is not None]

    source.update(T1, name="ü", archived=True)
    with closing(sqlite3.connect("from.db")) as db, db:  # not every store keeps all digits of a time
        db.execute("UPDATE threads SET created_at = 1e9, updated_at = 1e9 + id, used_at = 1e9 + 2 * id")
        db.execute("UPDATE runs SET started_at = 1e9 + ordinal, ended_at = 1e9 + ordinal + 0.5")
    url = shared_store.url()
    assert run_command(FROM, url) == 0
    assert run_command(FROM, url) == 0
    assert capsys.readouterr().out.endswith("3 threads already there\nIn total 0 runs and 0 messages copied\n")
    assert run_command(url, TO) == 0
    target = SqliteStore("to.db")
    assert exported(target) == exported(source)


# --- what it costs ---


def test_copied_threads_are_counted_like_others(source: SqliteStore) -> None:
    def totals(file: str) -> list[Any]:
        with closing(sqlite3.connect(file)) as db:
            return [
                db.execute(sql).fetchall()
                for sql in (
                    "SELECT thread_id, runs, bytes FROM threads ORDER BY thread_id",
                    "SELECT name, value FROM counters ORDER BY name",
                    "SELECT owner, threads, bytes FROM owners ORDER BY owner",
                )
            ]

    source.update(T1, name="ü")
    with closing(sqlite3.connect("from.db")) as db, db:
        db.execute("UPDATE runs SET raw_until = 1")
    source.sweep()
    between, target, memory = SqliteStore("between.db"), SqliteStore("to.db"), MemoryStore()
    # Which stores the messages of the last runs, too, that are among their events otherwise.
    copy_threads(source, between)
    assert totals("between.db")[1:] > totals("from.db")[1:]
    copy_threads(between, target)
    assert totals("to.db") == totals("between.db")
    copy_threads(target, memory)
    assert memory._table.size == recomputed(memory)
    for thread_id in list_thread_ids(target):
        target.delete(ThreadKey(ADA, thread_id))
    assert totals("to.db")[1] == [("bytes", 0), ("owners", 0), ("threads", 0)]


def peak_of(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_copy_threads_keeps_one_thread_in_memory() -> None:
    def copy(number: int) -> int:
        source, target = SqliteStore(f"from{number}.db"), SqliteStore(f"to{number}.db")
        for index in range(number):
            lease = begin(source, ThreadKey(ADA, f"t{index}")).lease
            source.finish(lease, *record_run(lease, message_events(delta="x" * 20_000)))
        return peak_of(lambda: copy_threads(source, target))

    copy(1)
    assert copy(80) < 1.5 * copy(20)
