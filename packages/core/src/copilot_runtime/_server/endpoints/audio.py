"""The audio that a transcription request holds, as a form or as JSON."""

from __future__ import annotations

import binascii
import dataclasses
from typing import Any

from pydantic_core import from_json

from ..._http.multipart import parse_multipart
from ..._http.types import FormPart, Request
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
# What browsers say when they do not know; what CopilotKit's frontend records is WebM.
_UNKNOWN = ("", "application/octet-stream")
_DEFAULT_TYPE = "audio/webm"
_DEFAULT_NAME = "recording.webm"


@dataclasses.dataclass(frozen=True, slots=True)
class Audio:
    """An uploaded recording: what it is called, of what type with parameters it is said to be, and its bytes."""

    filename: str
    mime_type: str
    data: bytes = dataclasses.field(repr=False)


def read_audio(request: Request, body: bytes, *, only_json: bool) -> Audio:
    """The audio of a request whose body is ``body``.

    ``only_json`` says that the body is JSON, whatever the request's content type. Raises
    InvalidRequest or InvalidAudioFormat.
    """
    content_type = request.headers.get("content-type") or ""
    kind = "application/json" if only_json else _media_type(content_type)
    if kind == "multipart/form-data":
        return _from_form(_parts(request, body, content_type))
    if kind == "application/json":
        return _from_json(body)
    raise InvalidRequest


def _parts(request: Request, body: bytes, content_type: str) -> tuple[FormPart, ...]:
    if request.form is not None:
        return request.form
    try:
        return parse_multipart(body, content_type)
    except ValueError as error:
        raise InvalidRequest(str(error), message="Request body must be valid multipart/form-data") from error


def _from_form(parts: tuple[FormPart, ...]) -> Audio:
    part = next((part for part in parts if part.name == "audio"), None)
    if part is None or part.filename is None:
        raise InvalidRequest(message="No audio file found in form data. Please include an 'audio' field.")
    return Audio(part.filename or _DEFAULT_NAME, _supported(part.content_type or ""), part.data)


def _from_json(body: bytes) -> Audio:
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(str(error), message="Request body must be valid JSON") from error
    members: dict[str, Any] = data if isinstance(data, dict) else {}
    audio, kind, name = members.get("audio"), members.get("mimeType"), members.get("filename")
    if not isinstance(audio, str) or not audio:
        raise InvalidRequest(message="Request must include 'audio' field with base64-encoded audio data")
    if not isinstance(kind, str):
        raise InvalidRequest(message="Request must include 'mimeType' field (e.g., 'audio/webm')")
    if not isinstance(name, str | None):
        raise InvalidRequest(message="The 'filename' field must be a string")
    return Audio(name or _DEFAULT_NAME, _supported(kind), _decode(audio))


def _supported(content_type: str) -> str:
    kind = _media_type(content_type)
    if kind in _UNKNOWN:
        return _DEFAULT_TYPE
    if kind not in _SUPPORTED:
        raise InvalidAudioFormat(
            message=f"Unsupported audio format: {content_type}. Supported: {', '.join(_SUPPORTED)}"
        )
    return content_type


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _decode(text: str) -> bytes:
    # As browsers do it (https://infra.spec.whatwg.org/#forgiving-base64-decode), after
    # what a data URL has before its data.
    start = text.find(",") + 1
    try:
        data = text[start:].encode("ascii").translate(None, b" \t\n\f\r")
        if len(data) % 4 == 0:
            data = data.removesuffix(b"=").removesuffix(b"=")
        return binascii.a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except ValueError as error:
        raise InvalidRequest(str(error), message="Failed to decode base64 audio data") from error
