"""Consumes an agent's asynchronous iterator, and sees when the agent waits.

What an agent has ready leaves in one chunk, and leaves exactly when the agent is about to wait: no timer, no queue
and no second task, and nothing that is ready is ever held back.

From event to event it is the interpreter that goes on (``async for``): stepping an iterator by hand takes three calls
and an exception for each event. Only waits come to `pump`, as the signals that a coroutine passes to its task.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Mapping
from typing import Any

FeedAll = Callable[[AsyncIterable[Any]], Coroutine[Any, Any, None]]
"""Feeds all events, and waits only where the iterator does, and for a turn of the loop once much is ready."""

FLUSH_BYTES = 56 * 1024
"""About how much may be ready before it is flushed although the agent does not wait; then the loop gets a turn, too.

Less than a chunk of a reader may have, since it is an estimate. A burst of deltas takes 25 ms of CPU per MB here."""


@types.coroutine
def pump(
    iterator: Any, feed_all: FeedAll, flush: Callable[[], None], waits: Callable[[], None] | None = None
) -> Generator[Any, Any, None]:
    """Feeds all events, and flushes before every wait of the agent or of ``feed_all``.

    Closes the iterator at the end, if it can be closed. ``waits`` is called at the first wait.
    """
    is_generator = type(iterator) is types.AsyncGeneratorType
    is_closed = False
    try:
        feeding = feed_all(iterator if is_generator else _Events(iterator))
        try:
            signal = feeding.send(None)
            if waits is not None:
                waits()
            del feed_all, waits  # bound methods, which would take memory for as long as the agent waits
            while True:
                flush()
                try:
                    yield signal
                except BaseException as raised:  # above all a cancellation, which is for the agent to handle
                    signal = feeding.throw(raised)
                else:
                    signal = feeding.send(None)
        except StopIteration:
            is_closed = is_generator  # of itself: all of it has been fed
    except GeneratorExit:
        is_closed = True  # as this is being closed itself, and can wait for nothing
        raise
    finally:
        if not is_closed and (close := getattr(iterator, "aclose", None)) is not None:
            yield from close().__await__()


async def feed_each(feed: Callable[[Any], int], events: AsyncIterable[Any]) -> None:
    """Feeds each event. The event loop gets a turn whenever ``feed`` returns at least `FLUSH_BYTES`."""
    async for event in events:
        if feed(event) >= FLUSH_BYTES:
            await asyncio.sleep(0)


def ignore_first_start(feed: Callable[[Any], int]) -> Callable[[Any], int]:
    """Returns a function that feeds all events but a RUN_STARTED that comes first: the run has begun already."""
    is_first = True

    def feed_rest(event: Any) -> int:
        nonlocal is_first
        if is_first:
            is_first = False
            kind = event.get("type") if isinstance(event, Mapping) else getattr(event, "type", None)
            if kind == "RUN_STARTED":
                return 0
        return feed(event)

    return feed_rest


class _Events:
    """Has ``async for`` use an iterator that exists, be it one without an ``__aiter__`` of its own."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    def __aiter__(self) -> Any:
        return self._iterator
