"""What an awaitable does without a wait, and that the rest of it is like any other wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from copilot_runtime._concurrency.first_step import FirstStep

from ..awaitables import AWAITABLES


async def wait(*outcomes: Any) -> Any:
    """Waits once for each future, and returns their results."""
    return [await outcome for outcome in outcomes]


def test_first_step_that_is_all_needs_no_loop() -> None:
    step = FirstStep(wait())
    assert (step.is_done, step.result) == (True, [])


def test_first_step_raises_at_once() -> None:
    async def fail() -> None:
        raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        FirstStep(fail())


def taken_elsewhere(awaitable: Any) -> FirstStep[Any]:
    rest = awaitable.__await__()
    return FirstStep.taken(rest, next(rest))


@pytest.mark.parametrize("kind", AWAITABLES)
def test_first_step_is_of_whatever_is_awaitable(kind: str) -> None:
    async def check() -> None:
        future = asyncio.get_running_loop().create_future()
        step: FirstStep[Any] = FirstStep(AWAITABLES[kind](wait)(future))
        assert not step.is_done
        asyncio.get_running_loop().call_soon(future.set_result, "result")
        assert await step == ["result"]
        step = FirstStep(AWAITABLES[kind](wait)(asyncio.Event().wait()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await step

    asyncio.run(check())


def test_first_step_of_what_is_not_awaitable_raises_what_await_does() -> None:
    with pytest.raises(TypeError, match="'await' expression"):
        FirstStep(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("take", [FirstStep, taken_elsewhere])
@pytest.mark.parametrize("waits", [1, 3])
def test_first_step_is_followed_by_the_rest(waits: int, take: Callable[[Any], Any]) -> None:
    async def check() -> list[int]:
        futures = [asyncio.get_running_loop().create_future() for _ in range(waits)]
        step = take(wait(*futures))
        assert not step.is_done
        for number, future in enumerate(futures):
            asyncio.get_running_loop().call_soon(future.set_result, number)
        result: list[int] = await step
        return result

    assert asyncio.run(check()) == list(range(waits))


def test_first_step_cancellation_reaches_what_waits() -> None:
    async def survive(future: asyncio.Future[None], rest: asyncio.Future[str]) -> str:
        try:
            await future
        except asyncio.CancelledError:
            return await rest
        return "not cancelled"

    async def check() -> str:
        loop = asyncio.get_running_loop()
        rest: asyncio.Future[str] = loop.create_future()

        async def follow() -> str:
            return await FirstStep(survive(loop.create_future(), rest))

        task = asyncio.create_task(follow())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        rest.set_result("cancelled")
        return await task

    assert asyncio.run(check()) == "cancelled"
