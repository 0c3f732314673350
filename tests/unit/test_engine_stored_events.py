"""Threads that hold events which clients reject, as an earlier version or another process has stored them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._engine import orphans
from copilot_runtime._engine.endings import LOST
from copilot_runtime._engine.reaper import reap
from copilot_runtime._engine.replay import replay
from copilot_runtime._events import CompactedFrame, Cursor, RunRecorder, decode, encode, format_frame
from copilot_runtime._version import __version__
from copilot_runtime.stores import MemoryStore, RunStore, SqliteStore
from copilot_runtime.stores.protocol import Batch, Lease, NewRun, RunCompletion, RunStarted

from .engine_helpers import THREAD, Reader, bounded, engine_on, settled
from .recorder_helpers import FINISHED, STARTED, Event, run_input, text

USER: Event = {"id": "u", "role": "user", "content": "hi"}
NULLS: Event = {"type": "MESSAGES_SNAPSHOT", "messages": [{**USER, "name": None}]}
WITHOUT_NULLS: Event = {"type": "MESSAGES_SNAPSHOT", "messages": [USER]}
INVALID: Event = {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "r", "role": "tool", "content": "3"}]}
STORED: Sequence[Event] = [
    {**STARTED, "input": run_input(messages=[{**USER, "name": None}, {"id": "x", "role": "ai", "content": "x"}])},
    text("START"),
    text("CONTENT"),
    INVALID,
    text("END"),
    NULLS,
    {**FINISHED, "outcome": {"type": "cancelled"}},
]
REPLAYED: Sequence[Event] = [
    {**STARTED, "input": run_input(messages=[USER])},
    text("START"),
    text("CONTENT"),
    text("END"),
    WITHOUT_NULLS,
    FINISHED,
]

MakeStore = Callable[..., RunStore]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RunStore:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "threads.db")


def frames_of(events: Sequence[Event], ordinal: int = 1) -> list[bytes]:
    return [format_frame(encode(event), b"id: %d." % ordinal, number) for number, event in enumerate(events, 1)]


def begin(store: RunStore) -> Lease:
    started = store.begin(NewRun(thread=THREAD, run_id="r", agent_id="a", size=0))
    assert isinstance(started, RunStarted)
    return started.lease


@pytest.mark.requirement("EVENT-03")
@bounded
async def test_stored_run_is_replayed_as_clients_accept_it(store: RunStore) -> None:
    lease = begin(store)
    ordinal = lease.run.ordinal
    frames = frames_of(STORED, ordinal)
    records = [CompactedFrame(number, frame) for number, frame in enumerate(frames, 1)]
    store.finish(lease, frames, RunCompletion(persist=True, records=records, last_agent_event=len(frames)))
    engine = engine_on(store)
    whole = Reader(await engine.connect(THREAD, None))
    assert await whole.rest() == REPLAYED
    assert whole.ids == [f"{ordinal}.{number}" for number in (1, 2, 3, 5, 6, 7)]
    assert await Reader(await engine.connect(THREAD, Cursor(ordinal, 3))).rest() == REPLAYED[3:]


@pytest.mark.parametrize(("version", "needs_repair"), [(__version__, False), ("0.0.1", True), ("", True)])
def test_stored_run_is_checked_again_only_if_another_version_has_recorded_it(
    store: RunStore, version: str, needs_repair: bool
) -> None:
    """Checking every frame costs a replay five times as much as all else."""
    lease = begin(store)
    recorder = RunRecorder(ordinal=lease.run.ordinal)
    for event in (STARTED, text("START"), text("CONTENT"), text("END"), FINISHED):
        recorder.feed(event)
    frames = recorder.drain()
    store.finish(lease, frames, RunCompletion.from_recorder(recorder, (), 5, recorded_by=version))
    for cursor in (None, Cursor(lease.run.ordinal, 2)):
        assert replay(store.read(THREAD), cursor).needs_repair is needs_repair


def test_stored_run_is_checked_again_if_a_reaper_has_ended_it(store: RunStore) -> None:
    lease = begin(store)
    store.append([Batch(lease, frames_of(STORED, lease.run.ordinal), frozenset())])
    assert reap(store, lease.run, LOST, force=True) is not None
    assert replay(store.read(THREAD), None).needs_repair


@pytest.mark.parametrize(
    "frame", [b"\xff\x00\n\n", b"data: {\n\n", b"data: []\n\n", b"data: {}\n\n", b"data: \xff\n\n"]
)
@pytest.mark.parametrize("at", [0, 1])
def test_run_of_which_an_event_is_damaged_ends_before_it(at: int, frame: bytes, store: RunStore) -> None:
    """In a store that has no checksums."""
    lease = begin(store)
    frames = frames_of(STORED, lease.run.ordinal)
    frames[at] = frame
    store.append([Batch(lease, frames)])
    assert reap(store, lease.run, LOST, force=True) is not None
    snapshot = store.read(THREAD)
    assert snapshot.live is None
    [run] = snapshot.runs
    kinds = [decode(record.frame)["type"] for record in run.records]
    assert kinds[:at] == ["RUN_STARTED"][:at]
    assert kinds[-1] == "RUN_ERROR"


@pytest.mark.requirement("EVENT-03")
@bounded
async def test_active_run_of_another_process_is_followed_as_clients_accept_it(tmp_path: Path) -> None:
    owner, here = SqliteStore(tmp_path / "threads.db"), SqliteStore(tmp_path / "threads.db")
    lease = begin(owner)
    frames = frames_of(STORED)
    owner.append([Batch(lease, frames[:5], frozenset())])
    reader = Reader(await engine_on(here).connect(THREAD, None))
    assert await reader.until(4) == REPLAYED[:4]
    records = [CompactedFrame(number, frame) for number, frame in enumerate(frames, 1)]
    owner.finish(lease, frames[5:], RunCompletion(persist=True, records=records, last_agent_event=len(frames)))
    assert await reader.rest() == REPLAYED


@pytest.mark.requirement("EVENT-03")
@bounded
async def test_orphaned_run_keeps_what_follows_an_event_that_clients_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "REAP_GRACE_SECONDS", 0.01)
    owner, here = (SqliteStore(tmp_path / "threads.db", lease_seconds=0.1) for _ in range(2))
    lease = begin(owner)
    ordinal = lease.run.ordinal
    owner.append([Batch(lease, frames_of(STORED[:-1], ordinal), frozenset())])
    engine = engine_on(here)

    def is_over() -> bool:
        live: Any = here.read(THREAD).live
        return live is None or live.expired

    await settled(is_over)
    reader = Reader(await engine.connect(THREAD, None))
    events = await reader.rest()
    assert events[:-1] == REPLAYED[:-1]
    assert events[-1]["code"] == "RUN_LOST"
    assert reader.ids[:-1] == [f"{ordinal}.{number}" for number in (1, 2, 3, 5, 6)]
    assert here.follow(lease.run, 0).ended
    assert [message["id"] for message in here.messages(THREAD)] == ["u"]
