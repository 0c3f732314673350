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
    if isinstance(part.get("text"), str):
        return str(part["text"])
    kind, source, metadata = part.get("type"), part.get("source"), part.get("metadata")
    if kind == "binary":
        kind, source, metadata = binary_kind(str(part.get("mimeType"))), {**part, "value": part.get("url")}, part
    source = source if isinstance(source, dict) else {}
    filename = metadata.get("filename") if isinstance(metadata, dict) else None
    address = None if source.get("type") == "data" else source.get("value")
    details = [item for item in (filename, source.get("mimeType"), address) if isinstance(item, str) and item]
    return f"[Attachment: {kind} ({', '.join(details)})]" if details else f"[Attachment: {kind}]"
