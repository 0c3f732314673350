"""Limits on active runs and on the OS threads of synchronous agents, in one engine."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from copilot_runtime import User
from copilot_runtime._engine import Engine, EngineOptions, InputTooLarge, TooManyRuns, TooManyRunsOfUser
from copilot_runtime._engine.agent_threads import AgentThreads
from copilot_runtime._engine.run_limits import EVENT_FACTOR, MAX_EXCESS, RUN_BYTES, RunLimiter
from copilot_runtime._engine.types import RunRequest
from copilot_runtime._server.endpoints.run_input import parse_input, size_in_memory
from copilot_runtime._server.input_limits import InputLimits
from copilot_runtime.agents._context import RunContext
from copilot_runtime.agents._json_body import JSONBody
from copilot_runtime.stores import MemoryStore, store_from_url
from copilot_runtime.stores.protocol import ActiveRun, NewRun, RunStarted, StoreError, ThreadBusy, ThreadKey

from .engine_helpers import THREAD, Deaf, Event, Gated, Reader, answers, bounded, engine_on, given, settled
from .recorder_helpers import FINISHED, STARTED, text


def of_user(request: RunRequest, user: str) -> RunRequest:
    return RunRequest(
        agent_id="a",
        agent=request.agent,
        input=request.input,
        body=request.body,
        context=RunContext(user=User(id=user)),
        size=request.size,
    )


class Plain:
    """A synchronous agent that waits until it may go, whether or not its run is stopped."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.calls: list[str] = []
        self.is_waiting = threading.Event()

    def run(self, input: Any) -> Iterator[Event]:
        self.calls.append(input.thread_id)
        yield STARTED
        self.is_waiting.set()
        self.may_go.wait(30)
        yield FINISHED


def consume(agent: Plain) -> None:
    list(agent.run(given(agent).input))


def wait_for(event: threading.Event) -> None:
    event.wait(30)


def agent_threads() -> int:
    return sum(thread.name.startswith("copilot-runtime-agent-a") for thread in threading.enumerate())


def settled_limiter(source: Engine | RunLimiter) -> RunLimiter:
    """The limiter of an engine, or another one, in whose members no ended run is counted any more."""
    limiter = source._starter._limiter if isinstance(source, Engine) else source
    limiter._remove_released()
    return limiter


async def no_runs(engine: Engine) -> None:
    await settled(lambda: not engine._runs.all())
    assert not settled_limiter(engine)._slots
    assert not settled_limiter(engine)._of_users


@pytest.mark.requirement("LIMIT-01")
@bounded
async def test_max_runs_are_released_by_every_kind_of_end() -> None:
    engine = engine_on(MemoryStore(), max_runs=1, stop_grace_seconds=0.05)

    async def failing(input: Any) -> Any:
        raise ValueError
        yield

    for agent in (answers, failing):
        await Reader(await engine.run(given(agent))).rest()
        await Reader(await engine.suggest(given(agent))).rest()
        assert not settled_limiter(engine)._slots
    for nonsense in (object(), None):
        with pytest.raises(TypeError):
            await engine.run(given(nonsense))
        with pytest.raises(TypeError):
            await engine.suggest(given(nonsense))
    # A suggestion that nobody reads any more, a deleted thread, and an agent that ignores its stop.
    suggestion = Reader(await engine.suggest(given(Gated())))
    await suggestion.until(2)
    with pytest.raises(TooManyRuns):
        await engine.suggest(given(answers))
    suggestion.close()
    await no_runs(engine)
    deleted = Reader(await engine.run(given(Gated())))
    await deleted.until(2)
    assert await engine.delete(THREAD)
    await deleted.rest()
    await no_runs(engine)
    deaf = Deaf()
    reader = Reader(await engine.run(given(deaf)))
    await reader.until(2)
    await engine.stop(THREAD, None)
    await reader.rest()
    await no_runs(engine)
    deaf.may_go.set()


@pytest.mark.requirement("LIMIT-01")
@bounded
async def test_max_runs_a_run_that_cannot_begin_counts_no_longer() -> None:
    store = MemoryStore()
    engine = engine_on(store, max_runs=2)
    agent = Gated()
    reader = Reader(await engine.run(given(agent)))
    for _ in range(3):
        assert isinstance(await engine.run(given(answers)), ActiveRun)

    def broken(*args: Any, **named: Any) -> Any:
        raise StoreError("broken")

    store.begin = broken  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(StoreError):
            await engine.run(given(answers, thread_id="other"))
    assert len(settled_limiter(engine)._slots) == 1
    agent.allow(3)
    await reader.rest()
    await no_runs(engine)


@pytest.mark.requirement("LIMIT-01")
@bounded
async def test_max_runs_per_user_counts_runs_and_suggestions_of_each_user() -> None:
    engine = engine_on(MemoryStore(), max_runs_per_user=2)
    agent = Gated()
    readers = [
        Reader(await engine.run(of_user(given(agent), "alice"))),
        Reader(await engine.suggest(of_user(given(agent), "alice"))),
    ]
    with pytest.raises(TooManyRunsOfUser):
        await engine.run(of_user(given(answers, thread_id="other"), "alice"))
    with pytest.raises(TooManyRunsOfUser):
        await engine.suggest(of_user(given(answers), "alice"))
    assert (await Reader(await engine.run(of_user(given(answers), "bob"))).rest())[-1] == FINISHED
    # Without users, runs of different people cannot be told apart.
    readers += [Reader(await engine.run(given(agent, thread_id=f"t{number}"))) for number in range(3)]
    agent.allow(3 * len(readers))
    for reader in readers:
        await reader.rest()
    await no_runs(engine)


@pytest.mark.requirement("LIMIT-01")
@pytest.mark.parametrize("limit", ["max_runs", "max_runs_per_user"])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
@bounded
async def test_max_runs_a_run_that_supersedes_another_takes_its_slot(store: str, limit: str, tmp_path: Any) -> None:
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/a.db"}[store]
    engine = engine_on(store_from_url(url), on_concurrent_run="supersede", **{limit: 1})
    first, second = Gated(), Gated()
    replaced = Reader(await engine.run(of_user(given(first), "alice")))
    await replaced.until(2)
    reader = Reader(await engine.run(of_user(given(second, "second"), "alice")))
    await replaced.rest()
    assert len(settled_limiter(engine)._slots) == 1
    with pytest.raises((TooManyRuns, TooManyRunsOfUser)):
        await engine.run(of_user(given(answers, thread_id="other"), "alice"))
    second.allow(3)
    assert (await reader.rest())[-1]["type"] == "RUN_FINISHED"
    await no_runs(engine)


class FailingToBegin(MemoryStore):
    """A store that begins a number of runs, and no further ones until it may."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.left: float = runs

    def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        if not self.left:
            raise StoreError("begin")
        self.left -= 1
        return super().begin(run)


@pytest.mark.requirement("LIMIT-01")
@pytest.mark.parametrize("limit", ["max_runs", "max_runs_per_user"])
@bounded
async def test_max_runs_a_run_is_counted_again_if_the_store_fails_for_the_one_that_supersedes_it(limit: str) -> None:
    store = FailingToBegin(1)
    engine = engine_on(store, on_concurrent_run="supersede", **{limit: 1})
    agent = Gated()
    reader = Reader(await engine.run(of_user(given(agent), "alice")))
    await reader.until(2)
    size = settled_limiter(engine)._size
    for number in range(3):
        with pytest.raises(StoreError):
            await engine.run(of_user(given(answers, f"failed {number}"), "alice"))
        assert len(settled_limiter(engine)._slots) == 1
        assert settled_limiter(engine)._size == size
    store.left = math.inf
    with pytest.raises((TooManyRuns, TooManyRunsOfUser)):
        await engine.run(of_user(given(answers, thread_id="other"), "alice"))
    second = Reader(await engine.run(of_user(given(answers, "second"), "alice")))
    assert (await second.rest())[-1] == FINISHED
    await reader.rest()
    await no_runs(engine)
    assert not settled_limiter(engine)._size


@pytest.mark.requirement("LIMIT-01")
def test_max_runs_slot_that_was_taken_over_is_given_back_unless_its_run_has_ended() -> None:
    limiter = RunLimiter(1, None, 100_000_000)
    active = limiter.acquire("alice", 1000)
    size = active.size
    taken = active.take_over(2000)
    assert taken is not None
    assert active.take_over(0) is None, "of two requests only one takes its place"
    assert active.grow(1_000_000)
    taken.give_back()
    taken.give_back()
    assert active.size == settled_limiter(limiter)._size > size, "what it has emitted meanwhile is counted"

    taken = active.take_over(2000)
    assert taken is not None
    active.release()
    taken.give_back()
    assert not settled_limiter(limiter)._slots
    assert not settled_limiter(limiter)._size
    assert not settled_limiter(limiter)._of_users


@pytest.mark.requirement("LIMIT-01")
def test_max_runs_a_run_ends_without_waiting_for_one_that_begins() -> None:
    limiter, is_held, may_go = RunLimiter(1, 1, 100_000_000), threading.Event(), threading.Event()
    slot = limiter.acquire("alice", 1000)

    def begin() -> None:
        with limiter._lock.get():
            is_held.set()
            wait_for(may_go)

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        wait_for(is_held)
        slot.release()
        slot.release()
    finally:
        may_go.set()
        thread.join(30)
    limiter.acquire("alice", 1000).release()
    assert not settled_limiter(limiter)._slots


@pytest.mark.requirement("LIMIT-02")
@bounded
async def test_max_agent_threads_bound_the_os_threads_of_abandoned_runs() -> None:
    engine = engine_on(MemoryStore(), max_agent_threads=3, max_runs=20)
    agent = Plain()
    for number in range(20):
        Reader(await engine.run(given(agent, thread_id=f"t{number}"))).close()
    with pytest.raises(TooManyRuns):
        await engine.run(given(agent, thread_id="refused"))
    await settled(lambda: len(agent.calls) == 3)
    assert agent_threads() == 3
    agent.may_go.set()
    await no_runs(engine)
    assert agent.calls == [f"t{number}" for number in range(20)]
    await settled(lambda: agent_threads() == 0)
    assert engine._agent_threads._busy == 0


@pytest.mark.requirement("LIMIT-02")
@pytest.mark.parametrize("end", ["leave", "stop", "timeout", "shutdown", "delete"])
@bounded
async def test_max_agent_threads_a_waiting_run_ends_without_a_thread(end: str) -> None:
    timeout = 0.05 if end == "timeout" else None
    engine = engine_on(
        MemoryStore(), max_agent_threads=1, on_disconnect="stop", run_timeout_seconds=timeout, shutdown_grace_seconds=0
    )
    busy, waiting = Plain(), Plain()
    await engine._agent_threads.start(lambda: consume(busy), "", name="copilot-runtime-agent-a")
    reader = Reader(await engine.run(given(waiting)))
    await settled(lambda: bool(engine._agent_threads._waiting))
    if end == "leave":
        reader.close()
    elif end == "stop":
        assert (await engine.stop(THREAD, None)).is_stopping
    elif end == "shutdown":
        await engine.shutdown(0)
    elif end == "delete":
        assert await engine.delete(THREAD)
    await no_runs(engine)
    assert not engine._agent_threads._waiting
    if end != "leave":
        last = (await reader.rest())[-1]
        expected = {"stop": None, "timeout": "RUN_TIMEOUT", "shutdown": "RUN_INTERRUPTED", "delete": "RUN_LOST"}
        assert last.get("code") == expected[end]
    busy.may_go.set()
    await settled(lambda: engine._agent_threads._busy == 0)
    assert not waiting.calls


@pytest.mark.requirement("LIMIT-02")
@bounded
async def test_max_agent_threads_an_agent_that_ignores_its_stop_keeps_its_thread() -> None:
    engine = engine_on(MemoryStore(), max_agent_threads=1, stop_grace_seconds=0)
    agent, next_agent = Plain(), Plain()
    next_agent.may_go.set()
    reader = Reader(await engine.run(given(agent)))
    await settled(agent.is_waiting.is_set)
    await engine.stop(THREAD, None)
    await reader.rest()
    await no_runs(engine)
    second = Reader(await engine.run(given(next_agent, "second")))
    await settled(lambda: bool(engine._agent_threads._waiting))
    assert not next_agent.calls
    agent.may_go.set()
    assert (await second.rest())[-1] == FINISHED


@pytest.mark.requirement("LIMIT-02")
@bounded
async def test_max_agent_threads_users_take_turns() -> None:
    threads = AgentThreads(1)
    may_go, order = threading.Event(), []
    await threads.start(lambda: wait_for(may_go), "first", name="t")
    tasks = []
    for owner in ("alice", "alice", "alice", "bob", "carol", "bob"):
        tasks.append(asyncio.create_task(threads.start(lambda owner=owner: order.append(owner), owner, name="t")))  # type: ignore[misc]
        await asyncio.sleep(0)
    may_go.set()
    await asyncio.gather(*tasks)
    await settled(lambda: threads._busy == 0)
    assert order == ["alice", "bob", "carol", "alice", "bob", "alice"]


@pytest.mark.requirement("LIMIT-02")
@bounded
async def test_max_agent_threads_runs_that_a_user_stops_do_not_take_them_all(caplog: pytest.LogCaptureFixture) -> None:
    """The slot of a run is free once it has been stopped, but the thread of an agent that ignores that is not."""
    engine = engine_on(MemoryStore(), max_agent_threads=3, max_runs_per_user=2, stop_grace_seconds=0)
    agent, other = Plain(), Plain()
    other.may_go.set()
    for number in range(2):
        agent.is_waiting.clear()
        reader = Reader(await engine.run(of_user(given(agent, thread_id=f"t{number}"), "alice")))
        await settled(agent.is_waiting.is_set)
        await engine.stop(ThreadKey(User(id="alice").owner_key, f"t{number}"), None)
        await reader.rest()
    waiting = Reader(await engine.run(of_user(given(agent, "third"), "alice")))
    await settled(lambda: bool(engine._agent_threads._waiting))
    for _ in range(3):
        assert (await Reader(await engine.run(of_user(given(other), "bob"))).rest())[-1] == FINISHED
    assert agent.calls == ["t0", "t1"]
    [message] = [record.message for record in caplog.records if "wait" in record.message]
    assert message.startswith("runs of a user wait, since 2 synchronous agents of that user have not returned")
    agent.may_go.set()
    assert (await waiting.rest())[-1] == FINISHED
    await settled(lambda: engine._agent_threads._busy == 0)
    assert not engine._agent_threads._busy_of_users


@pytest.mark.requirement("LIMIT-02")
@bounded
async def test_max_agent_threads_that_are_busy_are_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    threads, tasks = AgentThreads(1), []
    await threads._acquire("")
    for warnings in (1, 1, 2):
        if warnings == 2:
            threads._next_warning = 0
        tasks.append(asyncio.ensure_future(threads._acquire("")))
        await asyncio.sleep(0)
        assert len(caplog.records) == warnings
    assert "max_agent_threads" in caplog.text
    for task in tasks:
        threads._release("")
        await task


@pytest.mark.requirement("LIMIT-02")
@bounded
async def test_max_agent_threads_a_run_cancelled_as_it_gets_its_thread_hands_it_on() -> None:
    threads = AgentThreads(1)
    await threads._acquire("")
    first, second = asyncio.create_task(threads._acquire("")), asyncio.create_task(threads._acquire(""))
    await asyncio.sleep(0)
    threads._release("")  # the first has it now, but has not been resumed
    first.cancel()
    await second
    assert threads._busy == 1
    threads._release("")
    assert threads._busy == 0


@pytest.mark.requirement("LIMIT-02")
def test_max_agent_threads_waiters_of_closed_loops_are_passed_over() -> None:
    threads, tasks = AgentThreads(1), []

    async def wait() -> None:
        for _ in range(2):
            tasks.append(asyncio.ensure_future(threads._acquire("")))
            await asyncio.sleep(0)

    # Both are collected with their loop, which logs that they were not done.
    closed = asyncio.new_event_loop()
    closed.run_until_complete(wait())
    closed.close()
    assert threads._busy == 1
    threads._release("")
    assert threads._busy == 0


@pytest.mark.requirement("LIMIT-02")
@bounded
async def test_max_agent_threads_a_thread_that_cannot_be_started_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_on(MemoryStore(), max_agent_threads=1)

    def fails(*args: Any, **named: Any) -> None:
        raise RuntimeError("can't start new thread")

    agent = Plain()
    agent.may_go.set()
    with monkeypatch.context() as patched:
        patched.setattr("copilot_runtime._concurrency.loops.start_thread", fails)
        assert (await Reader(await engine.run(given(agent))).rest())[-1]["type"] == "RUN_ERROR"
    assert (await Reader(await engine.run(given(agent, "second"))).rest())[-1] == FINISHED


# --- memory --------------------------------------------------------------------------


def state_body(size: int) -> bytes:
    return json.dumps({"threadId": "t", "runId": "r", "messages": [], "state": [{"n": 1}] * size}).encode()


def request_of(agent: Any, body: bytes) -> RunRequest:
    parsed = parse_input(body, InputLimits())
    memory = size_in_memory(parsed)
    context = RunContext(body=JSONBody(body))
    return RunRequest(
        agent_id="a", agent=agent, input=parsed.model, body=parsed.wire, context=context, size=len(body), memory=memory
    )


@pytest.mark.requirement("LIMIT-03")
@pytest.mark.parametrize("action", ["run", "suggest"])
@bounded
async def test_live_run_holds_one_copy_of_its_parsed_input(action: str) -> None:
    engine, body, agent = engine_on(MemoryStore()), state_body(20_000), Gated()
    start = engine.run if action == "run" else engine.suggest
    warm = Reader(await engine.suggest(request_of(answers, state_body(1))))
    await warm.rest()
    gc.collect()
    tracemalloc.start()
    try:
        parsed = parse_input(body, InputLimits())
        both = tracemalloc.get_traced_memory()[0]
        del parsed
        before = tracemalloc.get_traced_memory()[0]
        reader = Reader(await start(request_of(agent, body)))  # type: ignore[operator]
        await reader.until(2)
        reader.frames.clear()
        reader.pieces.clear()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # The agent's model is half of `both`; a run has the body once more in its RUN_STARTED.
    assert held <= both / 2 * 1.1 + len(body) * 1.1
    counted = settled_limiter(engine)._size
    assert held / 1.5 <= counted <= (held + len(body)) * 1.5
    agent.allow(3)
    assert (await reader.rest())[-1] == FINISHED


@pytest.mark.requirement("RUN-02")
@bounded
async def test_large_input_is_stored_and_reported_as_it_was_sent() -> None:
    """It is parsed again for that, since the objects are not kept while the run lasts."""
    ended: list[Any] = []
    engine = Engine(MemoryStore(), EngineOptions(sse_keep_alive_seconds=0), ended.append)
    sent = [{"id": f"m{number}", "role": "user", "content": "x" * 1000, "extra": number} for number in range(100)]
    body = json.dumps({"threadId": "t", "runId": "r", "messages": sent, "state": None, "more": 1}).encode()

    async def forgetful(input: Any) -> Any:
        yield STARTED
        input.messages.clear()
        yield FINISHED

    [started, *_] = await Reader(await engine.run(request_of(forgetful, body))).rest()
    assert [message["id"] for message in started["input"]["messages"]] == [message["id"] for message in sent]
    await settled(lambda: bool(ended))
    assert ended[0].input_messages == sent
    assert engine.store.messages(THREAD) == sent


@pytest.mark.requirement("LIMIT-03")
@bounded
async def test_max_runs_bytes_counts_runs_and_suggestions_together() -> None:
    body, agent = state_body(2_000), Gated()
    size = RUN_BYTES + request_of(agent, body).memory
    engine = engine_on(MemoryStore(), max_runs_bytes=2 * size)
    suggestion = Reader(await engine.suggest(request_of(agent, body)))
    reader = Reader(await engine.run(request_of(agent, body)))
    with pytest.raises(TooManyRuns, match="max_runs_bytes"):
        await engine.run(given(answers, thread_id="other"))
    with pytest.raises(TooManyRuns, match="max_runs_bytes"):
        await engine.suggest(given(answers))
    agent.allow(6)
    await suggestion.rest()
    await reader.rest()
    await no_runs(engine)
    assert settled_limiter(engine)._size == 0
    with pytest.raises(InputTooLarge):
        await engine.run(request_of(answers, state_body(6_000)))


@pytest.mark.requirement("LIMIT-03")
@bounded
async def test_max_runs_bytes_counts_many_runs_that_emit_little() -> None:
    async def agent(input: Any) -> Any:
        yield STARTED
        yield text("START")
        for _ in range(60):
            yield text("CONTENT", delta="x" * 1000)
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    engine = engine_on(MemoryStore(), max_runs_bytes=1_000_000)
    readers = [Reader(await engine.run(given(agent, thread_id=f"t-{number}"))) for number in range(40)]
    for _ in range(200):
        await asyncio.sleep(0)
    counted = settled_limiter(engine)._size
    taken = sum(RUN_BYTES + EVENT_FACTOR * run.size for run in engine._runs.all())
    assert taken <= 1.25 * counted <= 1.25 * MAX_EXCESS * 1_000_000
    await engine.shutdown(0)
    for reader in readers:
        await reader.rest()


@pytest.mark.requirement("LIMIT-03")
@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
@bounded
async def test_max_runs_bytes_ends_the_largest_run_that_grows(kind: str) -> None:
    engine, quiet = engine_on(MemoryStore(), max_runs_bytes=10_000_000), Gated()
    other = Reader(await engine.run(given(quiet)))
    await other.until(2)

    def endless(input: Any) -> Any:
        yield STARTED
        yield text("START")
        while True:
            yield text("CONTENT", delta="x" * 1000)

    async def endless_async(input: Any) -> Any:
        for event in endless(input):
            yield event

    agent = endless if kind == "synchronous" else endless_async
    reader = Reader(await engine.suggest(given(agent)))
    last = (await reader.rest())[-1]
    assert (last["type"], last["code"]) == ("RUN_ERROR", "RUN_TOO_LARGE")
    assert sum(map(len, reader.frames)) <= 10_000_000
    quiet.allow(3)
    assert (await other.rest())[-1] == FINISHED
    await no_runs(engine)


@pytest.mark.requirement("LIMIT-03")
def test_max_runs_bytes_are_shared_between_users() -> None:
    limiter = RunLimiter(None, None, 100_000_000)
    large = limiter.acquire("alice", 60_000_000)
    with pytest.raises(TooManyRunsOfUser, match="max_runs_bytes"):
        limiter.acquire("alice", 0)
    bob = limiter.acquire("bob", 20_000_000)
    large.release()
    mine = limiter.acquire("alice", 30_000_000)
    limiter.acquire("alice", 0).release()
    while settled_limiter(limiter)._size < 80_000_000:
        assert mine.grow(100_000)
    with pytest.raises(TooManyRunsOfUser):
        limiter.acquire("alice", 0)
    mine.release()
    bob.release()
    # One run of a user alone may take all.
    limiter.acquire("alice", 90_000_000).release()
    assert not settled_limiter(limiter)._size
    assert not settled_limiter(limiter)._sizes_of_users


@pytest.mark.requirement("LIMIT-03")
def test_max_runs_bytes_the_largest_run_may_grow_no_more() -> None:
    """Otherwise each of the others could become as large as it is."""
    limiter = RunLimiter(None, None, 100_000_000)
    limiter.acquire(None, 80_000_000)
    growing, ended = [limiter.acquire(None, 1000) for _ in range(10)], 0
    for _ in range(1000):
        for slot in list(growing):
            if not slot.grow(100_000):
                growing.remove(slot)
                slot.release()
                ended += 1
        assert settled_limiter(limiter)._size <= 130_000_000
    assert ended
