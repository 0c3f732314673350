"""Where asynchronous and plain code of one run meet: which thread or task runs what, and how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, EndedRun, RunContext
from copilot_runtime._concurrency import iterator_bridges, loops
from copilot_runtime._concurrency.wake import Wake
from copilot_runtime._engine import Engine
from copilot_runtime.middleware import use
from copilot_runtime.stores import MemoryStore
from copilot_runtime.testing import AsyncTestClient, TestClient

from .engine_helpers import HANG_SECONDS, Reader, bounded, engine_on, given
from .middleware_helpers import STACKS, Event, async_pass, echo_events, ids, plain_pass, run_once
from .recorder_helpers import FINISHED, STARTED

pytestmark = pytest.mark.requirement("MIDDLEWARE-01")

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("stack", STACKS)
def test_plain_agent_in_asynchronous_middleware_has_one_thread(stack: str) -> None:
    """Such as for the database connection that it has opened, which it closes on the same thread."""
    threads: list[int] = []

    def agent(input: Any) -> Iterator[Event]:
        try:
            for event in echo_events(input):
                threads.append(threading.get_ident())
                yield event
        finally:
            threads.append(threading.get_ident())

    async def middleware(input: Any, next: Any) -> AsyncIterator[Event]:
        async for event in next(input):
            yield event
            if event["type"] == "TEXT_MESSAGE_END":
                break
        yield {"type": "RUN_FINISHED", **ids(input)}

    run_once(stack, agent, middleware=[middleware])
    assert len(threads) == 6
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize("stack", STACKS)
def test_asynchronous_agent_in_plain_middleware_has_one_task(stack: str) -> None:
    """What libraries keep in a task or in context variables outlasts a yield."""
    seen: list[Any] = []

    async def agent(input: Any) -> AsyncIterator[Event]:
        _variable.set("set")
        async with asyncio.timeout(HANG_SECONDS):
            for event in echo_events(input):
                seen.append((asyncio.current_task(), _variable.get()))
                yield event

    run_once(stack, agent, middleware=[plain_pass])
    assert len(seen) == 6
    assert len(set(seen)) == 1
    assert seen[0][1] == "set"


def early(input: Any, next: Any) -> Iterator[Event]:
    for event in next(input):
        yield event
        if event["type"] == "TEXT_MESSAGE_END":
            yield FINISHED
            return


def early_list(input: Any, next: Any) -> list[Event]:
    return list(early(input, next))


def early_error(input: Any, next: Any) -> list[Event]:
    for _ in next(input):
        raise ValueError("no more")
    return []


@bounded
@pytest.mark.parametrize("agent_style", ["async", "plain"])
@pytest.mark.parametrize("outside", [[], [async_pass], [plain_pass]])
@pytest.mark.parametrize("inside", [early, early_list, early_error])
async def test_plain_middleware_that_leaves_an_agent_closes_it_where_it_ran(
    inside: Any, outside: list[Any], agent_style: str
) -> None:
    """On its own worker thread, and without making an event loop wait for itself."""
    closed: list[tuple[str, bool]] = []

    async def asynchronous(input: Any) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        try:
            for event in echo_events(input):
                yield event
        finally:
            closed.append(("async", asyncio.get_running_loop() is loop))

    def plain(input: Any) -> Iterator[Event]:
        thread = threading.get_ident()
        try:
            yield from echo_events(input)
        finally:
            closed.append(("plain", threading.get_ident() == thread))

    agent = plain if agent_style == "plain" else asynchronous
    async with AsyncTestClient(CopilotRuntime(agents={"a": agent}, middleware=[*outside, inside])) as client:
        result = await client.run("a", "hi", check=False)
    assert result.events[-1]["type"] == ("RUN_ERROR" if inside is early_error else "RUN_FINISHED")
    assert closed == [(agent_style, True)]


@bounded
async def test_plain_iterator_that_is_closed_on_an_event_loop_does_not_wait_for_it() -> None:
    """As a generator is that nobody has closed, wherever it is freed."""
    closed = asyncio.Event()

    async def events() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    iterator = iterator_bridges.LoopIterator(asyncio.get_running_loop(), events)
    assert await asyncio.to_thread(next, iterator) == 1
    iterator.close()
    await closed.wait()


def test_plain_iterator_is_closed_although_a_step_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a limit on the time of a request, which a signal handler or gevent raises in what waits."""
    loop, may_go = loops.background_loop(), asyncio.Event()
    entered, closed = threading.Event(), threading.Event()
    wait = Wake.wait

    async def events() -> AsyncIterator[int]:
        try:
            yield 1
            entered.set()
            await may_go.wait()
            yield 2
            yield 3
        finally:
            closed.set()

    def interrupt(wake: Wake, timeout: float = -1) -> bool:
        raise KeyboardInterrupt

    def deliver_and_wait(wake: Wake, timeout: float = -1) -> bool:
        loops.call_soon_threadsafe(loop, may_go.set)
        return wait(wake, timeout)

    iterator = iterator_bridges.LoopIterator(loop, events)
    assert next(iterator) == 1
    monkeypatch.setattr(Wake, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert entered.wait(HANG_SECONDS)
    monkeypatch.setattr(Wake, "wait", deliver_and_wait)
    iterator.close()
    assert closed.is_set()


def test_middleware_may_give_up_on_a_plain_agent() -> None:
    """The agent is closed at its next yield; nobody waits for it."""
    entered, may_go, closed = threading.Event(), threading.Event(), threading.Event()

    def agent(input: Any) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        try:
            entered.set()
            may_go.wait(HANG_SECONDS)
            yield {"type": "CUSTOM", "name": "late", "value": None}
        finally:
            closed.set()

    async def impatient(input: Any, next: Any) -> AsyncIterator[Event]:
        events = next(input)
        yield await anext(events)
        step = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(entered.wait, HANG_SECONDS)
        step.cancel()
        await asyncio.wait([step])
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "too late"}
        yield {"type": "RUN_FINISHED", **ids(input)}

    assert run_once("async", agent, middleware=[impatient]).text == "too late"
    assert not closed.is_set()
    may_go.set()
    assert closed.wait(HANG_SECONDS)


def _first_event_only(input: Any, next: Any) -> Iterator[Event]:
    for event in next(input):
        yield event
        break
    yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "enough"}
    yield {"type": "RUN_FINISHED", **ids(input)}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("layers", [[async_pass], [plain_pass, async_pass], [async_pass, plain_pass, async_pass]])
@pytest.mark.parametrize("inner", [[], [async_pass], [async_pass, plain_pass]])
def test_plain_middleware_closes_what_is_inside_on_its_own_thread(layers: Any, inner: Any, stack: str) -> None:
    """The event loop would wait for itself."""
    closed: list[bool] = []

    async def agent(input: Any) -> AsyncIterator[Event]:
        try:
            yield {"type": "RUN_STARTED", **ids(input)}
            yield {"type": "RUN_FINISHED", **ids(input)}
        finally:
            closed.append(True)

    assert run_once(stack, use(agent, *layers, _first_event_only, *inner)).text == "enough"
    assert closed == [True]


@pytest.mark.parametrize("stack", STACKS)
def test_stop_ends_all_layers(stack: str, caplog: pytest.LogCaptureFixture) -> None:
    waiting, cancelled = threading.Event(), threading.Event()

    async def agent(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    ended: list[EndedRun] = []
    layers = (plain_pass, async_pass, plain_pass, async_pass, plain_pass)
    for count in range(1, len(layers) + 1):
        waiting.clear()
        cancelled.clear()
        runtime = CopilotRuntime(
            agents={"a": use(agent, *layers[-count:])}, stop_grace_seconds=HANG_SECONDS, on_run_end=ended.append
        )
        if stack == "sync":
            with TestClient(runtime) as client, client.stream("a", "hi", thread_id="t") as stream:
                assert waiting.wait(HANG_SECONDS)
                client.stop("a", "t")
                events = stream.result().events
        else:
            events = asyncio.run(_stopped(runtime, waiting))
        assert events[-1]["type"] == "RUN_FINISHED"
        assert cancelled.is_set()
    assert [(each.outcome, each.failure) for each in ended] == [("stopped", "")] * len(layers)
    assert caplog.messages == []


async def _stopped(runtime: CopilotRuntime, waiting: threading.Event) -> list[Event]:
    async with AsyncTestClient(runtime) as client, client.stream("a", "hi", thread_id="t") as stream:
        await asyncio.to_thread(waiting.wait, HANG_SECONDS)
        await client.stop("a", "t")
        return (await stream.result()).events


def test_middleware_runs_agents_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def agent(input: Any) -> Iterator[Event]:
        both.wait(HANG_SECONDS)
        yield from echo_events(input)

    async def race(input: Any, next: Any) -> AsyncIterator[Event]:
        async def collect() -> list[Event]:
            return [event async for event in next(input)]

        first, second = await asyncio.gather(collect(), collect())
        assert first == second
        for event in second:
            yield event

    assert run_once("async", agent, middleware=[race]).text == "echo:hi"


@pytest.mark.parametrize("style", ["async", "plain"])
def test_stop_by_force_ends_the_run_of_an_agent_that_does_not_heed_it(style: str) -> None:
    may_go, waiting, ended = threading.Event(), threading.Event(), threading.Event()

    def plain(input: Any) -> Iterator[Event]:
        try:
            yield STARTED
            waiting.set()
            may_go.wait(HANG_SECONDS)
            yield FINISHED
        finally:
            ended.set()

    async def asynchronous(input: Any) -> AsyncIterator[Event]:
        try:
            yield STARTED
            waiting.set()
            while not may_go.is_set():
                try:
                    await asyncio.to_thread(may_go.wait, HANG_SECONDS)
                except asyncio.CancelledError:
                    continue
            yield FINISHED
        finally:
            ended.set()

    agent = use(plain, async_pass) if style == "plain" else use(asynchronous, plain_pass)
    runtime = CopilotRuntime(agents={"a": agent}, stop_grace_seconds=0)

    async def main() -> Any:
        async with AsyncTestClient(runtime) as client, client.stream("a", "hi", thread_id="t") as stream:
            await asyncio.to_thread(waiting.wait, HANG_SECONDS)
            await client.stop("a", "t")
            result = await stream.result()
            assert not ended.is_set()
            may_go.set()
            await asyncio.to_thread(ended.wait, HANG_SECONDS)
            return result

    assert asyncio.run(main()).events[-1]["type"] == "RUN_FINISHED"
    assert ended.is_set()


def test_stop_cancels_an_asynchronous_agent_whose_plain_middleware_yields_nothing() -> None:
    """The middleware asks for further events, though the run is being stopped."""
    waiting, cancelled = threading.Event(), threading.Event()

    async def agent(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        try:
            waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            yield {"type": "CUSTOM", "name": "cleared", "value": None}
            raise

    seen: list[str] = []

    def silent(input: Any, next: Any) -> Iterator[Event]:
        yield STARTED
        seen.extend(event["type"] for event in next(input))

    runtime = CopilotRuntime(agents={"a": use(agent, silent)}, stop_grace_seconds=HANG_SECONDS)

    async def main() -> Any:
        async with AsyncTestClient(runtime) as client, client.stream("a", "hi", thread_id="t") as stream:
            await asyncio.to_thread(waiting.wait, HANG_SECONDS)
            await client.stop("a", "t")
            return await stream.result()

    assert asyncio.run(main()).events[-1]["type"] == "RUN_FINISHED"
    assert cancelled.is_set()
    assert seen == ["RUN_STARTED", "CUSTOM"]


@pytest.mark.parametrize("style", ["async", "plain"])
def test_thread_of_a_run_ends_with_a_loop_that_is_closed(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody will ever ask for the next event, or deliver it."""
    monkeypatch.setattr(iterator_bridges, "_POLL_SECONDS", 0.01)
    closed = threading.Event()
    agent_threads: list[threading.Thread] = []

    def plain(input: Any) -> Iterator[Event]:
        try:
            agent_threads.append(threading.current_thread())
            yield STARTED
            yield FINISHED
        finally:
            closed.set()

    async def asynchronous(input: Any) -> AsyncIterator[Event]:
        yield STARTED
        await asyncio.Event().wait()

    async def holding(input: Any, next: Any) -> AsyncIterator[Event]:
        async for event in next(input):
            yield event
            await asyncio.Event().wait()

    def plain_holding(input: Any, next: Any) -> Iterator[Event]:
        try:
            agent_threads.append(threading.current_thread())
            yield from next(input)
        finally:
            closed.set()

    async def begin(engine: Engine, agent: Any) -> None:
        reader = Reader(await engine.run(given(agent)))
        await reader.until(1)

    agent = use(plain, holding) if style == "plain" else use(asynchronous, plain_holding)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.wait_for(begin(engine_on(MemoryStore()), agent), HANG_SECONDS))
    loop.close()
    assert closed.wait(HANG_SECONDS)
    (thread,) = agent_threads
    thread.join(HANG_SECONDS)
    assert not thread.is_alive()


def test_generator_that_is_left_at_the_end_of_the_loop_is_closed() -> None:
    """The loop's own shutdown cancels all tasks, and waits for them."""
    closed: list[str] = []

    async def agent(input: Any) -> AsyncIterator[Event]:
        try:
            yield STARTED
            await asyncio.Event().wait()
        finally:
            closed.append("agent")

    def plain(input: Any) -> Iterator[Event]:
        try:
            yield STARTED
            yield FINISHED
        finally:
            closed.append("agent")

    async def holding(input: Any, next: Any) -> AsyncIterator[Event]:
        async for event in next(input):
            yield event
            await asyncio.Event().wait()

    for wrapped in (use(agent, plain_pass), use(plain, holding), use(agent, async_pass)):
        engine = engine_on(MemoryStore())

        @bounded
        async def main(engine: Engine = engine, wrapped: Any = wrapped) -> None:
            reader = Reader(await engine.run(given(wrapped)))
            await reader.until(1)

        closed.clear()
        main()
        assert closed == ["agent"]


def test_context_of_a_run_has_the_same_stop_for_all_layers() -> None:
    contexts: list[RunContext] = []

    def agent(input: Any, context: RunContext) -> Iterator[Event]:
        contexts.append(context)
        yield from echo_events(input)

    def middleware(input: Any, next: Any, context: RunContext) -> Any:
        contexts.append(context)
        return next(input)

    run_once("async", use(agent, async_pass, middleware))
    assert [context.stop_requested for context in contexts] == [True, True], "the run has ended"
