"""Server-sent events: bytes in, the data of events out.

As https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
has it, except that only the data is kept (AG-UI says everything in it) and stays bytes,
for the JSON parser that comes next checks the UTF-8 itself.
"""

from __future__ import annotations

from collections.abc import Iterator

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_ENDS = (b"\n", b"\r")


class EventTooLarge(ValueError):
    """An event, or a line, has more bytes than the parser was told to hold."""


class SseParser:
    """Splits a stream into events, however the bytes are cut.

    ``max_event_bytes`` bounds what is held of one event (or of one line, of whatever
    kind) before the blank line that ends it.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max = max_event_bytes
        self._held = 0
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._first = True
        self._after_cr = False

    @property
    def has_partial_event(self) -> bool:
        """Whether the stream, were it to end now, would end inside an event."""
        return bool(self._data) or (bool(self._line) and not self._line[0].startswith(b":"))

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The data of every event that ends in these bytes: iterate it to its end.

        Raises EventTooLarge.
        """
        if not chunk:
            return
        if self._after_cr:
            # A line that ends in CR is taken at once; the LF of a CRLF may come later.
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        for piece in chunk.splitlines(keepends=True):
            self._count_bytes(len(piece))
            if not piece.endswith(_LINE_ENDS):
                self._line.append(piece)
                return
            if self._line:
                piece = b"".join((*self._line, piece))
                self._line.clear()
            event = self._take(piece)
            if event is not None:
                yield event

    def _take(self, piece: bytes) -> bytes | None:
        line = piece.rstrip(b"\r\n")
        if self._first:
            self._first = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            self._held = 0
            if not self._data:
                return None
            event = b"\n".join(self._data)
            self._data.clear()
            return event
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        else:
            self._held -= len(piece)
        return None

    def _count_bytes(self, size: int) -> None:
        self._held += size
        if self._held > self._max:
            raise EventTooLarge(f"an event of more than {self._max} bytes")
