"""Begins to send a stream: one that is over once its run has had its turn needs neither a task nor a timer."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Generator
from typing import Any

from copilot_runtime import CopilotRuntime
from copilot_runtime.adapters import FirstStep, StreamSource, awaited, wait_for_start

from ._asgi_types import Message, Receive, Send
from ._stream_response import StreamResponse

_DONE = object()
"""What no awaitable signals."""


async def begin_stream(
    start: Message,
    source: StreamSource,
    receive: Receive,
    send: Send,
    runtime: CopilotRuntime,
    *,
    is_endless: bool,
    has_body_ended: bool,
) -> Awaitable[None] | None:
    """Gives the run of a stream its turn, and sends all of it if the run is over then.

    Args:
        start: the message with the status and the headers.
        source: what the body is read from; closed once it was sent.
        receive: the server's.
        send: the server's.
        runtime: the runtime that has responded.
        is_endless: whether the stream ends with an event and not by its length.
        has_body_ended: whether all of the request's body has been received.

    Returns:
        What sends the rest, to be awaited at once; None if there is none.
    """
    whole = rest = interruption = None
    try:
        await _turn()
        if source.is_starting:
            await wait_for_start(source)
        whole = source.read_whole()
        if whole is not None:
            rest = _send_at_once(send, start, whole)
    except BaseException as error:
        interruption = error  # how the stream ends then is up to the response
    if whole is not None and rest is None and interruption is None:
        source.close()
        return None
    response = StreamResponse(
        start if whole is None else None,
        source,
        receive,
        send,
        runtime,
        is_endless=is_endless,
        has_body_ended=has_body_ended,
    )
    try:
        return response.send(rest=rest, interruption=interruption)
    finally:
        del interruption  # its traceback has this frame


@types.coroutine
def _turn() -> Generator[None, None, None]:
    """Waits for one turn of the event loop."""
    yield


def _send_at_once(send: Send, start: Message, whole: bytes) -> Awaitable[None] | None:
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
