"""A SQLite file whose rows were damaged: by a disk, or by another program that has written to it.

No request fails with 500 or shows what is damaged, threads can be deleted, and others are not concerned.
"""

from __future__ import annotations

import gc
import shutil
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime._engine import orphans
from copilot_runtime._engine.async_store import AsyncStore
from copilot_runtime._engine.remote_runs import RemoteRunFollower
from copilot_runtime._events import is_terminal
from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores._sqlite import run_begins
from copilot_runtime.stores._sqlite.schema import migrate
from copilot_runtime.stores.protocol import (
    Batch,
    LeaseLost,
    LeaseSignal,
    RunEnd,
    RunKey,
    StoreError,
    ThreadKey,
    ThreadQuery,
    ThreadUnreadable,
)
from copilot_runtime.testing import TestClient
from copilot_runtime.testing._factories import (
    ADA,
    append_one,
    begin,
    list_thread_ids,
    message_events,
    record_run,
    store_run,
)

from .engine_helpers import bounded, settled
from .store_helpers import (
    check_lost_run_is_ended,
    check_only_the_run_is_lost,
    check_run_stays_with_its_process,
    lose_run,
)

pytestmark = pytest.mark.requirement("STORE-11")

OWNER = ""
ENDED, LOST, OTHER = (ThreadKey(OWNER, name) for name in ("ended", "lost", "other"))
TABLES = ("threads", "live", "runs", "frames", "messages", "garbage", "counters", "owners")
VALUES = ("CAST(x'ff00fe' AS TEXT)", "9e999")
"""As SQL."""


def agent(input: Any) -> Iterator[dict[str, Any]]:
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}}
    yield {"type": "TEXT_MESSAGE_START", "messageId": input.run_id, "role": "assistant"}
    yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": input.run_id, "delta": "Hello"}
    yield {"type": "TEXT_MESSAGE_END", "messageId": input.run_id}
    yield {"type": "RUN_FINISHED", **ids}


def make_client(path: Path) -> TestClient:
    return TestClient(
        CopilotRuntime(agents={"a": agent}, single_user=True, store=SqliteStore(path, lease_seconds=0.3)),
        timeout_seconds=5,
    )


def execute(path: Path, *statements: str) -> list[Any]:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        return [db.execute(statement).fetchall() for statement in statements]
    finally:
        db.close()


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a thread whose run has ended, and one whose run was lost."""
    path = tmp_path_factory.mktemp("intact") / "threads.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_begins, "first_ordinal", lambda: 1)
        with make_client(path) as client:
            client.run("a", "hi", thread_id="ended", run_id="r1")
        lease = begin(SqliteStore(path, lease_seconds=0.001), LOST, "r").lease
    store = SqliteStore(path)
    for frame in record_run(lease, message_events())[0][:3]:
        append_one(store, lease, [frame])
    execute(path, "INSERT INTO garbage (frames_id) VALUES (3)", "PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def responses(client: TestClient, thread: str) -> Iterator[tuple[str, int, bytes]]:
    """Calls every endpoint that reads a thread, and yields what was called, the status and the body."""
    for last in (None, "1.3"):
        result = client.connect("a", thread, last_event_id=last, check=False)
        yield f"connect {last}", result.status, result.body
    for method, path, body in (
        ("GET", "/threads", None),
        ("POST", f"/agent/a/stop/{thread}", None),
        ("GET", f"/threads/{thread}/messages", None),
        ("GET", f"/threads/{thread}/events", None),
        ("GET", f"/threads/{thread}/state", None),
        ("PATCH", f"/threads/{thread}", {"name": "n"}),
        ("POST", f"/threads/{thread}/archive", None),
        ("GET", "/threads?includeArchived=true&limit=1", None),
    ):
        response = client.request(method, path, body, check=False)
        yield f"{method} {path}", response.status, response.body
    result = client.run("a", "and now?", thread_id=thread, run_id="r2", check=False)
    yield "run", result.status, result.body


def columns() -> Iterator[tuple[str, str]]:
    db = sqlite3.connect(":memory:")
    migrate(db)
    for table in TABLES:
        for _, name, *_ in db.execute(f"PRAGMA table_info({table})"):
            yield table, name
    db.close()


@pytest.mark.parametrize(("table", "column"), list(columns()))
def test_damaged_column(table: str, column: str, intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "REAP_GRACE_SECONDS", 0.0)
    for number, value in enumerate(VALUES):
        path = tmp_path / f"{number}.db"
        shutil.copy(intact, path)
        try:
            execute(path, f"UPDATE {table} SET {column} = {value}")
        except sqlite3.IntegrityError:
            continue  # which the schema does not allow
        with make_client(path) as client:
            for thread in ("ended", "lost"):
                for called, status, body in responses(client, thread):
                    case = f"{value}: {called}: {status} {body!r:.300}"
                    assert status < 500 or (status == 503 and b"store_unavailable" in body), case
            for thread in ("ended", "lost"):
                response = client.request("DELETE", f"/threads/{thread}", check=False)
                assert response.status in (204, 404), f"{value}: {response.status} {response.body!r}"
            assert client.request("POST", "/threads/clear").status == 204
            assert client.threads() == []
            result = client.run("a", "hi", thread_id="other", run_id="r3")
            assert result.error is None, value
            assert client.connect("a", "other").text == "Hello"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE frames SET frames = CAST(substr(frames, 1, length(frames) - 9) AS BLOB)",
        "UPDATE frames SET frames = replace(frames, 'Hello', 'Jello')",
        "DELETE FROM frames WHERE first = 2",
        "UPDATE runs SET records = CAST(replace(records, 'Hello', 'Jello') AS BLOB)",
        "UPDATE messages SET message = replace(message, 'hi', 'ho')",
        "DELETE FROM messages",
    ],
)
def test_damage_that_is_not_visible_in_types_is_found(statement: str, intact: Path, tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    shutil.copy(intact, path)
    execute(path, statement)
    store = SqliteStore(path)
    reads = (
        lambda: store.read(ENDED, raw_ordinal=1),
        lambda: store.messages(ENDED),
        lambda: store.claim(RunKey(LOST, 1), force=True),
    )
    failures = 0
    for read in reads:
        try:
            read()
        except ThreadUnreadable:
            failures += 1
    assert failures > 0
    assert store.delete(ENDED)
    assert list_thread_ids(store, OWNER) == []


@pytest.mark.parametrize("column", ["thread_id", "agent_id", "name", "created_at"])
def test_damaged_thread_does_not_hide_others_in_the_list(column: str, intact: Path, tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    shutil.copy(intact, path)
    store = SqliteStore(path)
    store_run(store, OTHER)
    execute(path, f"UPDATE threads SET {column} = CAST(x'ff00fe' AS TEXT) WHERE thread_id = 'ended'")
    assert list_thread_ids(store, OWNER) == [OTHER.thread_id]


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("column", ["thread_id", "agent_id", "created_at", "updated_at"])
@pytest.mark.parametrize("first", [1, 4], ids=["whole list", "all but the newest"])
def test_damaged_threads_that_fill_a_page_do_not_end_the_list(
    first: int, column: str, limit: int, intact: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "threads.db"
    shutil.copy(intact, path)
    store = SqliteStore(path)
    threads = [f"t{number}" for number in range(12)]
    for thread in reversed(threads):  # the first was updated last
        store_run(store, ThreadKey(ADA, thread))
    damaged = [thread for number, thread in enumerate(threads) if first <= number + 1 < first + 6]
    for number, thread in enumerate(damaged):  # different ones, since the ids of an owner's threads are unique
        value = f"CAST(x'ff{number:02x}fe' AS TEXT)"
        execute(path, f"UPDATE threads SET {column} = {value} WHERE owner = '{ADA}' AND thread_id = '{thread}'")
    listed: list[str] = []
    query = ThreadQuery(limit=limit)
    pages = 0
    while True:
        page = store.threads(ADA, query)
        pages += 1
        listed += [info.thread_id for info in page.threads]
        if page.next_cursor is None:
            break
        query = ThreadQuery(limit=limit, cursor=page.next_cursor)
    assert listed == [thread for thread in threads if thread not in damaged]
    assert pages == 6 // limit
    # One line a page at most, however many threads are damaged.
    assert 0 < len(caplog.records) <= pages


@bounded
async def test_damaged_run_does_not_keep_others_from_being_followed(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    owner, here = SqliteStore(path), SqliteStore(path, poll_seconds=0.001)
    leases = [begin(owner, key).lease for key in (ENDED, OTHER)]
    for lease in leases:
        append_one(owner, lease, record_run(lease, message_events())[0][:2])

    async def reap_lost(run: RunKey) -> None:
        raise StoreError("not expected")

    follower = RemoteRunFollower(here, AsyncStore(here), reap_lost)
    damaged, other = (follower.log(lease.run, "r", "a") for lease in leases)
    await settled(lambda: bool(damaged.frames and other.frames))
    execute(path, "UPDATE live SET duplicates = 'x' WHERE token = (SELECT min(token) FROM live)")
    frames, completion = record_run(leases[1], message_events())
    owner.finish(leases[1], frames[2:], completion)
    await settled(lambda: damaged.ended and other.ended)
    assert list(other.frames) == frames
    assert is_terminal(damaged.frames[-1])


def test_damaged_numbers_do_not_keep_runs_from_being_polled(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    store = SqliteStore(path)
    leases = [begin(store, ThreadKey(ADA, name)).lease for name in ("a", "b")]
    execute(path, f"UPDATE live SET stopping = {2**63 - 1}")  # whose sum is no integer of SQLite's
    assert set(store.poll_signals(leases).values()) == {LeaseSignal.STOP}


@pytest.mark.parametrize("count", [1, 3])
def test_damaged_run_leaves_nothing_to_the_garbage_collector(count: int, tmp_path: Path) -> None:
    path = tmp_path / "copilot.db"
    store = SqliteStore(path)
    leases = [begin(store, ThreadKey(OWNER, str(number))).lease for number in range(count)]
    execute(path, f"UPDATE live SET frames = 'x' WHERE token = {leases[0].token}")
    gc.disable()
    try:
        results = store.write_runs([RunEnd(lease, *record_run(lease, message_events("m"))) for lease in leases])
        error = results[0]
        assert isinstance(error, ThreadUnreadable)
        reference = weakref.ref(error)
        del error, results
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("value", "is_refused"), [("'x'", True), ("x'00'", True), ("1.5", True), ("0", True), ("9", False)]
)
def test_damaged_run_does_not_keep_others_from_being_appended_to(value: str, is_refused: bool, tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    store = SqliteStore(path)
    damaged, other = leases = [begin(store, ThreadKey(ADA, name)).lease for name in ("a", "b")]
    for number in (1, 2):
        refused = store.append([Batch(lease, [b"data: %d\n\n" % number], frame_count=number) for lease in leases])
        execute(path, f"UPDATE live SET frames = {value} WHERE token = {damaged.token}")
    assert {lease: type(why) for lease, why in refused.items()} == ({damaged: LeaseLost} if is_refused else {})
    assert store.follow(other.run, 0).frames == [b"data: 1\n\n", b"data: 2\n\n"]


@pytest.mark.parametrize("value", ["'x'", "x'00'", "0.5"])
def test_damaged_request_to_stop_is_one(value: str, tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    store = SqliteStore(path)
    lease = begin(store, OTHER).lease
    execute(path, f"UPDATE live SET stopping = {value}")
    live = store.read(OTHER).live
    assert live is not None
    assert live.stopping
    assert store.poll_signals([lease]) == {lease: LeaseSignal.STOP}


@pytest.mark.parametrize(
    "damage",
    [
        "runs SET records = x'ff00fe'",
        "messages SET message = CAST(x'ff00fe' AS TEXT)",
        "threads SET message_ids = CAST(x'ff00fe' AS TEXT)",
        "threads SET recent_ids = CAST(x'ff00fe' AS TEXT)",
        "threads SET messages_run = CAST(x'ff00fe' AS TEXT)",
        "frames SET frames = x'ff00fe'",
        "frames SET first = first + 5 WHERE first > 1",
        "live SET frames = frames + 1",
        "live SET frames = 'x'",
        "live SET frames = 9e999",
        "live SET frames_id = CAST(x'ff00fe' AS TEXT)",
        "live SET frames_bytes = 'x', counted_bytes = 'x'",
        "live SET frames_bytes = 9e999, counted_bytes = 9e999",
    ],
)
def test_lost_run_of_a_damaged_thread_is_ended(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    store = SqliteStore(path)
    lease = lose_run(store)
    execute(path, "UPDATE live SET expires_at = 1", f"UPDATE {damage}")
    check_lost_run_is_ended(store, lease)


@pytest.mark.parametrize(
    "damage",
    [
        "messages SET message = CAST(x'ff00fe' AS TEXT)",
        "threads SET recent_ids = CAST(x'ff00fe' AS TEXT)",
        "frames SET frames = x'ff00fe'",
    ],
)
def test_run_of_a_damaged_thread_is_not_taken_from_its_process(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    store = SqliteStore(path)
    lease = lose_run(store)
    execute(path, f"UPDATE {damage}")
    check_run_stays_with_its_process(store, lease)


@pytest.mark.parametrize(
    "damage", ["frames SET frames = x'ff00fe' WHERE frames_id IN (SELECT frames_id FROM live)", "live SET frames = 'x'"]
)
def test_thread_goes_on_if_only_a_lost_run_is_damaged(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    store = SqliteStore(path)
    lease = lose_run(store)
    execute(path, "UPDATE live SET expires_at = 1", f"UPDATE {damage}")
    check_only_the_run_is_lost(store, lease)
