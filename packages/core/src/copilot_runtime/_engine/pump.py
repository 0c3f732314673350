"""Stepping an agent's async iterator by hand.

What an agent has ready leaves in one piece, and leaves exactly when the agent is about to
wait: no timer, no queue and no second task, and nothing ready is ever held back.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from typing import Any

FLUSH_BYTES = 16 * 1024
"""So much may be ready before it leaves without the agent waiting; then the loop gets a turn, too."""


@types.coroutine
def pump(iterator: Any, feed: Callable[[Any], int], flush: Callable[[], None]) -> Generator[Any, Any, None]:
    """Feeds each event; calls ``flush`` before every wait, and where ``feed`` says that ``FLUSH_BYTES`` are ready."""
    step = iterator.__anext__
    try:
        while True:
            waiting = step().__await__()
            try:
                signal = next(waiting)
            except StopIteration as stop:
                event = stop.value
            else:
                flush()
                event = yield from _await_rest(waiting, signal)
            if feed(event) >= FLUSH_BYTES:
                flush()
                yield
    except StopAsyncIteration:
        pass


def _await_rest(waiting: Any, signal: Any) -> Generator[Any, Any, Any]:
    """Hands the first signal on, and then all of the wait to the interpreter."""
    while True:
        try:
            yield signal
        except BaseException as raised:  # a cancellation, most of all: it is the agent's to answer
            try:
                signal = waiting.throw(raised)
            except StopIteration as stop:
                return stop.value
        else:
            return (yield from waiting)
