"""A stream of events that is read in the background, with the times at which its parts arrive."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Callable
from typing import Self

import httpx2

from ..._log_text import one_line
from ...agents._http.sse import EventTooLarge
from .stream_parser import Comment, StreamParser

_TERMINAL = frozenset(("RUN_FINISHED", "RUN_ERROR"))
_MAX_ARRIVALS = 200_000


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """Something that has arrived: ``kind`` is the type of an event, or ``:`` for a comment, whose text is ``text``.

    ``size`` is that of its lines. ``piece`` counts the pieces of data in which the stream has arrived: what was held
    back arrives in one.
    """

    seconds: float
    kind: str
    size: int
    piece: int
    text: str = ""

    @property
    def is_comment(self) -> bool:
        return self.kind == ":"


class WatchedStream:
    """The response to a request for a stream, from the moment when the request is sent.

    Attributes:
        status: the status of the response; None before its headers have arrived.
        headers: its header fields.
        headers_seconds: when the headers arrived.
        arrivals: the events and comments so far.
        end_seconds: when the stream ended; None while it is open.
        failure: why it ended, if it did so with an error of the connection.
        body: the body, if the response is no stream.
        is_abandoned: whether it was closed here before it ended.
    """

    def __init__(self, client: httpx2.AsyncClient, request: httpx2.Request) -> None:
        self.status: int | None = None
        self.headers = httpx2.Headers()
        self.headers_seconds: float | None = None
        self.arrivals: list[Arrival] = []
        self.end_seconds: float | None = None
        self.failure = ""
        self.body = b""
        self.is_abandoned = False
        self._client = client
        self._request = request
        self._started = time.monotonic()
        self._changed = asyncio.Event()
        self._parser = StreamParser()
        self._counted_bytes = 0
        self._pieces = 0
        self._task = asyncio.create_task(self._read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def seconds(self) -> float:
        """How long ago the request was sent."""
        return time.monotonic() - self._started

    @property
    def events(self) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if not arrival.is_comment]

    @property
    def has_event(self) -> bool:
        return any(not arrival.is_comment for arrival in self.arrivals)

    @property
    def is_open(self) -> bool:
        return self.end_seconds is None

    @property
    def is_stream(self) -> bool:
        return self.status == 200 and self.headers.get("content-type", "").lower().startswith("text/event-stream")

    @property
    def has_terminal_event(self) -> bool:
        return any(arrival.kind in _TERMINAL for arrival in self.arrivals)

    @property
    def has_keep_alive(self) -> bool:
        """Whether a comment has arrived that is not the greeting with which some servers begin."""
        return any(arrival.is_comment for arrival in self.arrivals[1:])

    @property
    def silent_seconds(self) -> float:
        """For how long nothing has arrived."""
        last = self.arrivals[-1].seconds if self.arrivals else self.headers_seconds or 0.0
        return (self.seconds if self.end_seconds is None else self.end_seconds) - last

    @property
    def longest_silence(self) -> float:
        """The longest time in which nothing arrived after the header fields."""
        times = [self.headers_seconds or 0.0, *(arrival.seconds for arrival in self.arrivals)]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return max([*gaps, self.silent_seconds])

    async def wait_for_end(self, seconds: float) -> bool:
        """Waits for the end of the stream, and returns whether it has ended."""
        return await self.wait_until(lambda: not self.is_open, seconds)

    async def wait_for_more(self, seconds: float) -> bool:
        """Waits for something to arrive, and returns whether it has."""
        count = len(self.arrivals)
        return await self.wait_until(lambda: len(self.arrivals) > count, seconds)

    async def wait_for_headers(self, seconds: float) -> bool:
        """Waits for the header fields, and returns whether they have arrived."""
        return await self.wait_until(lambda: self.status is not None, seconds)

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Waits until a condition holds, and returns whether it does; at the latest until the stream's end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition() and self.is_open:
                    self._changed.clear()
                    await self._changed.wait()
        return condition()

    async def close(self) -> None:
        """Closes the connection, whatever is still to come."""
        self.is_abandoned = self.is_abandoned or self.is_open
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            response = await self._client.send(self._request, stream=True)
            try:
                self.status, self.headers, self.headers_seconds = response.status_code, response.headers, self.seconds
                self._changed.set()
                async for piece in response.aiter_bytes():
                    self._take(piece)
            finally:
                await response.aclose()
        except (httpx2.HTTPError, OSError) as error:
            self.failure = one_line(error) or type(error).__name__
        finally:
            self.end_seconds = self.seconds
            self._changed.set()

    def _take(self, piece: bytes) -> None:
        if not self.is_stream:
            self.body = (self.body + piece)[: 64 * 1024]
            return
        self._pieces += 1
        try:
            for data in self._parser.feed(piece):
                self._add(data)
        except EventTooLarge as error:
            raise httpx2.ReadError(str(error)) from error
        self._changed.set()

    def _add(self, data: bytes) -> None:
        if len(self.arrivals) == _MAX_ARRIVALS:
            raise httpx2.ReadError(f"more than {_MAX_ARRIVALS} events")
        if isinstance(data, Comment):
            kind, text = ":", one_line(data[:100].decode("utf-8", "replace"))
        else:
            kind, text = _event_type(data), ""
        size = self._parser.parsed_bytes - self._counted_bytes
        self._counted_bytes += size
        self.arrivals.append(Arrival(self.seconds, kind, size, self._pieces, text))


def _event_type(data: bytes) -> str:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return "?"
    kind = event.get("type") if isinstance(event, dict) else None
    return kind if isinstance(kind, str) else "?"
