"""How the background loop wakes the threads that wait for it: at the end of its turn, one after another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from copilot_runtime._concurrency import loops
from copilot_runtime._concurrency.loop_watchdog import LoopWatchdog
from copilot_runtime._concurrency.wake import Wake, WakeRelay, WakeThread

HANG_SECONDS = 30.0

RELAY_SECONDS = "copilot_runtime._concurrency.wake.RELAY_SECONDS"


@pytest.fixture(autouse=True)
def endless_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RELAY_SECONDS, float("inf"))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def relay(loop: asyncio.AbstractEventLoop) -> WakeRelay:
    relay = WakeRelay()
    relay.watch(loop)
    return relay


def run_turn(loop: asyncio.AbstractEventLoop, *functions: Callable[[], object]) -> None:
    """Calls functions in one turn of a loop, which is not its first one, and stops the loop in the next one."""

    def start() -> None:
        for function in functions:
            loop.call_soon(function)
        loop.call_soon(loop.call_soon, loop.stop)

    loop.call_soon(start)
    loop.run_forever()


class Woken(list[str]):
    """The names of the threads that were woken."""

    def thread(self, name: str, *, passes_on: bool = False) -> WakeThread:
        def wake() -> bool:
            self.append(name)
            return passes_on

        return wake


@pytest.fixture
def woken() -> Woken:
    return Woken()


def test_thread_is_woken_when_all_else_of_the_turn_is_done(
    loop: asyncio.AbstractEventLoop, relay: WakeRelay, woken: Woken
) -> None:
    run_turn(
        loop,
        lambda: relay.wake(woken.thread("thread")),
        lambda: woken.append("same turn"),
        lambda: loop.call_soon(woken.append, "next turn"),
    )
    assert woken == ["same turn", "thread", "next turn"]


def test_threads_that_do_not_pass_on_are_all_woken_in_order(
    loop: asyncio.AbstractEventLoop, relay: WakeRelay, woken: Woken
) -> None:
    run_turn(loop, *[lambda name=name: relay.wake(woken.thread(name)) for name in "abc"])  # type: ignore[misc]
    assert woken == ["a", "b", "c"]


def wake_and_stop(loop: asyncio.AbstractEventLoop, relay: WakeRelay, *wakes: WakeThread) -> None:
    """Has threads woken in a turn of a loop that stops before the turn ends."""

    def wake_all() -> None:
        for wake in wakes:
            relay.wake(wake)
        loop.stop()

    loop.call_soon(loop.call_soon, wake_all)
    loop.run_forever()


def test_thread_that_passes_on_wakes_the_next_one(
    loop: asyncio.AbstractEventLoop, relay: WakeRelay, woken: Woken
) -> None:
    wake_and_stop(loop, relay, *[woken.thread(name, passes_on=name != "b") for name in "abcd"])
    assert woken == []
    relay.end_turn()
    assert woken == ["a"]
    relay.pass_on()
    assert woken == ["a", "b", "c"]
    relay.pass_on()
    relay.pass_on()
    assert woken == ["a", "b", "c", "d"]


def test_each_turn_begins_anew(loop: asyncio.AbstractEventLoop, relay: WakeRelay, woken: Woken) -> None:
    """Whatever keeps a thread of an earlier one from passing on."""
    wake_and_stop(loop, relay, *[woken.thread(name, passes_on=True) for name in "abc"])
    relay.end_turn()
    relay.end_turn()
    assert woken == ["a", "b"]


def test_all_threads_are_woken_once_that_takes_long(
    loop: asyncio.AbstractEventLoop, relay: WakeRelay, woken: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would wait for threads that compute: with two of those and 50 streams, half a second in place of 0.05."""
    wake_and_stop(loop, relay, *[woken.thread(name, passes_on=True) for name in "abcd"])
    relay.end_turn()
    monkeypatch.setattr(RELAY_SECONDS, 0.0)
    relay.pass_on()
    assert woken == ["a", "b", "c", "d"]


def test_another_thread_wakes_at_once(loop: asyncio.AbstractEventLoop, relay: WakeRelay, woken: Woken) -> None:
    def have_another_thread_wake() -> None:
        thread = threading.Thread(target=relay.wake, args=(woken.thread("thread"),))
        thread.start()
        thread.join(HANG_SECONDS)
        woken.append("turn")

    run_turn(loop, have_another_thread_wake)
    assert woken == ["thread", "turn"]


def test_thread_is_woken_at_once_if_the_loop_is_about_to_wait(
    loop: asyncio.AbstractEventLoop, relay: WakeRelay, woken: Woken
) -> None:
    """As by the garbage collector: the loop does not look again."""

    def wake() -> bool:
        relay.wake(woken.thread("late"))
        woken.append("thread")
        return True

    run_turn(loop, lambda: relay.wake(wake), lambda: loop.call_soon(woken.append, "next turn"))
    assert woken == ["late", "thread", "next turn"]


def test_loop_that_is_not_made_in_python_wakes_at_once(woken: Woken) -> None:
    uvloop = pytest.importorskip("uvloop")
    loop, relay = uvloop.new_event_loop(), WakeRelay()
    relay.watch(loop)
    run_turn(loop, lambda: relay.wake(woken.thread("thread")), lambda: woken.append("same turn"))
    loop.close()
    assert woken == ["thread", "same turn"]


# --- the background loop ---


def on_background_loop(function: Callable[[], object]) -> None:
    # In a turn after the loop's first one.
    loop = loops.background_loop()
    loop.call_soon_threadsafe(loop.call_soon, function)


def test_background_loop_wakes_threads_at_the_end_of_its_turn() -> None:
    wake, other, was_woken = Wake(), Wake(), list[bool]()

    def set_both() -> None:
        wake.set()
        was_woken.append(wake.wait(timeout=0))
        other.set()

    on_background_loop(set_both)
    assert wake.wait(timeout=HANG_SECONDS)
    assert other.wait(timeout=HANG_SECONDS)
    assert was_woken == [False]


@pytest.mark.parametrize("count", [1, 2, 50])
def test_background_loop_wakes_all_threads_of_a_turn(count: int) -> None:
    wakes = [Wake() for _ in range(count)]
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda wake=wake: woken.append(wake.wait(HANG_SECONDS))) for wake in wakes]
    for thread in threads:
        thread.start()
    on_background_loop(lambda: [wake.set() for wake in wakes])
    for thread in threads:
        thread.join(HANG_SECONDS)
    assert woken == [True] * count


def test_thread_that_does_something_else_does_not_keep_others_waiting() -> None:
    """Such as sending to a client that does not read."""
    busy, waiting = Wake(), Wake()
    on_background_loop(lambda: (busy.set(), waiting.set()))
    assert waiting.wait(HANG_SECONDS)


def test_thread_whose_wait_has_a_limit_passes_on() -> None:
    wakes = [Wake() for _ in range(20)]
    over = threading.Event()

    def wait_briefly(wake: Wake) -> None:
        while not over.is_set():
            wake.wait(timeout=0.0001)

    last = Wake()
    threads = [threading.Thread(target=wait_briefly, args=(wake,)) for wake in wakes]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            on_background_loop(lambda: [wake.set() for wake in (*wakes, last)])
            assert last.wait(HANG_SECONDS)
    finally:
        over.set()
        for thread in threads:
            thread.join(HANG_SECONDS)


def test_task_that_raises_system_exit_leaves_no_thread_asleep() -> None:
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
    assert not wake.wait(timeout=0)


def test_thread_does_not_wait_for_a_loop_that_is_blocked() -> None:
    wake, is_set, may_go_on = Wake(), threading.Event(), threading.Event()

    def set_and_block() -> None:
        wake.set()
        is_set.set()
        may_go_on.wait()

    on_background_loop(set_and_block)
    assert is_set.wait(HANG_SECONDS)
    LoopWatchdog().check()
    try:
        assert wake.wait(HANG_SECONDS)
    finally:
        may_go_on.set()
