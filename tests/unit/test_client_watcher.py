"""How a response waits for its client to disconnect: without a task for a server's own `receive`, and with one else."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from copilot_runtime_asgi._client_watcher import ClientWatcher

DISCONNECT = {"type": "http.disconnect"}
HANG_SECONDS = 30.0

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Watched(ClientWatcher):
    """A response that notes when it is closed."""

    __slots__ = ("closed",)

    def __init__(self, receive: Callable[[], Any]) -> None:
        super().__init__(receive, has_body_ended=True)
        self.closed = asyncio.Event()

    def _close(self) -> None:
        self.closed.set()

    async def begin(self) -> None:
        asyncio.get_running_loop().call_soon(self._watch_client)
        await asyncio.sleep(0)

    async def turn(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)


class Server:
    """A server's `receive`, as most are, and what it has noticed."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.calls = 0
        self.is_cancelled = False

    async def receive(self) -> dict[str, Any]:
        self.calls += 1
        try:
            await self.event.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        return DISCONNECT


async def with_timeout(receive: Callable[[], Any]) -> Any:
    async with asyncio.timeout(HANG_SECONDS):
        return await receive()


async def with_cancel_scope(receive: Callable[[], Any]) -> Any:
    with anyio.CancelScope():
        return await receive()


async def with_variable(receive: Callable[[], Any]) -> Any:
    token = _variable.set("set")
    message = await receive()
    assert _variable.get() == "set"
    _variable.reset(token)
    return message


def tasks() -> int:
    return len(asyncio.all_tasks()) - 1


def test_a_server_that_waits_for_a_future_takes_no_task() -> None:
    async def test() -> None:
        server = Server()
        response = Watched(server.receive)
        await response.begin()
        assert tasks() == 0
        assert not response.closed.is_set()
        server.event.set()
        await asyncio.wait_for(response.closed.wait(), HANG_SECONDS)
        assert server.calls == 1
        response._stop_watching()
        await response.turn()
        assert tasks() == 0

    asyncio.run(test())


@pytest.mark.parametrize("wrap", [with_timeout, with_cancel_scope, with_variable])
def test_what_wraps_a_server_has_a_task_where_it_needs_one(wrap: Callable[..., Any]) -> None:
    async def test() -> None:
        server = Server()
        response = Watched(lambda: wrap(server.receive))
        await response.begin()
        await response.turn()
        assert server.calls == 1
        assert not response.closed.is_set()
        server.event.set()
        await asyncio.wait_for(response.closed.wait(), HANG_SECONDS)
        response._stop_watching()

    asyncio.run(test())


@pytest.mark.parametrize("wrap", [None, with_timeout, with_cancel_scope])
def test_a_server_is_cancelled_at_the_end_of_the_response(wrap: Callable[..., Any] | None) -> None:
    async def test() -> None:
        server = Server()
        response = Watched(server.receive if wrap is None else lambda: wrap(server.receive))
        await response.begin()
        await response.turn()
        response._stop_watching()
        await response.turn()
        assert server.is_cancelled
        assert not response.closed.is_set()
        assert tasks() == 0
        server.event.set()
        await response.turn()
        assert not response.closed.is_set()

    asyncio.run(test())


def test_a_server_may_wait_although_it_is_cancelled() -> None:
    async def test() -> None:
        begun, may_end = asyncio.Event(), asyncio.Event()
        steps = []

        async def receive() -> dict[str, Any]:
            try:
                await begun.wait()
            finally:
                steps.append("cancelled")
                await may_end.wait()
                steps.append("ended")
            return DISCONNECT

        response = Watched(receive)
        await response.begin()
        response._stop_watching()
        await response.turn()
        assert steps == ["cancelled"]
        may_end.set()
        await response.turn()
        assert steps == ["cancelled", "ended"]
        assert tasks() == 0

    asyncio.run(test())


def test_a_server_that_fails_as_it_is_cancelled_is_reported() -> None:
    async def test() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

        async def receive() -> dict[str, Any]:
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("from receive")
            return DISCONNECT

        response = Watched(receive)
        await response.begin()
        response._stop_watching()
        assert [str(context["exception"]) for context in reported] == ["from receive"]

    asyncio.run(test())


def test_a_message_that_has_come_as_the_response_ends_closes_nothing_twice() -> None:
    async def test() -> None:
        server = Server()
        response = Watched(server.receive)
        await response.begin()
        server.event.set()
        response._stop_watching()
        await response.turn()
        assert server.is_cancelled
        assert not response.closed.is_set()

    asyncio.run(test())


def test_a_server_that_has_a_message_at_once_is_asked_for_the_next_one() -> None:
    async def test() -> None:
        messages = [{"type": "http.request", "more_body": False}, DISCONNECT]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        response = Watched(receive)
        await response.begin()
        await response.turn()
        # Asked again, it would answer at once and forever: see `wait_for_disconnect`.
        assert len(messages) == 1
        response._stop_watching()
        await response.turn()
        assert tasks() == 0

    asyncio.run(test())
