"""The parts of a message's content in both generations, in wire form.

AG-UI 0.x has ``binary`` parts. 1.0 has media parts (``image``, ``audio``, ``video``, ``document``) with a source, of
which 0.x has those with data or a URL. Tool messages have parts in 1.0 only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Part = dict[str, Any]

MEDIA_KINDS = ("image", "audio", "video", "document")

# The member of a binary part that holds what a source of this type holds.
_BINARY_MEMBERS: Mapping[str, str] = {"data": "data", "url": "url", "file": "id"}


def binary_kind(mime_type: str) -> str:
    """Returns the kind of media that a binary part is."""
    group = mime_type.partition("/")[0]
    return group if group in MEDIA_KINDS else "document"


def binary_to_media(part: Mapping[str, Any]) -> Part:
    """Returns a binary part as a media part. Data takes precedence over a URL, and a URL over an id."""
    mime_type = part["mimeType"]
    source_type, value = next((kind, part[name]) for kind, name in _BINARY_MEMBERS.items() if part.get(name))
    filename = part.get("filename")
    return {
        "type": binary_kind(mime_type),
        "source": {"type": source_type, "value": value, "mimeType": mime_type},
        **({} if filename is None else {"metadata": {"filename": filename}}),
    }


def media_to_binary(part: Mapping[str, Any]) -> Part:
    """Returns a media part as a binary part."""
    kind, source, metadata = part["type"], part["source"], part.get("metadata")
    filename = metadata.get("filename") if isinstance(metadata, dict) else None
    return {
        "type": "binary",
        # Required here, and all that says which kind of media it is.
        "mimeType": source.get("mimeType") or ("application/octet-stream" if kind == "document" else f"{kind}/*"),
        _BINARY_MEMBERS[source["type"]]: source["value"],
        **({"filename": filename} if isinstance(filename, str) else {}),
    }


def parts_to_text(parts: Iterable[Mapping[str, Any]]) -> str:
    """Returns content as text, with a line that describes each part that is not text."""
    return "\n".join(_part_to_text(part) for part in parts)


def _part_to_text(part: Mapping[str, Any]) -> str:
    text = part.get("text")
    if isinstance(text, str):
        return text
    source = part.get("source")
    members = source if isinstance(source, dict) else part
    metadata = part.get("metadata")
    name = metadata.get("filename") if isinstance(metadata, dict) else part.get("filename")
    address = members.get("value") if members.get("type") in ("url", "file") else part.get("url")
    details = ", ".join(item for item in (name, members.get("mimeType"), address) if isinstance(item, str) and item)
    return f"[Attachment: {part.get('type')}{details and f' ({details})'}]"
