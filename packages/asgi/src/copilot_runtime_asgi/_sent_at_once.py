"""Sends a stream that is over once its run has had its turn, for which neither a task nor a timer is needed."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Generator
from typing import Any

from copilot_runtime.adapters import FirstStep, awaited

from ._asgi_types import Message, Send

_DONE = object()
"""What no awaitable signals."""


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Waits for one turn of the event loop."""
    yield


def send_at_once(send: Send, start: Message, whole: bytes) -> Awaitable[None] | None:
    """Sends a response for as long as the server's `send` does not wait. Returns what sends the rest of it if it does.

    Args:
        send: the server's.
        start: the message with the status and the headers.
        whole: the body.
    """
    body: Message = {"type": "http.response.body", "body": whole, "more_body": False}
    waiting = _send(send, start)
    return _send(send, body) if waiting is None else _send_after(waiting, send, body)


def _send(send: Send, message: Message) -> FirstStep[None] | None:
    """Has a message sent. Returns what to wait for if `send` waits: no `FirstStep` for a result, as it has none."""
    sending = send(message)
    try:
        steps: Any = sending.__await__()
    except AttributeError:
        steps = awaited(sending).__await__()
    signal = next(steps, _DONE)
    return None if signal is _DONE else FirstStep.taken(steps, signal)


async def _send_after(waiting: Awaitable[None], send: Send, body: Message) -> None:
    await waiting
    await send(body)
