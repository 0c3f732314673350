"""Reads the audio of a transcription request, from a form or from JSON."""

from __future__ import annotations

import binascii
import dataclasses
import re
from typing import Any

from ..._http.form import FormPart
from ..._http.headers import media_type
from ..._http.types import Request
from ..._strict_json import loads
from ...transcription import InvalidAudioFormat
from ...transcription._errors import InvalidRequest

_SUPPORTED = (
    "audio/mpeg",
    "audio/mp3",
    "audio/mp4",
    "audio/wav",
    "audio/webm",
    "audio/ogg",
    "audio/flac",
    "audio/aac",
)
# What browsers send for a type that they do not know; CopilotKit's frontend records WebM.
_UNKNOWN = ("", "application/octet-stream")
# A service may send the type on in a header: no line ends, and nothing that is not ASCII.
_TYPE = re.compile(r"[\t\x20-\x7e]*")
_DEFAULT_TYPE = "audio/webm"
_DEFAULT_NAME = "recording.webm"


@dataclasses.dataclass(frozen=True, slots=True)
class Audio:
    """An uploaded recording. ``mime_type`` is as the client sent it, parameters included."""

    filename: str
    mime_type: str
    data: bytes = dataclasses.field(repr=False)


def read_audio(request: Request, *, only_json: bool) -> Audio:
    """Returns the audio of a request.

    Args:
        request: the request.
        only_json: whether the body is JSON, whatever the content type: that is the envelope's.

    Raises:
        InvalidRequest: the body holds no audio.
        InvalidAudioFormat: the audio is of a type that is not supported.
    """
    content_type = request.headers.get("content-type") or ""
    body_type = "application/json" if only_json else media_type(content_type)
    if body_type == "multipart/form-data":
        return _from_form(_parts(request, content_type))
    if body_type == "application/json":
        return _from_json(request.body)
    raise InvalidRequest


def _parts(request: Request, content_type: str) -> tuple[FormPart, ...]:
    if request.form is not None:
        return request.form
    # At the first form, on a worker thread: the parser's package takes 90 ms to import.
    from ..._http.multipart import parse_multipart

    try:
        return parse_multipart(request.body, content_type)
    except ValueError as error:
        raise InvalidRequest(str(error), message="Request body must be valid multipart/form-data") from error


def _from_form(parts: tuple[FormPart, ...]) -> Audio:
    part = next((part for part in parts if part.name == "audio"), None)
    if part is None or part.filename is None:
        raise InvalidRequest(message="No audio file found in form data. Please include an 'audio' field.")
    return Audio(part.filename or _DEFAULT_NAME, _check_type(part.content_type or ""), part.data)


def _from_json(body: bytes) -> Audio:
    try:
        data = loads(body)
    except ValueError as error:
        raise InvalidRequest(str(error), message="Request body must be valid JSON") from error
    members: dict[str, Any] = data if isinstance(data, dict) else {}
    audio, mime_type, filename = members.get("audio"), members.get("mimeType"), members.get("filename")
    if not isinstance(audio, str) or not audio:
        raise InvalidRequest(message="Request must include 'audio' field with base64-encoded audio data")
    if not isinstance(mime_type, str):
        raise InvalidRequest(message="Request must include 'mimeType' field (e.g., 'audio/webm')")
    if not isinstance(filename, str | None):
        raise InvalidRequest(message="The 'filename' field must be a string")
    return Audio(filename or _DEFAULT_NAME, _check_type(mime_type), _decode(audio))


def _check_type(content_type: str) -> str:
    """Returns the content type; WebM's if it is unknown. Raises InvalidAudioFormat for one that is not supported."""
    audio_type = media_type(content_type)
    if audio_type in _UNKNOWN:
        return _DEFAULT_TYPE
    if audio_type not in _SUPPORTED or _TYPE.fullmatch(content_type) is None:
        raise InvalidAudioFormat(
            message=f"Unsupported audio format: {content_type}. Supported: {', '.join(_SUPPORTED)}"
        )
    return content_type


def _decode(text: str) -> bytes:
    # As browsers do it (https://infra.spec.whatwg.org/#forgiving-base64-decode), without the beginning of a data URL.
    start = text.find(",") + 1
    try:
        data = text[start:].encode("ascii").translate(None, b" \t\n\f\r")
        if len(data) % 4 == 0:
            data = data.removesuffix(b"=").removesuffix(b"=")
        return binascii.a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except ValueError as error:
        raise InvalidRequest(str(error), message="Failed to decode base64 audio data") from error
