"""The pump of agents: what is ready leaves in one piece, exactly when the agent waits."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from copilot_runtime._engine.pump import FLUSH_BYTES, feed_each, pump

Agent = Callable[[], AsyncIterator[Any]]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


class Sink:
    """What the pump is given: one letter is one event of so many bytes."""

    def __init__(self, event_bytes: int = 1) -> None:
        self.pieces: list[list[Any]] = []
        self.ready: list[Any] = []
        self.event_bytes = event_bytes

    def feed(self, event: Any) -> int:
        self.ready.append(event)
        return len(self.ready) * self.event_bytes

    def flush(self) -> None:
        if self.ready:
            self.pieces.append(self.ready)
        self.ready = []

    async def pump(self, iterator: Any) -> None:
        await pump(iterator, partial(feed_each, self.feed), self.flush)
        self.flush()


def run(agent: Agent, event_bytes: int = 1) -> list[list[Any]]:
    sink = Sink(event_bytes)
    asyncio.run(asyncio.wait_for(sink.pump(agent()), 30))
    return sink.pieces


async def burst() -> AsyncIterator[str]:
    for letter in "abc":
        yield letter


async def nothing() -> AsyncIterator[str]:
    return
    yield


async def turns() -> AsyncIterator[str]:
    yield "a"
    yield "b"
    await asyncio.sleep(0)
    yield "c"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    yield "d"


async def sleeps() -> AsyncIterator[str]:
    yield "a"
    await asyncio.sleep(0.001)
    yield "b"


async def does_not_wait() -> AsyncIterator[str]:
    """Awaits what is there already: no wait, so nothing leaves."""

    async def at_once() -> str:
        return "x"

    done = asyncio.get_running_loop().create_future()
    done.set_result("y")
    yield await at_once()
    yield await done
    async with asyncio.Lock():
        yield "z"


async def waits_for_a_future() -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    yield "a"
    loop.call_soon(future.set_result, "b")
    yield await future
    yield "c"


async def waits_for_tasks() -> AsyncIterator[str]:
    async def work(letter: str) -> str:
        await asyncio.sleep(0)
        return letter

    yield "a"
    yield await asyncio.ensure_future(work("b"))
    for letter in await asyncio.gather(work("c"), work("d")):
        yield letter


async def groups() -> AsyncIterator[str]:
    async def work() -> None:
        await asyncio.sleep(0)

    yield "a"
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work()) for _ in range(3)]
    assert all(task.done() for task in tasks)
    yield "b"


async def times_out() -> AsyncIterator[str]:
    yield "a"
    try:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    except TimeoutError:
        yield "b"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)
    yield "c"


async def moves_on() -> AsyncIterator[str]:
    yield "a"
    with anyio.move_on_after(0.001) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    yield "b"
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)
        group.start_soon(anyio.sleep_forever)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    yield "c"


async def keeps_scopes_over_yields() -> AsyncIterator[str]:
    """Only right as long as the same task steps all of the agent."""
    token = variable.set("mine")
    with anyio.CancelScope():
        async with asyncio.timeout(30):
            for letter in "abc":
                yield letter
                await asyncio.sleep(0)
                assert variable.get() == "mine"
    variable.reset(token)


async def on_a_thread() -> AsyncIterator[str]:
    yield "a"
    yield await asyncio.to_thread(str, "b")


async def nested() -> AsyncIterator[str]:
    async for letter in turns():
        yield letter


class Plain:
    """An iterator whose __anext__ is a coroutine function."""

    def __init__(self) -> None:
        self.left = list("abc")

    def __aiter__(self) -> Plain:
        return self

    async def __anext__(self) -> str:
        if not self.left:
            raise StopAsyncIteration
        if self.left[0] == "b":
            await asyncio.sleep(0)
        return self.left.pop(0)


class Futures(Plain):
    """One whose __anext__ gives futures."""

    def __anext__(self) -> Any:  # type: ignore[override]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        if not self.left:
            raise StopAsyncIteration
        if self.left[0] == "b":
            loop.call_soon(future.set_result, self.left.pop(0))
        else:
            future.set_result(self.left.pop(0))
        return future


class Ours(Plain):
    """One whose __anext__ gives an awaitable of a class of its own."""

    def __anext__(self) -> Any:  # type: ignore[override]
        step = super().__anext__()

        class Awaitable:
            def __await__(self) -> Any:
                return step.__await__()

        return Awaitable()


class WithoutAiter:
    """An iterable whose iterator has no ``__aiter__`` of its own."""

    async def __anext__(self) -> str:
        raise StopAsyncIteration


TABLE: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "a burst": (burst, ["abc"]),
    "nothing": (nothing, []),
    "turns of the loop": (turns, ["ab", "c", "d"]),
    "sleeps": (sleeps, ["a", "b"]),
    "awaits without waiting": (does_not_wait, ["xyz"]),
    "a future": (waits_for_a_future, ["a", "bc"]),
    "tasks": (waits_for_tasks, ["a", "b", "cd"]),
    "a task group": (groups, ["a", "b"]),
    "a timeout": (times_out, ["a", "b", "c"]),
    "cancel scopes of anyio": (moves_on, ["a", "b", "c"]),
    "scopes over yields": (keeps_scopes_over_yields, ["a", "b", "c"]),
    "a thread": (on_a_thread, ["a", "b"]),
    "a generator in a generator": (nested, ["ab", "c", "d"]),
    "an iterator object": (Plain, ["a", "bc"]),
    "an iterator of futures": (Futures, ["a", "bc"]),
    "an iterator of awaitables": (Ours, ["a", "bc"]),
    "an iterator without __aiter__": (WithoutAiter, []),
}


@pytest.mark.parametrize("name", TABLE)
def test_pump_flushes_when_the_agent_waits(name: str) -> None:
    agent, pieces = TABLE[name]
    assert run(agent) == [list(piece) for piece in pieces]


def test_pump_holds_nothing_back_while_the_agent_waits() -> None:
    """What came before a wait has left by the time that the agent waits."""
    sink = Sink()
    seen: list[list[Any]] = []

    async def agent() -> AsyncIterator[str]:
        yield "a"
        seen.append(list(sink.pieces))
        await asyncio.sleep(0)
        seen.append(list(sink.pieces))
        yield "b"

    asyncio.run(sink.pump(agent()))
    assert seen == [[], [["a"]]]


def test_pump_of_a_flood_flushes_and_yields_to_other_tasks() -> None:
    turns_of_others = 0

    async def agent() -> AsyncIterator[str]:
        for _ in range(100):
            yield "x"

    async def main() -> list[list[Any]]:
        nonlocal turns_of_others
        sink = Sink(event_bytes=FLUSH_BYTES // 10 + 1)
        task = asyncio.ensure_future(sink.pump(agent()))
        while not task.done():
            await asyncio.sleep(0)
            turns_of_others += 1
        return sink.pieces

    pieces = asyncio.run(main())
    assert [len(piece) for piece in pieces] == [10] * 10
    assert turns_of_others >= 10


def test_pump_of_an_endless_flood_can_be_cancelled() -> None:
    async def agent() -> AsyncIterator[str]:
        while True:
            yield "x"

    async def main() -> None:
        task = asyncio.ensure_future(Sink(1000).pump(agent()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.requirement("RUN-09")
def test_pump_raises_the_agents_exception() -> None:
    async def agent() -> AsyncIterator[str]:
        yield "a"
        raise KeyError("mine")

    sink = Sink()
    with pytest.raises(KeyError, match="mine"):
        asyncio.run(sink.pump(agent()))
    assert sink.ready == ["a"]


def test_pump_raises_the_consumers_exception() -> None:
    async def main() -> None:
        def feed(event: Any) -> int:
            raise KeyError("fed")

        await pump(burst(), partial(feed_each, feed), lambda: None)

    with pytest.raises(KeyError, match="fed"):
        asyncio.run(main())


def cancelled(agent: Agent, count: int = 1) -> tuple[list[list[Any]], BaseException | None]:
    """What an agent sent that was cancelled where it waits, and how its pump ended."""

    async def main() -> tuple[list[list[Any]], BaseException | None]:
        sink = Sink()
        task = asyncio.ensure_future(sink.pump(agent()))
        for _ in range(count):
            while task._fut_waiter is None and not task.done():  # type: ignore[attr-defined]  # noqa: ASYNC110 - a turn of the loop
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
        [result] = await asyncio.gather(task, return_exceptions=True)
        return sink.pieces, result if isinstance(result, BaseException) else None

    return asyncio.run(main())


def test_cancellation_is_raised_in_the_agent() -> None:
    async def agent() -> AsyncIterator[str]:
        yield "a"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "b"
            raise

    pieces, ended = cancelled(agent)
    assert isinstance(ended, asyncio.CancelledError)
    assert pieces[0] == ["a"]


def test_cancellation_may_be_swallowed() -> None:
    async def agent() -> AsyncIterator[str]:
        yield "a"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "b"
        await asyncio.sleep(0)
        yield "c"

    assert cancelled(agent) == ([["a"], ["b"], ["c"]], None)


def test_cancellation_may_be_repeated() -> None:
    async def agent() -> AsyncIterator[str]:
        yield "a"
        for letter in "bc":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                yield letter

    assert cancelled(agent, 2) == ([["a"], ["b"], ["c"]], None)


def test_cancellation_lets_the_agent_clean_up() -> None:
    steps: list[str] = []

    async def agent() -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned")

    _, ended = cancelled(agent)
    assert isinstance(ended, asyncio.CancelledError)
    assert steps == ["cleaned"]


def test_cancellation_reaches_what_the_agent_awaits() -> None:
    inner: list[Any] = []

    async def agent() -> AsyncIterator[str]:
        yield "a"
        try:
            async with asyncio.TaskGroup() as group:
                inner.append(group.create_task(asyncio.sleep(30)))
        finally:
            inner.append(inner[0].cancelled())

    _, ended = cancelled(agent)
    assert isinstance(ended, asyncio.CancelledError)
    assert inner[1] is True


def test_cancellation_inside_a_timeout() -> None:
    async def agent() -> AsyncIterator[str]:
        yield "a"
        async with asyncio.timeout(30):
            await asyncio.Event().wait()

    assert isinstance(cancelled(agent)[1], asyncio.CancelledError)


def test_cancellation_of_an_iterator_object() -> None:
    class Iterator(Plain):
        async def __anext__(self) -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise StopAsyncIteration from None
            return "never"

    assert cancelled(Iterator) == ([], None)  # type: ignore[arg-type]


def test_pump_of_a_coroutine_that_is_closed_closes_the_wait() -> None:
    """A loop that ends without its tasks: nothing may hang or warn."""
    steps: list[str] = []

    async def agent() -> AsyncIterator[str]:
        try:
            yield "a"
            await Never()
        finally:
            steps.append("closed")

    class Never:
        def __await__(self) -> Generator[None, None, None]:
            yield

    coroutine: Coroutine[Any, Any, None] = Sink().pump(agent())
    coroutine.send(None)
    coroutine.close()
    assert steps == ["closed"]
