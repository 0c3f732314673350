"""Where threads and the event loop meet: calling users' functions on either side, and the process's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from copilot_runtime._concurrency import driver, lifecycle, loops
from copilot_runtime._concurrency.framework import FrameworkContext, FrameworkScope
from copilot_runtime._concurrency.process_local import ProcessLocal

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


@pytest.mark.requirement("HOOK-07")
@BOTH
@pytest.mark.parametrize("name", CALLED)
def test_call_plain_and_coroutine_functions(run: Any, name: str) -> None:
    function, expected = CALLED[name]
    assert run(driver.call_user_function(function, 1, 2)) == expected


class Broken(Exception):
    pass


def raises(*_: Any) -> None:
    raise Broken("mine")


async def raises_later(*_: Any) -> None:
    await asyncio.sleep(0)
    raise Broken("mine")


@pytest.mark.requirement("HOOK-07")
@BOTH
@pytest.mark.parametrize("function", [raises, raises_later])
def test_call_raises_the_functions_exception(run: Any, function: Any) -> None:
    with pytest.raises(Broken, match="mine"):
        run(driver.call_user_function(function))


@pytest.mark.requirement("HOOK-07")
def test_call_runs_functions_on_which_thread() -> None:
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
    assert on_a_loop.name == "copilot-runtime-loop"


@pytest.mark.requirement("HOOK-07")
@BOTH
def test_call_passes_context_variables(run: Any) -> None:
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


@pytest.mark.requirement("HOOK-07")
def test_call_keeps_context_variables_set_by_a_plain_function() -> None:
    """As a framework's own per-thread and per-context state must."""

    async def handle() -> str:
        await driver.call_user_function(variable.set, "the hook's")
        return variable.get()

    assert contextvars.copy_context().run(driver.run_sync, handle()) == "the hook's"


@BOTH
def test_driver_is_driven(run: Any) -> None:
    async def asynchronous() -> bool:
        await asyncio.sleep(0)
        return loops.in_sync_driver()

    async def handle() -> tuple[bool, bool]:
        return loops.in_sync_driver(), await driver.call_user_function(asynchronous)

    assert run(handle()) == (run is driver.run_sync, False)
    assert not loops.in_sync_driver()


def test_driver_without_waiting_starts_no_loop() -> None:
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
def test_driver_names_the_function_that_waits_for_a_loop(function: Any) -> None:
    with pytest.raises(RuntimeError, match=r"sleep.*waits for an event loop.*call_user_function"):
        driver.run_sync(function())


def test_driver_of_an_awaitable_object() -> None:
    class Waits:
        def __await__(self) -> Any:
            yield

    async def handle() -> None:
        await Waits()

    with pytest.raises(RuntimeError, match=rf"handle \({__file__}:\d+\) waits"):
        driver.run_sync(handle())


def test_driver_that_fails_leaves_no_trace() -> None:
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


def test_driver_raises_the_pipelines_exception() -> None:
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


def test_framework_context_is_not_entered_for_driven_plain_functions() -> None:
    framework = Framework()
    assert driver.run_sync(driver.call_user_function(plain, 1), framework) == ("plain", 1)
    assert framework.notes == []


def test_framework_context_is_entered_for_coroutines_of_a_driven_pipeline() -> None:
    framework = Framework()
    assert driver.run_sync(driver.call_user_function(coroutine, 1), framework) == ("coroutine", 1)
    assert framework.notes == ["errand", "end of errand"]


def test_framework_context_calls_plain_functions_of_an_awaited_pipeline() -> None:
    framework = Framework()

    async def pipeline() -> Any:
        with FrameworkScope(framework):
            inside = await driver.call_user_function(plain, 1)
        return inside, await driver.call_user_function(plain, 2)

    assert asyncio.run(pipeline()) == (("plain", 1), ("plain", 2))
    assert framework.notes == ["thread", "end of thread"]


@pytest.mark.requirement("HOOK-07")
@BOTH
def test_call_of_a_function_that_raises_stop_iteration(run: Any) -> None:
    """StopIteration, which neither a coroutine nor a future can carry, must not hang."""
    with pytest.raises(RuntimeError):
        run(driver.call_user_function(lambda: next(iter(()))))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_background_loop_survives_a_coroutine_that_raises_system_exit(error: type[BaseException]) -> None:
    async def leaves() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(error):
        driver.run_sync(driver.call_user_function(leaves))
    assert driver.run_sync(driver.call_user_function(coroutine)) == ("coroutine",)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_background_loop_survives_a_task_that_raises_system_exit(error: type[BaseException]) -> None:
    async def leaves() -> None:
        raise error

    loops.create_task_threadsafe(loops.background_loop(), leaves())
    assert driver.run_sync(driver.call_user_function(coroutine)) == ("coroutine",)


# --- waiting ---


@BOTH
def test_wait_until_notified(run: Any) -> None:
    def park(wake: Callable[[], object]) -> bool:
        threading.Thread(target=wake).start()
        return True

    run(driver.wait_notified(park, HANG_SECONDS))


@BOTH
def test_wait_that_is_notified_at_once(run: Any) -> None:
    def park(wake: Callable[[], object]) -> bool:
        wake()
        return True

    run(driver.wait_notified(park, HANG_SECONDS))


@BOTH
def test_wait_for_what_is_ready(run: Any) -> None:
    run(driver.wait_notified(lambda wake: False, HANG_SECONDS))


@BOTH
@pytest.mark.parametrize("seconds", [0, 0.001])
def test_wait_timeout(run: Any, seconds: float) -> None:
    run(driver.wait_notified(lambda wake: True, seconds))
    run(driver.sleep(seconds))


@BOTH
def test_wait_notified_after_its_timeout(run: Any) -> None:
    wakes: list[Callable[[], object]] = []

    def park(wake: Callable[[], object]) -> bool:
        wakes.append(wake)
        return True

    run(driver.wait_notified(park, 0))
    for wake in wakes * 2:
        wake()


# --- loops and tasks ---


def test_background_loop_is_one_for_the_process() -> None:
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


def test_background_loop_that_cannot_start_its_thread_is_started_by_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(loops, "_background", ProcessLocal(loops._BackgroundLoop, loops._BackgroundLoop.start))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            loops.background_loop()
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(loops.background_loop()), daemon=True)
    thread.start()
    thread.join(HANG_SECONDS)
    own = loops.running_background_loop()
    assert own is not None
    assert found == [own]
    own.call_soon_threadsafe(own.stop)


@pytest.mark.requirement("FORK-01")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_background_loop_after_fork() -> None:
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
def test_lifecycle_after_fork_is_called() -> None:
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


@pytest.mark.requirement("HOOK-07")
def test_call_soon_on_a_closed_loop_does_nothing() -> None:
    assert loops.call_soon_threadsafe(closed_loop(), print) is False


def test_create_task_on_a_closed_loop() -> None:
    task = coroutine()
    with pytest.raises(RuntimeError, match="closed"):
        loops.create_task_threadsafe(closed_loop(), task)
    with pytest.raises(RuntimeError, match=r"closed|already"):
        task.send(None)  # it was closed, so it does not complain of never having been awaited


def test_create_task_copies_the_context() -> None:
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
        ("the request's", False, "copilot-runtime-loop"),
        ("the request's", False, threading.current_thread().name),
    ]
    assert variable.get() == "unset"


def test_create_task_keeps_a_reference() -> None:
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


def test_driver_context_variables_are_not_shared_between_pipelines() -> None:
    """Servers have one thread serve many requests."""
    before = variable.get()

    async def sets() -> str:
        await driver.call_user_function(variable.set, "this request's")
        return variable.get()

    assert driver.run_sync(sets()) == "this request's"
    assert variable.get() == before
    assert not loops.in_sync_driver()


def test_worker_thread_copies_the_context() -> None:
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


def test_import_without_fork() -> None:
    """As on Windows, whose `os` has neither `fork` nor `register_at_fork`."""
    script = "import os; del os.register_at_fork, os.fork; import copilot_runtime, copilot_runtime_asgi"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")


# --- calls from other threads ---


class CountedLoop(asyncio.SelectorEventLoop):
    """An event loop that counts how often other threads have woken it."""

    def __init__(self) -> None:
        super().__init__()
        self.wakes = 0

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:
        self.wakes += 1
        return super().call_soon_threadsafe(*args, **options)


@pytest.fixture
def counted_loop() -> Iterator[CountedLoop]:
    loop = CountedLoop()
    yield loop
    loop.close()


def run_until_idle(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(0.01, loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("count", [10, 40])
def test_calls_from_other_threads_wake_the_loop_once(counted_loop: CountedLoop, count: int) -> None:
    called: list[int] = []
    for number in range(count):
        assert loops.call_soon_threadsafe(counted_loop, called.append, number)
    assert counted_loop.wakes == 1
    run_until_idle(counted_loop)
    assert called == list(range(count))
    assert loops.call_soon_threadsafe(counted_loop, called.append, -1)
    assert counted_loop.wakes == 2


def test_calls_from_other_threads_have_the_contexts_of_their_callers(counted_loop: CountedLoop) -> None:
    seen: list[str] = []
    for value in ("a", "b"):
        context = contextvars.copy_context()
        context.run(variable.set, value)
        context.run(loops.call_soon_threadsafe, counted_loop, lambda: seen.append(variable.get()))
    run_until_idle(counted_loop)
    assert seen == ["a", "b"]


def test_call_from_another_thread_that_raises_leaves_the_others(counted_loop: CountedLoop) -> None:
    called: list[str] = []
    reported: list[Any] = []
    counted_loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    loops.call_soon_threadsafe(counted_loop, called.append, "before")
    loops.call_soon_threadsafe(counted_loop, raises)
    loops.call_soon_threadsafe(counted_loop, called.append, "after")
    run_until_idle(counted_loop)
    assert called == ["before", "after"]
    assert [type(error) for error in reported] == [Broken]


def test_interrupted_call_leaves_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, called = loops.background_loop(), threading.Event()

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", interrupt)
        with pytest.raises(KeyboardInterrupt):
            loops.call_soon_threadsafe(loop, lambda: None)
    assert loops.call_soon_threadsafe(loop, called.set)
    assert called.wait(HANG_SECONDS)


def test_calls_from_many_threads_are_all_made() -> None:
    loop = loops.background_loop()
    called: list[int] = []
    done = threading.Event()

    def call(number: int) -> None:
        called.append(number)
        if len(called) == 8 * 500:
            done.set()

    def put(first: int) -> None:
        for number in range(first, first + 500):
            assert loops.call_soon_threadsafe(loop, call, number)

    threads = [threading.Thread(target=put, args=(500 * index,), daemon=True) for index in range(8)]
    for thread in threads:
        thread.start()
    assert done.wait(HANG_SECONDS)
    assert sorted(called) == list(range(8 * 500))
    for index in range(8):  # and those of each thread in order
        own = [number for number in called if number // 500 == index]
        assert own == sorted(own)


def test_calls_of_a_thread_keep_their_order_while_another_makes_its_first(
    counted_loop: CountedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    is_about_to_call, may_call = threading.Event(), threading.Event()
    other = threading.Thread(target=lambda: loops.call_soon_threadsafe(counted_loop, called.append, "other"))

    class Inbox(loops._Inbox):
        """Has the other thread create one, too, and use it just before the first call here."""

        def __init__(self) -> None:
            super().__init__()
            if threading.current_thread() is other:
                is_about_to_call.set()
                assert may_call.wait(HANG_SECONDS)
            else:
                other.start()
                assert is_about_to_call.wait(HANG_SECONDS)

        def put(self, *args: Any) -> None:
            if threading.current_thread() is not other and not may_call.is_set():
                may_call.set()
                other.join(HANG_SECONDS)
            super().put(*args)

    monkeypatch.setattr(loops, "_Inbox", Inbox)
    loops.call_soon_threadsafe(counted_loop, called.append, "first")
    loops.call_soon_threadsafe(counted_loop, called.append, "second")
    run_until_idle(counted_loop)
    assert called == ["other", "first", "second"]


def test_calls_of_a_loop_that_is_closed_are_dropped_with_it() -> None:
    class Kept:
        def call(self) -> None:
            raise AssertionError("the loop is closed")

    loop = CountedLoop()
    kept = Kept()
    kept.loop = loop  # type: ignore[attr-defined]
    references = weakref.ref(loop), weakref.ref(kept)
    assert loops.call_soon_threadsafe(loop, kept.call)
    loop.close()
    assert not loops.call_soon_threadsafe(loop, kept.call)
    del loop, kept
    gc.collect()
    assert [reference() for reference in references] == [None, None]
