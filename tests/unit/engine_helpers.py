"""What tests of engines share: agents that wait to be told, readers of streams, and loops that do not hang.

Whatever is waited for is an event of the run's own; the bound on every test only turns a
hang into a failure.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from copilot_runtime._engine import Engine, EngineOptions, RunRequest
from copilot_runtime._http.streaming import EventStream
from copilot_runtime._server.endpoints.run_input import parse_input
from copilot_runtime._server.input_limits import InputLimits
from copilot_runtime.agents._context import RunContext
from copilot_runtime.stores import RunStore
from copilot_runtime.stores.protocol import ActiveRun, StoredRun, ThreadKey

from .recorder_helpers import FINISHED, STARTED, Event, read_frame, text

HANG_SECONDS = 30.0
THREAD = ThreadKey("", "t")


def bounded(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an asynchronous test on a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        async def within() -> None:
            async with asyncio.timeout(HANG_SECONDS):
                await test(*args, **named)

        asyncio.run(within())

    return run


def given(agent: Any, run_id: str = "r", thread_id: str = "t", **members: Any) -> RunRequest:
    wire = {"threadId": thread_id, "runId": run_id, "messages": [], "tools": [], "context": [], **members}
    parsed = parse_input(json.dumps(wire).encode(), InputLimits())
    return RunRequest(agent_id="a", agent=agent, input=parsed.model, body=parsed.wire, context=RunContext(), size=10)


class Reader:
    """Reads a stream event by event; comments are left out."""

    def __init__(self, stream: EventStream | ActiveRun) -> None:
        assert isinstance(stream, EventStream), stream
        self.stream = stream
        self.chunks = stream.__aiter__()
        self.frames: list[bytes] = []
        self.pieces: list[bytes] = []
        self._rest = b""

    async def more(self) -> bool:
        try:
            piece = await anext(self.chunks)
        except StopAsyncIteration:
            return False
        self.pieces.append(piece)
        # A large frame comes in several pieces.
        *frames, self._rest = (self._rest + piece).split(b"\n\n")
        self.frames += [frame + b"\n\n" for frame in frames if frame and not frame.startswith(b":")]
        return True

    async def until(self, count: int) -> list[Event]:
        while len(self.frames) < count:
            assert await self.more(), self.events
        return self.events

    async def rest(self) -> list[Event]:
        while await self.more():
            pass
        return self.events

    @property
    def events(self) -> list[Event]:
        return [read_frame(frame).event for frame in self.frames]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def ids(self) -> list[str | None]:
        return [read_frame(frame).id for frame in self.frames]

    def close(self) -> None:
        self.chunks.close()


class Gated:
    """An agent that waits, between its events, for as many permits as it is given."""

    def __init__(self, count: int = 3) -> None:
        self.count = count
        self.permits = asyncio.Semaphore(0)
        self.ended = asyncio.Event()
        self.raised: BaseException | None = None

    def allow(self, count: int = 1) -> None:
        for _ in range(count):
            self.permits.release()

    async def run(self, input: Any) -> AsyncIterator[Event]:
        try:
            yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
            yield text("START")
            for number in range(self.count):
                await self.permits.acquire()
                yield text("CONTENT", delta=f"{number} ")
            yield text("END")
            yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}
        except BaseException as raised:
            self.raised = raised
            raise
        finally:
            self.ended.set()


class Deaf:
    """An agent that swallows its cancellations until it may go."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_go = asyncio.Event()
        self.cancellations = 0

    async def run(self, input: Any) -> AsyncIterator[Event]:
        yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
        yield text("START")
        while not self.may_go.is_set():
            try:
                await self.may_go.wait()
            except asyncio.CancelledError:
                self.cancellations += 1
                self.asked.set()
        yield text("END")
        yield FINISHED


async def answers(input: Any) -> AsyncIterator[Event]:
    for event in (STARTED, text("START"), text("CONTENT"), text("END"), FINISHED):
        yield event


def engine_on(store: RunStore, **options: Any) -> Engine:
    # Streams are counted only if they are limited.
    return Engine(store, EngineOptions(**{"sse_keep_alive_seconds": 0, "max_streams": 10_000, **options}))


def stored(store: RunStore, at: int = 0) -> StoredRun:
    """A run of the thread, with its frames as they were sent."""
    return store.read(THREAD, raw_ordinal=store.read(THREAD).runs[at].ordinal).runs[at]


async def settled(condition: Callable[[], bool]) -> None:
    """Gives other tasks and threads their turns until something is so."""
    while not condition():  # noqa: ASYNC110 - nothing tells of it, and other threads have to get on
        await asyncio.sleep(0.001)


async def deletes_what_goes_on(here: Engine, there: Engine) -> None:
    """One engine deletes a thread on which another, over the same threads, has a run with a reader at each."""
    agent = Gated(100)
    own = Reader(await here.run(given(agent)))
    await own.until(2)
    joined = Reader(await there.connect(THREAD, None))
    await joined.until(2)
    assert await there.delete(THREAD)
    second = Reader(await there.run(given(answers, "second")))
    for reader in (own, joined):
        last = (await reader.rest())[-1]
        assert (last["type"], last["code"]) == ("RUN_ERROR", "RUN_LOST")
    assert isinstance(agent.raised, asyncio.CancelledError)
    assert (await second.rest())[-1] == FINISHED
    assert [run.run_id for run in here.store.read(THREAD).runs] == ["second"]
