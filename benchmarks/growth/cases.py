"""What grows, measured in process: an ASGI application that is called without a server."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from copilot_runtime.stores import MemoryStore, RunStore, SqliteStore
from copilot_runtime.stores import protocol as store_protocol
from copilot_runtime.stores.protocol import NewRun, RunCompletion, RunStarted, ThreadKey
from tests.fixtures.configs import MOUNT

from .application import ROOM, application
from .in_process import HttpRequest, send
from .series import Growth

OWNER = ""
"""The owner of all threads of a runtime without users."""
WORDS = "lorem ipsum dolor sit amet "

_new_ids = itertools.count(1)


class Load(NamedTuple):
    """An application, and the next requests to send to it."""

    app: Any
    requests: Callable[[], list[HttpRequest]]


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """Something that grows. ``prepare`` is called with a size and a store; CPU time is measured per run."""

    name: str
    sizes: tuple[int, ...]
    growth: Growth
    prepare: Callable[[int, RunStore], Awaitable[Load]]
    store: Callable[[Path], RunStore]


def _memory(folder: Path) -> RunStore:
    return MemoryStore(**ROOM)


def _sqlite(folder: Path) -> RunStore:
    return SqliteStore(str(folder / "growth.db"), **ROOM)


def run_request(agent: str = "short", *, thread: str | None = None, action: str = "run", **members: Any) -> HttpRequest:
    """Returns a request with the input of a new run.

    Args:
        agent: the id of the agent.
        thread: the id of the thread; a new one by default.
        action: ``run`` or ``connect``.
        **members: members of the input, in the place of the defaults.
    """
    new = next(_new_ids)
    body = {
        "threadId": thread or f"thread-{new}",
        "runId": f"run-{new}",
        "messages": [{"id": f"user-{new}", "role": "user", "content": "hi"}],
        "state": {},
        "tools": [],
        "context": [],
        "forwardedProps": {},
        **members,
    }
    return HttpRequest(f"{MOUNT}/agent/{agent}/{action}", json.dumps(body).encode())


def _repeated(number: int, request: Callable[[], HttpRequest]) -> Callable[[], list[HttpRequest]]:
    return lambda: [request() for _ in range(number)]


async def _history(size: int, store: RunStore) -> Load:
    roles = itertools.cycle(("user", "assistant"))
    contents = (f"Message {at}: {WORDS * 8}" for at in range(size))
    messages = [{"id": f"h{at}", "role": next(roles), "content": content} for at, content in enumerate(contents)]
    return Load(application(store), _repeated(20, lambda: run_request(messages=messages)))


async def _tools(size: int, store: RunStore) -> Load:
    parameters = {"type": "object", "properties": {"city": {"type": "string", "description": WORDS}}}
    tools = [{"name": f"tool-{at}", "description": WORDS * 2, "parameters": parameters} for at in range(size)]
    return Load(application(store), _repeated(20, lambda: run_request(tools=tools)))


async def _message(size: int, store: RunStore) -> Load:
    messages = [{"id": "user", "role": "user", "content": "x" * size}]
    return Load(application(store), _repeated(10, lambda: run_request(messages=messages)))


async def _delta(size: int, store: RunStore) -> Load:
    return Load(application(store), _repeated(10, lambda: run_request("long", forwardedProps={"n": size})))


async def _runs(size: int, store: RunStore) -> Load:
    """Measures one more run on each of some threads, so that they hardly grow meanwhile."""
    app, threads = application(store), [f"long-thread-{at}" for at in range(20)]
    for _ in range(size):
        for thread in threads:
            await send(app, run_request(thread=thread))
    return Load(app, lambda: [run_request(thread=thread) for thread in threads])


async def _threads(size: int, store: RunStore) -> Load:
    # Raw frames that are kept for a minute would expire while runs are measured, those of all threads at once.
    store_protocol.RAW_RETENTION_SECONDS = 0.0
    app = application(store)
    await send(app, run_request(thread="first"))
    [first] = store.read(ThreadKey(OWNER, "first")).runs
    completion = RunCompletion(
        persist=True,
        records=first.records,
        messages=store.messages(ThreadKey(OWNER, "first"))[:1],
        last_agent_event=first.records[-1].number,
        event_messages={"m1"},
        input_messages={"user"},
        recorded_by=first.recorded_by,
    )

    def fill() -> None:
        # By the store's own methods, since a hundred thousand runs would take minutes.
        for at in range(size - 1):
            begun = store.begin(NewRun(thread=ThreadKey(OWNER, f"old-{at}"), run_id=f"old-{at}", agent_id="short"))
            assert isinstance(begun, RunStarted)
            store.finish(begun.lease, (), completion)
        while store.sweep():
            pass

    await asyncio.to_thread(fill)
    return Load(app, _repeated(50, run_request))


SLOW = frozenset({"threads in the store (SQLite)"})
"""The cases that take a minute to prepare."""
THREADS = (1_000, 100_000)
CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        Case("messages in the history", (10, 100, 1_000), Growth.LINEAR, _history, _memory),
        Case("tools of the frontend", (1, 200), Growth.LINEAR, _tools, _memory),
        Case("characters in a message", (1_000, 1_000_000), Growth.LINEAR, _message, _memory),
        Case("characters in a delta", (1_000, 1_000_000), Growth.LINEAR, _delta, _memory),
        Case("runs on the thread", (10, 100, 1_000), Growth.CONSTANT, _runs, _memory),
        Case("runs on the thread (SQLite)", (10, 100, 1_000), Growth.CONSTANT, _runs, _sqlite),
        Case("threads in the store", THREADS, Growth.CONSTANT, _threads, _memory),
        Case("threads in the store (SQLite)", THREADS, Growth.CONSTANT, _threads, _sqlite),
    )
}
