"""Who reads: how many streams are open, what keeps them alive, and what becomes of what nobody reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from .._concurrency import loops
from .._http.streaming import EventStream, StreamSource
from .readers import BaseReader, KeepAlive, ReaderCallbacks
from .run import Run
from .run_log import RunLog
from .stream_limiter import StreamLimiter

MAX_LINGERING_BYTES = 64 * 1024 * 1024
"""How many bytes of ended runs slow readers may keep in memory, all together."""


class Subscribers:
    """The readers of this process. ``abandoned`` is called with a live run that its last reader has left."""

    def __init__(self, *, max_streams: int | None, keep_alive_seconds: float, abandoned: Callable[[Run], None]) -> None:
        self._streams = StreamLimiter(max_streams)
        self._keep_alive = KeepAlive(keep_alive_seconds)
        self._abandoned = abandoned
        self._lingering: dict[RunLog, int] = {}

    @contextlib.contextmanager
    def open_stream(self) -> Iterator[Callable[[StreamSource], EventStream]]:
        """A place among the open streams, given back where no stream comes of it. Raises TooManyStreams."""
        self._streams.acquire()
        opened: list[EventStream] = []

        def stream(source: StreamSource) -> EventStream:
            opened.append(EventStream(source))
            return opened[0]

        try:
            yield stream
        finally:
            if not opened:
                self._streams.release()

    def callbacks_for(self, run: Run | None = None) -> ReaderCallbacks:
        """What a reader, of ``run`` or of none that goes on, is to tell of itself."""
        loop = loops.target_loop()

        def begun(reader: BaseReader) -> None:
            self._keep_alive.add(reader, loop)
            if run is not None:
                run.readers.add(reader)

        def gone(reader: BaseReader) -> None:
            self._streams.release()
            self._keep_alive.discard(reader, loop)
            if run is not None:
                run.readers.discard(reader)
                self.reader_left(run)

        return ReaderCallbacks(begun, gone)

    def reader_left(self, run: Run) -> None:
        """Somebody who read a run, or was about to, does not any more."""
        if run.readers:
            return
        self._lingering.pop(run.log, None)
        if not run.is_finished:
            self._abandoned(run)

    def run_ended(self, run: Run) -> None:
        """A run is over: who still reads it does so from what is left, as long as all of that is not too much."""
        if not run.readers:
            return
        self._lingering[run.log] = sum(map(len, run.log.frames))
        lingering = list(self._lingering.items())
        size = sum(size for _, size in lingering)
        for oldest, freed in lingering[:-1]:
            if size > MAX_LINGERING_BYTES and self._lingering.pop(oldest, None) is not None:
                oldest.evict()
                size -= freed
        if not run.readers:  # the last one may have left on its own thread meanwhile
            self._lingering.pop(run.log, None)

    def after_fork(self) -> None:
        """This is a child process: its parent's readers are not here."""
        self._lingering.clear()
        self._streams.after_fork()
        self._keep_alive.after_fork()
