"""Parses server-sent events: bytes in, the data of events out.

Follows https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation, except that only
the data is kept, since AG-UI uses no other field, and that it stays bytes, since the JSON parser checks the UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_ENDS = (b"\n", b"\r")


class EventTooLarge(ValueError):
    """An event, or a line, exceeds the parser's limit."""


class SseParser:
    """Splits a stream into events, wherever its chunks are cut.

    Args:
        max_event_bytes: the limit for what is buffered of one event, or of one line of any kind.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffered_bytes = 0
        self._line_parts: list[bytes] = []
        self._data: list[bytes] = []
        self._is_first_line = True
        self._after_cr = False

    @property
    def has_partial_event(self) -> bool:
        """Whether the stream is inside an event."""
        return bool(self._data) or (bool(self._line_parts) and not self._line_parts[0].startswith(b":"))

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yields the data of every event that ends in a chunk; has to be iterated to its end.

        Raises EventTooLarge.
        """
        if not chunk:
            return
        if self._after_cr:
            # A CR ends a line at once, so the LF of a CRLF may come in the next chunk.
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        for line in chunk.splitlines(keepends=True):
            self._count_bytes(len(line))
            if not line.endswith(_LINE_ENDS):
                self._line_parts.append(line)
                return
            if self._line_parts:
                line = b"".join((*self._line_parts, line))
                self._line_parts.clear()
            event = self._parse_line(line)
            if event is not None:
                yield event

    def _parse_line(self, raw_line: bytes) -> bytes | None:
        """Returns the data of the event that a line ends, if it ends one."""
        line = raw_line.rstrip(b"\r\n")
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            self._buffered_bytes = 0
            if not self._data:
                return None
            event = b"\n".join(self._data)
            self._data.clear()
            return event
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        else:
            self._buffered_bytes -= len(raw_line)
        return None

    def _count_bytes(self, size: int) -> None:
        self._buffered_bytes += size
        if self._buffered_bytes > self._max_event_bytes:
            raise EventTooLarge(f"an event of more than {self._max_event_bytes} bytes")
