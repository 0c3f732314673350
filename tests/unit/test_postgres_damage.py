"""PostgreSQL tables whose rows were damaged: by a disk, or by another program that has written to them.

No request fails with 500 or shows what is damaged, threads can be deleted, and others are not concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime._engine import orphans
from copilot_runtime.stores.protocol import ThreadUnreadable
from copilot_runtime.testing import TestClient
from copilot_runtime.testing._factories import append_one, begin, message_events, record_run, store_run

from .postgres_helpers import Stores
from .store_helpers import (
    check_lost_run_is_ended,
    check_only_the_run_is_lost,
    check_run_stays_with_its_process,
    lose_run,
)
from .test_damaged_rows import ENDED, LOST, OTHER, agent, responses

pytestmark = pytest.mark.requirement("STORE-11")

TABLES = ("threads", "live", "runs", "frames", "messages", "garbage", "usage")
DAMAGE = [
    "live SET frames = -1",
    "live SET thread = 4000000000",
    "live SET frames_id = -1",
    "live SET duplicates = '{x'",
    "live SET expires_at = 'infinity'",
    "live SET lease_seconds = 'NaN'",
    "runs SET event_messages = '{x'",
    "runs SET frames = 2000000000",
    "runs SET records = ''",
    "runs SET raw_until = 'infinity'",
    "threads SET runs = -1",
    "threads SET bytes = -1, messages_bytes = 4000000000",
    "threads SET updated_at = 'infinity' WHERE thread_id = 'ended'",
    "threads SET active = NOT active",
    "frames SET first = first + 5",
    "messages SET message = 'x'",
    "usage SET threads = -1, bytes = -1, owners = -1",
]


def make_client(stores: Stores) -> TestClient:
    store = stores.open(lease_seconds=0.3)
    return TestClient(CopilotRuntime(agents={"a": agent}, single_user=True, store=store), timeout_seconds=5)


@pytest.fixture(scope="module")
def damaged() -> Iterator[Stores]:
    stores = Stores()
    yield stores
    stores.close()


def fill(stores: Stores) -> None:
    """Leaves a thread whose run has ended, and one whose run was lost."""
    store = stores.open()
    store.migrate()
    stores.execute(f"TRUNCATE {', '.join(TABLES)}, usage_changes")
    stores.execute("INSERT INTO usage (owner_key) VALUES ('')")
    with make_client(stores) as client:
        client.run("a", "hi", thread_id="ended", run_id="r1")
    lease = begin(stores.open(lease_seconds=0.001), LOST, "r").lease
    for frame in record_run(lease, message_events())[0][:3]:
        append_one(store, lease, [frame])
    stores.execute("INSERT INTO garbage (frames_id) VALUES (3)")


def test_damaged_columns(damaged: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "REAP_GRACE_SECONDS", 0.0)
    for damage in DAMAGE:
        damaged.close()
        fill(damaged)
        damaged.execute(f"UPDATE {damage}")
        check(damaged, damage)


def check(stores: Stores, what: str) -> None:
    with make_client(stores) as client:
        for thread in ("ended", "lost"):
            for called, status, body in responses(client, thread):
                case = f"{what}: {called}: {status} {body!r:.300}"
                assert status < 500 or (status == 503 and b"store_unavailable" in body), case
        for thread in ("ended", "lost"):
            response = client.request("DELETE", f"/threads/{thread}", check=False)
            assert response.status in (204, 404), f"{what}: {response.status} {response.body!r}"
        assert client.request("POST", "/threads/clear").status == 204
        assert client.threads() == [], what
        result = client.run("a", "hi", thread_id="other", run_id="r3")
        assert result.error is None, what
        assert client.connect("a", "other").text == "Hello"


def is_unreadable(use: Callable[[], object]) -> bool:
    try:
        use()
    except ThreadUnreadable:
        return True
    return False


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE frames SET frames = substr(frames, 1, length(frames) - 9)",
        "DELETE FROM frames WHERE first = 2",
        "UPDATE runs SET records = substr(records, 1, length(records) - 9)",
        "UPDATE messages SET message = replace(message, 'Hello', 'Jello')",
        "UPDATE runs SET event_messages = '[1]'",
        "UPDATE runs SET duplicates = '{}'",
    ],
)
def test_damaged_rows_are_recognised_and_concern_one_thread(stores: Stores, statement: str) -> None:
    store = stores.open()
    store_run(store, ENDED)
    lease = begin(store, LOST).lease
    for frame in record_run(lease, message_events())[0][:3]:
        append_one(store, lease, [frame])
    stores.execute(statement)
    store_run(store, OTHER)
    [run] = store.read(OTHER).runs
    assert is_unreadable(lambda: store.read_with_messages(ENDED)) == (
        is_unreadable(lambda: store.read(ENDED)) or is_unreadable(lambda: store.messages(ENDED))
    )
    uses: list[Any] = [
        lambda: store.read(ENDED),
        lambda: store.messages(ENDED),
        lambda: store.follow(lease.run, 0),
        lambda: store.claim(lease.run, force=True),
        lambda: begin(store, ENDED),
        lambda: store.read(
            ENDED,
            raw_ordinal=stores.execute(
                "SELECT max(runs.ordinal) FROM runs JOIN threads ON id = thread WHERE thread_id = 'ended'"
            )[0][0],
        ),
    ]
    assert [use for use in uses if is_unreadable(use)]
    assert store.read(OTHER).runs == [run]
    assert store.delete(ENDED)


@pytest.mark.parametrize(
    "damage",
    [
        "runs SET records = ''",
        "runs SET event_messages = '{x'",
        "messages SET message = 'x'",
        "frames SET frames = substr(frames, 1, length(frames) - 9)",
        "frames SET first = first + 5 WHERE first > 1",
        "live SET frames = frames + 1",
        "live SET frames_id = -1",
        "live SET frames_bytes = -1, counted_bytes = -1",
    ],
)
def test_lost_run_of_a_damaged_thread_is_ended(stores: Stores, damage: str) -> None:
    store = stores.open()
    lease = lose_run(store)
    stores.execute("UPDATE live SET expires_at = to_timestamp(1)")
    stores.execute(f"UPDATE {damage}")
    check_lost_run_is_ended(store, lease)


@pytest.mark.parametrize(
    "damage",
    [
        "runs SET event_messages = '{x'",
        "messages SET message = 'x'",
        "frames SET frames = substr(frames, 1, length(frames) - 9)",
    ],
)
def test_run_of_a_damaged_thread_is_not_taken_from_its_process(stores: Stores, damage: str) -> None:
    store = stores.open()
    lease = lose_run(store)
    stores.execute(f"UPDATE {damage}")
    check_run_stays_with_its_process(store, lease)


def test_thread_goes_on_if_only_a_lost_run_is_damaged(stores: Stores) -> None:
    store = stores.open()
    lease = lose_run(store)
    stores.execute("UPDATE live SET expires_at = to_timestamp(1)")
    stores.execute("UPDATE frames SET frames = '' WHERE frames_id IN (SELECT frames_id FROM live)")
    check_only_the_run_is_lost(store, lease)
