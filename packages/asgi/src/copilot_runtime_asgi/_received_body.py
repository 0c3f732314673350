"""What an ASGI server has to say about a request once its head is known: the body, and that the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from operator import itemgetter
from types import CoroutineType
from typing import Any

from copilot_runtime.adapters import DRAIN_BYTES, AsyncBody, BodyLimits, FirstStep, UnreadableBody, awaited

from ._asgi_types import Message, Receive, Scope

DRAIN_SECONDS = 2.0
"""How long the rest of a body is still read after the response, which costs no worker thread here."""


_BODY_FIELDS = frozenset((b"content-length", b"transfer-encoding"))

_name = itemgetter(0)
"""Of a header field."""


def may_have_body(scope: Scope) -> bool:
    """Returns whether a request may have a body: most of those without one never wait for its end."""
    if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
        return True
    return not _BODY_FIELDS.isdisjoint(map(_name, scope["headers"]))


class ReceivedBody(AsyncBody):
    """The body of a request, as an ASGI server passes it on.

    Args:
        limits: its limits.
        receive: the server's.

    Attributes:
        is_disconnected: whether the client is known to have disconnected before the end of the body.
    """

    __slots__ = ("_first", "_is_begun", "is_disconnected")

    def __init__(self, limits: BodyLimits, receive: Receive) -> None:
        super().__init__(limits, receive)
        self._is_begun = False
        self._first: FirstStep[Message] | None = None
        """The first message, until somebody waits for it or looks at it."""
        self.is_disconnected: bool = False

    async def read(self) -> bytes:
        if not self._is_begun and asyncio.get_running_loop() is self._loop:
            # Most bodies have arrived, as one message, before anything asks for them: that needs no timer and no lock.
            self._is_begun = True
            step = FirstStep(self._receive())
            if step.is_done:
                message = step.result
                if not message.get("more_body", False) and message["type"] != "http.disconnect":
                    self.has_ended = True
                    return self._accept_all(message.get("body", b""))
            self._first = step
        return await super().read()

    async def _receive_chunk(self) -> bytes:
        while not self.has_ended:
            self._is_begun = True
            first, self._first = self._first, None
            if first is None:
                message = await self._receive()
            else:
                message = first.result if first.is_done else await first
            if message["type"] == "http.disconnect":
                self.is_disconnected = True
                raise UnreadableBody("the client disconnected before the end of the body")
            chunk: bytes = message.get("body", b"")
            self.has_ended = not message.get("more_body", False)
            if chunk:
                return chunk
            if not self.has_ended:
                await asyncio.sleep(0)  # a `receive` that never waits must not keep all else from running
        return b""

    def may_be_left(self, scope: Scope) -> bool:
        """Returns whether the client may still be sending."""
        return not self.has_ended and (self._is_begun or not _expects_continue(scope))

    async def drain(self, scope: Scope) -> None:
        """Reads what the client is still sending, within limits of time and size.

        Over HTTP/2 only a pause ends it: hypercorn closes a connection, with the streams of all other requests, when
        more of a body arrives after its response has ended.
        """
        size = 0
        shares_connection = not (scope.get("http_version") or "1.1").startswith("1")
        try:
            async with asyncio.timeout(DRAIN_SECONDS) as limit:
                while size < DRAIN_BYTES and (chunk := await self._receive_chunk()):
                    if shares_connection:
                        limit.reschedule(asyncio.get_running_loop().time() + DRAIN_SECONDS)
                    else:
                        size += len(chunk)
        except (TimeoutError, UnreadableBody):
            pass


def receive_next(receive: Receive) -> Coroutine[Any, Any, Message]:
    """Returns a coroutine that waits for the next message.

    That is the server's own, if it is one: another one around it would take memory in each idle stream.
    """
    receiving: Any = receive()
    return receiving if type(receiving) is CoroutineType else awaited(receiving)


async def wait_for_disconnect(receive: Receive, *, has_body_ended: bool, message: Message | None = None) -> None:
    """Returns once the client has disconnected.

    Args:
        receive: the server's.
        has_body_ended: whether it has returned all of the request's body.
        message: what it has returned last, if that has not been looked at.
    """
    while True:
        message = message or await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body", False):
            if has_body_ended:
                # This host does not wait for the client to disconnect: asked again, it would answer the same, at once
                # and forever. A `send` that raises has to do.
                await asyncio.Event().wait()
            has_body_ended = True
        message = None
        await asyncio.sleep(0)


def _expects_continue(scope: Scope) -> bool:
    """Returns whether the client waits for the server's permission to send the body, which `receive` gives."""
    return any(name == b"expect" for name, _ in scope["headers"])
