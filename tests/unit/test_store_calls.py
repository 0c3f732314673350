"""How often a run calls its store before its response begins: each call of a store elsewhere is one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores.protocol import ThreadKey, ThreadSnapshot

from .engine_helpers import Reader, bounded, engine_on, given
from .recorder_helpers import Event
from .test_engine_resume import ASSISTANT, ENTRY, Asking

pytestmark = pytest.mark.requirement("STORE-16")

MESSAGE = {"id": "u1", "role": "user", "content": "hi"}


class Counting(SqliteStore):
    """A store that keeps the names of the calls that a run may make before it has begun."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.calls: list[str] = []


def _count(name: str) -> Any:
    def method(self: Counting, *args: Any, **options: Any) -> Any:
        self.calls.append(name)
        return getattr(SqliteStore, name)(self, *args, **options)

    return method


for _name in ("write_runs", "begin", "read", "messages", "threads", "follow", "request_stop", "claim", "update"):
    setattr(Counting, _name, _count(_name))


class Combining(Counting):
    """A store that reads a thread and its messages at once, as those on other machines do."""

    def read_with_messages(self, thread: ThreadKey) -> tuple[ThreadSnapshot, list[dict[str, Any]]]:
        self.calls.append("read_with_messages")
        return SqliteStore.read(self, thread), SqliteStore.messages(self, thread)


class Held:
    """An agent that does nothing until it may."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self.may_run = asyncio.Event()

    async def run(self, input: Any, context: Any) -> AsyncIterator[Event]:
        await self.may_run.wait()
        async for event in self._agent.run(input, context):
            yield event


async def calls_of(store: Counting, engine: Any, agent: Any, **members: Any) -> list[str]:
    """Returns the calls of the store until a run has begun, and reads the run."""
    store.calls.clear()
    held = Held(agent)
    reader = Reader(await engine.run(given(held, **members)))
    calls = list(store.calls)
    held.may_run.set()
    await reader.rest()
    return calls


@pytest.mark.parametrize(("history", "calls"), [("client", ["write_runs"]), ("stored", ["write_runs", "messages"])])
@bounded
async def test_run_calls_its_store_at_most_twice_before_it_begins(
    history: str, calls: list[str], tmp_path: Path
) -> None:
    store = Counting(tmp_path / "threads.db")
    engine = engine_on(store, history=history)
    for _ in range(2):  # on a new thread, and on one that exists
        assert await calls_of(store, engine, Asking(), messages=[MESSAGE]) == calls


@pytest.mark.parametrize(("history", "call"), [("client", "read"), ("stored", "read_with_messages")])
@bounded
async def test_response_to_an_interrupt_calls_its_store_twice_before_its_run_begins(
    history: str, call: str, tmp_path: Path
) -> None:
    store = Combining(tmp_path / "threads.db")
    engine, agent = engine_on(store, history=history), Asking()
    await calls_of(store, engine, agent)
    found = await calls_of(store, engine, agent, messages=[ASSISTANT], resume=[ENTRY])
    assert agent.resumed() == [[ENTRY]]
    assert found == ["write_runs", call]


@bounded
async def test_response_to_an_interrupt_with_stored_history_on_a_store_that_reads_them_one_by_one(
    tmp_path: Path,
) -> None:
    class Overriding(Combining):
        """Its own version of a method is not left out for the sake of a round trip."""

        def messages(self, thread: ThreadKey) -> list[dict[str, Any]]:
            return super().messages(thread)

    for store in (Counting(tmp_path / "counting.db"), Overriding(tmp_path / "overriding.db")):
        engine, agent = engine_on(store, history="stored"), Asking()
        await calls_of(store, engine, agent)
        found = await calls_of(store, engine, agent, messages=[ASSISTANT], resume=[ENTRY])
        assert agent.resumed() == [[ENTRY]]
        assert found == ["write_runs", "messages", "read"]
