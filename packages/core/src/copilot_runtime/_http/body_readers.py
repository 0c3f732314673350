"""The readers of bodies: on an event loop and on worker threads, within limits of size and time."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .._concurrency import driver
from .._concurrency.first_step import FirstStep
from .._concurrency.loops import in_sync_driver
from .body import BodyError, BodyLimit, BodyTimeout, BodyTooLarge, RequestBody, UnreadableBody
from .body_limits import BYTES_PER_SECOND, BodyLimits, HeldBodies
from .form import FormPart

_CHUNK_BYTES = 64 * 1024


class LimitedBody(RequestBody):
    """A body that is read within limits.

    Args:
        limits: its limits.
    """

    __slots__ = (
        "_chunks",
        "_data",
        "_deadline",
        "_error",
        "_form",
        "_held",
        "_is_closed",
        "_limit",
        "_limits",
        "_owner",
        "_size",
    )

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._limit = limits.largest
        self._chunks: list[bytes] = []
        self._size = 0
        self._owner: str | None = None
        self._held: HeldBodies | None = None
        """Where its bytes are counted, if it has any."""
        self._deadline = math.inf
        self._data: bytes | None = None
        self._form: tuple[FormPart, ...] | None = None
        self._error: BodyError | None = None
        self._is_closed = False

    @property
    def is_read(self) -> bool:
        return self._data is not None

    @property
    def is_unreadable(self) -> bool:
        """Whether the body could not be read to its end, which therefore nobody knows."""
        return isinstance(self._error, UnreadableBody)

    @property
    def form(self) -> tuple[FormPart, ...] | None:
        return self._form

    def deadline(self) -> float:
        """Returns when the next bytes must have arrived, by the monotonic clock; infinite before the first wait."""
        return self._deadline

    def next_size(self) -> int:
        """Returns how many bytes to read next: no more than it takes to see that the body is too large."""
        return min(_CHUNK_BYTES, self._limit.max_bytes - self._size + 1)

    def limit(self, limit: BodyLimit) -> None:
        self._limit = limit

    def set_owner(self, owner: str) -> None:
        if not self._size:
            self._owner = owner

    def close(self) -> bytes | None:
        if not self._is_closed:
            self._is_closed = True
            if self._held is not None:
                self._held.give_back(self._size, self._owner)
        return self._data if self._form is None else None

    # --- for subclasses ---

    def _begin(self) -> None:
        """Called before anything is read. Raises what ended an earlier attempt."""
        if self._error is not None:
            raise self._error
        if self._limits.timeout_seconds is not None:
            self._deadline = min(self._deadline, time.monotonic() + self._limits.timeout_seconds)

    def _accept(self, chunk: bytes) -> None:
        """Adds bytes after which others may come. Raises what `_count` raises."""
        self._count(len(chunk))
        self._chunks.append(chunk)
        if self._limits.timeout_seconds is not None:
            # No later, or a client could send most of a body at once, and hold it for as long as it might have taken.
            latest = time.monotonic() + self._limits.timeout_seconds
            self._deadline = min(self._deadline + len(chunk) / BYTES_PER_SECOND, latest)

    def _count(self, size: int) -> None:
        """Adds to the size. Raises BodyTooLarge, TooManyBodies and TooManyBodiesOfUser."""
        if self._size + size > self._limit.max_bytes:
            raise self._fail(BodyTooLarge(self._limit))
        if not self._is_closed:
            try:
                self._held = self._limits.budget.take(size, self._owner)
            except BodyError as error:
                raise self._fail(error) from None
        self._size += size

    def _finish(self, form: tuple[FormPart, ...] | None = None) -> bytes:
        chunks, self._chunks = self._chunks, []
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._data, self._form = data, form
        return data

    def _fail(self, error: BodyError) -> BodyError:
        """Returns the error, which from now on is raised by every attempt to read. What was read is dropped."""
        self._error, self._chunks = error, []
        return error


class AsyncBody(LimitedBody):
    """A body that is received on an event loop. To be created on that loop.

    Args:
        limits: its limits.
        receive: returns the next bytes, and ``b""`` at the end. Raises UnreadableBody.

    Attributes:
        has_ended: whether all of it is known to have been received.
    """

    __slots__ = ("_lock", "_loop", "_receive", "has_ended")

    def __init__(self, limits: BodyLimits, receive: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(limits)
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._lock: asyncio.Lock | None = None
        self.has_ended: bool = False

    async def read(self) -> bytes:
        if self._data is not None:
            return self._data
        if asyncio.get_running_loop() is not self._loop:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.read(), self._loop))
        if self._lock is None:
            self._lock = asyncio.Lock()  # for others that read while this one waits
        async with self._lock:
            return await self._read()

    async def _read(self) -> bytes:
        if self._data is not None:
            return self._data
        self._begin()
        try:
            while chunk := await self._receive_in_time():
                self._accept(chunk)
                if self.has_ended:
                    break
        except UnreadableBody as error:
            raise self._fail(error) from None
        return self._finish()

    def _finish(self, form: tuple[FormPart, ...] | None = None) -> bytes:
        del self._receive  # which keeps the connection, while the request is kept by its run
        return super()._finish(form)

    def _accept_all(self, data: bytes) -> bytes:
        """Takes a body that has come as one chunk, and returns it. Raises what `_count` raises."""
        if data:
            self._count(len(data))
        del self._receive
        self._data = data
        return data

    def _receive_chunk(self) -> Awaitable[bytes]:
        """Returns what `receive` does. For subclasses that receive something else."""
        return self._receive()

    async def _receive_in_time(self) -> bytes:
        step = FirstStep(self._receive_chunk())
        if step.is_done:  # and needs no timer
            return step.result
        if self._limits.timeout_seconds is None:
            return await step
        try:
            async with asyncio.timeout(self.deadline() - time.monotonic()) as limit:
                return await step
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._fail(BodyTimeout("the body did not arrive in time")) from None

    def read_blocking(self) -> bytes:
        if self._data is not None:
            return self._data
        _check_may_block()
        return asyncio.run_coroutine_threadsafe(self.read(), self._loop).result()


class SyncBody(LimitedBody):
    """A body that is read on the worker thread of its request, which waits for it.

    Args:
        limits: its limits.
        chunks: the bytes. Raises anything if there is something wrong with the body or its connection.
        read_form: called at the end of an empty body; returns the parts of a multipart body that the framework has
            parsed before.
        is_local: whether the server has received the whole body, so that reading never waits for the client.
        is_in_memory: whether reading such a body never waits for a file either, so that it needs no worker thread.
        watch: returns the context around waits for bytes, called with `deadline`: it may end a wait that has exceeded
            it, for instance by shutting the socket down.
    """

    def __init__(
        self,
        limits: BodyLimits,
        chunks: Iterable[bytes],
        *,
        read_form: Callable[[], tuple[FormPart, ...] | None] = lambda: None,
        is_local: bool = False,
        is_in_memory: bool = False,
        watch: Callable[[Callable[[], float]], AbstractContextManager[object]] = lambda deadline: nullcontext(),
    ) -> None:
        super().__init__(limits)
        self._source: Iterator[bytes] = iter(chunks)
        self._read_form = read_form
        self._lock = threading.Lock() if is_local else None
        """Held while it is read, if several threads may read it: one that the server has received."""
        self._is_in_memory = is_in_memory
        self._watch = watch

    async def read(self) -> bytes:
        if self._data is not None:
            return self._data
        lock = self._lock
        if lock is None:
            return self._read() if in_sync_driver() else await driver.run_on_request_thread(self._read)
        if self._is_in_memory or in_sync_driver():
            return self._read_alone(lock)
        return await driver.run_blocking(self._read_alone, lock)

    def read_blocking(self) -> bytes:
        if self._data is not None:
            return self._data
        lock = self._lock
        if lock is not None:
            return self._read_alone(lock)
        if in_sync_driver():
            return self._read()
        _check_may_block()
        return driver.wait_for_request_thread(self._read)

    def _read_alone(self, lock: threading.Lock) -> bytes:
        """Reads it while other threads that want to do so wait."""
        with lock:
            return self._read()

    def _read(self) -> bytes:
        if self._data is not None:
            return self._data
        self._begin()
        try:
            with self._watch(self.deadline):
                for chunk in self._source:
                    self._check_deadline()
                    self._accept(chunk)
                self._check_deadline()  # to the reader, a wait that `watch` has ended looks like the end of the body
        except Exception as error:  # servers and frameworks differ in what they raise
            if self._error is not None:
                raise
            self._check_deadline()
            raise self._fail(UnreadableBody(str(error))) from error
        return self._finish(self._read_form() if not self._size else None)

    def _finish(self, form: tuple[FormPart, ...] | None = None) -> bytes:
        del self._source, self._read_form, self._watch  # which a server would keep with the body for as long as a run
        return super()._finish(form)

    def _check_deadline(self) -> None:
        """Raises BodyTimeout if the last wait took too long."""
        if time.monotonic() > self.deadline():
            raise self._fail(BodyTimeout("the body did not arrive in time"))


def _check_may_block() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "the body of this request has not been read yet, and this is a coroutine function: write "
        "`await request.read()`, which returns the body (it is read once, so `request.body` and `request.json()` work "
        "afterwards)"
    )


def read_chunks(read: Callable[[int], bytes], next_size: Callable[[], int]) -> Iterator[bytes]:
    """Yields what ``read`` returns until it returns nothing.

    Args:
        read: reads a number of bytes, and waits until there are as many.
        next_size: returns how many bytes to read next: `LimitedBody.next_size`.
    """
    while chunk := read(next_size()):
        yield chunk
