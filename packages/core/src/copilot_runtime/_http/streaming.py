"""Bodies that are sent while they are produced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from .stream_iterators import AsyncStreamIterator, SyncStreamIterator
from .stream_source import StreamSource

CONNECTED = b": connected\n\n"
"""A comment (WHATWG HTML, section 9.2.6): sent at once where nothing else is ready, so that the headers leave."""


@dataclasses.dataclass(frozen=True, slots=True)
class EventStream:
    """A body of server-sent events, described by what it is read from.

    Iterate it on a worker thread (WSGI) or asynchronously (ASGI): either iterator yields the bytes that are ready,
    joined, as soon as there are any, in several chunks if they are many, and ends with the stream. On a worker thread
    the first chunk comes at once, if need be a comment without content. Iterate a stream to its end or close it;
    closing it twice is fine.
    """

    source: StreamSource
    whole: bytes | None = dataclasses.field(default=None, repr=False)
    """The whole body, if it is known: that of a stream which was over when it began."""
    _begun: SyncStreamIterator | None = dataclasses.field(default=None, repr=False, compare=False)
    """The iterator that has read the first chunk already."""

    @property
    def length(self) -> int | None:
        """How many bytes the whole body has, if it is known."""
        return None if self.whole is None else len(self.whole)

    def __iter__(self) -> SyncStreamIterator:
        return self._begun or SyncStreamIterator(self.source, CONNECTED)

    def begin(self) -> EventStream:
        """Waits on a worker thread for the first chunk, and returns a stream that begins with it.

        If it is the only one and small, as that of a short run usually is, it is the ``whole`` stream, and its source
        is closed: the server need not send the end of the stream, and no timer has to look after it.
        """
        chunks = iter(self)
        return EventStream(self.source, chunks.read_first(), chunks)

    def __aiter__(self) -> AsyncStreamIterator:
        return AsyncStreamIterator(self.source)

    def cut(self) -> None:
        """Ends the stream with an error as soon as nothing is ready: the server cannot send it any longer."""
        self.source.cut()

    def on_stalled(self, abort: Callable[[], object]) -> None:
        """Sets what breaks the response off, from any thread, if nothing can be sent for ``send_timeout_seconds``.

        To be called when the response is about to be sent, or once sending it waits for anything. The source is closed
        before ``abort`` is called. Without it, a client that does not read holds its stream for as long as the server
        lets it.
        """
        self.source.on_stalled(abort)

    def close(self) -> None:
        """Closes the source: the stream is no longer read."""
        self.source.close()
