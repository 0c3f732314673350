"""Converts media to the content parts of the Chat Completions API."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...messages import Media

ContentPart = dict[str, Any]

_AUDIO_FORMATS: Mapping[str, str] = {
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
}


def media_part(media: Media, supported_media: Collection[str]) -> ContentPart | None:
    """Returns media as a content part; None if its kind is not supported, or not in this form."""
    return _BUILDERS[media.kind](media) if media.kind in supported_media else None


def _image(media: Media) -> ContentPart | None:
    return None if media.file_id else {"type": "image_url", "image_url": {"url": media.address}}


def _audio(media: Media) -> ContentPart | None:
    audio_format = _AUDIO_FORMATS.get(media.media_type)
    if media.data is None or audio_format is None:
        return None
    return {"type": "input_audio", "input_audio": {"data": media.data, "format": audio_format}}


def _document(media: Media) -> ContentPart | None:
    if media.file_id:
        return {"type": "file", "file": {"file_id": media.file_id}}
    if media.data is None:
        return None
    return {"type": "file", "file": {"filename": media.name or "document", "file_data": media.address}}


_BUILDERS: Mapping[str, Callable[[Media], ContentPart | None]] = {
    "image": _image,
    "audio": _audio,
    "document": _document,
}
"""By kind."""
