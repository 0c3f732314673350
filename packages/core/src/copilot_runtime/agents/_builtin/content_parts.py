"""Converts the content parts of a message to those that a provider supports.

A part that it does not support is replaced by a placeholder, so that the model knows about it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ..._http.headers import media_type

ContentPart = dict[str, Any]

_AUDIO_FORMATS: Mapping[str, str] = {
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
}
_TEXT_TYPES = frozenset(("application/json", "application/xml", "application/yaml", "application/x-yaml"))
_BINARY_KINDS = frozenset(("image", "audio", "video"))


@dataclasses.dataclass(frozen=True, slots=True)
class _Media:
    """A part that is not text. Exactly one of data, URL and file id is set."""

    kind: str
    mime_type: str
    name: str
    data: str | None = None
    """In base64."""
    url: str | None = None
    file_id: str | None = None

    @property
    def address(self) -> str:
        """The URL, or a data URL."""
        return self.url or f"data:{self.mime_type};base64,{self.data}"

    def __str__(self) -> str:
        size = f"about {len(self.data) * 3 // 4} bytes" if self.data is not None else self.url or self.file_id
        return f"{self.kind} ({', '.join(filter(None, (self.name, self.mime_type, size)))})"


def flatten_text(content: Any, *, unsupported: Counter[str] | None = None) -> str:
    """Returns content as text only, with placeholders for other parts, which are counted in ``unsupported``."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in to_content_parts(content, supported_media=(), unsupported=unsupported))


def to_content_parts(
    content: Iterable[Any], *, supported_media: Collection[str], unsupported: Counter[str] | None = None
) -> list[ContentPart]:
    """Converts AG-UI's content parts.

    Args:
        content: the parts.
        supported_media: the kinds of media that the provider supports.
        unsupported: counts the parts that are replaced by a placeholder, by kind.
    """
    counter = Counter[str]() if unsupported is None else unsupported
    return [_convert(part, supported_media, counter) for part in content]


def _convert(part: Any, supported_media: Collection[str], unsupported: Counter[str]) -> ContentPart:
    if part.type == "text":
        return _text(part.text)
    media = _read_media(part)
    converted = _text_document(media)
    if converted is None and media.kind in supported_media:
        converted = _BUILDERS[media.kind](media)
    if converted is not None:
        return converted
    unsupported[media.kind] += 1
    return _text(f"[Attachment that cannot be displayed to you: {media}]")


def _read_media(part: Any) -> _Media:
    source = getattr(part, "source", None)
    if source is None:
        return _read_binary(part)
    metadata = getattr(part, "metadata", None)
    name = metadata.get("filename") if isinstance(metadata, Mapping) else None
    field = {"data": "data", "url": "url", "file": "file_id"}.get(source.type, "url")
    value = {field: source.value}
    return _Media(part.type, source.mime_type or "", name if isinstance(name, str) else "", **value)


def _read_binary(part: Any) -> _Media:
    """Reads the older part of AG-UI 0.1 for everything but text, whose kind is implied by its media type."""
    group = part.mime_type.partition("/")[0]
    kind = group if group in _BINARY_KINDS else "document"
    forms = (("data", part.data), ("url", part.url), ("file_id", part.id))
    return _Media(kind, part.mime_type, part.filename or "", **dict(next(([form] for form in forms if form[1]), ())))


def _text(text: str) -> ContentPart:
    return {"type": "text", "text": text}


def _text_document(media: _Media) -> ContentPart | None:
    """Returns a text document as text, which every model supports; None for other media."""
    mime_type = media_type(media.mime_type)
    if (
        media.kind != "document"
        or media.data is None
        or not (mime_type.startswith("text/") or mime_type in _TEXT_TYPES)
    ):
        return None
    try:
        text = base64.b64decode(media.data).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return _text(f"[Attached: {media.name or mime_type}]\n{text}")


def _image(media: _Media) -> ContentPart | None:
    return None if media.file_id else {"type": "image_url", "image_url": {"url": media.address}}


def _audio(media: _Media) -> ContentPart | None:
    audio_format = _AUDIO_FORMATS.get(media_type(media.mime_type))
    if media.data is None or audio_format is None:
        return None
    return {"type": "input_audio", "input_audio": {"data": media.data, "format": audio_format}}


def _document(media: _Media) -> ContentPart | None:
    if media.file_id:
        return {"type": "file", "file": {"file_id": media.file_id}}
    if media.data is None:
        return None
    return {"type": "file", "file": {"filename": media.name or "document", "file_data": media.address}}


_BUILDERS: Mapping[str, Callable[[_Media], ContentPart | None]] = {
    "image": _image,
    "audio": _audio,
    "document": _document,
}
"""By kind. A builder returns None for media in a form that cannot be sent."""
