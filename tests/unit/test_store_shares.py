"""A user who fills a store pushes out own threads, and none of users who hold no more than their share."""

from __future__ import annotations

import pytest

from copilot_runtime.stores import MemoryStore
from copilot_runtime.stores.protocol import ThreadKey
from copilot_runtime.testing._factories import (
    ADA,
    BOB,
    STARTED,
    append_one,
    begin,
    list_thread_ids,
    record_run,
    store_run,
    text_event,
)

from .store_helpers import recomputed

pytestmark = [pytest.mark.requirement("STORE-09")]

LIMITS = [{"max_threads": 10, "max_bytes": 0}, {"max_threads": 0, "max_bytes": 60_000}]


def fill(store: MemoryStore, owner: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        store_run(store, ThreadKey(owner, f"t{number}"))


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_eviction_of_threads_of_one_user_keeps_those_of_others(limits: dict[str, int]) -> None:
    store = MemoryStore(**limits)
    fill(store, BOB, 4)
    fill(store, ADA, 1000)
    assert list_thread_ids(store, BOB) == ["t3", "t2", "t1", "t0"]
    kept = list_thread_ids(store, ADA)
    assert kept == [f"t{number}" for number in range(999, 999 - len(kept), -1)]
    assert len(kept) >= 5
    assert store._size == recomputed(store)


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_eviction_for_a_new_user_takes_from_those_above_their_share(limits: dict[str, int]) -> None:
    store = MemoryStore(**limits)
    fill(store, "light", 1)
    fill(store, ADA, 100)
    for number in range(4):
        fill(store, f"new-{number}", 1)
    fill(store, BOB, 1)
    for owner in ("light", *[f"new-{number}" for number in range(4)], BOB):
        assert list_thread_ids(store, owner) == ["t0"], owner
    assert list_thread_ids(store, ADA)[0] == "t99"


def test_eviction_with_equal_shares_is_by_the_least_recent_use() -> None:
    store = MemoryStore(max_threads=10)
    for number in range(30):
        fill(store, f"user-{number}", 1)
    kept = [number for number in range(30) if list_thread_ids(store, f"user-{number}")]
    assert kept == list(range(20, 30))


def test_eviction_of_users_whose_threads_all_have_active_runs() -> None:
    store = MemoryStore(max_threads=4)
    for number in range(6):
        begin(store, ThreadKey(ADA, f"t{number}"))
    fill(store, BOB, 3)
    fill(store, "third", 1)
    assert list_thread_ids(store, "third") == ["t0"]
    assert len([key for key in store._threads if key.owner == ADA]) == 6


def test_eviction_within_one_large_thread_keeps_those_of_others() -> None:
    store = MemoryStore(max_bytes=60_000)
    fill(store, BOB, 4)
    for number in range(50):
        lease = begin(store, ThreadKey(ADA, "large")).lease
        long = [STARTED, text_event("START"), *[text_event("CONTENT", delta="x" * 1000)] * 3, text_event("END")]
        frames, completion = record_run(lease, [*long, {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}])
        assert append_one(store, lease, frames[:3]) is None
        store.finish(lease, frames[3:], completion)
        assert store._size <= 60_000, number
    assert list_thread_ids(store, BOB) == ["t3", "t2", "t1", "t0"]
    assert len(store.read(ThreadKey(ADA, "large")).runs) > 1
    assert store._size == recomputed(store)


def test_eviction_counts_users_without_comparing_all_of_them_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user who holds most is looked for again only once that user holds no more than the share."""
    store = MemoryStore(max_threads=400)
    for number in range(200):
        fill(store, f"user-{number}", 1)
    fill(store, ADA, 300)
    compared = 0
    usual = type(store._owners)._idle_above_share

    def counted(*args: object) -> object:
        nonlocal compared
        compared += 1
        return usual(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store._owners), "_idle_above_share", counted)
    for number in range(100):
        fill(store, f"new-{number}", 1)
    assert compared <= 600
