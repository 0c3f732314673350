"""Reads the event streams of model servers in the place of the SDKs' own decoders.

These take a frame without data for broken JSON, and know neither a byte order mark nor responses that are no event
stream: an error, a whole completion, lines of JSON, or a page for people.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from ..._http.sse import EventTooLarge, SseParser
from ..errors import NETWORK_ERROR, PROVIDER_ERROR, ModelError
from .embedded_errors import raise_embedded_error

_MAX_FRAME_BYTES = 64 * 1024 * 1024
_MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of a response that is no event stream."""
_EXCERPT_BYTES = 500
_DONE = "[DONE]"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventFrame:
    """A frame with data, as the SDKs of OpenAI and Anthropic read it."""

    __slots__ = ("_value", "data", "event")

    id = None
    retry = None

    def __init__(self, data: str, value: Any) -> None:
        self.data = data
        self.event: str | None = None
        """Its type. The data repeats it, and some servers leave out the field."""
        self._value = value
        if isinstance(value, dict) and isinstance(kind := value.get("type"), str):
            self.event = kind

    def json(self) -> Any:
        """Returns the data."""
        return self._value


class _FrameParser(SseParser):
    """Also says which events report an error: those of the type ``error``, and llama.cpp's with a field ``error``."""

    is_error = False
    """Whether the event whose data was yielded last reports an error."""
    _has_error_field = False

    def _parse_line(self, raw_line: bytes) -> bytes | None:
        name, _, value = raw_line.removeprefix(_BYTE_ORDER_MARK).partition(b":")
        if name == b"event":
            self._has_error_field = value.strip() == b"error"
        elif name == b"error":
            self._has_error_field, raw_line = True, b"data:" + value
        data = super()._parse_line(raw_line)
        if not raw_line.strip(b"\r\n"):
            self.is_error, self._has_error_field = self._has_error_field, False
        return data


ToEvents = Callable[[Mapping[str, Any]], Sequence[Mapping[str, Any]] | None]
"""Returns the events that a JSON object of a response stands for; None if it is one itself.

There are none for an object that is no part of a completion.
"""


class EventFrameDecoder:
    """Decodes one response; what an SDK calls its decoder of server-sent events.

    Args:
        to_events: for APIs whose servers also send a whole response, although a stream was requested.
    """

    def __init__(self, to_events: ToEvents | None = None) -> None:
        self._to_events = to_events

    async def aiter_bytes(self, iterator: AsyncIterator[bytes]) -> AsyncIterator[EventFrame]:
        """Yields the frames that have data. Raises ModelError for errors that they report, and for other responses."""
        parser = _FrameParser(_MAX_FRAME_BYTES)
        head = bytearray()
        is_other_body = has_frames = False
        async for chunk in iterator:
            if not has_frames and len(head) < _MAX_BODY_BYTES:
                is_other_body = is_other_body or _is_other_body(head[:_EXCERPT_BYTES] + chunk)
                head += chunk
            if is_other_body:
                continue
            try:
                for data in parser.feed(chunk):
                    for frame in self._frames(data, is_error=parser.is_error):
                        has_frames = True
                        yield frame
            except EventTooLarge as error:
                raise ModelError(PROVIDER_ERROR, detail=str(error)) from error
        if is_other_body:
            for frame in self._frames_of_body(bytes(head)):
                yield frame
            return
        # The last frame may lack the empty line that ends it.
        for data in parser.feed(b"\n\n"):
            if _is_json(data) or data.strip() == _DONE.encode():
                for frame in self._frames(data, is_error=parser.is_error):
                    has_frames = True
                    yield frame
        if not has_frames and head.strip() and not _has_fields(head):
            raise _not_a_stream(bytes(head))

    def _frames(self, data: bytes, *, is_error: bool) -> Iterator[EventFrame]:
        if not data.strip():
            return
        text = data.decode("utf-8", "replace")
        if text.startswith(_DONE):
            yield EventFrame(text, None)
            return
        try:
            value = json.loads(text)  # which, unlike others, takes half a character
        except (ValueError, RecursionError) as error:
            detail = f"a frame is not JSON: {error}: {text[:_EXCERPT_BYTES]!r}"
            raise ModelError(PROVIDER_ERROR, detail=detail) from error
        if is_error:
            raise_embedded_error(value[0] if isinstance(value, list) and value else value, is_error=True)
        yield from self._frames_of_value(value, text)

    def _frames_of_value(self, value: Any, text: str) -> Iterator[EventFrame]:
        if isinstance(value, dict):
            raise_embedded_error(value)
            if value.get("error"):  # with empty members, for which OpenAI's SDK raises all the same
                del value["error"]
            events = None if self._to_events is None else self._to_events(value)
            if events is None:
                yield EventFrame(text, value)
                return
            for event in events:
                yield EventFrame(json.dumps(event), event)
        elif isinstance(value, list):  # Google's errors, and its streams without ``alt=sse``
            for item in value:
                yield from self._frames_of_value(item, json.dumps(item))

    def _frames_of_body(self, body: bytes) -> Iterator[EventFrame]:
        """Yields the frames that a body of JSON stands for: an object, a list, or an object on each line."""
        body = body.removeprefix(_BYTE_ORDER_MARK).strip()
        documents = [body] if _is_json(body) else body.splitlines()
        if not all(map(_is_json, documents)):
            if body.startswith(b"<"):
                raise _not_a_stream(body)
            raise ModelError(NETWORK_ERROR, detail=f"the response is JSON that breaks off: {_excerpt(body)!r}")
        has_frames = False
        for document in documents:
            for frame in self._frames_of_value(json.loads(document), document.decode()):
                has_frames = True
                yield frame
        if not has_frames:
            raise _not_a_stream(body)


def read_event_frames(stream: Any, to_events: ToEvents) -> Any:
    """Has an ``AsyncStream`` of OpenAI's or Anthropic's SDK, which nobody has read yet, use our decoder; returns it.

    Anything else, such as a wrapper that records what passes, is left as it is, and so are streams that are no
    server-sent events: Amazon Bedrock's are binary.
    """
    if type(getattr(stream, "_decoder", None)).__name__ == "SSEDecoder":
        stream._decoder = EventFrameDecoder(to_events)
    return stream


async def normalize_event_stream(
    response: Any, to_events: ToEvents, repair: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Has a response of an event stream pass as the frames that the SDK of Google understands.

    A hook of an httpx client: that SDK has a parser of its own, which cannot be replaced.

    Args:
        response: the response, which has not been read.
        to_events: as for the decoder.
        repair: returns the data of a frame as the SDK accepts it.
    """
    if response.status_code == 200 and response.request.url.params.get("alt") == "sse":
        read = response.aiter_bytes

        async def aiter_bytes(chunk_size: int | None = None) -> AsyncIterator[bytes]:
            async for frame in EventFrameDecoder(to_events).aiter_bytes(read()):
                if frame.json() is not None:
                    yield b"data: %b\n\n" % json.dumps(repair(frame.json())).encode()

        response.aiter_bytes = aiter_bytes


def _is_other_body(head: bytes | bytearray) -> bool:
    """Returns whether a response begins as JSON or HTML, which no event stream does."""
    return head.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"[", b"<")


def _has_fields(head: bytes | bytearray) -> bool:
    """Returns whether a response has fields or comments of an event stream, even if they have no data."""
    lines = head[:_EXCERPT_BYTES].removeprefix(_BYTE_ORDER_MARK).splitlines()
    return any(line.partition(b":")[0] in (b"", b"data", b"event", b"error", b"id", b"retry") for line in lines if line)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _not_a_stream(body: bytes) -> ModelError:
    message = "The model provider did not respond with an event stream."
    return ModelError(PROVIDER_ERROR, message, detail=f"it sent {_excerpt(body)!r}")


def _excerpt(body: bytes) -> str:
    return body[:_EXCERPT_BYTES].decode("utf-8", "replace")
