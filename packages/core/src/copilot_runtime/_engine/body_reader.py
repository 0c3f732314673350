"""Reads a complete body as a stream, with the time limits and bounds of one."""

from __future__ import annotations

from .base_reader import BaseReader, ReaderCallbacks


class BodyReader(BaseReader):
    """Reads a body that is complete, such as a large JSON response."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes, callbacks: ReaderCallbacks) -> None:
        self._body = body
        super().__init__(callbacks)

    def _read(self) -> bytes | None:
        body, self._body = self._body, b""
        return body or None

    @property
    def is_at_end(self) -> bool:
        return not self._body and not self._rest and not self._is_broken_off

    def evict(self) -> None:
        # A body of known length cannot end with an error, only break off.
        if self._body or self._rest:
            self._is_evicted = self._is_broken_off = True  # first, or it might look complete to the thread that reads
            self._drop()
            self._break_off()

    def _drop(self) -> None:
        self._body, self._rest = b"", b""
