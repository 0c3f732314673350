"""Results of tool calls, as content for a model."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from .._tools.attachments import MAX_ATTACHMENT_BYTES, Attachment, ResultText
from .._tools.tool import ToolError
from .._tools.toolbox import serialize_result


def result_content(result: Mapping[str, Any], max_characters: int) -> Any:
    """Returns the text of a ``tools/call`` result, or its structured content if it has no text.

    Servers should repeat structured content as text (MCP 2025-06-18, "Structured Content"). What is longer than
    ``max_characters`` is cut, and says so. A text has the attachments that models can receive. Raises ToolError if the
    result is an error.
    """
    blocks = result.get("content") or ()
    attachments = list(map(_attachment, blocks))

    def write(shown: bool) -> str:
        return "\n\n".join(
            _FORMATTERS.get(block["type"], _format_other)(block)
            if attachment is None
            else attachment.describe(shown=shown and attachment.can_be_shown)
            for block, attachment in zip(blocks, attachments, strict=True)
        )

    text = write(False)
    structured = result.get("structuredContent")
    if result.get("isError"):
        text = text or ("" if structured is None else serialize_result(structured))
        raise ToolError(_cut(text, max_characters) or "The tool failed without a message.")
    if structured is None or text:
        shown = [each for each in attachments if each is not None and each.can_be_shown]
        if shown:
            return ResultText.build(lambda shown: _cut(write(shown), max_characters), shown)
        return _cut(text, max_characters)
    serialised = serialize_result(structured)
    return structured if len(serialised) <= max_characters else _cut(serialised, max_characters)


def _cut(text: str, max_characters: int) -> str:
    if len(text) <= max_characters:
        return text
    return (
        f"{text[:max_characters]}\n\n[The result was cut: these are the first {max_characters} of its {len(text)} "
        "characters. Call the tool so that it returns less, if it can.]"
    )


def _attachment(block: Mapping[str, Any]) -> Attachment | None:
    """Returns a block of media, or a file of a type that models may accept; None for any other block."""
    resource = block["resource"] if block["type"] == "resource" else {}
    if block["type"] in ("image", "audio"):
        data, mime_type, name = block["data"], block["mimeType"], ""
    elif "text" in resource or not _ATTACHABLE.match(resource.get("mimeType") or ""):
        return None
    else:
        data, mime_type, name = resource["blob"], resource["mimeType"], str(resource["uri"]).rpartition("/")[2]
    if len(data) > 2 * MAX_ATTACHMENT_BYTES:  # which is described without being decoded
        return None
    try:
        return Attachment(base64.b64decode(data, validate=True), mime_type, name)
    except (binascii.Error, ValueError):
        return None


_ATTACHABLE = re.compile(r"(image|audio|video)/|application/pdf\b", re.IGNORECASE)


def _format_text(block: Mapping[str, Any]) -> str:
    return str(block["text"])


def _format_media(block: Mapping[str, Any]) -> str:
    return _placeholder(f"{block['type']} of type {block['mimeType']}", block["data"])


def _format_resource(block: Mapping[str, Any]) -> str:
    resource = block["resource"]
    if "text" in resource:
        return str(resource["text"])
    return _placeholder(f"file {resource['uri']} of type {resource.get('mimeType', 'unknown')}", resource["blob"])


def _format_link(block: Mapping[str, Any]) -> str:
    details = (block.get(member) for member in ("title", "description", "mimeType"))
    return ", ".join([f"[a link to {block['uri']}", block["name"], *filter(None, details)]) + "]"


def _format_other(block: Mapping[str, Any]) -> str:
    return json.dumps(block, ensure_ascii=False)


def _placeholder(description: str, data: str) -> str:
    # Tool results are text in the Chat Completions API: base64 would only fill the context window.
    return f"[{description}, {len(data.rstrip('=')) * 3 // 4} bytes: it cannot be shown to you]"


_FORMATTERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "text": _format_text,
    "image": _format_media,
    "audio": _format_media,
    "resource": _format_resource,
    "resource_link": _format_link,
}
