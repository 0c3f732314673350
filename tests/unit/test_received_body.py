"""The body of a request as an ASGI server passes it on: in one message, in several, or not at all."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from copilot_runtime._http.body import BodyError, BodyTimeout, BodyTooLarge, UnreadableBody
from copilot_runtime._http.body_limits import BodyBudget, BodyLimits
from copilot_runtime_asgi._received_body import ReceivedBody, wait_for_disconnect

from ..awaitables import AWAITABLES

pytestmark = pytest.mark.requirement("BODY-09")

Message = dict[str, Any]


def limits(timeout_seconds: float | None = 30) -> BodyLimits:
    return BodyLimits(max_bytes=10, timeout_seconds=timeout_seconds, budget=BodyBudget(15))


def chunk(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


DISCONNECT: Message = {"type": "http.disconnect"}


def server(*messages: Message | None) -> Callable[[], Awaitable[Message]]:
    """Returns a server's ``receive``. None is for a turn of the event loop without a message."""
    left = list(messages)

    async def receive() -> Message:
        while left:
            message = left.pop(0)
            if message is not None:
                return message
            await asyncio.sleep(0)
        await asyncio.Event().wait()
        raise AssertionError

    return receive


@pytest.mark.parametrize(
    "messages",
    [
        (chunk(b"0123456789"),),
        ({"type": "http.request", "body": b"0123456789"},),
        (None, chunk(b"0123456789")),
        (chunk(b"01234", more=True), chunk(b"56789")),
        (chunk(b"01234", more=True), None, chunk(b"", more=True), chunk(b"56789", more=True), {"type": "http.request"}),
    ],
    ids=["whole", "without more_body", "late", "two messages", "empty messages"],
)
def test_received_body_is_the_same_however_it_comes(messages: Any) -> None:
    async def check() -> None:
        receive = server(*messages)
        connection = weakref.ref(receive)
        shared = limits()
        body = ReceivedBody(shared, receive)
        assert not body.is_read
        del receive
        assert await asyncio.gather(body.read(), body.read()) == [b"0123456789"] * 2
        assert (await body.read(), body.is_read, body.has_ended) == (b"0123456789", True, True)
        assert shared.budget.held == 10
        assert connection() is None, "a run keeps its request, and may take much longer than its connection"
        body.close()
        body.close()
        assert shared.budget.held == 0

    asyncio.run(check())


@pytest.mark.parametrize("kind", AWAITABLES)
def test_received_body_comes_from_whatever_is_awaitable(kind: str) -> None:
    async def check() -> None:
        for messages in ((chunk(b"all"),), (None, chunk(b"a", more=True), None, chunk(b"ll"))):
            assert await ReceivedBody(limits(), AWAITABLES[kind](server(*messages))).read() == b"all"
        with pytest.raises(BodyTimeout):
            await ReceivedBody(limits(timeout_seconds=0.01), AWAITABLES[kind](server())).read()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((chunk(b"x" * 11),), BodyTooLarge),
        ((chunk(b"x" * 6, more=True), chunk(b"x" * 5)), BodyTooLarge),
        ((DISCONNECT,), UnreadableBody),
        ((chunk(b"x", more=True), DISCONNECT), UnreadableBody),
        ((), BodyTimeout),
    ],
    ids=["whole", "two messages", "disconnected", "disconnected later", "late"],
)
def test_received_body_that_cannot_be_read_fails_for_every_reader(messages: Any, expected: type[BodyError]) -> None:
    async def check() -> None:
        shared = limits(timeout_seconds=0.01 if expected is BodyTimeout else 30)
        body = ReceivedBody(shared, server(*messages))
        for _ in range(2):
            with pytest.raises(expected):
                await body.read()
        assert (body.is_read, body.is_disconnected) == (False, DISCONNECT in messages)
        body.close()
        assert shared.budget.held == 0

    asyncio.run(check())


def test_received_body_read_that_is_cancelled_goes_on_with_the_next_one() -> None:
    async def check() -> None:
        left: asyncio.Queue[Message] = asyncio.Queue()
        body = ReceivedBody(limits(), left.get)
        reading = asyncio.ensure_future(body.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await left.put(chunk(b"half", more=True))
        await left.put(chunk(b" half"))
        assert await body.read() == b"half half"

    asyncio.run(check())


def test_received_body_is_read_on_its_loop_for_other_os_threads() -> None:
    async def check() -> None:
        for messages in ((chunk(b"all"),), (chunk(b"a", more=True), chunk(b"ll"))):
            body = ReceivedBody(limits(), server(*messages))
            assert await asyncio.to_thread(body.read_blocking) == b"all"
            body = ReceivedBody(limits(), server(*messages))
            assert await asyncio.to_thread(lambda body=body: asyncio.run(body.read())) == b"all"

    asyncio.run(check())


@pytest.mark.parametrize("has_body_ended", [False, True])
def test_disconnect_of_a_host_that_does_not_wait_for_it_is_not_asked_for_again_and_again(has_body_ended: bool) -> None:
    calls = 0

    async def receive() -> Message:
        nonlocal calls
        calls += 1
        return chunk(b"")

    async def check() -> None:
        waiting = asyncio.ensure_future(wait_for_disconnect(receive, has_body_ended=has_body_ended))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()

    asyncio.run(check())
    assert calls == (1 if has_body_ended else 2)


def test_disconnect_is_noticed_whatever_is_left_of_the_body() -> None:
    async def check() -> None:
        for messages in ((DISCONNECT,), (chunk(b"x", more=True), chunk(b""), DISCONNECT), (chunk(b""), DISCONNECT)):
            await wait_for_disconnect(server(*messages), has_body_ended=False)
        await wait_for_disconnect(server(chunk(b"", more=True), DISCONNECT), has_body_ended=True)

    asyncio.run(check())
