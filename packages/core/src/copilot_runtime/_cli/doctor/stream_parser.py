"""Parses a stream for the doctor, which looks at comments, too."""

from __future__ import annotations

from ...agents._http.sse import SseParser

_MAX_EVENT_BYTES = 64 * 1024 * 1024


class Comment(bytes):
    """The text of a comment, where others have the data of an event."""


class StreamParser(SseParser):
    """Yields comments as well, each as soon as its line ends: not every server writes an empty line after it.

    Attributes:
        parsed_bytes: how many bytes the lines have that were parsed so far.
    """

    def __init__(self) -> None:
        super().__init__(_MAX_EVENT_BYTES)
        self.parsed_bytes = 0

    def _parse_line(self, raw_line: bytes) -> bytes | None:
        self.parsed_bytes += len(raw_line)
        data = super()._parse_line(raw_line)
        return Comment(raw_line[1:].strip()) if data is None and raw_line.startswith(b":") else data
