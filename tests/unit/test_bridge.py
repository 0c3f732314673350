"""Where threads and the event loop meet: calling users' functions on either side, and the process's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from copilot_runtime._concurrency import bridge
from copilot_runtime._concurrency.framework import Host, hosted

HANG_SECONDS = 30.0
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """As on ASGI."""

    async def within() -> Any:
        async with asyncio.timeout(HANG_SECONDS):
            return await coroutine

    return asyncio.run(within())


BOTH = pytest.mark.parametrize("run", [awaited, bridge.drive], ids=["awaited", "driven"])


def plain(*values: Any) -> Any:
    return ("plain", *values)


async def coroutine(*values: Any) -> Any:
    await asyncio.sleep(0)
    return ("coroutine", *values)


class AsyncCalled:
    async def __call__(self, *values: Any) -> Any:
        await asyncio.sleep(0)
        return ("called", *values)

    async def method(self, *values: Any) -> Any:
        await asyncio.sleep(0)
        return ("method", *values)


def gives_a_coroutine(*values: Any) -> Any:
    return coroutine(*values)


async def gives_a_coroutine_in_a_coroutine(*values: Any) -> Any:
    return await gives_a_coroutine(*values)


CALLED: dict[str, tuple[Callable[..., Any], Any]] = {
    "a function": (plain, ("plain", 1, 2)),
    "a builtin": (max, 2),
    "a class": (slice, slice(1, 2)),
    "a lambda": (lambda a, b: a + b, 3),
    "a partial": (functools.partial(plain, 0), ("plain", 0, 1, 2)),
    "a coroutine function": (coroutine, ("coroutine", 1, 2)),
    "a partial of one": (functools.partial(coroutine, 0), ("coroutine", 0, 1, 2)),
    "an object with an async __call__": (AsyncCalled(), ("called", 1, 2)),
    "an async method": (AsyncCalled().method, ("method", 1, 2)),
    "a function that gives a coroutine": (gives_a_coroutine, ("coroutine", 1, 2)),
    "a coroutine that gives one": (gives_a_coroutine_in_a_coroutine, ("coroutine", 1, 2)),
}


@BOTH
@pytest.mark.parametrize("name", CALLED)
def test_call(run: Any, name: str) -> None:
    function, expected = CALLED[name]
    assert run(bridge.call(function, 1, 2)) == expected


class Broken(Exception):
    pass


def raises(*_: Any) -> None:
    raise Broken("mine")


async def raises_later(*_: Any) -> None:
    await asyncio.sleep(0)
    raise Broken("mine")


@BOTH
@pytest.mark.parametrize("function", [raises, raises_later])
def test_an_exception_comes_out_as_it_is(run: Any, function: Any) -> None:
    with pytest.raises(Broken, match="mine"):
        run(bridge.call(function))


def test_where_functions_run() -> None:
    here = threading.current_thread()

    async def where() -> tuple[threading.Thread, threading.Thread, threading.Thread]:
        async def on_a_loop() -> threading.Thread:
            await asyncio.sleep(0)
            return threading.current_thread()

        return (
            await bridge.call(threading.current_thread),
            await bridge.call(on_a_loop),
            await bridge.blocking(threading.current_thread),
        )

    function, on_a_loop, blocking = awaited(where())
    assert on_a_loop is here
    assert here not in (function, blocking)
    function, on_a_loop, blocking = bridge.drive(where())
    assert function is blocking is here
    assert on_a_loop.name == "copilotkit-loop"


@BOTH
def test_context_variables_reach_what_is_called(run: Any) -> None:
    async def handle() -> list[str]:
        variable.set("the request's")

        async def asynchronous() -> str:
            return variable.get()

        return [
            await bridge.call(variable.get),
            await bridge.call(asynchronous),
            await bridge.blocking(variable.get),
        ]

    assert contextvars.copy_context().run(run, handle()) == ["the request's"] * 3


def test_what_a_plain_function_sets_stays_on_a_driven_thread() -> None:
    """As a framework's own per-thread and per-context state must."""

    async def handle() -> str:
        await bridge.call(variable.set, "the hook's")
        return variable.get()

    assert contextvars.copy_context().run(bridge.drive, handle()) == "the hook's"


@BOTH
def test_whether_it_is_driven(run: Any) -> None:
    async def asynchronous() -> bool:
        await asyncio.sleep(0)
        return bridge.is_driven()

    async def handle() -> tuple[bool, bool]:
        return bridge.is_driven(), await bridge.call(asynchronous)

    assert run(handle()) == (run is bridge.drive, False)
    assert not bridge.is_driven()


def test_driving_without_waiting_needs_no_loop() -> None:
    async def inner() -> int:
        return 1

    async def handle() -> int:
        return await inner() + await inner()

    assert bridge.drive(handle()) == 2


async def waits_by_itself() -> None:
    await asyncio.sleep(0)


async def waits_inside() -> None:
    await waits_by_itself()


@pytest.mark.parametrize("function", [waits_by_itself, waits_inside])
def test_driving_what_waits_for_a_loop_says_where(function: Any) -> None:
    with pytest.raises(RuntimeError, match=r"sleep.*waits for an event loop.*bridge\.call"):
        bridge.drive(function())


def test_driving_what_waits_in_an_object_of_its_own() -> None:
    class Waits:
        def __await__(self) -> Any:
            yield

    async def handle() -> None:
        await Waits()

    with pytest.raises(RuntimeError, match=rf"handle \({__file__}:\d+\) waits"):
        bridge.drive(handle())


def test_a_drive_that_fails_leaves_no_trace() -> None:
    steps: list[str] = []

    async def handle() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            steps.append("closed")

    with pytest.raises(RuntimeError):
        bridge.drive(handle())
    assert steps == ["closed"]
    assert not bridge.is_driven()


def test_an_exception_comes_out_of_a_drive() -> None:
    with pytest.raises(Broken):
        bridge.drive(bridge.call(raises))
    assert not bridge.is_driven()


class Framework(Host):
    """Notes what is called in which of its surroundings."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    @contextlib.contextmanager
    def thread(self) -> Iterator[None]:
        self.notes.append("thread")
        yield
        self.notes.append("end of thread")

    @contextlib.asynccontextmanager
    async def errand(self) -> AsyncIterator[None]:
        self.notes.append("errand")
        yield
        self.notes.append("end of errand")


def test_a_driven_pipeline_needs_nothing_around_plain_functions() -> None:
    framework = Framework()
    assert bridge.drive(bridge.call(plain, 1), framework) == ("plain", 1)
    assert framework.notes == []


def test_a_driven_pipeline_sends_coroutines_on_errands_of_its_framework() -> None:
    framework = Framework()
    assert bridge.drive(bridge.call(coroutine, 1), framework) == ("coroutine", 1)
    assert framework.notes == ["errand", "end of errand"]


def test_an_awaited_pipeline_calls_plain_functions_as_its_framework_wants() -> None:
    framework = Framework()

    async def pipeline() -> Any:
        with hosted(framework):
            inside = await bridge.call(plain, 1)
        return inside, await bridge.call(plain, 2)

    assert asyncio.run(pipeline()) == (("plain", 1), ("plain", 2))
    assert framework.notes == ["thread", "end of thread"]


@BOTH
def test_a_function_that_runs_out_of_an_iterator(run: Any) -> None:
    """StopIteration, which neither a coroutine nor a future can carry, must not hang."""
    with pytest.raises(RuntimeError):
        run(bridge.call(lambda: next(iter(()))))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_what_ends_a_coroutine_does_not_end_the_loop_of_all(error: type[BaseException]) -> None:
    async def leaves() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(error):
        bridge.drive(bridge.call(leaves))
    assert bridge.drive(bridge.call(coroutine)) == ("coroutine",)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_nor_does_a_task_that_nobody_waits_for(error: type[BaseException]) -> None:
    async def leaves() -> None:
        raise error

    bridge.spawn(bridge.background_loop(), leaves())
    assert bridge.drive(bridge.call(coroutine)) == ("coroutine",)


# --- waiting ---


@BOTH
def test_waiting_until_woken(run: Any) -> None:
    def park(wake: Callable[[], object]) -> bool:
        threading.Thread(target=wake).start()
        return True

    run(bridge.wait(park, HANG_SECONDS))


@BOTH
def test_waiting_for_what_wakes_at_once(run: Any) -> None:
    def park(wake: Callable[[], object]) -> bool:
        wake()
        return True

    run(bridge.wait(park, HANG_SECONDS))


@BOTH
def test_waiting_for_what_is_there(run: Any) -> None:
    run(bridge.wait(lambda wake: False, HANG_SECONDS))


@BOTH
@pytest.mark.parametrize("seconds", [0, 0.001])
def test_waiting_no_longer_than_told(run: Any, seconds: float) -> None:
    run(bridge.wait(lambda wake: True, seconds))
    run(bridge.pause(seconds))


@BOTH
def test_being_woken_late_does_no_harm(run: Any) -> None:
    wakes: list[Callable[[], object]] = []

    def park(wake: Callable[[], object]) -> bool:
        wakes.append(wake)
        return True

    run(bridge.wait(park, 0))
    for wake in wakes * 2:
        wake()


# --- loops and tasks ---


def test_there_is_one_background_loop() -> None:
    loops: list[Any] = [None] * 8
    barrier = threading.Barrier(len(loops))

    def look(index: int) -> None:
        barrier.wait()
        loops[index] = bridge.background_loop()

    threads = [threading.Thread(target=look, args=(index,)) for index in range(len(loops))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(loops)) == 1
    assert bridge.background_if_running() is loops[0]
    assert loops[0].is_running()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_starts_a_loop_of_its_own() -> None:
    parents = bridge.background_loop()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fresh = bridge.background_if_running() is None
            works = bridge.drive(bridge.call(coroutine)) == ("coroutine",)
            own = bridge.background_loop() is not parents
            os.write(write, b"%d%d%d" % (fresh, works, own))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    assert answer == b"111"
    assert bridge.drive(bridge.call(coroutine)) == ("coroutine",)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_what_is_registered_is_told_of_a_fork() -> None:
    class Life:
        forks = 0

        def after_fork(self) -> None:
            self.forks += 1

        def at_exit(self) -> None:
            raise AssertionError("no child of a test ends in order")

    life = Life()
    bridge.register(life)
    child = os.fork()
    if child == 0:
        os._exit(life.forks)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert life.forks == 0


def closed_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


def test_a_closed_loop_is_told_nothing() -> None:
    assert bridge.in_loop(closed_loop(), print) is False


def test_a_closed_loop_takes_no_task() -> None:
    task = coroutine()
    with pytest.raises(RuntimeError, match="closed"):
        bridge.spawn(closed_loop(), task)
    with pytest.raises(RuntimeError, match=r"closed|already"):
        task.send(None)  # it was closed, so it does not complain of never having been awaited


def test_a_task_has_the_context_of_who_started_it() -> None:
    seen: list[Any] = []
    done = threading.Event()

    async def task() -> None:
        seen.append((variable.get(), bridge.is_driven(), threading.current_thread().name))
        done.set()

    async def handle() -> None:
        variable.set("the request's")
        bridge.spawn(bridge.home(), task())
        await bridge.blocking(done.wait, HANG_SECONDS)

    contextvars.copy_context().run(bridge.drive, handle())
    done.clear()
    contextvars.copy_context().run(awaited, handle())
    assert seen == [
        ("the request's", False, "copilotkit-loop"),
        ("the request's", False, threading.current_thread().name),
    ]
    assert variable.get() == "unset"


def test_a_task_is_not_lost_while_it_waits() -> None:
    """A loop holds its tasks weakly."""
    import gc

    async def main() -> None:
        done = asyncio.Event()

        async def task() -> None:
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.01, lambda: future.done() or future.set_result(None))
            await future
            done.set()

        bridge.spawn(asyncio.get_running_loop(), task())
        await asyncio.sleep(0)
        gc.collect()
        await done.wait()

    before = set(bridge._tasks)  # what other tests have halted with its loop stays as it is
    awaited(main())
    assert not [task for task in bridge._tasks - before if not task.done()]


def test_what_a_pipeline_sets_is_not_seen_by_the_next_one() -> None:
    """Servers have one thread serve many requests."""
    before = variable.get()

    async def sets() -> str:
        await bridge.call(variable.set, "this request's")
        return variable.get()

    assert bridge.drive(sets()) == "this request's"
    assert variable.get() == before
    assert not bridge.is_driven()


def test_a_thread_has_the_context_of_who_started_it() -> None:
    seen: list[Any] = []
    done = threading.Event()

    def work(value: int) -> None:
        seen.append((value, variable.get(), bridge.is_driven(), threading.current_thread().name))
        done.set()

    def start() -> None:
        variable.set("the request's")
        bridge.thread(work, 7, name="mine")

    contextvars.copy_context().run(start)
    assert done.wait(HANG_SECONDS)
    assert seen == [(7, "the request's", True, "mine")]
