"""The parts of a message that are not text, and the text of those that a model cannot receive."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from .._tools.attachments import Attachment
from .messages import Media, Text, ToolMessage

_TEXT_TYPES = frozenset(("application/json", "application/xml", "application/yaml", "application/x-yaml"))
_BINARY_KINDS = frozenset(("image", "audio", "video"))


def read_parts(content: Iterable[Any]) -> tuple[Text | Media, ...]:
    """Returns AG-UI's content parts. A text document is a text, which every model supports."""
    return tuple([Text(part.text) if part.type == "text" else _read_part(part) for part in content])


def flatten_text(content: Any, unsupported: Counter[str] | None = None) -> str:
    """Returns AG-UI's content as text only, with placeholders for other parts, which are counted."""
    if isinstance(content, str):
        return content
    counter = Counter[str]() if unsupported is None else unsupported
    parts = read_parts(content)
    return "\n".join(part.text if isinstance(part, Text) else placeholder(part, counter) for part in parts)


def placeholder(media: Media, unsupported: Counter[str]) -> str:
    """Returns a text in place of media that the model cannot receive, and counts them by kind."""
    unsupported[media.kind] += 1
    return f"[Attachment that cannot be displayed to you: {media}]"


def from_attachment(attachment: Attachment) -> Media:
    """Returns an attachment of a result."""
    data = base64.b64encode(attachment.data).decode()
    return Media(attachment.kind, attachment.mime_type, attachment.name, data=data)


def without_media(message: ToolMessage) -> ToolMessage:
    """Returns the result of a tool with descriptions in place of its media."""
    if not message.media:
        return message
    texts = (placeholder(media, Counter()) for media in message.media)
    return dataclasses.replace(message, text="\n".join((message.text, *texts)), media=())


def _read_part(part: Any) -> Text | Media:
    media = _read_media(part)
    if not (media.data or media.url or media.file_id):  # which makers refuse
        return Text(f"[Attachment that is empty: {media}]")
    return _text_document(media) or media


def _read_media(part: Any) -> Media:
    source = getattr(part, "source", None)
    if source is None:
        return _read_binary(part)
    metadata = getattr(part, "metadata", None)
    name = metadata.get("filename") if isinstance(metadata, Mapping) else None
    field = {"data": "data", "url": "url", "file": "file_id"}.get(source.type, "url")
    value = {field: source.value}
    return Media(part.type, source.mime_type or "", name if isinstance(name, str) else "", **value)


def _read_binary(part: Any) -> Media:
    """Reads the older part of AG-UI 0.1 for everything but text, whose kind is implied by its media type."""
    group = part.mime_type.partition("/")[0]
    kind = group if group in _BINARY_KINDS else "document"
    forms = (("data", part.data), ("url", part.url), ("file_id", part.id))
    return Media(kind, part.mime_type, part.filename or "", **dict(next(([form] for form in forms if form[1]), ())))


def _text_document(media: Media) -> Text | None:
    mime_type = media.media_type
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
    return Text(f"[Attached: {media.name or mime_type}]\n{text}")
