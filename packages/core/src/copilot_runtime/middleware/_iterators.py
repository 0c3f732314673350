"""Iterators of events that can be read in both styles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any, Protocol

from .._concurrency import loops
from .._events.sse import Event


class EventSource(Protocol):
    """What can be read in both styles, though only in one of them."""

    @property
    def prefers_plain(self) -> bool:
        """Whether what yields the events runs on a worker thread."""

    def read(self) -> AsyncGenerator[Any]:
        """Yields the events, on an event loop."""

    def read_plain(self) -> Generator[Any]:
        """Yields the events, on a worker thread."""


class EventTransform(Protocol):
    """Changes the events of one run without waiting for anything, and so in both styles."""

    def read(self, event: Any, /) -> Iterable[Event]:
        """Returns the events in place of one."""

    def end(self) -> Iterable[Event]:
        """Returns the events after the last one."""


class EventIterator:
    """Events in wire form: an asynchronous iterator, and on a worker thread an iterator."""

    def __init__(self, source: EventSource, transform: EventTransform) -> None:
        self._source = source
        self._transform = transform
        self._async: AsyncGenerator[Event] | None = None
        self._plain: Generator[Event] | None = None

    @property
    def prefers_plain(self) -> bool:
        """Whether what yields the events runs on a worker thread."""
        return self._source.prefers_plain

    def through(self, transform: EventTransform) -> EventIterator:
        """Returns the events that a transform makes of these."""
        return EventIterator(self, transform)

    def read(self) -> AsyncGenerator[Event]:
        """Yields the events, on an event loop."""
        if self._plain is not None:
            raise RuntimeError("these events are being read already, with for: go on with for")
        if self._async is None:
            self._async = _read(self._source, self._transform)
        return self._async

    def read_plain(self) -> Generator[Event]:
        """Yields the events, on a worker thread."""
        if self._async is not None:
            raise RuntimeError("these events are being read already, with async for: go on with async for")
        if self._plain is None:
            if not loops.in_sync_driver() and asyncio._get_running_loop() is not None:
                raise RuntimeError(
                    "for would block the event loop: write async for event in next(input), or make the middleware a "
                    "plain generator (def instead of async def)"
                )
            self._plain = _read_plain(self._source, self._transform)
        return self._plain

    def __aiter__(self) -> AsyncGenerator[Event]:
        return self.read()

    async def __anext__(self) -> Event:
        return await anext(self.read())

    async def aclose(self) -> None:
        """Closes what is being read with ``async for``."""
        if self._async is not None:
            await self._async.aclose()

    def __iter__(self) -> Generator[Event]:
        return self.read_plain()

    def __next__(self) -> Event:
        return next(self.read_plain())

    def close(self) -> None:
        """Closes what is being read with ``for``, on the same thread."""
        if self._plain is not None:
            self._plain.close()


async def _read(source: EventSource, transform: EventTransform) -> AsyncGenerator[Event]:
    events = source.read()
    try:
        async for event in events:
            for each in transform.read(event):
                yield each
        for each in transform.end():
            yield each
    finally:
        await events.aclose()


def _read_plain(source: EventSource, transform: EventTransform) -> Generator[Event]:
    events = source.read_plain()
    try:
        for event in events:
            yield from transform.read(event)
        yield from transform.end()
    finally:
        events.close()
