"""The parts of a message's content, as a provider takes them.

What it cannot take is said in words in its place, so that the model knows that there was
something, and logged.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ..._http.headers import media_type

logger = logging.getLogger("copilot_runtime.agents.builtin")

Part = dict[str, Any]

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
    """A part that is no text: where its bytes are, of three places exactly one."""

    kind: str
    mime_type: str
    name: str
    data: str | None = None
    """In base64."""
    url: str | None = None
    file_id: str | None = None

    @property
    def address(self) -> str:
        return self.url or f"data:{self.mime_type};base64,{self.data}"

    def __str__(self) -> str:
        size = f"about {len(self.data) * 3 // 4} bytes" if self.data is not None else self.url or self.file_id
        return f"{self.kind} ({', '.join(filter(None, (self.name, self.mime_type, size)))})"


def flatten_text(content: Any) -> str:
    """What a content says that may only be text; other parts are named in words."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in to_content_parts(content, takes=()))


def to_content_parts(content: Iterable[Any], *, takes: Collection[str]) -> list[Part]:
    """AG-UI's content parts as those of the API; ``takes`` are the kinds of media that may be sent."""
    return [_part(part, takes) for part in content]


def _part(part: Any, takes: Collection[str]) -> Part:
    if part.type == "text":
        return _text(part.text)
    media = _media(part)
    made = _text_document(media)
    if made is None and media.kind in takes:
        made = _BUILDERS[media.kind](media)
    if made is not None:
        return made
    logger.warning("an attached %s cannot be given to the model, which is told so", media.kind)
    return _text(f"[Attached here was {media}, which you cannot be given.]")


def _media(part: Any) -> _Media:
    source = getattr(part, "source", None)
    if source is None:
        return _of_binary(part)
    details = getattr(part, "metadata", None)
    name = details.get("filename") if isinstance(details, Mapping) else None
    place = {"data": "data", "url": "url", "file": "file_id"}.get(source.type, "url")
    value = {place: source.value}
    return _Media(part.type, source.mime_type or "", name if isinstance(name, str) else "", **value)


def _of_binary(part: Any) -> _Media:
    """AG-UI 0.1's older part for all that is no text, whose kind only its media type tells."""
    group = part.mime_type.partition("/")[0]
    kind = group if group in _BINARY_KINDS else "document"
    return _Media(kind, part.mime_type, part.filename or "", data=part.data, url=part.url, file_id=part.id)


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _text_document(media: _Media) -> Part | None:
    """A document that is text can be read by every model."""
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


def _image(media: _Media) -> Part | None:
    return None if media.file_id else {"type": "image_url", "image_url": {"url": media.address}}


def _audio(media: _Media) -> Part | None:
    form = _AUDIO_FORMATS.get(media_type(media.mime_type))
    if media.data is None or form is None:
        return None
    return {"type": "input_audio", "input_audio": {"data": media.data, "format": form}}


def _document(media: _Media) -> Part | None:
    if media.file_id:
        return {"type": "file", "file": {"file_id": media.file_id}}
    if media.data is None:
        return None
    return {"type": "file", "file": {"filename": media.name or "document", "file_data": media.address}}


_BUILDERS: Mapping[str, Callable[[_Media], Part | None]] = {"image": _image, "audio": _audio, "document": _document}
"""By kind; None is for a form of it that cannot be sent."""
