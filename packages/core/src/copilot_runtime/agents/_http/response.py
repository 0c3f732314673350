"""Responses of a remote agent: bytes in, AG-UI events out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from ... import _strict_json as strict_json
from ..._http.headers import media_type
from ..._log_text import one_line
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

_TERMINAL_TYPES = ("RUN_FINISHED", "RUN_ERROR")
_MAX_EXCERPT_BYTES = 2000
_EXCERPT_TIMEOUT_SECONDS = 2.0


async def raise_for_status(response: HTTPResponseLike) -> None:
    """Raises UpstreamError unless the response is a successful one with an event stream."""
    if not 200 <= response.status_code < 300:
        message = f"The upstream agent responded with HTTP status {response.status_code}."
        raise UpstreamError(HTTP_ERROR, message, await _body_excerpt(response))
    content_type = media_type(response.headers.get("content-type"))
    if content_type != "text/event-stream":
        raise UpstreamError(WRONG_CONTENT_TYPE, detail=f"content type {content_type!r}")


async def _body_excerpt(response: HTTPResponseLike) -> str:
    data = bytearray()
    try:
        async with asyncio.timeout(_EXCERPT_TIMEOUT_SECONDS):
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) >= _MAX_EXCERPT_BYTES:
                    break
    except Exception as error:
        # The status is the failure to report; its explanation is optional.
        logger.debug("the body of the upstream agent's error response could not be read: %s", one_line(error))
    return data[:_MAX_EXCERPT_BYTES].decode("utf-8", "replace")


class EventDecoder:
    """Decodes the events of one stream, wherever its chunks are cut.

    Args:
        max_event_bytes: the limit for the data of one event.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._parser = SseParser(max_event_bytes)
        self.run_ended = False
        """Whether the last run that started has ended."""

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """Yields the events that end in a chunk; has to be iterated to its end. Raises UpstreamError."""
        try:
            for data in self._parser.feed(chunk):
                event = _decode_event(data)
                event_type = event["type"]
                self.run_ended = event_type in _TERMINAL_TYPES or (self.run_ended and event_type != "RUN_STARTED")
                yield event
        except EventTooLarge as error:
            raise UpstreamError(EVENT_TOO_LARGE, detail=str(error)) from error

    def finish(self) -> None:
        """Marks the end of the stream. Raises UpstreamError if it is incomplete."""
        if self._parser.has_partial_event:
            raise UpstreamError(BROKEN_STREAM, "The upstream agent's stream ended in the middle of an event.")
        if not self.run_ended:
            raise UpstreamError(BROKEN_STREAM, "The upstream agent's stream ended before the run did.")


def _decode_event(data: bytes) -> dict[str, Any]:
    try:
        event = _parse(data)
    except ValueError as error:
        message = "The upstream agent sent an event that is not JSON."
        raise UpstreamError(MALFORMED_EVENT, message, f"{error}: {data[:200]!r}") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise UpstreamError(MALFORMED_EVENT, "The upstream agent sent an event without a type.", repr(data[:200]))
    return event


def _parse(data: bytes) -> Any:
    try:
        return strict_json.loads(data, check_overflow=False)
    except ValueError as error:
        try:
            # An upstream may have cut its text inside of a character, which the recorder joins.
            return strict_json.loads_with_surrogates(data)
        except ValueError:
            raise error from None
