"""What an ASGI server has to say about a request once its head is known: the body, and that the client disconnects."""

from __future__ import annotations

import asyncio
from operator import itemgetter

from copilot_runtime.adapters import DRAIN_BYTES, UnreadableBody

from ._asgi_types import Receive, Scope

DRAIN_SECONDS = 2.0
"""How long the rest of a body is still read after the response, which costs no worker thread here."""


_BODY_FIELDS = frozenset((b"content-length", b"transfer-encoding"))

_name = itemgetter(0)
"""Of a header field."""


class ReceivedBody:
    """The body of a request, as an ASGI server passes it on.

    Attributes:
        may_exist: whether the request may have a body.
        is_disconnected: whether the client is known to have disconnected.
    """

    __slots__ = ("_has_ended", "_is_begun", "_receive", "_scope", "is_disconnected", "may_exist")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self.may_exist = _may_have_body(scope)
        self.is_disconnected = False
        self._has_ended = False
        self._is_begun = False

    @property
    def may_be_left(self) -> bool:
        """Whether the client may still be sending."""
        if not self.may_exist or self._has_ended:
            return False
        return self._is_begun or not _expects_continue(self._scope)

    def has_ended(self) -> bool:
        """Returns whether all of the body has been received."""
        return self._has_ended

    async def receive_chunk(self) -> bytes:
        """Returns the next bytes, and ``b""`` at the end. Raises UnreadableBody."""
        while not self._has_ended:
            self._is_begun = True
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_disconnected = True
                raise UnreadableBody("the client disconnected before the end of the body")
            chunk: bytes = message.get("body", b"")
            self._has_ended = not message.get("more_body", False)
            if chunk:
                return chunk
            if not self._has_ended:
                await asyncio.sleep(0)  # a `receive` that never waits must not keep all else from running
        return b""

    async def drain(self) -> None:
        """Reads what the client is still sending, within limits of time and size.

        Over HTTP/2 only a pause ends it: hypercorn closes a connection, with the streams of all other requests, when
        more of a body arrives after its response has ended.
        """
        size = 0
        shares_connection = not self._scope.get("http_version", "1.1").startswith("1")
        try:
            async with asyncio.timeout(DRAIN_SECONDS) as limit:
                while size < DRAIN_BYTES and (chunk := await self.receive_chunk()):
                    if shares_connection:
                        limit.reschedule(asyncio.get_running_loop().time() + DRAIN_SECONDS)
                    else:
                        size += len(chunk)
        except (TimeoutError, UnreadableBody):
            pass

    async def wait_for_disconnect(self) -> None:
        """Returns once the client has disconnected."""
        try:
            while await self.receive_chunk():
                pass
        except UnreadableBody:
            return
        message = await self._receive()
        while message["type"] != "http.disconnect":
            if not message.get("more_body", False):
                # The body has been read to its end, so this host does not wait for the client to disconnect: asked
                # again, it would answer the same, at once and forever. A `send` that raises has to do.
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            message = await self._receive()


def _may_have_body(scope: Scope) -> bool:
    """Returns whether a request may have a body: most of those without one never wait for its end."""
    if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
        return True
    return not _BODY_FIELDS.isdisjoint(map(_name, scope["headers"]))


def _expects_continue(scope: Scope) -> bool:
    """Returns whether the client waits for the server's permission to send the body, which `receive` gives."""
    return any(name == b"expect" for name, _ in scope["headers"])
