"""What the background loop does at the end of its turn: waking the threads that wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from copilot_runtime._concurrency import loops
from copilot_runtime._concurrency.turn_end import TurnEnd
from copilot_runtime._http.wake import Wake

HANG_SECONDS = 30.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def turn_end(loop: asyncio.AbstractEventLoop) -> TurnEnd:
    turn_end = TurnEnd()
    turn_end.watch(loop)
    return turn_end


def run_turns(loop: asyncio.AbstractEventLoop, *functions: Callable[[], object]) -> None:
    """Calls functions in one turn of a loop, which is not its first one, and stops the loop in the next one."""

    def start() -> None:
        for function in functions:
            loop.call_soon(function)
        loop.call_soon(loop.call_soon, loop.stop)

    loop.call_soon(start)
    loop.run_forever()


def test_function_is_called_when_all_else_of_the_turn_is_done(
    loop: asyncio.AbstractEventLoop, turn_end: TurnEnd
) -> None:
    seen: list[str] = []
    run_turns(
        loop,
        lambda: turn_end.call(lambda: seen.append("woken")),
        lambda: seen.append("same turn"),
        lambda: loop.call_soon(seen.append, "next turn"),
    )
    assert seen == ["same turn", "woken", "next turn"]


def test_functions_are_called_in_order(loop: asyncio.AbstractEventLoop, turn_end: TurnEnd) -> None:
    seen: list[int] = []
    run_turns(loop, *[lambda n=n: turn_end.call(lambda: seen.append(n)) for n in range(3)])  # type: ignore[misc]
    assert seen == [0, 1, 2]


def test_function_of_another_thread_is_called_at_once(loop: asyncio.AbstractEventLoop, turn_end: TurnEnd) -> None:
    seen: list[str] = []

    def have_another_thread_call() -> None:
        thread = threading.Thread(target=turn_end.call, args=(lambda: seen.append("woken"),))
        thread.start()
        thread.join(HANG_SECONDS)
        seen.append("turn")

    run_turns(loop, have_another_thread_call)
    assert seen == ["woken", "turn"]


def test_function_that_comes_while_the_loop_is_about_to_wait_is_called_at_once(
    loop: asyncio.AbstractEventLoop, turn_end: TurnEnd
) -> None:
    """As from the garbage collector: the loop does not look again."""
    seen: list[str] = []

    def wake() -> None:
        turn_end.call(lambda: seen.append("late"))
        seen.append("woken")

    run_turns(loop, lambda: turn_end.call(wake), lambda: loop.call_soon(seen.append, "next turn"))
    assert seen == ["late", "woken", "next turn"]


def test_end_calls_what_a_loop_that_stopped_has_left(loop: asyncio.AbstractEventLoop, turn_end: TurnEnd) -> None:
    seen: list[str] = []
    loop.call_soon(loop.call_soon, lambda: (loop.stop(), turn_end.call(lambda: seen.append("woken"))))
    loop.run_forever()
    assert seen == []
    turn_end.end()
    assert seen == ["woken"]
    turn_end.call(lambda: seen.append("at once"))
    assert seen == ["woken", "at once"]


def test_loop_that_is_not_made_in_python_has_functions_called_at_once() -> None:
    uvloop = pytest.importorskip("uvloop")
    loop, turn_end, seen = uvloop.new_event_loop(), TurnEnd(), list[str]()
    turn_end.watch(loop)
    run_turns(loop, lambda: turn_end.call(lambda: seen.append("woken")), lambda: seen.append("same turn"))
    loop.close()
    assert seen == ["woken", "same turn"]


# --- the background loop ---


def on_background_loop(function: Callable[[], object]) -> None:
    # In a turn after the loop's first one.
    loop = loops.background_loop()
    loop.call_soon_threadsafe(loop.call_soon, function)


def test_background_loop_wakes_threads_at_the_end_of_its_turn() -> None:
    wake, other, was_woken = Wake(), Wake(), list[bool]()

    def set_both() -> None:
        wake.set()
        was_woken.append(wake.wait(blocking=False))
        other.set()

    on_background_loop(set_both)
    assert wake.wait(timeout=HANG_SECONDS)
    assert other.wait(timeout=HANG_SECONDS)
    assert was_woken == [False]


def test_task_that_raises_system_exit_leaves_no_thread_asleep(caplog: pytest.LogCaptureFixture) -> None:
    wake = Wake()

    def set_and_raise() -> None:
        wake.set()
        raise SystemExit

    on_background_loop(set_and_raise)
    assert wake.wait(timeout=HANG_SECONDS)


def test_wake_that_is_set_twice_in_a_turn_counts_once() -> None:
    wake, last = Wake(), Wake()

    def set_twice() -> None:
        wake.set()
        wake.set()
        last.set()

    on_background_loop(set_twice)
    assert last.wait(timeout=HANG_SECONDS)
    assert wake.wait(timeout=HANG_SECONDS)
    assert not wake.wait(blocking=False)
