"""What a remote agent answers: bytes of its response in, AG-UI events out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from .clients import HTTPResponseLike
from .errors import (
    BROKEN_STREAM,
    EVENT_TOO_LARGE,
    HTTP_ERROR,
    MALFORMED_EVENT,
    WRONG_CONTENT_TYPE,
    UpstreamError,
)
from .sse import EventTooLarge, SseParser

logger = logging.getLogger("copilot_runtime.agents.http")

_TERMINAL = ("RUN_FINISHED", "RUN_ERROR")
_EXCERPT_BYTES = 2000
_EXCERPT_SECONDS = 2.0


async def raise_for_status(answer: HTTPResponseLike) -> None:
    """Raises UpstreamFailure unless the answer is a successful one with an event stream."""
    if not 200 <= answer.status_code < 300:
        message = f"The upstream agent answered with HTTP status {answer.status_code}."
        raise UpstreamError(HTTP_ERROR, message, await _body_excerpt(answer))
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        message = "The upstream agent answered with something else than an event stream."
        raise UpstreamError(WRONG_CONTENT_TYPE, message, f"content type {kind!r}")


async def _body_excerpt(answer: HTTPResponseLike) -> str:
    data = bytearray()
    try:
        async with asyncio.timeout(_EXCERPT_SECONDS):
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) >= _EXCERPT_BYTES:
                    break
    except Exception as error:
        # The status is the failure; what explains it is welcome, but not needed.
        logger.debug("the upstream agent's explanation broke off: %s", error)
    return data[:_EXCERPT_BYTES].decode("utf-8", "replace")


class EventDecoder:
    """The events of one stream, however its bytes are cut."""

    def __init__(self, max_event_bytes: int) -> None:
        self._parser = SseParser(max_event_bytes)
        self.run_ended = False
        """Whether the last run that started has had its terminal event."""

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """The events that end in these bytes: iterate it to its end. Raises UpstreamFailure."""
        try:
            for data in self._parser.feed(chunk):
                event = _event(data)
                kind = event["type"]
                self.run_ended = kind in _TERMINAL or (self.run_ended and kind != "RUN_STARTED")
                yield event
        except EventTooLarge as error:
            raise UpstreamError(EVENT_TOO_LARGE, "The upstream agent sent too large an event.", str(error)) from error

    def finish(self) -> None:
        """Says that the stream has ended. Raises UpstreamFailure where it should not have."""
        if self._parser.has_partial_event:
            raise UpstreamError(BROKEN_STREAM, "The upstream agent's stream ended in the middle of an event.")
        if not self.run_ended:
            raise UpstreamError(BROKEN_STREAM, "The upstream agent's stream ended before its run did.")


def _event(data: bytes) -> dict[str, Any]:
    try:
        event = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise _malformed("that is not JSON", f"{error}: {data[:200]!r}") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise _malformed("without a type", repr(data[:200]))
    return event


def _malformed(how: str, detail: str) -> UpstreamError:
    return UpstreamError(MALFORMED_EVENT, f"The upstream agent sent an event {how}.", detail)
