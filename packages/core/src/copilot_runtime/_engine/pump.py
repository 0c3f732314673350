"""Steps an agent's asynchronous iterator by hand.

What an agent has ready leaves in one chunk, and leaves exactly when the agent is about to wait: no timer, no queue
and no second task, and nothing that is ready is ever held back.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from typing import Any

FLUSH_BYTES = 16 * 1024
"""How much may be ready before it is flushed although the agent does not wait; then the loop gets a turn, too."""


@types.coroutine
def pump(iterator: Any, feed: Callable[[Any], int], flush: Callable[[], None]) -> Generator[Any, Any, None]:
    """Feeds each event, and flushes before every wait and whenever ``feed`` returns at least ``FLUSH_BYTES``."""
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
    """Passes on the first signal of a wait, and then leaves the rest of it to the interpreter."""
    while True:
        try:
            yield signal
        except BaseException as raised:  # above all a cancellation, which is for the agent to handle
            try:
                signal = waiting.throw(raised)
            except StopIteration as stop:
                return stop.value
        else:
            return (yield from waiting)
