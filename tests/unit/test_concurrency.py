"""Where threads and the event loop meet: calling users' functions on either side, and the process's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from copilot_runtime._concurrency import driver, lifecycle, loops
from copilot_runtime._concurrency.framework import FrameworkContext, framework_scope

HANG_SECONDS = 30.0
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """As on ASGI."""

    async def within() -> Any:
        async with asyncio.timeout(HANG_SECONDS):
            return await coroutine

    return asyncio.run(within())


BOTH = pytest.mark.parametrize("run", [awaited, driver.run_sync], ids=["awaited", "driven"])


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
    assert run(driver.call_user_function(function, 1, 2)) == expected


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
        run(driver.call_user_function(function))


def test_where_functions_run() -> None:
    here = threading.current_thread()

    async def where() -> tuple[threading.Thread, threading.Thread, threading.Thread]:
        async def on_a_loop() -> threading.Thread:
            await asyncio.sleep(0)
            return threading.current_thread()

        return (
            await driver.call_user_function(threading.current_thread),
            await driver.call_user_function(on_a_loop),
            await driver.run_blocking(threading.current_thread),
        )

    function, on_a_loop, blocking = awaited(where())
    assert on_a_loop is here
    assert here not in (function, blocking)
    function, on_a_loop, blocking = driver.run_sync(where())
    assert function is blocking is here
    assert on_a_loop.name == "copilotkit-loop"


@BOTH
def test_context_variables_reach_what_is_called(run: Any) -> None:
    async def handle() -> list[str]:
        variable.set("the request's")

        async def asynchronous() -> str:
            return variable.get()

        return [
            await driver.call_user_function(variable.get),
            await driver.call_user_function(asynchronous),
            await driver.run_blocking(variable.get),
        ]

    assert contextvars.copy_context().run(run, handle()) == ["the request's"] * 3


def test_what_a_plain_function_sets_stays_on_a_driven_thread() -> None:
    """As a framework's own per-thread and per-context state must."""

    async def handle() -> str:
        await driver.call_user_function(variable.set, "the hook's")
        return variable.get()

    assert contextvars.copy_context().run(driver.run_sync, handle()) == "the hook's"


@BOTH
def test_whether_it_is_driven(run: Any) -> None:
    async def asynchronous() -> bool:
        await asyncio.sleep(0)
        return loops.in_sync_driver()

    async def handle() -> tuple[bool, bool]:
        return loops.in_sync_driver(), await driver.call_user_function(asynchronous)

    assert run(handle()) == (run is driver.run_sync, False)
    assert not loops.in_sync_driver()


def test_driving_without_waiting_needs_no_loop() -> None:
    async def inner() -> int:
        return 1

    async def handle() -> int:
        return await inner() + await inner()

    assert driver.run_sync(handle()) == 2


async def waits_by_itself() -> None:
    await asyncio.sleep(0)


async def waits_inside() -> None:
    await waits_by_itself()


@pytest.mark.parametrize("function", [waits_by_itself, waits_inside])
def test_driving_what_waits_for_a_loop_says_where(function: Any) -> None:
    with pytest.raises(RuntimeError, match=r"sleep.*waits for an event loop.*call_user_function"):
        driver.run_sync(function())


def test_driving_what_waits_in_an_object_of_its_own() -> None:
    class Waits:
        def __await__(self) -> Any:
            yield

    async def handle() -> None:
        await Waits()

    with pytest.raises(RuntimeError, match=rf"handle \({__file__}:\d+\) waits"):
        driver.run_sync(handle())


def test_a_drive_that_fails_leaves_no_trace() -> None:
    steps: list[str] = []

    async def handle() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            steps.append("closed")

    with pytest.raises(RuntimeError):
        driver.run_sync(handle())
    assert steps == ["closed"]
    assert not loops.in_sync_driver()


def test_an_exception_comes_out_of_a_drive() -> None:
    with pytest.raises(Broken):
        driver.run_sync(driver.call_user_function(raises))
    assert not loops.in_sync_driver()


class Framework(FrameworkContext):
    """Notes what is called in which of its surroundings."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    @contextlib.contextmanager
    def sync_agent_scope(self) -> Iterator[None]:
        self.notes.append("thread")
        yield
        self.notes.append("end of thread")

    @contextlib.asynccontextmanager
    async def background_scope(self) -> AsyncIterator[None]:
        self.notes.append("errand")
        yield
        self.notes.append("end of errand")


def test_a_driven_pipeline_needs_nothing_around_plain_functions() -> None:
    framework = Framework()
    assert driver.run_sync(driver.call_user_function(plain, 1), framework) == ("plain", 1)
    assert framework.notes == []


def test_a_driven_pipeline_sends_coroutines_on_errands_of_its_framework() -> None:
    framework = Framework()
    assert driver.run_sync(driver.call_user_function(coroutine, 1), framework) == ("coroutine", 1)
    assert framework.notes == ["errand", "end of errand"]


def test_an_awaited_pipeline_calls_plain_functions_as_its_framework_wants() -> None:
    framework = Framework()

    async def pipeline() -> Any:
        with framework_scope(framework):
            inside = await driver.call_user_function(plain, 1)
        return inside, await driver.call_user_function(plain, 2)

    assert asyncio.run(pipeline()) == (("plain", 1), ("plain", 2))
    assert framework.notes == ["thread", "end of thread"]


@BOTH
def test_a_function_that_runs_out_of_an_iterator(run: Any) -> None:
    """StopIteration, which neither a coroutine nor a future can carry, must not hang."""
    with pytest.raises(RuntimeError):
        run(driver.call_user_function(lambda: next(iter(()))))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_what_ends_a_coroutine_does_not_end_the_loop_of_all(error: type[BaseException]) -> None:
    async def leaves() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(error):
        driver.run_sync(driver.call_user_function(leaves))
    assert driver.run_sync(driver.call_user_function(coroutine)) == ("coroutine",)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_nor_does_a_task_that_nobody_waits_for(error: type[BaseException]) -> None:
    async def leaves() -> None:
        raise error

    loops.create_task_threadsafe(loops.background_loop(), leaves())
    assert driver.run_sync(driver.call_user_function(coroutine)) == ("coroutine",)


# --- waiting ---


@BOTH
def test_waiting_until_woken(run: Any) -> None:
    def park(wake: Callable[[], object]) -> bool:
        threading.Thread(target=wake).start()
        return True

    run(driver.wait_notified(park, HANG_SECONDS))


@BOTH
def test_waiting_for_what_wakes_at_once(run: Any) -> None:
    def park(wake: Callable[[], object]) -> bool:
        wake()
        return True

    run(driver.wait_notified(park, HANG_SECONDS))


@BOTH
def test_waiting_for_what_is_there(run: Any) -> None:
    run(driver.wait_notified(lambda wake: False, HANG_SECONDS))


@BOTH
@pytest.mark.parametrize("seconds", [0, 0.001])
def test_waiting_no_longer_than_told(run: Any, seconds: float) -> None:
    run(driver.wait_notified(lambda wake: True, seconds))
    run(driver.sleep(seconds))


@BOTH
def test_being_woken_late_does_no_harm(run: Any) -> None:
    wakes: list[Callable[[], object]] = []

    def park(wake: Callable[[], object]) -> bool:
        wakes.append(wake)
        return True

    run(driver.wait_notified(park, 0))
    for wake in wakes * 2:
        wake()


# --- loops and tasks ---


def test_there_is_one_background_loop() -> None:
    found: list[Any] = [None] * 8
    barrier = threading.Barrier(len(found))

    def look(index: int) -> None:
        barrier.wait()
        found[index] = loops.background_loop()

    threads = [threading.Thread(target=look, args=(index,)) for index in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert loops.running_background_loop() is found[0]
    assert found[0].is_running()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_starts_a_loop_of_its_own() -> None:
    parents = loops.background_loop()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fresh = loops.running_background_loop() is None
            works = driver.run_sync(driver.call_user_function(coroutine)) == ("coroutine",)
            own = loops.background_loop() is not parents
            os.write(write, b"%d%d%d" % (fresh, works, own))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    assert answer == b"111"
    assert driver.run_sync(driver.call_user_function(coroutine)) == ("coroutine",)


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
    lifecycle.register_lifecycle(life)
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
    assert loops.call_soon_threadsafe(closed_loop(), print) is False


def test_a_closed_loop_takes_no_task() -> None:
    task = coroutine()
    with pytest.raises(RuntimeError, match="closed"):
        loops.create_task_threadsafe(closed_loop(), task)
    with pytest.raises(RuntimeError, match=r"closed|already"):
        task.send(None)  # it was closed, so it does not complain of never having been awaited


def test_a_task_has_the_context_of_who_started_it() -> None:
    seen: list[Any] = []
    done = threading.Event()

    async def task() -> None:
        seen.append((variable.get(), loops.in_sync_driver(), threading.current_thread().name))
        done.set()

    async def handle() -> None:
        variable.set("the request's")
        loops.create_task_threadsafe(loops.target_loop(), task())
        await driver.run_blocking(done.wait, HANG_SECONDS)

    contextvars.copy_context().run(driver.run_sync, handle())
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

        loops.create_task_threadsafe(asyncio.get_running_loop(), task())
        await asyncio.sleep(0)
        gc.collect()
        await done.wait()

    before = set(loops._tasks)  # what other tests have halted with its loop stays as it is
    awaited(main())
    assert not [task for task in loops._tasks - before if not task.done()]


def test_what_a_pipeline_sets_is_not_seen_by_the_next_one() -> None:
    """Servers have one thread serve many requests."""
    before = variable.get()

    async def sets() -> str:
        await driver.call_user_function(variable.set, "this request's")
        return variable.get()

    assert driver.run_sync(sets()) == "this request's"
    assert variable.get() == before
    assert not loops.in_sync_driver()


def test_a_thread_has_the_context_of_who_started_it() -> None:
    seen: list[Any] = []
    done = threading.Event()

    def work(value: int) -> None:
        seen.append((value, variable.get(), loops.in_sync_driver(), threading.current_thread().name))
        done.set()

    def start() -> None:
        variable.set("the request's")
        loops.start_thread(work, 7, name="mine")

    contextvars.copy_context().run(start)
    assert done.wait(HANG_SECONDS)
    assert seen == [(7, "the request's", True, "mine")]


def test_the_package_is_imported_where_there_is_no_fork() -> None:
    """As on Windows, whose `os` has neither `fork` nor `register_at_fork`."""
    script = "import os; del os.register_at_fork, os.fork; import copilot_runtime, copilot_runtime_asgi"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
