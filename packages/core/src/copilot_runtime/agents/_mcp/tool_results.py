"""Results of tool calls, as content for a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .._tools.tool import ToolError
from .._tools.toolbox import serialize_result


def result_content(result: Mapping[str, Any], max_characters: int) -> Any:
    """Returns the text of a ``tools/call`` result, or its structured content if it has no text.

    Servers should repeat structured content as text (MCP 2025-06-18, "Structured Content"). What is longer than
    ``max_characters`` is cut, and says so. Raises ToolError if the result is an error.
    """
    text = "\n\n".join(_FORMATTERS.get(block["type"], _format_other)(block) for block in result.get("content") or ())
    if result.get("isError"):
        raise ToolError(_cut(text, max_characters) or "The tool failed without a message.")
    structured = result.get("structuredContent")
    if structured is None or text:
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


def _placeholder(description: str, base64: str) -> str:
    # Tool results are text in the Chat Completions API: base64 would only fill the context window.
    return f"[{description}, {len(base64.rstrip('=')) * 3 // 4} bytes: it cannot be shown to you]"


_FORMATTERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "text": _format_text,
    "image": _format_media,
    "audio": _format_media,
    "resource": _format_resource,
    "resource_link": _format_link,
}
