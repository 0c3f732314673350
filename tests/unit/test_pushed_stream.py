"""What is sent for a task that waits, without waking it: by whom, in which order, and when the task is woken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from copilot_runtime._engine.base_reader import ReaderCallbacks
from copilot_runtime._engine.run_log import MAX_CHUNK_BYTES, RunLog
from copilot_runtime._engine.run_reader import RunReader
from copilot_runtime._events import KEEP_ALIVE, Burst
from copilot_runtime_asgi import _pushed_stream
from copilot_runtime_asgi._current_task import EnteredTasks, current_tasks
from copilot_runtime_asgi._pushed_stream import PushedStream

from ..awaitables import AWAITABLES

HANG_SECONDS = 30.0


@pytest.fixture(autouse=True, params=[current_tasks, EnteredTasks()], ids=["this Python", "Python 3.14"])
def current_tasks_of_a_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pushed_stream, "current_tasks", request.param)


class Response:
    """A task that sends what it reads, and has the rest pushed while it waits."""

    def __init__(
        self, log: RunLog, send: Callable[[bytes], Coroutine[Any, Any, None]] | None = None, kind: str = "coroutine"
    ) -> None:
        self.reader = RunReader(log, ReaderCallbacks(lambda _: None, lambda _: None))
        self.sent: list[bytes] = []
        self.wakes = 0
        self._send = send or self._keep
        self._push = AWAITABLES[kind](self._receive_pushed)
        self.task = asyncio.ensure_future(self._run())

    async def _keep(self, chunk: bytes) -> None:
        self.sent.append(chunk)

    async def _receive_pushed(self, message: Any) -> None:
        assert asyncio.current_task() is self.task
        assert message["more_body"]
        await self._send(message["body"])

    async def _run(self) -> None:
        chunks = self.chunks = PushedStream(self.reader, asyncio.current_task(), self._push)
        try:
            while (chunk := self.reader.read_available()) is not None:
                if chunk:
                    await self._send(chunk)
                if (waiting := chunks.wait_pushed(len(chunk))) is not None:
                    await waiting
                    self.wakes += 1
                if chunks.has_pushed:
                    await chunks.finish_pushed()
        finally:
            chunks.close()

    async def is_waiting(self) -> None:
        """Returns once the task waits and nothing keeps it from being pushed for, which takes one wake before 3.12."""
        await turns()
        self.reader.request_keep_alive()
        await turns()
        assert self.sent.pop() == KEEP_ALIVE
        self.wakes = 0


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def in_task(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(HANG_SECONDS):
            await test()

    asyncio.run(within())


def new_log() -> RunLog:
    return RunLog(None, "r", "a")


def test_pushed_stream_sends_what_is_recorded_in_the_same_turn() -> None:
    async def test() -> None:
        log = new_log()
        responses = [Response(log) for _ in range(3)]
        for response in responses:
            await response.is_waiting()
        log.extend([b"1"])
        log.extend([b"2", b"3"])
        log.extend([Burst(b"45", 2)], has_bursts=True)
        assert [response.sent for response in responses] == [[b"1", b"23", b"45"]] * 3
        await turns()
        assert [response.wakes for response in responses] == [0] * 3
        log.pieces.append(b"6")
        log.end()
        await asyncio.gather(*(response.task for response in responses))
        assert [response.sent[-1] for response in responses] == [b"6"] * 3

    in_task(test)


@pytest.mark.parametrize("pieces", [[b"x" * (MAX_CHUNK_BYTES + 1)], [b"x" * MAX_CHUNK_BYTES, b"y"], [b"x"] * 1000])
def test_pushed_stream_leaves_to_the_task_what_is_more_than_a_chunk(pieces: list[bytes]) -> None:
    async def test() -> None:
        log = new_log()
        response = Response(log)
        await response.is_waiting()
        log.extend(pieces)
        assert response.sent == []
        await turns()
        assert b"".join(response.sent) == b"".join(pieces)
        assert len(response.sent) == 2
        assert max(map(len, response.sent)) <= MAX_CHUNK_BYTES
        log.extend([b"z"])
        assert response.sent[-1] == b"z", "it is pushed again"
        log.end()
        await response.task

    in_task(test)


def test_pushed_stream_is_notified_once_of_what_a_thread_adds_in_one_turn_of_the_loop() -> None:
    async def test() -> None:
        loop, log, notified = asyncio.get_running_loop(), new_log(), []
        call_soon_threadsafe = loop.call_soon_threadsafe

        def count(callback: Callable[..., object], *args: Any, **options: Any) -> asyncio.Handle:
            notified.append(callback)
            return call_soon_threadsafe(callback, *args, **options)

        loop.call_soon_threadsafe = count  # type: ignore[method-assign]
        response = Response(log)
        await response.is_waiting()
        for _ in range(3):
            notified.clear()
            thread = threading.Thread(target=lambda: [log.extend([b"x"]) for _ in range(100)])
            thread.start()
            thread.join()  # on the loop, which has no turn meanwhile
            assert len(notified) == 1
            await turns()
        assert response.sent == [b"x" * 100] * 3
        assert response.wakes == 0
        log.end()
        await response.task

    in_task(test)


def test_pushed_stream_whose_send_causes_more_wakes_its_task_for_that() -> None:
    async def test() -> None:
        log = new_log()

        async def send(chunk: bytes) -> None:
            if chunk == b"1":
                log.extend([b"2"])  # as middleware may, which the server's `send` calls
            response.sent.append(chunk)

        response = Response(log, send)
        await response.is_waiting()
        log.extend([b"1"])
        assert response.sent == [b"1"]
        log.extend([b"3"])
        await turns()
        assert response.sent == [b"1", b"23"]
        assert response.wakes == 1
        log.end()
        await response.task

    in_task(test)


def test_pushed_stream_sends_in_order_what_the_send_of_another_reader_of_its_run_causes() -> None:
    async def test() -> None:
        log = new_log()

        async def send(chunk: bytes) -> None:
            if chunk == b"1":
                log.add_frame(b"2")
            response.sent.append(chunk)

        response, other = Response(log, send), Response(log)
        await response.is_waiting()
        await other.is_waiting()
        log.add_frame(b"1")
        await turns()
        log.add_frame(b"3")
        assert response.sent == [b"1", b"2", b"3"]
        assert b"".join(other.sent) == b"123"
        log.end()
        await asyncio.gather(response.task, other.task)

    in_task(test)


def test_pushed_stream_whose_send_causes_more_by_way_of_another_stream_wakes_its_task_for_that() -> None:
    async def test() -> None:
        log, other_log = new_log(), new_log()

        async def send(chunk: bytes) -> None:
            if chunk == b"1":
                other_log.extend([b"x"])
            response.sent.append(chunk)

        async def send_other(chunk: bytes) -> None:
            if chunk == b"x":
                log.extend([b"2"])
            other.sent.append(chunk)

        response, other = Response(log, send), Response(other_log, send_other)
        await response.is_waiting()
        await other.is_waiting()
        log.extend([b"1"])
        assert response.sent == [b"1"]
        await turns()
        log.extend([b"3"])
        assert response.sent == [b"1", b"2", b"3"]
        assert other.sent == [b"x"]
        assert (response.wakes, other.wakes) == (1, 0)
        log.end()
        other_log.end()
        await asyncio.gather(response.task, other.task)

    in_task(test)


def test_pushed_stream_whose_send_waits_is_sending_until_its_task_has_waited() -> None:
    async def test() -> None:
        log, may_write = new_log(), asyncio.Event()
        may_write.set()

        async def send(chunk: bytes) -> None:
            await may_write.wait()
            response.sent.append(chunk)

        response = Response(log, send)
        await response.is_waiting()
        assert response.reader.sending_ticks < 0
        may_write.clear()
        log.extend([b"1"])
        assert response.chunks.is_sending
        assert response.reader.sending_ticks == 0
        log.extend([b"2"])
        await turns()
        log.extend([b"3"])
        assert response.sent == []
        may_write.set()
        await turns()
        assert response.sent == [b"1", b"23"]
        assert response.reader.sending_ticks < 0
        log.end()
        await response.task

    in_task(test)


@pytest.mark.parametrize("kind", ["generator", "iterator"])
def test_pushed_stream_has_a_send_that_returns_whatever_is_awaitable(kind: str) -> None:
    async def test() -> None:
        log, may_write = new_log(), asyncio.Event()
        may_write.set()

        async def send(chunk: bytes) -> None:
            await may_write.wait()
            response.sent.append(chunk)

        response = Response(log, send, kind)
        await response.is_waiting()
        log.extend([b"1"])
        assert response.sent == [b"1"]
        may_write.clear()
        log.extend([b"2"])
        assert response.chunks.is_sending
        await turns()
        response.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await response.task
        assert response.sent == [b"1"]

    in_task(test)


@pytest.mark.parametrize("interrupt", [RunReader.cut, RunReader.evict, RunReader.request_keep_alive])
@pytest.mark.parametrize("is_own_loop", [True, False])
def test_pushed_stream_has_its_task_read_what_is_none_of_the_log(
    interrupt: Callable[[RunReader], None], is_own_loop: bool
) -> None:
    async def test() -> None:
        log = new_log()
        response = Response(log)
        await response.is_waiting()
        if is_own_loop:
            interrupt(response.reader)
        else:
            thread = threading.Thread(target=interrupt, args=(response.reader,))
            thread.start()
            thread.join()
        log.extend([b"1"])
        assert response.sent == []
        await turns()
        assert response.wakes
        log.end()
        await response.task
        ends_in_error = interrupt is not RunReader.request_keep_alive
        assert (b"RUN_ERROR" in response.sent[-1]) == ends_in_error
        assert (b"1" in response.sent) == (interrupt is not RunReader.evict)

    in_task(test)


def test_pushed_stream_that_is_cancelled_sends_nothing_more() -> None:
    async def test() -> None:
        log = new_log()
        response = Response(log)
        await response.is_waiting()
        response.task.cancel()
        await asyncio.wait((response.task,))
        log.extend([b"1"])
        assert response.sent == []
        assert not log.has_waiters

    in_task(test)


def test_pushed_stream_of_a_server_without_tasks_pushes_nothing() -> None:
    async def test() -> None:
        log = new_log()
        reader = RunReader(log, ReaderCallbacks(lambda _: None, lambda _: None))

        async def send(message: object) -> None:
            raise AssertionError("not while it waits")

        chunks = PushedStream(reader, None, send)
        for number in range(3):
            waiting = chunks.wait_pushed(0)
            assert waiting is not None
            log.extend([b"%d" % number])
            await waiting
            assert reader.read_available() == b"%d" % number
        chunks.close()

    in_task(test)
